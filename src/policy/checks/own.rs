//! The proxy's own rules: what it refuses of a message by its own counting, whatever the lists say.
//!
//! The shell counts (Received fields, octets of the header section) and compares (addresses with those of the account);
//! here it becomes a hit with a name, a metric and a mode like any other.

use super::{Check, Whom};
use crate::{
    config::Outcome,
    policy::{
        At, Breaches, Facts, Shared,
        builder::Builder,
        replies::{self, Defaults},
        rule::{Rule, Say},
    },
};
use std::sync::Arc;

struct Own {
    name: &'static str,
    at: &'static [At],
    broken: fn(&Breaches) -> bool,
    rule: Rule,
}

/// The sender of an authenticated client.
pub fn sender(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    make(
        builder,
        "identity.sender",
        "The sender address is none of the account's.",
        &builder.config.identity.sender,
        &replies::NOT_YOUR_SENDER_BY,
        (&[At::Mail], |found| found.sender),
    )
}

/// Size of the header section.
pub fn header_size(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    make(
        builder,
        "header_size",
        "The header section is larger than limits.header.",
        &builder.config.header_size,
        &replies::HEADER_SIZE,
        (&[At::Header], |found| found.header_size),
    )
}

/// Received fields.
pub fn hops(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    make(
        builder,
        "loop",
        "The message has more Received fields than limits.received.",
        &builder.config.r#loop,
        &replies::LOOPING,
        (&[At::Header], |found| found.hops),
    )
}

/// From of an authenticated client.
pub fn from(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    make(
        builder,
        "identity.from",
        "An address in From is none of the account's.",
        &builder.config.identity.from,
        &replies::NOT_YOUR_FROM_BY,
        (&[At::Header], |found| found.from),
    )
}

fn make(
    builder: &mut Builder<'_>,
    name: &'static str,
    doc: &'static str,
    outcome: &Outcome,
    defaults: &'static Defaults,
    (at, broken): (&'static [At], fn(&Breaches) -> bool),
) -> Option<Arc<dyn Check>> {
    let rule = builder.outcome(name, doc, outcome, defaults)?;
    Some(Arc::new(Own {
        name,
        at,
        broken,
        rule,
    }))
}

impl Check for Own {
    fn name(&self) -> &'static str {
        self.name
    }

    fn stages(&self) -> &[At] {
        self.at
    }

    fn reads_breaches_alone(&self) -> bool {
        true
    }

    fn whom(&self) -> Whom {
        Whom::Everybody
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        if (self.broken)(&facts.breaches) {
            let _ = say.hit(&self.rule, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::*;

    fn facts(breaches: Breaches) -> Facts<'static> {
        Facts {
            breaches,
            trusted: true,
            ..stranger()
        }
    }

    const LOOPS: Breaches = Breaches {
        hops: true,
        ..Breaches::NONE
    };
    const LARGE: Breaches = Breaches {
        header_size: true,
        ..Breaches::NONE
    };
    const FOREIGN: Breaches = Breaches {
        sender: true,
        from: true,
        ..Breaches::NONE
    };

    #[test]
    fn each_has_its_name_and_its_reply() {
        let mut rig = rig("");
        for (at, breaches, reply, hit) in [
            (At::Header, LOOPS, "reject 554 5.4.6 Too many hops", "loop"),
            (
                At::Header,
                LARGE,
                "reject 552 5.3.4 The header",
                "header_size",
            ),
            (
                At::Header,
                FOREIGN,
                "reject 550 5.7.1 An address",
                "identity.from",
            ),
            (
                At::Mail,
                FOREIGN,
                "reject 553 5.7.1 The sender",
                "identity.sender",
            ),
        ] {
            let said = rig.ask(at, &facts(breaches));
            assert!(said.starts_with(reply), "{said}");
            assert_eq!(rig.hits(), format!("{hit} reject"));
        }
        assert_eq!(rig.ask(At::Mail, &facts(LOOPS)), "accept");
        assert_eq!(rig.ask(At::Header, &facts(Breaches::NONE)), "accept");
    }

    #[test]
    fn each_can_be_watched_scored_or_turned_off() {
        let mut rig = rig("
            loop = { mode = 'shadow' }
            header_size = { mode = 'off' }
            identity.from = { then = 'score', score = 3.0 }
            identity.sender = { then = 'defer' }");
        let all = Breaches {
            header_size: true,
            hops: true,
            sender: true,
            from: true,
        };
        assert!(
            rig.ask(At::Mail, &facts(all))
                .starts_with("defer 451 4.7.1")
        );
        assert_eq!(rig.ask(At::Header, &facts(all)), "accept");
        assert_eq!(
            rig.hits(),
            "identity.sender defer, [loop reject], identity.from score"
        );
        assert_eq!(rig.judgement.score(), 3.0);
    }
}
