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
        builder::Builder,
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
    fn name(&self) -> &'static str {
        "relay"
    }

    fn stages(&self) -> &[At] {
        &[At::Rcpt]
    }

    fn whom(&self) -> Whom {
        Whom::Unknown
    }

    // INV-RELAY
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::testing::*, smtp::envelope::Path};

    fn ask(recipient: &str, ours: bool, change: impl Fn(&mut Facts<'_>)) -> String {
        let mut facts = Facts {
            recipient: Some(Path::split(recipient.as_bytes())),
            recipient_is_ours: ours,
            ..stranger()
        };
        change(&mut facts);
        rig("").ask(At::Rcpt, &facts)
    }

    #[test]
    fn strangers_reach_our_domains_alone() {
        assert_eq!(ask("a@ours.example", true, |_| ()), "accept");
        assert_eq!(ask("postmaster", true, |_| ()), "accept");
        assert_eq!(
            ask("a@other.example", false, |_| ()),
            "reject 550 5.7.1 Relaying denied"
        );
        assert_eq!(
            ask("a@other.example", false, |f| f.trusted = true),
            "accept"
        );
        assert_eq!(
            ask("a@other.example", false, |f| f.authenticated = Some("a")),
            "accept"
        );
    }

    #[test]
    // INV-RELAY
    fn no_spelling_gives_a_relay() {
        for path in [
            "u%h@ours.example",
            "h!u@ours.example",
            "\"u@h\"@ours.example",
            "u@h@ours.example",
            "@a,@b:u@ours.example",
            "u%h%i@[192.0.2.1]",
        ] {
            assert!(ask(path, true, |_| ()).starts_with("reject 550"), "{path}");
            assert_eq!(ask(path, true, |f| f.trusted = true), "accept", "{path}");
        }
    }

    #[test]
    fn no_list_and_no_mode_opens_it() {
        let mut rig = rig(
            "client_list = [{ name = 'friends', entries = ['192.0.2.0/24'], then = 'accept' }]
             recipient_list = [{ name = 'good', entries = ['other.example'], then = 'accept' }]",
        );
        assert_eq!(rig.connect("192.0.2.7"), "accept");
        assert!(rig.judgement.is_welcome());
        let recipient = Some(Path::split(b"a@other.example"));
        let verdict = rig.ask(
            At::Rcpt,
            &Facts {
                recipient,
                ..stranger()
            },
        );
        assert!(verdict.starts_with("reject"), "{verdict}");
        for open in [
            "relay.mode = 'off'",
            "relay.mode = 'shadow'",
            "relay.then = 'accept'",
            "relay.then = 'score'",
        ] {
            assert!(faults(open)[0].contains("can't be turned off"), "{open}");
        }
    }
}
