//! Lists of envelope senders. The first list in force that holds the sender decides for this transaction.

use super::{Check, Whom};
use crate::policy::{
    At, Facts, Shared,
    builder::Builder,
    lists::asked::{self, Lists},
    replies,
    rule::Say,
};
use std::sync::Arc;

struct SenderLists(Lists);

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let doc = "The envelope sender or its domain is in this list.";
    let lists = asked::build(
        builder,
        "sender_list",
        doc,
        &builder.config.sender_list,
        &replies::SENDER,
    )?;
    Some(Arc::new(SenderLists(lists)))
}

impl Check for SenderLists {
    fn name(&self) -> &'static str {
        "sender_list"
    }

    fn stages(&self) -> &[At] {
        &[At::Mail]
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        let _ = self.0.look_address(facts.sender, say);
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::{At, Facts, testing::*};
    use crate::smtp::envelope::Path;

    #[test]
    fn senders_by_domain_address_and_pattern() {
        let mut rig = rig("
            sender_list = [
                { name = 'good', entries = ['boss@bad.example'], then = 'accept' },
                { name = 'bad', entries = ['bad.example', '.bad.example'] },
                { name = 'watched', entries = ['/./'], mode = 'shadow', then = 'score', score = 5.0 },
                { name = 'bounces', entries = ['<>'], then = 'score', score = 1.0 },
            ]");
        let refused = "reject 550 5.7.1 Sender refused";
        for (sender, verdict, hits) in [
            (
                "a@good.example",
                "accept",
                "[sender_list.watched score(pattern)]",
            ),
            ("a@BAD.example", refused, "sender_list.bad reject(domain)"),
            (
                "a@x.bad.example",
                refused,
                "sender_list.bad reject(parent domain)",
            ),
            (
                "Boss@bad.example",
                "accept",
                "sender_list.good accept(address)",
            ),
            ("", "accept", "sender_list.bounces score(<>)"),
        ] {
            assert_eq!(rig.mail(sender), verdict, "{sender}");
            assert_eq!(rig.hits(), hits, "{sender}");
        }
        assert_eq!(rig.judgement.score(), 1.0, "a shadow does not score");
        let sender = Path::split(b"a@bad.example");
        let trusted = Facts {
            sender,
            trusted: true,
            ..stranger()
        };
        assert_eq!(rig.ask(At::Mail, &trusted), "accept");
    }
}
