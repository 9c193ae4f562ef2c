//! Which values of a file may be secrets, so that no line that is shown with a problem repeats one: where a table says in which
//! file or variable a secret is, an operator may have written the secret itself. In a line that can't be read as TOML that is told by
//! its keys ([`unread`]).

use super::{
    document::Document,
    kind::{Kind, SCHEMA, resolve},
    nearest::nearest,
};
use serde_json::Value as Schema;
use std::{collections::HashSet, sync::LazyLock};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The names of all keys, and of those that lead to secrets. A name may be both: `key` is a file in one table and a secret in
/// another.
static NAMES: LazyLock<(HashSet<&str>, HashSet<&str>)> = LazyLock::new(|| {
    fn walk<'a>(schema: &'a Schema, known: &mut HashSet<&'a str>, secret: &mut HashSet<&'a str>) {
        if let Some(keys) = schema["properties"].as_object() {
            for (name, schema) in keys {
                known.insert(name);
                let either = schema["anyOf"].as_array().into_iter().flatten();
                if either.chain([schema]).any(|one| is_secret(resolve(one))) {
                    secret.insert(name);
                }
            }
        }
        match schema {
            Schema::Object(inner) => inner.values().for_each(|one| walk(one, known, secret)),
            Schema::Array(inner) => inner.iter().for_each(|one| walk(one, known, secret)),
            _ => {}
        }
    }
    let (mut known, mut secret) = (HashSet::new(), HashSet::new());
    walk(&SCHEMA, &mut known, &mut secret);
    (known, secret)
});

/// Tells the document where such values stand.
pub fn mark(tree: &DeTable<'_>, document: &mut Document) {
    table(tree, &SCHEMA, document);
}

/// Whether a table says where a secret is.
pub fn is_secret(schema: &Schema) -> bool {
    !schema["properties"]["env"].is_null()
}

fn table(tree: &DeTable<'_>, schema: &Schema, document: &mut Document) {
    for (key, found) in tree {
        if let Some(schema) = meant(schema, key.get_ref()) {
            value(found, resolve(schema), document);
        }
    }
}

/// The schema of a key, or of the one that was probably meant.
fn meant<'a>(schema: &'a Schema, name: &str) -> Option<&'a Schema> {
    let keys = schema["properties"].as_object()?;
    keys.get(name)
        .or_else(|| keys.get(nearest(name, keys.keys().map(String::as_str))?))
}

fn value(found: &Spanned<DeValue<'_>>, schema: &Schema, document: &mut Document) {
    match (Kind::of(schema), found.get_ref()) {
        // The name of the file.
        (Kind::Either(..), DeValue::String(_)) => {}
        (Kind::Either(_, schema), _) => value(found, schema, document),
        (Kind::Table(schema), DeValue::Table(tree)) if is_secret(schema) => {
            for (key, value) in tree {
                let is_known = !schema["properties"][&**key.get_ref()].is_null();
                let is_nested = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
                if !is_known || is_nested {
                    hide(value, document);
                }
            }
        }
        (Kind::Table(schema), _) if is_secret(schema) => hide(found, document),
        (Kind::Table(schema), DeValue::Table(tree)) => table(tree, schema, document),
        (Kind::Table(_), DeValue::Array(items)) => {
            items.iter().for_each(|item| value(item, schema, document));
        }
        (Kind::List(schema), DeValue::Array(items)) => {
            let schema = resolve(schema);
            items.iter().for_each(|item| value(item, schema, document));
        }
        (Kind::List(schema), _) => value(found, resolve(schema), document),
        _ => {}
    }
}

