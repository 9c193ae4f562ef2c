//! Lists of envelope senders. The first list in force that holds the sender decides for this transaction.

use super::{Check, Whom};
use crate::policy::{
    At, Facts, Shared,
    build::Builder,
    lists::names::{self, Lists},
    replies,
    rule::Say,
};
use std::sync::Arc;

struct SenderLists(Lists);

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let doc = "The envelope sender or its domain is in this list.";
    let lists = names::build(
        builder,
        "sender_list",
        doc,
        &builder.config.sender_list,
        &replies::SENDER,
    )?;
    Some(Arc::new(SenderLists(lists)))
}

impl Check for SenderLists {
    fn stages(&self) -> &'static [At] {
        &[At::Mail]
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        let _ = self.0.look_address(facts.sender, say);
    }
}
