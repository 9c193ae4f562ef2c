//! Lists of client addresses and networks. The first list in force that holds the address decides; lists
//! that score, and lists in shadow, leave their hit and let the next be asked.

use super::{Check, Whom};
use crate::policy::{
    At, Facts, Networks, Shared, What,
    build::Builder,
    lists::file,
    replies,
    rule::{Rule, Say},
};
use std::sync::Arc;

struct ClientLists(Vec<(Rule, Networks)>);

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let doc = "The client's address is in this list.";
    let mut lists = Vec::new();
    for list in &builder.config.client_list {
        let key = format!("client_list {:?}", list.name);
        let name = format!("client_list.{}", list.name);
        if let Some(rule) = builder.rule(name, doc, &key, list.into(), &replies::CLIENT) {
            let mut networks = Networks::builder();
            file::read(builder, &key, list, &mut |entry| networks.add(entry));
            lists.push((rule, networks.build()));
        }
    }
    (!lists.is_empty()).then(|| Arc::new(ClientLists(lists)) as Arc<dyn Check>)
}

impl Check for ClientLists {
    fn stages(&self) -> &'static [At] {
        &[At::Connect]
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        for (rule, networks) in &self.0 {
            if networks.contains(facts.client) && say.hit(rule, "").is_break() {
                if rule.what == What::Accept {
                    say.welcome();
                }
                return;
            }
        }
    }
}
