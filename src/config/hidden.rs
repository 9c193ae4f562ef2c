//! Which values of a file may be secrets, so that no line that is shown with a problem repeats one: where a table says in which
//! file or variable a secret is, an operator may have written the secret itself.

use super::{
    document::Document,
    kind::{Kind, SCHEMA, resolve},
    nearest::nearest,
};
use serde_json::Value as Schema;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

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
    fn the_rest_of_the_line_is_shown() {
        let told = told("[admin]\ntoken = { file = 5, näme = \"s3cr3t\" } # ours\n");
        assert!(
            told.contains("token = { file = 5, näme = ******** } # ours"),
            "{told}"
        );
    }
}
