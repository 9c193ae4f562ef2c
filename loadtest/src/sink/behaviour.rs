//! How the sink behaves: what the flags say, and what the control port shows and changes.
//!
//! Flags and JSON are one language: each field has the same name and takes the same text in both, so that what was
//! found by hand with flags can be sent to a running sink.

use super::{
    login::{Account, Mechanisms},
    point::Point,
    spec::{Capabilities, Delays, OddsAt, Pattern, Refusals, Stall},
};
use crate::sink::point::Cut;
use gatepost::config::Size;
use serde::{Deserialize, Serialize};

/// How the sink behaves. The default takes everything at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Behaviour {
    /// Waits before replies.
    pub delay: Delays,
    /// Replies of refusal, with their odds.
    pub refuse: Refusals,
    /// Hanging up, with its odds.
    pub drop: OddsAt<Cut>,
    /// A line that is no reply in place of one, with its odds.
    pub garble: OddsAt<Point>,
    /// Pauses of the whole sink.
    pub stall: Stall,
    /// Octets a second that a connection is read at; 0: as fast as they come.
    pub read_rate: Size,
    /// What EHLO announces. What is not announced is refused.
    pub capabilities: Capabilities,
    /// Octets of the largest message; 0: no limit.
    pub size_max: Size,
    /// Connections at once; the next gets 421. 0: no limit.
    pub connections_max: u64,
    /// Recipients of a message; more get 452 4.5.3. 0: no limit.
    pub recipients_max: u64,
    /// Recipients that get 550 5.1.1.
    pub unknown: Pattern,
    /// What AUTH announces; none: there is no AUTH.
    pub auth: Mechanisms,
    /// The account that AUTH accepts; empty: any.
    pub account: Account,
    /// Whether MAIL gets 530 5.7.0 before AUTH.
    pub auth_required: bool,
}

/// Changes to a [`Behaviour`]: what is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Behaviour (also changeable with POST /behaviour)")]
pub struct Changes {
    /// Wait before replies: `connect=5ms,mail=1ms,body=50ms`. Points: connect, hello, starttls, handshake, auth, mail,
    /// rcpt, data, body
    #[arg(long, value_name = "POINT=TIME,…")]
    pub delay: Option<Delays>,
    /// Refuse, with odds: `rcpt=450:5%,body=451 4.3.2 Try later:1%,starttls=454:2%`. 421 also hangs up
    #[arg(long, value_name = "POINT=REPLY:ODDS,…")]
    pub refuse: Option<Refusals>,
    /// Hang up, with odds, instead of the reply: `data:1%,body-middle:1%,before-reply:0.5%`. Places: connect, hello,
    /// starttls, handshake, auth, mail, rcpt, data, body-middle, before-commit (the message is not taken), before-reply
    /// (it is)
    #[arg(long, value_name = "PLACE:ODDS,…")]
    pub drop: Option<OddsAt<Cut>>,
    /// Answer with a line that is no reply (and at `handshake` no TLS), with odds: `mail:1%`. Points as for --delay
    #[arg(long, value_name = "POINT:ODDS,…")]
    pub garble: Option<OddsAt<Point>>,
    /// Stop everything now and then: `every=10s,for=1s`; `off` ends it
    #[arg(long, value_name = "every=TIME,for=TIME")]
    pub stall: Option<Stall>,
    /// Read each connection no faster than so many octets a second, `64KiB`; 0 ends it
    #[arg(long, value_name = "SIZE")]
    pub read_rate: Option<Size>,
    /// Announce exactly these: pipelining, 8bitmime, chunking, size, smtputf8, enhancedstatuscodes, starttls and auth
    /// (where there is any), dsn, binarymime; `none` [default: the first eight]
    #[arg(long, value_name = "NAME,…")]
    pub capabilities: Option<Capabilities>,
    /// Leave these out of what is announced
    #[arg(long, value_name = "NAME,…")]
    pub no: Option<Capabilities>,
    /// Refuse larger messages with 552; 0: no limit
    #[arg(long, value_name = "SIZE")]
    pub size_max: Option<Size>,
    /// Refuse more connections at once with 421; 0: no limit
    #[arg(long, value_name = "COUNT")]
    pub connections_max: Option<u64>,
    /// Refuse more recipients of a message with 452 4.5.3; 0: no limit
    #[arg(long, value_name = "COUNT")]
    pub recipients_max: Option<u64>,
    /// Refuse recipients that match this regular expression with 550 5.1.1; empty: none
    #[arg(long, value_name = "REGEX")]
    pub unknown: Option<Pattern>,
    /// Offer AUTH with these mechanisms: plain, login; `none` ends it
    #[arg(long, value_name = "NAME,…")]
    pub auth: Option<Mechanisms>,
    /// Accept only this account (`user:password`) and answer others with 535 5.7.8; empty: any
    #[arg(long, value_name = "USER:PASSWORD")]
    pub account: Option<Account>,
    /// Refuse MAIL with 530 5.7.0 before AUTH
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub auth_required: Option<bool>,
}

