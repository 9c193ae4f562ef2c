//! Lists of client addresses and networks. The first list in force that holds the address decides; lists
//! that score, and lists in shadow, leave their hit and let the next be asked.

use super::{Check, Whom};
use crate::policy::{
    At, Facts, Networks, Shared, What,
    builder::Builder,
    expression::NamedList,
    lists::{file, named::Named},
    replies,
    rule::{Rule, Say},
};
use std::sync::Arc;

struct ClientLists(Vec<(Rule, Networks, Option<Arc<Named>>)>);

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let doc = "The client's address is in this list.";
    let mut lists = Vec::new();
    for list in &builder.config.client_list {
        let key = format!("client_list {:?}", list.name);
        let name = format!("client_list.{}", list.name);
        if let Some(rule) = builder.rule(name, doc, &key, list.into(), &replies::CLIENT) {
            let mut networks = Networks::builder();
            file::read(builder, &key, &list.entries, &list.files, &mut |entry| {
                networks.add(entry)
            });
            let shared = builder.shared(&key, list);
            lists.push((rule, networks.build(), shared));
        }
    }
    (!lists.is_empty()).then(|| Arc::new(ClientLists(lists)) as Arc<dyn Check>)
}

impl Check for ClientLists {
    fn name(&self) -> &'static str {
        "client_list"
    }

    fn stages(&self) -> &[At] {
        &[At::Connect]
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        for (rule, networks, shared) in &self.0 {
            let shares = |shared: &Arc<Named>| shared.has_address(facts.client);
            let is_in = networks.contains(facts.client) || shared.as_ref().is_some_and(shares);
            if is_in && say.hit(rule, "").is_break() {
                if rule.what == What::Accept {
                    say.welcome();
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::{At, Facts, testing::*};

    const LISTS: &str = "
        client_list = [
            { name = 'watched', entries = ['192.0.2.0/24'], mode = 'shadow' },
            { name = 'grey', entries = ['192.0.2.0/24'], then = 'score', score = 3.0 },
            { name = 'good', entries = ['192.0.2.1'], then = 'accept' },
            { name = 'bad', entries = ['192.0.2.0/28', '2001:db8::/32'], reply = '554 5.7.1 Go away' },
            { name = 'worse', entries = ['192.0.2.0/28'], then = 'close' },
            { name = 'off', entries = ['0.0.0.0/0'], mode = 'off' },
        ]
        [helo.ours]
        then = 'reject'";

    #[test]
    fn the_first_list_in_force_decides() {
        let mut rig = rig(LISTS);
        assert_eq!(rig.connect("192.0.2.2"), "reject 554 5.7.1 Go away");
        assert_eq!(
            rig.hits(),
            "[client_list.watched reject], client_list.grey score, client_list.bad reject"
        );
        assert_eq!(rig.judgement.score(), 3.0);
        assert_eq!(rig.connect("2001:db8::1"), "reject 554 5.7.1 Go away");
        assert_eq!(rig.connect("192.0.2.77"), "accept");
        assert_eq!(rig.connect("198.51.100.1"), "accept");
        assert_eq!((rig.hits(), rig.judgement.score()), (String::new(), 0.0));
    }

    #[test]
    fn who_is_accepted_meets_no_stranger_check() {
        let mut rig = rig(LISTS);
        assert_eq!(rig.connect("192.0.2.1"), "accept");
        assert_eq!(rig.hello("mx.example.net"), "accept");
        assert_eq!(rig.connect("192.0.2.77"), "accept");
        assert!(
            rig.hello("mx.example.net").starts_with("reject"),
            "the next client is a stranger again"
        );
    }

    #[test]
    fn the_trusted_are_not_looked_up() {
        let mut rig = rig(LISTS);
        let facts = Facts {
            client: ip("192.0.2.2"),
            trusted: true,
            ..stranger()
        };
        assert_eq!(rig.ask(At::Connect, &facts), "accept");
        assert_eq!(rig.hits(), "");
    }

    #[test]
    fn mistakes_name_list_file_and_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("blocklist.txt");
        std::fs::write(
            &file,
            "# ours\n192.0.2.0/24\n\n300.1.1.1\n\u{feff}10.0.0.1\n",
        )
        .expect("written");
        let path = file.display();
        let list = format!(
            "client_list = [{{ name = 'bad', entries = ['nobody'], files = ['{path}', '{path}.gone'], reply = '450 x' }}]"
        );
        let faults = faults(&list);
        assert_eq!(
            faults[1],
            "client_list \"bad\": \"nobody\" is neither an address nor a network"
        );
        assert_eq!(
            faults[2],
            format!(
                "client_list \"bad\": {path}:4: \"300.1.1.1\" is neither an address nor a network"
            )
        );
        assert!(
            faults[0].contains("needs a code of 500 to 599"),
            "{faults:?}"
        );
        assert!(
            faults[3].contains(".gone: ") && faults.len() == 4,
            "{faults:?}"
        );
    }

    #[test]
    fn a_file_full_of_mistakes_is_summed_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("b");
        std::fs::write(&file, "x\n".repeat(1_000)).expect("written");
        let faults = faults(&format!(
            "client_list = [{{ name = 'b', files = ['{}'] }}]",
            file.display()
        ));
        assert_eq!(faults.len(), 21);
        assert!(faults[20].contains("and 980 more mistakes"), "{faults:?}");
    }
}
