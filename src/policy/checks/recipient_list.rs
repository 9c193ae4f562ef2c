//! Lists of recipients, for every client: what is said of a recipient does not depend on who asks. The first
//! list in force that holds it decides for this recipient; an `accept` only ends these lists.

use super::{Check, Whom};
use crate::policy::{
    At, Facts, Shared,
    build::Builder,
    lists::names::{self, Lists},
    replies,
    rule::Say,
};
use std::sync::Arc;

struct RecipientLists(Lists);

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let doc = "The recipient or its domain is in this list.";
    let wishes = &builder.config.recipient_list;
    let lists = names::build(builder, "recipient_list", doc, wishes, &replies::RECIPIENT)?;
    Some(Arc::new(RecipientLists(lists)))
}

impl Check for RecipientLists {
    fn stages(&self) -> &'static [At] {
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