/// Where in a line that could not be read begins what may be a secret. None: all of its keys, and those of the `header` above it,
/// are known and lead to none. Else all after the first key is hidden; all of it, where it has none.
pub fn unread(line: &str, header: &str) -> Option<usize> {
    let indent = line.len() - line.trim_start().len();
    let rest = &line[indent..];
    if rest.trim_end().is_empty() || rest.starts_with('#') {
        return (!rest.trim_end().is_empty()).then_some(indent);
    }
    if rest.starts_with('[') {
        let header = line.rfind(']').map_or(line.len(), |end| end + 1);
        let from = line.find(['=', '"', '\'']).unwrap_or(header).min(header);
        return (!line[from..].trim().is_empty()).then_some(from);
    }
    let keys = keys(line);
    let Some((first, _)) = keys.first() else {
        let word = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)))
            .unwrap_or(rest.len());
        let is_key = word > 0 && rest[..word].split('.').all(|part| NAMES.0.contains(part));
        return match is_key {
            true => (word < rest.len()).then_some(indent + word),
            false => Some(indent),
        };
    };
    // What stands before `=` is shown where it looks like a key alone: a secret in base64 ends with `=` too, and may be like a key
    // by chance, so without a value it must be one.
    let names = || NAMES.0.iter().copied();
    let has_value = !line[*first..]
        .trim_matches(['=', ' ', '\t', '\r'])
        .is_empty();
    let is_like_key = |part: &str| {
        let part = part.trim().trim_matches(['"', '\'']);
        NAMES.0.contains(part) || (has_value && nearest(part, names()).is_some())
    };
    if !line[indent..*first].split('.').all(is_like_key) {
        return Some(indent);
    }
    let above = header.split(['[', ']', '.', ' ', '\t']);
    let above = above.filter(|part| !part.is_empty() && !part.starts_with('#'));
    let is_plain = |part: &str| NAMES.0.contains(part) && !NAMES.1.contains(part);
    let all = keys.iter().flat_map(|(_, key)| key.split('.'));
    let all_plain = all.map(str::trim).all(is_plain);
    let below_secret = above
        .map(|part| part.trim_matches(['"', '\'']))
        .any(|part| NAMES.1.contains(part));
    (!all_plain || below_secret).then_some(first + 1)
}

