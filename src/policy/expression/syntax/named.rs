//! What a rule names, without compiling it: the tables that rules read are made of a configuration alone, and compiling a rule
//! takes named lists and patterns.

use super::{
    parse::parse,
    tree::{Node, Tree},
};
use std::collections::BTreeSet;

/// The facts and functions that a condition names: `client.address`, `rate`. None of one with mistakes in its syntax.
pub fn named(condition: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Ok(tree) = parse(condition) {
        collect(&tree, &mut found);
    }
    found
}

/// The facts that a reply shows: `{client.address}`. That braces may be escaped is not looked at.
pub fn shown(reply: &str) -> impl Iterator<Item = &str> {
    let parts = reply.split('{').skip(1);
    parts.filter_map(|part| part.split_once('}').map(|(name, _)| name))
}

/// No deeper than the parser lets a tree be.
fn collect(tree: &Tree, found: &mut BTreeSet<String>) {
    if let Some(name) = tree.dotted() {
        found.insert(name);
        return;
    }
    if let Node::Call(call) = &tree.node {
        found.insert(call.name.clone());
    }
    tree.parts().for_each(|part| collect(part, found));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_they_stand() {
        for (condition, names) in [
            ("client . trusted", "client.trusted"),
            ("!has(auth.account)", "auth.account has"),
            ("-score < 1.0 || helo in [\"a\", spf]", "helo score spf"),
            (
                "(helo.size() > 3 ? dnsbl.zone : spf).startsWith(sender) && rate([helo], 1, \"1m\")",
                "dnsbl.zone helo rate sender size spf startsWith",
            ),
            ("(helo ? a : b).field", "a b helo"),
            ("helo == \"reputation.client\" // rate(helo)", "helo"),
            ("helo ==", ""),
        ] {
            let found: Vec<_> = named(condition).into_iter().collect();
            assert_eq!(found.join(" "), names, "{condition}");
        }
        let facts: Vec<_> = shown("550 5.7.1 {helo} at {client.address}{score} {").collect();
        assert_eq!(facts, ["helo", "client.address", "score"]);
    }
}
