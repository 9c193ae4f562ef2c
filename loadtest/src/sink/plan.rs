//! The behaviour as sessions use it: made once for each change, so that a message pays for what was asked for and for
//! nothing else.

use super::{
    behaviour::Behaviour,
    login::{Account, Mechanism, Mechanisms},
    point::{Cut, Point},
    spec::{CAPABILITIES, Stall},
};
use fastrand::Rng;
use gatepost::{
    smtp::{Extensions, Reply, Status, Tick, reply::write_line},
    tls::Acceptor,
};
use regex::bytes::Regex;
use std::time::Duration;

/// What holds for the whole life of a sink.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    /// The name in the greeting and in hello replies.
    pub hostname: String,
    /// LMTP (RFC 2033) instead of SMTP.
    pub lmtp: bool,
    /// When the sink began: stalls count from here.
    pub started: Tick,
    /// How it speaks TLS, if at all.
    pub tls: Option<Tls>,
}

/// How a sink speaks TLS.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// From the first octet on, instead of after STARTTLS.
    pub implicit: bool,
    pub acceptor: Acceptor,
}

/// A behaviour, ready for use.
#[derive(Debug)]
pub(super) struct Plan {
    pub fixed: Fixed,
    /// What EHLO or LHLO announces.
    pub announced: Announced,
    /// The same where TLS is spoken: STARTTLS is not offered again (RFC 3207 §4.2).
    pub announced_secured: Announced,
    pub greeting: Vec<u8>,
    pub size_max: u64,
    pub connections_max: u64,
    pub recipients_max: u64,
    pub read_rate: u64,
    pub unknown: Option<Regex>,
    pub mechanisms: Vec<Mechanism>,
    pub account: Account,
    pub auth_required: bool,
    points: [At; Point::COUNT],
    cuts: [f64; Cut::COUNT],
    stall: Stall,
}

/// A hello reply.
#[derive(Debug)]
pub(super) struct Announced {
    pub offered: Extensions,
    /// The whole reply.
    pub ehlo: Vec<u8>,
}

/// What is to happen at a point.
#[derive(Debug, Default)]
struct At {
    /// Nothing out of the ordinary.
    plain: bool,
    delay: Option<Duration>,
    refusals: Vec<(f64, Reply)>,
    garble: f64,
}

/// What the dice say.
#[derive(Debug, PartialEq)]
pub(super) enum Fate<'a> {
    Accept,
    Refuse(&'a Reply),
    Garble,
    Drop(Cut),
}

impl Plan {
    pub fn new(fixed: Fixed, behaviour: &Behaviour) -> Plan {
        let mut points: [At; Point::COUNT] = Default::default();
        for (point, at) in Point::ALL.iter().zip(&mut points) {
            let refusals = behaviour.refuse.0.iter().filter(|one| one.at == *point);
            at.delay = behaviour.delay.at(*point);
            at.refusals = refusals
                .map(|one| (one.odds.0, one.reply.clone()))
                .collect();
            at.garble = behaviour.garble.at(*point).0;
            let cut = point.cut().map_or(0.0, |cut| behaviour.drop.at(cut).0);
            at.plain =
                at.delay.is_none() && at.refusals.is_empty() && at.garble == 0.0 && cut == 0.0;
        }
        let mut cuts = [0.0; Cut::COUNT];
        for cut in Cut::ALL {
            cuts[*cut as usize] = behaviour.drop.at(*cut).0;
        }
        let mut greeting = Vec::new();
        let protocol = if fixed.lmtp { "LMTP" } else { "ESMTP" };
        let text = format!("{} {protocol} gatepost-load sink", fixed.hostname);
        write_line(220, Status::NONE, &text, false, &mut greeting);
        let mut clear = Extensions::NONE;
        if fixed.tls.as_ref().is_some_and(|tls| !tls.implicit) {
            clear = behaviour.capabilities.0.common(Extensions::STARTTLS);
        }
        let mut secured = behaviour.capabilities.0.without(Extensions::STARTTLS);
        if behaviour.auth.0.is_empty() {
            secured = secured.without(Extensions::AUTH);
        }
        Plan {
            announced: announce(&fixed.hostname, secured | clear, behaviour),
            announced_secured: announce(&fixed.hostname, secured, behaviour),
            greeting,
            size_max: behaviour.size_max.0,
            connections_max: behaviour.connections_max,
            recipients_max: behaviour.recipients_max,
            read_rate: behaviour.read_rate.0,
            unknown: behaviour.unknown.0.clone(),
            mechanisms: behaviour.auth.0.clone(),
            account: behaviour.account.clone(),
            auth_required: behaviour.auth_required,
            points,
            cuts,
            stall: behaviour.stall,
            fixed,
        }
    }

    /// How long to wait before the reply at a point.
    pub fn delay(&self, point: Point) -> Option<Duration> {
        self.points[point as usize].delay
    }