/// The keys of a line, each with the place of its `=`. What stands in quotes has none.
fn keys(line: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut open: Option<char> = None;
    let mut from = 0;
    for (at, c) in line.char_indices() {
        match (open, c) {
            (Some(quote), c) if c == quote => open = None,
            (None, '"' | '\'') => open = Some(c),
            (None, '{' | ',' | '[' | '#') => from = at + 1,
            (None, '=') => {
                let key = line[from..at].trim();
                // Without a comma, the value before stands before the key.
                let key = key.rsplit([' ', '\t']).next().unwrap_or(key);
                found.push((at, key.trim_matches(['"', '\''])));
                from = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Hides each text and number of a value, not the brackets around them: those of a header hold no secret.
fn hide(found: &Spanned<DeValue<'_>>, document: &mut Document) {
    match found.get_ref() {
        DeValue::Table(tree) => tree.values().for_each(|value| hide(value, document)),
        DeValue::Array(items) => items.iter().for_each(|item| hide(item, document)),
        _ => document.mark_secret(found.span()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    /// What is told of a text: never the secret.
    fn told(text: &str) -> String {
        let problems = parse("t", text).expect_err("it has a mistake");
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_secret_in_place_of_where_it_is_is_not_shown() {
        for text in [
            "admin.token = \"s3cr3t\"",
            "admin.token = '''s3cr3t'''",
            "admin.token = 53123",
            "admin.token = 53.123",
            "admin.token = [\"s3cr3t\"]",
            "admin.token = [[\"x\", { file = \"s3cr3t\" }]]",
            "admin.token = { value = \"s3cr3t\" }",
            "admin.token = { file = 5, x = \"s3cr3t\" }",
            "admin.token = { file = [\"s3cr3t\"] }",
            "admin = { lisen = \"off\", token = \"s3cr3t\" }",
            "admin = [{ token = \"s3cr3t\" }]",
            "[admin.token]\nvalue = \"s3cr3t\"",
            "[admin]\ntokn = \"s3cr3t\"",
            "[admin]\ntoken.value = \"s3cr3t\"",
            "[[admin]]\ntoken.value = \"s3cr3t\"",
            "[[credentials]]\nname = \"a\"\nsecret = { text = \"s3cr3t\" }",
            "credentials = { secret = \"s3cr3t\" }",
            "[[dkim]]\nkey = { text = \"s3cr3t\" }",
            "[[policy.dnsbl]]\nkey = \"s3cr3t\"",
            "[[profile]]\npolicy.dnsbl = [{ key = { is = \"s3cr3t\" } }]",
        ] {
            let told = told(text);
            let is_shown = ["s3cr3t", "53123", "53.123"].map(|secret| told.contains(secret));
            assert_eq!(is_shown, [false; 3], "{text}\n{told}");
        }
    }

    #[test]
    fn a_secret_in_a_line_that_can_not_be_read_is_not_shown() {
        for text in [
            "[admin]\ntoken = \"s3cr3t\"\ntoken = \"s3cr3t\"",
            "[admin]\ntoken \"s3cr3t\"",
            "[admin]\ntoken s3cr3t",
            "[admin]\ntoken = s3cr3t",
            "[admin]\ntokn = s3cr3t",
            "[admin]\nthe_token = s3cr3t",
            "[admin]\ntoken = \"s3cr3t",
            "[admin]\ntoken = 's3cr3t",
            "[admin]\ntoken = \"\"\"\ns3cr3t",
            "[admin]\ntoken = \"\"\"\ns3cr3t = 1",
            "[admin]\ntoken s3cr3t=",
            "[admin]\ntoken s3cr3t==",
            "[admin]\ntoken =\ns3cr3t=",
            "[admin]\ntoken =\n  s3cr3t==",
            "[admin] token s3cr3t=",
            "[admin] token s3cr3t",
            "[admin]\ntoken: s3cr3t",
            "[admin]\ntoken: \"s3cr3t\"",
            "[admin]\n\"token\" \"s3cr3t\"",
            "[admin]\ntoken = { file = \"s3cr3t\" env = \"s3cr3t\" }",
            "[admin]\ntoken = { file = \"x\", env = \"s3cr3t\"\n[log]\nto = \"off\"",
            "[admin]\ntoken = [\"s3cr3t\"\n[log]\nto = \"off\"",
            "[admin]\ntoken = \"s3cr3t\" \"s3cr3t\"",
            "[admin]\ntoken == \"s3cr3t\"",
            "[admin]\ntoken = = \"s3cr3t\"",
            "[admin]\nlisten = \"off\", token = \"s3cr3t\"",
            "[admin]\nlisten = off # token = \"s3cr3t\"",
            "[admin] token = \"s3cr3t\"",
            "[admin.token]\nenv \"s3cr3t\"",
            "[admin.token]\nenv = s3cr3t",
            "[admin.token]\nfile = \"a\"\nfile = \"s3cr3t\"",
            "admin = { listen = \"off\" token = \"s3cr3t\" }",
            "admin.token = s3cr3t",
            "admin.token s3cr3t",
            "s3cr3t",
            "\"s3cr3t\"",
            "  \"s3cr3t\",",
            "[[credentials]]\nsecret = s3cr3t",
            "[[credentials]]\nsecret = \"s3cr3t\" # \"\nsecret = \"s3cr3t\"",
            "[[dkim]]\nkey = s3cr3t",
            "password = s3cr3t",
        ] {
            let told = told(text);
            assert!(!told.contains("s3cr3t"), "{text}\n{told}");
        }
    }

    #[test]
    fn what_leads_to_no_secret_is_shown_in_a_line_that_can_not_be_read() {
        for (text, shown) in [
            ("hostname = mx.example", "hostname = mx.example"),
            (
                "hostname = mx.example",
                "text stands in quotes: hostname = \"mx.example\"",
            ),
            ("[limits]\nsessions = many", "sessions = many"),
            ("[log]\nto = \"a\"\nto = \"b\"", "to = \"b\""),
            (
                "[[pool]]\nbackends = [\"a:25\" \"b:25\"]",
                "\"a:25\" \"b:25\"",
            ),
            ("[admin]\ntoken = s3cr3t", "token =*******"),
            ("[admin]\ntoken \"s3cr3t\"", "token*********"),
        ] {
            let told = told(text);
            assert!(told.contains(shown), "{text}\n{told}");
        }
    }

    #[test]
    fn users_and_passwords_in_urls_are_not_shown() {
        for url in [
            "http://joe:s3cr3t@host/",
            "https://s3cr3t@host",
            "https://joe:s3cr3t/s3cr3t@host/x?y@z",
            "ftp://joe:s3cr3t @host",
        ] {
            for rest in ["", "x", "url = 1", "ca ="] {
                let text = format!(
                    "[[credentials]]\nname = \"a\"\nsource = \"http\"\nurl = \"{url}\"\n{rest}\nurl = \"{url}\"\n"
                );
                let told = told(&text);
                assert!(!told.contains("s3cr3t"), "{text}\n{told}");
            }
            let text =
                format!("[[credentials]]\nname = \"a\"\nsource = \"http\"\nurl = \"{url}\"\n");
            let told = told(&text);
            assert!(
                !told.contains("s3cr3t") && told.contains("is no http"),
                "{text}\n{told}"
            );
        }
    }

    #[test]
    fn the_rest_of_the_line_is_shown() {
        let told = told("[admin]\ntoken = { file = 5, \"näme\" = \"s3cr3t\" } # ours\n");
        assert!(
            told.contains("token = { file = 5, \"näme\" = ******** } # ours"),
            "{told}"
        );
    }
}
