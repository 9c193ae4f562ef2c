//! Sessions at once, and connections, messages, recipients and octets in a time: of a client's address, of
//! its prefix, of a sender's domain. What a rate admits is in `rates/table.rs`.

use super::{Check, Whom};
use crate::{
    config::{Mode, Rate as RateSettings, Then},
    policy::{
        At, Facts, HitKind, SessionCounts, Shared, What,
        builder::{self, Builder},
        lists::lower,
        rates::{
            key::RateKey,
            table::{Limit, Table},
        },
        replies,
        rule::{Rule, Say},
    },
    smtp::Reply,
};
use std::sync::Arc;

/// What is counted, and so the name of the account.
#[derive(Clone, Copy)]
enum Unit {
    Connections,
    Messages,
    Recipients,
    Bytes,
}

/// Whose account it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Client,
    Prefix,
    Sender,
}

struct RateCheck {
    rule: Rule,
    /// Text and code of a limit on connections: 421, which every client understands at the greeting.
    greeting: Option<Reply>,
    owner: Owner,
    sessions: u32,
    limits: [Option<Limit>; 4],
}

pub fn client(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let doc = "The client's address (IPv6: its /64) is above one of its limits.";
    build(
        builder,
        "client_rate",
        doc,
        &builder.config.client_rate,
        Owner::Client,
    )
}

pub fn prefix(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let doc = "The client's prefix (IPv4 /24, IPv6 /48) is above one of its limits.";
    build(
        builder,
        "prefix_rate",
        doc,
        &builder.config.prefix_rate,
        Owner::Prefix,
    )
}

pub fn sender(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let settings = &builder.config.sender_rate;
    if settings.sessions > 0 || settings.connections > 0 {
        builder.fault(
            "sender_rate",
            "a sender has no `sessions` and no `connections`, only a client has",
        );
    }
    let doc = "The sender's domain is above one of its limits.";
    build(builder, "sender_rate", doc, settings, Owner::Sender)
}

fn build(
    builder: &mut Builder<'_>,
    name: &str,
    doc: &'static str,
    settings: &RateSettings,
    owner: Owner,
) -> Option<Arc<dyn Check>> {
    let per = settings.per.0;
    let limits = [
        Limit::new(settings.connections.into(), per),
        Limit::new(settings.messages.into(), per),
        Limit::new(settings.recipients.into(), per),
        Limit::new(settings.bytes.0, per),
    ];
    if settings.mode == Mode::Off || (settings.sessions == 0 && limits.iter().all(Option::is_none))
    {
        return None;
    }
    if !matches!(settings.then, Then::Defer | Then::Reject | Then::Close) {
        builder.fault(name, "a rate can only `defer`, `reject` or `close`");
    }
    if per.is_zero() {
        builder.fault(name, "`per` must be longer than nothing");
    }
    let reply = settings.reply.as_deref();
    let outcome = builder::RuleSettings {
        then: settings.then,
        score: 0.0,
        reply,
        mode: settings.mode,
    };
    let rule = builder.rule(name.to_string(), doc, name, outcome, &replies::RATE)?;
    let greeting = (reply.is_none() && settings.then == Then::Defer)
        .then(|| replies::TOO_MANY_CONNECTIONS.reply());
    Some(Arc::new(RateCheck {
        rule,
        greeting,
        owner,
        sessions: settings.sessions,
        limits,
    }))
}

impl RateCheck {
    /// Charges the owner's account; `false` where that is refused.
    fn charge(&self, unit: Unit, cost: u64, facts: &Facts<'_>, shared: &Shared) -> bool {
        let Some(limit) = self.limits[unit as usize] else {
            return true;
        };
        let keys = || shared.keys(facts.keys, facts.client);
        let admit = |table: &Table, key: RateKey| {
            table.admit_hashed(key.account(unit as u8), limit, cost, facts.now)
        };
        match self.owner {
            Owner::Client => admit(&shared.client, keys().client),
            Owner::Prefix => admit(&shared.prefix, keys().prefix),
            Owner::Sender if facts.sender.domain.is_empty() => true, // bounces have no domain
            Owner::Sender => {
                let mut room = [0; lower::ROOM];
                let domain = lower::host(facts.sender.domain, &mut room);
                let account = (unit as u8, domain);
                shared.sender.admit(account, limit, cost, facts.now)
            }
        }
    }

    /// Above a limit of connections: to defer there means to say 421 and close.
    fn turn_away(&self, detail: &'static str, say: &mut Say<'_>) {
        let what = if self.rule.what == What::Defer {
            What::Close
        } else {
            self.rule.what
        };
        let _ = say.hit_as(&self.rule, what, detail, |rule| {
            self.greeting.clone().unwrap_or_else(|| rule.reply.clone())
        });
    }

    fn sessions_open(&self, counts: SessionCounts) -> u32 {
        match self.owner {
            Owner::Client => counts.client,
            Owner::Prefix => counts.prefix,
            Owner::Sender => 0,
        }
    }
}

