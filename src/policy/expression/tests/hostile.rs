//! No text makes the checker panic, run out of stack or run long.

use super::{Charged, Known, answers, environment};
use crate::policy::expression::{Expression, ReplyKind, Template};
use proptest::prelude::*;

/// What a text is likely to go wrong with.
const PIECES: &[&str] = &[
    "helo",
    "client.address",
    "spf",
    "tls",
    "recipients",
    "dnsbl_hits",
    "sender",
    "header(",
    "list('partners')",
    "cidr('10.0.0.0/8')",
    "rate(",
    "exists(",
    "all(x,",
    "has(",
    "size(",
    "matches(",
    "glob(",
    "under(",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "?",
    ":",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">=",
    " in ",
    "'a'",
    "\"ä\"",
    "r'\\d+'",
    "1",
    "0",
    "9223372036854775807",
    "1.5",
    "true",
    "false",
    "duration('5m')",
    "x",
    "'",
    "\\",
    "//",
    "\n",
    "\u{0}",
    "null",
    "{",
    "'''",
    "0x",
    "1e",
    "lowerAscii()",
    "domain_of(",
    "double(",
];

fn check(text: &str) {
    let environment = environment();
    match Expression::compile(text, &environment) {
        Ok(rule) => {
            let _ = Known::default().judge(&rule, &Charged::default());
            let known = Known {
                inquiry: Some(answers(Some("v=spf1 +all"))),
                ..Known::default()
            };
            let _ = known.judge(&rule, &Charged::default());
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                let end = mistake.start + mistake.width;
                assert!(end <= text.len(), "{text:?} {mistake:?}");
            }
        }
    }
    for kind in [ReplyKind::Defer, ReplyKind::Reject, ReplyKind::Close] {
        if let Ok(template) = Template::parse(text, kind) {
            let known = Known::default();
            let said = known.with(&[], |subject| template.render(subject, &Charged::default()));
            let text = said.text.as_str();
            assert!(
                text.bytes()
                    .all(|octet| matches!(octet, b' '..=b'~' | b'\n'))
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        check(&text);
        check(&format!("550 5.7.1 {text}"));
    }

    #[test]
    fn no_pieces_panic(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        check(&pieces.concat());
        check(&pieces.join(" "));
    }
}

#[test]
fn large_texts_are_refused_or_checked() {
    for n in [60, 5_000, 200_000] {
        for text in [
            "(".repeat(n),
            "!".repeat(n),
            "-".repeat(n),
            "[".repeat(n),
            "'".repeat(n),
            "'\\".repeat(n),
            "a.".repeat(n),
            "{".repeat(n),
            format!("a{}", ".b".repeat(n)),
            format!("tls{}", " && tls".repeat(n)),
            format!("1{}", "+1".repeat(n)),
            format!("{}tls", "tls?tls:".repeat(n)),
            format!("helo{}", ".lowerAscii()".repeat(n)),
            format!("helo{}", " in ['a','b']".repeat(n)),
            format!("{}1{}", "(".repeat(n), " in [1,2])".repeat(n)),
            format!("{}true{}", "recipients.exists(x,".repeat(n), ")".repeat(n)),
            format!("helo == '{}'", "x".repeat(n)),
            format!("helo.matches('{}')", "(a*)*".repeat(n)),
            format!("helo.glob('{}')", "*a".repeat(n)),
            format!("helo.contains('{}')", "ä".repeat(n)),
            format!("helo in [{}]", "'a',".repeat(n)),
            format!("helo == {}", "x".repeat(n)),
        ] {
            check(&text);
        }
    }
}
