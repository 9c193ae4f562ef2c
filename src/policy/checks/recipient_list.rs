//! Lists of recipients, for every client: the verdict on a recipient does not depend on the client. The first
//! list in force that holds it decides for this recipient; an `accept` only ends these lists.

use super::{Check, Whom};
use crate::policy::{
    At, Facts, Shared,
    builder::Builder,
    lists::asked::{self, Lists},
    replies,
    rule::Say,
};
use std::sync::Arc;

struct RecipientLists(Lists);

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let doc = "The recipient or its domain is in this list.";
    let wishes = &builder.config.recipient_list;
    let lists = asked::build(builder, "recipient_list", doc, wishes, &replies::RECIPIENT)?;
    Some(Arc::new(RecipientLists(lists)))
}

impl Check for RecipientLists {
    fn name(&self) -> &'static str {
        "recipient_list"
    }

    fn stages(&self) -> &[At] {
        &[At::Rcpt]
    }

    fn whom(&self) -> Whom {
        Whom::Everybody
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        if let Some(recipient) = facts.recipient {
            let _ = self.0.look_address(recipient, say);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::{At, Facts, testing::*};
    use crate::smtp::envelope::Path;

    #[test]
    fn recipients_for_everybody() {
        let mut rig = rig("
            recipient_list = [
                { name = 'closed', entries = ['noreply@ours.example'] },
                { name = 'trap', entries = ['trap@ours.example'], then = 'score', score = 6.0 },
            ]");
        assert_eq!(rig.mail("a@b.example"), "accept");
        assert_eq!(rig.rcpt("a@ours.example"), "accept");
        assert_eq!(
            rig.rcpt("NoReply@Ours.example"),
            "reject 550 5.7.1 Recipient refused"
        );
        assert_eq!(rig.rcpt("trap@ours.example"), "accept");
        assert_eq!(rig.rcpt("trap@ours.example"), "accept");
        assert_eq!(rig.judgement.score(), 12.0);
        assert!(rig.body("").starts_with("reject 550"));
        assert_eq!(rig.mail("a@b.example"), "accept");
        assert_eq!(rig.judgement.score(), 0.0, "the next message starts anew");
        let recipient = Some(Path::split(b"noreply@ours.example"));
        let trusted = Facts {
            recipient,
            trusted: true,
            ..stranger()
        };
        assert!(rig.ask(At::Rcpt, &trusted).starts_with("reject"));
    }
}