impl Check for RateCheck {
    fn name(&self) -> &'static str {
        match self.owner {
            Owner::Client => "client_rate",
            Owner::Prefix => "prefix_rate",
            Owner::Sender => "sender_rate",
        }
    }

    fn stages(&self) -> &[At] {
        match self.owner {
            Owner::Sender => &[At::Mail, At::Rcpt, At::Body],
            Owner::Client | Owner::Prefix => &[At::Connect, At::Mail, At::Rcpt, At::Body],
        }
    }

    fn whom(&self) -> Whom {
        Whom::Unknown
    }

    fn finds(&self) -> HitKind {
        HitKind::Limit
    }

    fn look(&self, at: At, facts: &Facts<'_>, shared: &Shared, say: &mut Say<'_>) {
        let (unit, cost, detail) = match at {
            At::Connect => {
                if self.sessions > 0 && self.sessions_open(facts.sessions) > self.sessions {
                    self.turn_away("sessions", say);
                } else if !self.charge(Unit::Connections, 1, facts, shared) {
                    self.turn_away("connections", say);
                }
                return;
            }
            At::Mail => (Unit::Messages, 1, "messages"),
            At::Rcpt => (Unit::Recipients, 1, "recipients"),
            At::Body => (Unit::Bytes, facts.size, "bytes"),
            At::Greeting | At::Hello | At::Answers | At::Header => return,
        };
        if !self.charge(unit, cost, facts, shared) {
            let _ = say.hit(&self.rule, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{Policy, testing::*},
        smtp::Tick,
    };

    #[test]
    fn sessions_at_once() {
        let mut rig = rig("[client_rate]\nsessions = 2\n[prefix_rate]\nsessions = 3");
        let mut open = |client: &str| {
            let client = ip(client);
            let ticket = rig.shared.open_session(client, 0);
            let facts = Facts {
                client,
                sessions: ticket.counts(),
                ..stranger()
            };
            (ticket, rig.ask(At::Connect, &facts))
        };
        let turned_away = "close 421 4.7.0 Too many connections from you, come back later";
        let (one, verdict) = open("192.0.2.7");
        assert_eq!(verdict, "accept");
        let (_two, verdict) = open("192.0.2.7");
        assert_eq!(verdict, "accept");
        assert_eq!(open("192.0.2.7").1, turned_away);
        drop(one);
        assert_eq!(open("192.0.2.7").1, "accept");
        let (_near, _) = open("192.0.2.8");
        let (_nearer, verdict) = open("192.0.2.9");
        assert_eq!(verdict, "accept");
        assert_eq!(open("192.0.2.10").1, turned_away, "the prefix is full");
        assert_eq!(open("192.0.3.10").1, "accept");
    }

    #[test]
    fn each_unit_has_its_account() {
        let mut rig = rig(
            "[client_rate]\nconnections = 1\nmessages = 2\nrecipients = 3\nbytes = '100'\nper = '10s'",
        );
        assert_eq!(rig.connect("192.0.2.7"), "accept");
        assert!(rig.connect("192.0.2.7").starts_with("close 421"));
        assert_eq!(rig.hits(), "client_rate close(connections)");
        assert_eq!(rig.connect("192.0.2.8"), "accept");
        assert_eq!(
            (rig.mail("a@b.example"), rig.mail("a@b.example")),
            ("accept".into(), "accept".into())
        );
        assert_eq!(
            rig.mail("a@b.example"),
            "defer 450 4.7.1 Too much mail from you for now, slow down"
        );
        assert_eq!(rig.hits(), "client_rate defer(messages)");
        let refused = (0..5)
            .filter(|_| rig.rcpt("a@ours.example") != "accept")
            .count();
        assert_eq!(refused, 2);
        assert_eq!(rig.body(&"x".repeat(90)), "accept");
        assert!(rig.body(&"x".repeat(90)).starts_with("defer 450"));
        let later = Facts {
            now: Tick(20_000_000),
            ..stranger()
        };
        assert_eq!(rig.ask(At::Mail, &later), "accept");
        assert_eq!(
            rig.ask(
                At::Mail,
                &Facts {
                    trusted: true,
                    ..stranger()
                }
            ),
            "accept"
        );
    }

    #[test]
    fn sender_domains_in_any_case() {
        let mut rig =
            rig("[sender_rate]\nmessages = 1\nthen = 'reject'\nreply = '550 5.7.1 Enough'");
        assert_eq!(rig.mail("a@b.example"), "accept");
        assert_eq!(rig.mail("c@B.Example."), "reject 550 5.7.1 Enough");
        assert_eq!(rig.mail("a@c.example"), "accept");
        for _ in 0..3 {
            assert_eq!(rig.mail(""), "accept", "bounces have no domain");
        }
    }

    #[test]
    fn shadow_lets_pass_and_a_reload_keeps_the_accounts() {
        let shadow = "[client_rate]\nmessages = 1\nmode = 'shadow'";
        let mut rig = rig(shadow);
        assert_eq!(
            (rig.mail("a@b.example"), rig.mail("a@b.example")),
            ("accept".into(), "accept".into())
        );
        assert_eq!(rig.hits(), "[client_rate defer(messages)]");
        let enforced = config("[client_rate]\nmessages = 1");
        rig.shared = rig.shared.adapted(std::slice::from_ref(&enforced));
        rig.policy = Policy::build(&enforced, "mx.example.net").unwrap_or_else(|f| panic!("{f:?}"));
        assert!(rig.mail("a@b.example").starts_with("defer"));
        let larger = config("[client_rate]\nmessages = 1\ntable = 7");
        rig.shared = rig.shared.adapted(&[larger]);
        assert_eq!(
            rig.mail("a@b.example"),
            "accept",
            "another size is another table"
        );
    }

    #[test]
    fn mistakes() {
        let found = |toml: &str| faults(toml).join("; ");
        assert!(found("[sender_rate]\nsessions = 1").contains("only a client has"));
        assert!(found("[client_rate]\nmessages = 1\nthen = 'accept'").contains("a rate can only"));
        assert!(found("[client_rate]\nmessages = 1\nper = '0s'").contains("longer than nothing"));
    }
}
