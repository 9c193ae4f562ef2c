//! A client that speaks before its turn: before the greeting (RFC 5321 §3.1), or past a synchronisation point
//! (RFC 2920 §3.1). Engines that never read a reply do that; mail servers don't.

use super::{Check, Whom};
use crate::policy::{
    At, Facts, Shared,
    build::Builder,
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
    fn stages(&self) -> &'static [At] {
        &[At::Connect, At::Hello, At::Mail, At::Body]
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
