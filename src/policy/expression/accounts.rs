//! Accounts of `rate`, `rate_window` and `leases` that many clients share by mistake.
//!
//! A fact that isn't there reads as an empty text. Where such facts are all that a key has, all mail without them is counted
//! together: `rate(auth.account, 500, "1d")` lets strangers send 500 messages a day, all of them together. A condition that
//! asks about the fact anywhere else (`has(auth.account) && …`) is taken for one that knows that.

use super::{
    facts,
    mistake::Mistake,
    syntax::tree::{Call, Node, Tree},
};

/// The functions whose first argument is a key.
const COUNTING: [&str; 3] = ["rate", "rate_window", "leases"];

#[derive(Default)]
struct Uses<'a> {
    keys: Vec<&'a Tree>,
    /// The facts that stand anywhere but in a key.
    others: Vec<String>,
}

/// The first account that is shared so: worth a warning.
pub fn shared(condition: &Tree) -> Option<Mistake> {
    let mut uses = Uses::default();
    uses.read(condition);
    uses.keys.iter().find_map(|key| uses.warning(key))
}

impl<'a> Uses<'a> {
    fn read(&mut self, tree: &'a Tree) {
        if let Some(name) = fact(tree) {
            self.others.push(name);
            return;
        }
        let key = match &tree.node {
            Node::Call(Call {
                name,
                target: None,
                arguments,
                ..
            }) if COUNTING.contains(&&**name) => arguments.first(),
            _ => None,
        };
        self.keys.extend(key);
        for part in tree.parts() {
            if key.is_none_or(|key| !std::ptr::eq(key, part)) {
                self.read(part);
            }
        }
    }

    fn warning(&self, key: &Tree) -> Option<Mistake> {
        let mut named = Vec::new();
        facts_in(key, &mut named);
        let may_lack = |name: &str| {
            let fact = facts::find(name).map(|place| &facts::TABLE[usize::from(place)]);
            fact.is_some_and(|fact| fact.optional) || is_sender(name)
        };
        let is_asked = |name: &str| {
            let same = |other: &String| other == name || (is_sender(other) && is_sender(name));
            self.others.iter().any(same)
        };
        if named.iter().any(|name| !may_lack(name) || is_asked(name)) {
            return None;
        }
        let name = named.first()?;
        let (whose, ask) = match is_sender(name) {
            true => ("bounces", "sender != \"\" && …".to_string()),
            false => ("mail without it", format!("has({name}) && …")),
        };
        let message = format!("`{name}` may be empty: all {whose} would be counted together");
        let hint = format!("write `{ask}` before it, or add to the key what is always there");
        Some(Mistake::new(key.span, message).with_hint(hint))
    }
}

/// The sender is empty for bounces.
fn is_sender(name: &str) -> bool {
    matches!(name, "sender" | "sender.domain" | "sender.local")
}

fn fact(tree: &Tree) -> Option<String> {
    tree.dotted().filter(|name| facts::find(name).is_some())
}

fn facts_in(tree: &Tree, named: &mut Vec<String>) {
    match fact(tree) {
        Some(name) => named.push(name),
        None => tree.parts().for_each(|part| facts_in(part, named)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax::parse::parse;

    fn told(condition: &str) -> Option<String> {
        let tree = parse(condition).expect("a condition");
        let mistake = super::shared(&tree)?;
        let end = mistake.start + mistake.width;
        Some(format!("{}: {mistake}", &condition[mistake.start..end]))
    }

    #[test]
    fn keys_that_may_be_empty_are_found() {
        for (condition, key, hint) in [
            (
                "rate_window(auth.account, 2, \"1d\")",
                "auth.account",
                "has(auth.account)",
            ),
            (
                "spf == \"fail\" && rate([\"r\", auth.account], 2, \"1d\")",
                "[\"r\", auth.account]",
                "has(auth.account)",
            ),
            (
                "!leases(sender.domain, 2, \"1m\")",
                "sender.domain",
                "sender != \"\"",
            ),
            (
                "tls || rate(domain_of(auth.account), 2, \"1d\")",
                "domain_of(auth.account)",
                "has(auth.account)",
            ),
            (
                "has(client.name) && rate([sender, auth.account], 2, \"1d\")",
                "[sender, auth.account]",
                "sender != \"\"",
            ),
        ] {
            let told = told(condition).unwrap_or_default();
            assert!(told.starts_with(&format!("{key}: ")), "{condition}: {told}");
            assert!(told.contains(hint), "{condition}: {told}");
        }
    }

    #[test]
    fn keys_that_tell_mail_apart_are_not() {
        for condition in [
            "has(auth.account) && rate_window(auth.account, 2, \"1d\")",
            "auth.account in list(\"robots\") && rate(auth.account, 2, \"1d\")",
            "rate([client.address, sender.domain], 2, \"1h\")",
            "sender != \"\" && leases(sender.domain, 2, \"1m\")",
            "sender == \"\" && rate([\"bounce\", recipient], 2, \"1h\")",
            "rate(helo, 2, \"1h\")",
            "rate(\"all\", 2, \"1h\")",
            "auth.account == \"\"",
        ] {
            assert_eq!(told(condition), None, "{condition}");
        }
    }
}
