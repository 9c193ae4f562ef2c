//! The manual of facts and functions, made of their tables.

use super::{
    check::functions::{self, Form},
    facts::{self, Need},
    types::{TextKind, Type},
};
use std::fmt::Write;

// INV-MANUAL
const INTRODUCTION: &str = "\
# Rules

<!-- Generated from src/policy/expression by `gatepost config rules`; a test keeps it equal. -->

What the conditions (`when`) and replies of [`[[policy.rule]]`](config.md) can name. `gatepost check` tells every mistake in
them with its line, column and the nearest known name.

A condition is written in the syntax of CEL: `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `&&`, `||`, `!`, `+`, `-`, `*`, `/`, `%`,
`a ? b : c`; texts in single or double quotes, `r\"…\"` without escapes, lists as `[1, 2]`. Values of different types are
never equal: comparing them is an error of `check`.

*Domains* and *mail addresses* are compared in any case and in both forms of international names; other texts octet by
octet. `helo == \"mx.bücher.example\"` is true of `MX.xn--bcher-kva.example` too.

An *optional* fact that isn't there reads as an empty text; `has(NAME)` tells the two apart. A fact from a look-up may be
*unknown*. Then `a && b` is still false where either is false, `a || b` still true where either is true; a condition that
comes to nothing else is unknown, and its rule does nothing. The log says which fact it was. About clients that are trusted
or have logged in nothing is looked up, and lists in the DNS are not asked about those that a `client_list` accepts: what a rule
needs of it is unknown.

A rule is judged before the first recipient, or where the last of its facts becomes known; `at` makes it earlier. In a
reply `{NAME}` stands for a fact's value: printable ASCII alone, 128 characters at most; `unknown` where there is none.

";

/// The manual, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    // Writing to a `String` doesn't fail.
    text.push_str(INTRODUCTION);
    let _ = write_facts(&mut text).and_then(|()| write_functions(&mut text));
    text
}

fn write_facts(text: &mut String) -> std::fmt::Result {
    writeln!(text, "## Facts\n")?;
    writeln!(
        text,
        "| Fact | Type | Known at | Look-up | What it is | Example |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for fact in facts::TABLE {
        let optional = if fact.optional { ", optional" } else { "" };
        let kind = match fact.kind() {
            Type::Text(TextKind::Word(words)) => format!("one of `{}`", words.join("`, `")),
            kind => kind.to_string(),
        };
        let stage = fact.stage.as_str();
        let need = fact.need.map_or("", Need::as_str);
        let (name, doc, example) = (fact.name, fact.doc, cell(fact.example));
        writeln!(
            text,
            "| `{name}` | {kind}{optional} | {stage} | {need} | {doc} | `{example}` |"
        )?;
    }
    Ok(())
}

fn write_functions(text: &mut String) -> std::fmt::Result {
    writeln!(text, "\n## Functions\n")?;
    writeln!(text, "| Function | Result | What it does | Example |")?;
    writeln!(text, "|---|---|---|---|")?;
    for function in functions::TABLE {
        let (name, arguments, doc) = (function.name, function.arguments, function.doc);
        let (of, rest) = arguments.split_once(", ").unwrap_or((arguments, ""));
        let free = format!("`{name}({arguments})`");
        let method = format!("`{of}.{name}({rest})`");
        let written = match function.form {
            Form::Free => free,
            Form::Method => method,
            Form::Both => format!("{free} or {method}"),
        };
        let (result, example) = (function.result, cell(function.example));
        writeln!(text, "| {written} | {result} | {doc} | `{example}` |")?;
    }
    Ok(())
}

/// In a cell of a table a bar would end it, within code too.
fn cell(code: &str) -> String {
    code.replace('|', "\\|")
}

impl Need {
    /// The word for it in the manual.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Need::ReverseDns => "reverse DNS",
            Need::Dnsbl => "DNS block lists",
            Need::HeloDomain => "DNS of the HELO name",
            Need::SenderDomain => "DNS of the sender",
            Need::Spf => "SPF",
            Need::Dkim => "DKIM",
            Need::Dmarc => "DMARC",
            Need::Arc => "ARC",
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    // INV-MANUAL
    fn the_reference_is_up_to_date() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md");
        let text = super::reference();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, &text).expect("docs/ can be written");
        }
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            written == text,
            "docs/rules.md is not what the tables say; run this test with UPDATE_DOCS=1"
        );
    }
}
