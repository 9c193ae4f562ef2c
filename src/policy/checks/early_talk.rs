//! A client that speaks before its turn: before the greeting (RFC 5321 §3.1), or past a synchronisation point
//! (RFC 2920 §3.1). Engines that never read a reply do that; mail servers don't.

use super::{Check, Whom};
use crate::policy::{
    At, Facts, Shared,
    builder::Builder,
    replies,
    rule::{Rule, Say},
};
use std::sync::Arc;

struct EarlyTalk(Rule);

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let doc = "The client talked before the greeting or past a synchronisation point.";
    let rule = builder.outcome(
        "early_talk",
        doc,
        &builder.config.early_talk,
        &replies::EARLY,
    )?;
    Some(Arc::new(EarlyTalk(rule)))
}

impl Check for EarlyTalk {
    fn name(&self) -> &'static str {
        "early_talk"
    }

    fn stages(&self) -> &[At] {
        &[At::Greeting, At::Hello, At::Mail, At::Body]
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        let detail = match facts.signals {
            signals if signals.before_greeting => "before greeting",
            signals if signals.past_sync => "pipelined past a reply",
            _ => return,
        };
        // The signals stay set for the session: one hit is enough.
        if !say.has(&self.0) {
            let _ = say.hit(&self.0, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Signals, testing::*};

    #[test]
    fn one_hit_a_session() {
        let early = Signals {
            before_greeting: true,
            past_sync: false,
        };
        let facts = Facts {
            signals: early,
            ..stranger()
        };
        let mut scored = rig("early_talk = { then = 'score', score = 4.0 }");
        for at in [At::Greeting, At::Hello, At::Mail, At::Body] {
            assert_eq!(scored.ask(at, &facts), "accept");
        }
        assert_eq!(scored.hits(), "early_talk score(before greeting)");
        assert_eq!(scored.judgement.score(), 4.0);
    }

    #[test]
    fn closes_unless_the_client_is_known() {
        let late = Signals {
            before_greeting: false,
            past_sync: true,
        };
        let facts = Facts {
            signals: late,
            ..stranger()
        };
        let mut rig = rig("");
        assert!(rig.ask(At::Mail, &facts).starts_with("close 554 5.5.1"));
        assert_eq!(rig.hits(), "early_talk close(pipelined past a reply)");
        assert_eq!(
            rig.ask(
                At::Mail,
                &Facts {
                    trusted: true,
                    ..facts
                }
            ),
            "accept"
        );
        assert_eq!(rig.ask(At::Mail, &stranger()), "accept");
    }
}