    /// Throws the dice for a point. They are thrown in the same order for the same dialogue.
    pub fn fate(&self, point: Point, dice: &mut Rng) -> Fate<'_> {
        let at = &self.points[point as usize];
        if at.plain {
            return Fate::Accept;
        }
        if let Some(cut) = point.cut()
            && self.cuts(cut, dice)
        {
            return Fate::Drop(cut);
        }
        for (odds, reply) in &at.refusals {
            if falls(*odds, dice) {
                return Fate::Refuse(reply);
            }
        }
        if falls(at.garble, dice) {
            return Fate::Garble;
        }
        Fate::Accept
    }

    /// Is there anything to hang up for at this place?
    pub fn may_cut(&self, cut: Cut) -> bool {
        self.cuts[cut as usize] > 0.0
    }

    /// Throws the dice for a place to hang up.
    pub fn cuts(&self, cut: Cut, dice: &mut Rng) -> bool {
        falls(self.cuts[cut as usize], dice)
    }

    /// Until when the sink stands still, where a stall is under way.
    pub fn stalled_until(&self, now: Tick) -> Option<Tick> {
        let every = self.stall.every.0;
        if every.is_zero() {
            return None;
        }
        let into = now.since(self.fixed.started).as_micros() % every.as_micros();
        let into = Duration::from_micros(u64::try_from(into).unwrap_or(u64::MAX));
        (into + self.stall.length.0 >= every).then(|| now.after(every - into))
    }
}

/// Nothing that can't happen costs a throw.
fn falls(odds: f64, dice: &mut Rng) -> bool {
    odds > 0.0 && dice.f64() < odds
}

/// The reply to EHLO.
fn announce(hostname: &str, offered: Extensions, behaviour: &Behaviour) -> Announced {
    let mut lines = vec![hostname.to_string()];
    for (word, one) in CAPABILITIES {
        if offered.has(one) {
            let mut line = word.to_ascii_uppercase();
            match one {
                Extensions::SIZE => line += &format!(" {}", behaviour.size_max.0),
                Extensions::AUTH => {
                    let Mechanisms(mechanisms) = &behaviour.auth;
                    line.extend(mechanisms.iter().flat_map(|one| [" ", one.as_str()]));
                }
                _ => {}
            }
            lines.push(line);
        }
    }
    let mut out = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        write_line(250, Status::NONE, line, at + 1 < lines.len(), &mut out);
    }
    Announced { offered, ehlo: out }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(changes: &str) -> Plan {
        let fixed = Fixed {
            hostname: "sink.test".into(),
            lmtp: false,
            started: Tick(1_000_000),
            tls: None,
        };
        let changes = serde_json::from_str(changes).unwrap();
        Plan::new(fixed, &Behaviour::of(changes))
    }

    #[test]
    fn the_same_seed_has_the_same_fates() {
        let plan = plan(
            r#"{"refuse": "rcpt=450:30%,rcpt=550:10%", "drop": "rcpt:10%", "garble": "rcpt:10%"}"#,
        );
        let throw = |seed| -> Vec<String> {
            let mut dice = Rng::with_seed(seed);
            (0..1000)
                .map(|_| format!("{:?}", plan.fate(Point::Rcpt, &mut dice)))
                .collect()
        };
        assert_eq!(throw(7), throw(7));
        assert_ne!(throw(7), throw(8));
        let count = |word: &str| throw(7).iter().filter(|fate| fate.contains(word)).count();
        // 10 % of all, then 30 % of the rest, 10 % of that rest, 10 % of what is left.
        for (word, expected) in [
            ("Drop", 100),
            ("450", 270),
            ("550", 63),
            ("Garble", 57),
            ("Accept", 510),
        ] {
            assert!(
                count(word).abs_diff(expected) < 60,
                "{word}: {}",
                count(word)
            );
        }
        assert_eq!(plan.fate(Point::Mail, &mut Rng::with_seed(1)), Fate::Accept);
    }

    #[test]
    fn a_stall_is_the_end_of_its_period() {
        let plan = plan(r#"{"stall": "every=10s,for=1s"}"#);
        let at = |ms: u64| plan.stalled_until(Tick(1_000_000 + ms * 1000));
        assert_eq!(at(0), None);
        assert_eq!(at(8_999), None);
        assert_eq!(at(9_000), Some(Tick(11_000_000)));
        assert_eq!(at(9_999), Some(Tick(11_000_000)));
        assert_eq!(at(10_000), None);
        assert_eq!(at(29_500), Some(Tick(31_000_000)));
    }

    #[test]
    fn only_what_is_offered_is_announced() {
        let all = plan(r#"{"size_max": "1KiB"}"#).announced.ehlo;
        assert_eq!(
            String::from_utf8(all).unwrap(),
            "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-SIZE 1024\r\n\
             250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
        );
        let none = plan(r#"{"capabilities": "none"}"#).announced.ehlo;
        assert_eq!(String::from_utf8(none).unwrap(), "250 sink.test\r\n");
        let auth = plan(r#"{"capabilities": "auth,dsn", "auth": "plain,login"}"#);
        assert_eq!(
            String::from_utf8(auth.announced.ehlo).unwrap(),
            "250-sink.test\r\n250-AUTH PLAIN LOGIN\r\n250 DSN\r\n"
        );
    }
}
