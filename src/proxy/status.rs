//! Why a message was treated so, for those that read the message itself: one header field with its score and the checks that
//! matched (`policy.explain_header`), as X-Spam-Status has it elsewhere.

use crate::{
    log::field::{push_number, push_score},
    policy::{Judgement, Policy},
};

/// The field. Only we write it: those that a message brings are removed wherever it is written.
pub const FIELD: &str = "X-Gatepost-Status";
/// Checks that it names; the rest are counted.
const CHECKS_MAX: usize = 20;
/// Octets of a check's name.
const NAME_MAX: usize = 64;
/// Octets of a line (RFC 5322 §2.1.1 asks for 78 at most).
const LINE_MAX: usize = 76;

/// Appends the field with its CRLF: `X-Gatepost-Status: score=3.5 checks=spf.softfail:2,rdns.none:1.5`.
pub(super) fn write(judgement: &Judgement, policy: &Policy, out: &mut Vec<u8>) {
    let mut line = out.len();
    out.extend_from_slice(FIELD.as_bytes());
    out.extend_from_slice(b": score=");
    push_score(judgement.score(), out);
    let hits = judgement.hits();
    for (place, hit) in hits.iter().take(CHECKS_MAX).enumerate() {
        let word = out.len();
        out.extend_from_slice(if place == 0 { b" checks=" } else { b"," });
        let name = policy.check(hit.check).map_or("?", |info| &info.name);
        let name = &name.as_bytes()[..name.len().min(NAME_MAX)];
        out.extend(name.iter().map(|octet| match octet {
            b',' | b':' | b'(' | b')' => b'?',
            b'!'..=b'~' => *octet,
            _ => b'?',
        }));
        if hit.shadow {
            out.extend_from_slice(b"(shadow)");
        }
        out.push(b':');
        match hit.score {
            0.0 => out.extend_from_slice(hit.what.as_str().as_bytes()),
            score => push_score(score, out),
        }
        fold(word, &mut line, out);
    }
    if hits.len() > CHECKS_MAX {
        let word = out.len();
        out.extend_from_slice(b" more=");
        push_number((hits.len() - CHECKS_MAX) as u64, out);
        fold(word, &mut line, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Begins a new line before the word that begins at `word`, where the line would be too long with it. A comma stays where it
/// is.
fn fold(word: usize, line: &mut usize, out: &mut Vec<u8>) {
    if out.len() - *line <= LINE_MAX {
        return;
    }
    match out[word] {
        b' ' => drop(out.splice(word..=word, *b"\r\n\t")),
        _ => drop(out.splice(word + 1..word + 1, *b"\r\n\t")),
    }
    *line = word + 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        policy::{At, Facts, Shared},
        smtp::Tick,
    };

    fn field(rules: &str) -> String {
        let config: config::Policy = toml::from_str(rules).expect("a policy");
        let policy = Policy::build(&config, "mx.example").unwrap_or_else(|f| panic!("{f:?}"));
        let (shared, mut judgement) = (Shared::new(&config), Judgement::new());
        let facts = Facts {
            hello: b"mx.a.example",
            ..Facts::of([192, 0, 2, 7].into(), Tick(1))
        };
        for at in [At::Connect, At::Hello, At::Mail, At::Answers] {
            let _ = policy.ask(at, &facts, &shared, &mut judgement);
        }
        let mut out = Vec::new();
        write(&judgement, &policy, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    fn rule(name: &str, score: f64) -> String {
        format!("[[rule]]\nname = '{name}'\nwhen = 'helo == \"mx.a.example\"'\nscore = {score:?}\n")
    }

    #[test]
    fn it_names_what_matched_in_lines_of_bounded_length() {
        assert_eq!(field(""), "X-Gatepost-Status: score=0\r\n");
        let two = rule("one", 2.5) + &rule("two", -1.0);
        assert_eq!(
            field(&two),
            "X-Gatepost-Status: score=1.5 checks=rule.one:2.5,rule.two:-1\r\n"
        );
        let many: String = (0..30)
            .map(|n| rule(&format!("a-rather-long-name-{n}"), 0.5))
            .collect();
        let many = field(&many);
        assert!(many.len() < 1000 && many.contains(" more="), "{many}");
        for line in many.trim_end().split("\r\n") {
            assert!(
                line.len() <= LINE_MAX + 2 && !line.contains(['\r', '\n']),
                "{line:?}"
            );
        }
        assert!(
            many.trim_end()
                .split("\r\n")
                .skip(1)
                .all(|line| line.starts_with('\t')),
            "{many}"
        );
    }
}