impl Behaviour {
    /// The default with these changes.
    #[must_use]
    pub fn of(changes: Changes) -> Behaviour {
        Behaviour::default().with(changes)
    }

    /// This one with changes.
    #[must_use]
    pub fn with(mut self, changes: Changes) -> Behaviour {
        fn put<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        put(&mut self.delay, changes.delay);
        put(&mut self.refuse, changes.refuse);
        put(&mut self.drop, changes.drop);
        put(&mut self.garble, changes.garble);
        put(&mut self.stall, changes.stall);
        put(&mut self.read_rate, changes.read_rate);
        put(&mut self.capabilities, changes.capabilities);
        if let Some(Capabilities(unwanted)) = changes.no {
            self.capabilities = Capabilities(self.capabilities.0.without(unwanted));
        }
        put(&mut self.size_max, changes.size_max);
        put(&mut self.connections_max, changes.connections_max);
        put(&mut self.recipients_max, changes.recipients_max);
        put(&mut self.unknown, changes.unknown);
        put(&mut self.auth, changes.auth);
        put(&mut self.account, changes.account);
        put(&mut self.auth_required, changes.auth_required);
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_not_said_stays() {
        let first: Changes =
            serde_json::from_str(r#"{"delay": "body=50ms", "size_max": "1MiB"}"#).unwrap();
        let behaviour = Behaviour::of(first);
        let second: Changes =
            serde_json::from_str(r#"{"refuse": "rcpt=450:5%", "no": "chunking"}"#).unwrap();
        let behaviour = behaviour.with(second);
        assert_eq!(
            behaviour.delay.at(Point::Body),
            Some(Duration::from_millis(50))
        );
        assert_eq!(behaviour.size_max, Size::mib(1));
        assert_eq!(behaviour.refuse.to_string(), "rcpt=450 4.2.0 Not now:5%");
        assert!(!behaviour.capabilities.to_string().contains("chunking"));
        let off: Changes =
            serde_json::from_str(r#"{"delay": "", "refuse": "", "capabilities": "none"}"#).unwrap();
        let behaviour = behaviour.with(off);
        assert_eq!(behaviour.delay, Delays::default());
        assert_eq!(behaviour.capabilities.to_string(), "none");
    }

    #[test]
    fn what_is_shown_can_be_sent_back() {
        let sent = r#"{"delay": "mail=1ms,body=1s500ms", "refuse": "body=451:1%,mail=550 5.7.1 No:0.1%",
            "drop": "before-reply:0.5%", "garble": "hello:100%", "stall": "every=10s,for=1s", "read_rate": 65536,
            "unknown": "^nobody", "connections_max": 7, "auth": "plain,login", "account": "me:secret",
            "auth_required": true}"#;
        let behaviour = Behaviour::of(serde_json::from_str(sent).unwrap());
        let shown = serde_json::to_string(&behaviour).unwrap();
        let again = Behaviour::of(serde_json::from_str(&shown).unwrap());
        assert_eq!(behaviour, again, "{shown}");
    }

    #[test]
    fn a_wrong_name_is_told() {
        let error = serde_json::from_str::<Changes>(r#"{"dealy": ""}"#).unwrap_err();
        assert!(error.to_string().contains("dealy"), "{error}");
    }
}
