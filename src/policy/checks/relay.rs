//! Relay control: a client that is neither trusted nor authenticated may send to our own domains only.
//!
//! Whatever the spelling: a local part that names a host of its own (`user%host@ours`, `host!user@ours`,
//! `"user@host"@ours`, a source route) could be sent on by a backend that trusts us, so it is no address of
//! ours (as in Postfix with `allow_untrusted_routing = no`).

use super::{Check, Whom};
use crate::{
    config::{Mode, Then},
    policy::{
        At, Facts, Shared,
        build::Builder,
        replies,
        rule::{Rule, Say},
    },
};
use std::sync::Arc;

struct Relay(Rule);

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let wish = &builder.config.relay;
    let refuses = matches!(wish.then, Then::Defer | Then::Reject | Then::Close);
    if wish.mode != Mode::On || !refuses {
        builder.fault(
            "relay",
            "relay control can't be turned off, only `defer`, `reject` or `close`; \
             clients that may relay belong in `trusted`",
        );
        return None;
    }
    let doc = "A stranger asked for a recipient that is not ours.";
    let rule = builder.outcome("relay", doc, wish, &replies::RELAY)?;
    Some(Arc::new(Relay(rule)))
}

impl Check for Relay {
    fn stages(&self) -> &'static [At] {
        &[At::Rcpt]
    }

    fn whom(&self) -> Whom {
        Whom::Unknown
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        let Some(recipient) = facts.recipient else {
            return;
        };
        if !facts.recipient_is_ours {
            let _ = say.hit(&self.0, "domain");
        } else if recipient
            .local
            .iter()
            .any(|o| matches!(o, b'%' | b'!' | b'@'))
        {
            let _ = say.hit(&self.0, "routing in the local part");
        }
    }
}
