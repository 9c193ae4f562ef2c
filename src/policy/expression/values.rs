//! What a condition read, for the explanation of a rule that matched: `rdns=none spf=softfail`.
//!
//! Header fields are left out: no part of a message is kept.

use super::{
    Expression,
    facts::{Fact, Reader},
    subject::Subject,
};
use crate::{characters::is_hidden, config::Time};
use std::{
    fmt::{Display, Write},
    ops::ControlFlow,
    time::Duration,
};

/// Octets after which no further fact is written.
const VALUES_ENOUGH: usize = 256;
/// Characters of one text.
const TEXT_MAX: usize = 64;
/// Items of a list.
const ITEMS_MAX: usize = 3;
/// Stands for what is left out.
const MORE: &str = "…";

impl Expression {
    /// The facts that it read and their values; `None` where it reads none. At most [`VALUES_ENOUGH`] octets and one more value.
    #[must_use]
    pub fn values(&self, subject: &Subject<'_>) -> Option<Box<str>> {
        let mut out = String::new();
        for fact in self.reads() {
            if !out.is_empty() {
                out.push(' ');
            }
            if out.len() > VALUES_ENOUGH {
                out.push_str(MORE);
                break;
            }
            out.push_str(fact.name);
            out.push('=');
            write_value(fact, subject, &mut out);
        }
        (!out.is_empty()).then(|| out.into_boxed_str())
    }
}

fn write_value(fact: &Fact, subject: &Subject<'_>, out: &mut String) {
    let known = match fact.read {
        Reader::Bool(read) => read(subject).map(|value| push(out, &value)),
        Reader::Int(read) => read(subject).map(|value| push(out, &value)),
        Reader::Float(read) => {
            read(subject).map(|value| push(out, &((value * 100.0).round() / 100.0)))
        }
        Reader::Address(read) => read(subject).map(|value| push(out, &value.to_canonical())),
        Reader::Duration(read) => read(subject).map(|value| {
            let time = Duration::from_millis(value.unsigned_abs());
            push(out, &Time(time));
        }),
        Reader::Text(_, read) => {
            read(subject).map(|text| write_text(text.unwrap_or_default(), out))
        }
        Reader::Texts(_, read) => {
            out.push('[');
            let mut written = 0;
            let known = read(subject, &mut |item| {
                if written > 0 {
                    out.push(' ');
                }
                if written == ITEMS_MAX {
                    out.push_str(MORE);
                    return ControlFlow::Break(());
                }
                written += 1;
                write_text(item, out);
                ControlFlow::Continue(())
            });
            out.push(']');
            known
        }
    };
    if known.is_err() {
        // The rule has matched without it.
        out.push_str("unknown");
    }
}

fn push(out: &mut String, value: &dyn Display) {
    // Writing to a `String` doesn't fail.
    let _ = write!(out, "{value}");
}

/// A text without what a terminal would obey, in quotes where its end would not be seen.
fn write_text(text: &[u8], out: &mut String) {
    let plain = |octet: &u8| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'[' | b']');
    let is_plain = !text.is_empty() && text.iter().all(plain);
    let seen = &text[..text.len().min(4 * TEXT_MAX)];
    let seen = String::from_utf8_lossy(seen);
    let shown = seen.chars().take(TEXT_MAX);
    let shown = shown.map(|c| if is_hidden(c) || c == '"' { '?' } else { c });
    if !is_plain {
        out.push('"');
    }
    out.extend(shown);
    if seen.chars().nth(TEXT_MAX).is_some() {
        out.push_str(MORE);
    }
    if !is_plain {
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Environment, Expression, NamedLists,
        tests::{Known, answers},
    };

    fn read(when: &str, known: &Known) -> Option<String> {
        let lists = NamedLists::new();
        let environment = Environment {
            rule: "a",
            lists: &lists,
            unread_list: None,
        };
        let condition = Expression::compile(when, &environment).expect("a condition");
        known.with(&[], |subject| condition.values(subject).map(String::from))
    }

    #[test]
    fn facts_are_told_with_their_values() {
        let mut known = Known {
            inquiry: Some(answers(Some("v=spf1 ~all"))),
            recipients: (1..=4).map(|n| format!("r{n}@example.net")).collect(),
            score: 2.456,
            ..Known::default()
        };
        known.facts.hello = b"two words";
        for (when, says) in [
            ("score > 1.0 && !tls", "score=2.46 tls=false"),
            (
                "spf == \"softfail\" || rdns == \"none\"",
                "rdns=none spf=softfail",
            ),
            ("helo != \"a\"", "helo=\"two words\""),
            ("auth.account == \"\"", "auth.account=\"\""),
            (
                "recipients.size() > 2",
                "recipients=[r1@example.net r2@example.net r3@example.net …]",
            ),
            (
                "message.size >= 0 || dkim == \"pass\"",
                "message.size=0 dkim=unknown",
            ),
            (
                "header(\"Subject\") == \"x\" && client.address in cidr(\"192.0.2.0/24\")",
                "client.address=192.0.2.7",
            ),
        ] {
            assert_eq!(read(when, &known).as_deref(), Some(says), "{when}");
        }
        assert_eq!(read("header(\"Subject\") == \"x\"", &known), None);
    }

    #[test]
    fn they_are_bounded_and_harmless() {
        let long: &'static [u8] = "é\u{202e}\x1b[31m\"".repeat(5_000).leak().as_bytes();
        let mut known = Known::default();
        known.facts.hello = long;
        known.facts.authenticated = std::str::from_utf8(long).ok();
        let all = "helo != \"\" && auth.account != \"\" && listener != \"\" && sender != \"a\" && score > -1.0 && !tls \
            && sender.local != \"b\" && sender.domain != \"c\" && recipient != \"d\" && recipient.local != \"e\" && message.size >= 0";
        let read = read(all, &known).expect("facts");
        assert!(read.len() < 1_024 && read.contains('…'), "{read}");
        assert!(
            read.chars().all(|c| !crate::characters::is_hidden(c)),
            "{read}"
        );
    }
}
