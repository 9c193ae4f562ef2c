//! Replies of rules: `550 5.7.1 {client.address} is listed by {dnsbl.zone}`.
//!
//! A placeholder is the name of a fact; `{{` and `}}` are braces; a line end starts another line of the reply. What a stranger typed can't add a line or a reply: of
//! each value only printable ASCII goes out, other octets as `?`, and no more than [`VALUE_MAX`] of them. The text of
//! the rule itself must be printable ASCII, for a client need not have asked for SMTPUTF8 (RFC 6531 §3.7.4).

use super::{
    Rates,
    code::{Code, Node},
    facts::{self, Fact},
    facts_at,
    mistake::{Mistake, Span, did_you_mean},
    subject::Subject,
    types::Type,
    value::{Frame, Known},
    with_frame,
};
use crate::{
    policy::At,
    smtp::{Reply, Status},
};
use std::fmt::{self, Write};

/// Octets of a text with its values; what writes a reply cuts its lines to what SMTP allows.
const VALUES_MAX: usize = 1_000;
/// Octets of the template's own text.
const TEMPLATE_MAX: usize = 400;
/// Octets of one value.
const VALUE_MAX: usize = 128;
/// Placeholders of one template.
const PLACEHOLDERS_MAX: usize = 16;
/// Stands for a value that is unknown or not there.
const NOTHING: &str = "unknown";

/// What the rule does, and so which codes fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 4xx.
    Defer,
    /// 5xx.
    Reject,
    /// Either, and the connection ends.
    Close,
}

/// A reply that was checked.
pub struct Template {
    code: u16,
    status: Status,
    parts: Vec<Part>,
    reads: Vec<u16>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reads: Vec<_> = self.reads().map(|fact| fact.name).collect();
        f.debug_struct("Template")
            .field("code", &self.code)
            .field("status", &self.status)
            .field("reads", &reads)
            .finish_non_exhaustive()
    }
}

enum Part {
    Text(Box<str>),
    Value(Code),
}

impl Template {
    /// Checks a template.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub fn parse(text: &str, kind: Kind) -> Result<Template, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        if text.len() > TEMPLATE_MAX {
            let span = Span {
                start: TEMPLATE_MAX,
                end: TEMPLATE_MAX,
            };
            let message = format!("the reply is longer than {TEMPLATE_MAX} octets");
            return Err(vec![
                Mistake::new(span, message).with_hint("say less, or more on a web page"),
            ]);
        }
        let head = match head(text, kind) {
            Ok(head) => Some(head),
            Err(mistake) => {
                mistakes.push(mistake);
                None
            }
        };
        for (start, c) in text.char_indices() {
            if !matches!(c, ' '..='~' | '\n') {
                let span = Span {
                    start,
                    end: start + c.len_utf8(),
                };
                let message = format!("{c:?} is not printable ASCII");
                mistakes.push(
                    Mistake::new(span, message)
                        .with_hint("clients need not understand more than ASCII"),
                );
                break;
            }
        }
        let start = head.map_or(0, |(_, _, start)| start);
        let mut template = Template {
            code: head.map_or(0, |(code, _, _)| code),
            status: head.map_or(Status::NONE, |(_, status, _)| status),
            parts: Vec::new(),
            reads: Vec::new(),
        };
        template.read_parts(text, start, &mut mistakes);
        if mistakes.is_empty() {
            Ok(template)
        } else {
            Err(mistakes)
        }
    }

    fn read_parts(&mut self, text: &str, start: usize, mistakes: &mut Vec<Mistake>) {
        let mut plain = String::new();
        let mut at = start;
        while let Some(found) = text[at..].find(['{', '}']) {
            plain.push_str(&text[at..at + found]);
            at += found;
            let rest = &text[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                plain.push_str(&rest[..1]);
                at += 2;
                continue;
            }
            let end = match (rest.starts_with('{'), rest.find('}')) {
                (true, Some(end)) => end,
                _ => {
                    let span = Span {
                        start: at,
                        end: at + 1,
                    };
                    mistakes.push(Mistake::new(span, "a brace without its other").with_hint(
                        "write `{{` or `}}` for a brace, `{client.address}` for a value",
                    ));
                    return;
                }
            };
            let span = Span {
                start: at,
                end: at + end + 1,
            };
            at += end + 1;
            match value(&rest[1..end], span) {
                Ok(_) if self.reads.len() >= PLACEHOLDERS_MAX => {
                    mistakes.push(Mistake::new(
                        span,
                        format!("more than {PLACEHOLDERS_MAX} values in one reply"),
                    ));
                    return;
                }
                Ok((id, code)) => {
                    self.parts
                        .push(Part::Text(std::mem::take(&mut plain).into()));
                    self.parts.push(Part::Value(code));
                    self.reads.push(id);
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        plain.push_str(&text[at..]);
        self.parts.push(Part::Text(plain.trim_end().into()));
    }

    /// The facts that it shows. A look-up that only a reply needs has to be asked too.
    pub fn reads(&self) -> impl Iterator<Item = &'static Fact> {
        facts_at(&self.reads)
    }

    /// The facts that are not known yet where the rule is judged at `stage`: a mistake of the rule.
    pub fn too_late(&self, stage: At) -> impl Iterator<Item = &'static Fact> {
        self.reads().filter(move |fact| fact.stage > stage)
    }

    /// The reply with its values. For one that is sent: allocates.
    #[must_use]
    pub fn render(&self, subject: &Subject<'_>, rates: &dyn Rates) -> Reply {
        let mut text = String::new();
        with_frame(subject, rates, |frame| {
            for part in &self.parts {
                match part {
                    Part::Text(plain) => text.push_str(plain),
                    Part::Value(code) => {
                        let start = text.len();
                        if write_value(code, frame, &mut text).is_err() || text.len() == start {
                            text.truncate(start);
                            text.push_str(NOTHING);
                        }
                    }
                }
            }
        });
        // It is all ASCII, so every place is between characters.
        text.truncate(VALUES_MAX);
        Reply::owned(self.code, self.status, text)
    }
}

/// The value of one placeholder, made safe.
fn write_value(code: &Code, frame: &Frame<'_>, out: &mut String) -> Known<()> {
    let shown = |out: &mut String, value: &dyn fmt::Display| {
        // Writing to a `String` doesn't fail.
        let _ = write!(out, "{value}");
    };
    match code {
        Code::Bool(Node::Run(run)) => shown(out, &run(frame)?),
        Code::Int(Node::Run(run)) => shown(out, &run(frame)?),
        Code::Float(Node::Run(run)) => {
            shown(out, &format_args!("{:.2}", run(frame)?.clamp(-1e15, 1e15)))
        }
        Code::Address(Node::Run(run)) => shown(out, &run(frame)?.to_canonical()),
        Code::Duration(Node::Run(run)) => shown(out, &format_args!("{}s", run(frame)? / 1_000)),
        Code::Text(_, source) => {
            let text = source.read(frame)?;
            out.extend(text.iter().take(VALUE_MAX).map(|octet| match octet {
                b' '..=b'~' => char::from(octet),
                _ => '?',
            }));
        }
        _ => {}
    }
    Ok(())
}

/// The fact that a placeholder names.
fn value(name: &str, span: Span) -> Result<(u16, Code), Mistake> {
    let names = || facts::TABLE.iter().map(|fact| fact.name);
    let shown: String = name.chars().take(80).collect();
    let Some((id, code)) = facts::find(name).and_then(|id| Some((id, Code::of_fact(id)?))) else {
        let mistake = Mistake::new(span, format!("there is no fact `{shown}`"));
        return Err(match did_you_mean(name.trim(), names()) {
            Some(hint) => mistake.with_hint(hint),
            None => mistake.with_hint("write `{{` for a brace"),
        });
    };
    match code.kind() {
        kind @ Type::Texts(_) => Err(Mistake::new(
            span,
            format!("`{name}` is a {kind}, and a reply shows single values"),
        )),
        _ => Ok((id, code)),
    }
}

type Head = (u16, Status, usize);

/// The codes at the start, and where the text starts.
fn head(text: &str, kind: Kind) -> Result<Head, Mistake> {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let span = Span {
        start: 0,
        end: first.len(),
    };
    let example = match kind {
        Kind::Defer => "write it as in \"451 4.7.1 Come back later\"",
        Kind::Reject => "write it as in \"550 5.7.1 Not from there\"",
        Kind::Close => "write it as in \"421 4.7.1 Closing the connection\"",
    };
    let digits = first.len() == 3 && first.bytes().all(|octet| octet.is_ascii_digit());
    // RFC 5321 §4.2.1: the second digit is 0 to 5.
    let code = first
        .parse::<u16>()
        .ok()
        .filter(|code| digits && (400..560).contains(code) && code % 100 < 60);
    let Some(code) = code else {
        let message = "a reply starts with its code, 4xx to defer or 5xx to reject";
        return Err(Mistake::new(span, message).with_hint(example));
    };
    let fits = match kind {
        Kind::Defer => code < 500,
        Kind::Reject => code >= 500,
        Kind::Close => true,
    };
    if !fits {
        let message = match kind {
            Kind::Defer => format!("a rule that defers has a code of 4xx, not {code}"),
            _ => format!("a rule that rejects has a code of 5xx, not {code}"),
        };
        return Err(Mistake::new(span, message).with_hint(example));
    }
    let class = if code < 500 { 4 } else { 5 };
    let start = text.len() - rest.len();
    let (status, start) = match Status::parse(rest.as_bytes()) {
        Some((status, length)) if status.0 == class => (status, start + length),
        Some((status, length)) => {
            let span = Span {
                start,
                end: start + rest[..length].trim_end().len(),
            };
            let message = format!(
                "the code is {code}, and the enhanced code starts with {}",
                status.0
            );
            let hint = format!("write {class}.{}.{}", status.1, status.2);
            return Err(Mistake::new(span, message).with_hint(hint));
        }
        None => (Status(class, 7, 1), start),
    };
    if text[start..].trim().is_empty() {
        let span = Span {
            start: text.len(),
            end: text.len(),
        };
        return Err(Mistake::new(span, "the reply has no text").with_hint(example));
    }
    Ok((code, status, start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::expression::tests::{Charged, Known, answers};

    fn rendered(text: &str, known: &Known) -> String {
        let template = Template::parse(text, Kind::Reject);
        let template = template.unwrap_or_else(|why| panic!("{text}: {why:?}"));
        known.with(&[], |subject| {
            template.render(subject, &Charged::default()).to_string()
        })
    }

    #[test]
    fn values_take_their_places() {
        let mut known = Known {
            inquiry: Some(answers(Some("v=spf1 -all"))),
            score: 4.5,
            ..Known::default()
        };
        known.facts.client = "::ffff:192.0.2.7".parse().expect("an address");
        known.facts.size = 3;
        assert_eq!(
            rendered("550 5.7.1 {client.address}: SPF says {spf}", &known),
            "550 5.7.1 192.0.2.7: SPF says fail"
        );
        assert_eq!(
            rendered(
                "554 {{{message.size}}} {score} {tls} {client.name} {tls.version}{sender}",
                &known
            ),
            "554 5.7.1 {3} 4.50 false unknown unknownunknown"
        );
    }

    #[test]
    fn strangers_add_nothing_to_a_reply() {
        let mut known = Known::default();
        known.facts.hello = b"a\r\n250 2.0.0 Ok\0\x1b[2J\xff\xc3\xa4{sender}";
        let said = rendered("550 5.7.1 {helo}", &known);
        assert_eq!(said, "550 5.7.1 a??250 2.0.0 Ok??[2J???{sender}");
        known.facts.hello = &[b'x'; 5_000];
        let said = rendered("550 5.7.1 {helo}", &known);
        assert_eq!(said.len(), 10 + VALUE_MAX);
        let many = format!("550 5.7.1 {}", "{helo} ".repeat(16));
        assert!(rendered(&many, &known).len() <= 10 + VALUES_MAX);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, kind, start, says) in [
            ("550 5.7.1 No", Kind::Defer, 0, "4xx, not 550"),
            ("450 4.7.1 No", Kind::Reject, 0, "5xx, not 450"),
            ("550 4.7.1 No", Kind::Reject, 4, "write 5.7.1"),
            ("250 2.0.0 Ok", Kind::Close, 0, "starts with its code"),
            ("590 5.0.0 Ok", Kind::Close, 0, "starts with its code"),
            ("No", Kind::Reject, 0, "starts with its code"),
            ("+55 No", Kind::Reject, 0, "starts with its code"),
            ("", Kind::Reject, 0, "starts with its code"),
            ("550", Kind::Reject, 3, "no text"),
            ("550 5.7.1 ", Kind::Reject, 10, "no text"),
            ("550 5.7.1 a\rb", Kind::Reject, 11, "printable ASCII"),
            ("550 5.7.1 für", Kind::Reject, 11, "printable ASCII"),
            (
                "550 5.7.1 {client.adress}",
                Kind::Reject,
                10,
                "`client.address`?",
            ),
            ("550 5.7.1 { helo }", Kind::Reject, 10, "`helo`?"),
            (
                "550 5.7.1 {recipients}",
                Kind::Reject,
                10,
                "list of mail addresses",
            ),
            ("550 5.7.1 {helo", Kind::Reject, 10, "a brace without"),
            ("550 5.7.1 helo}", Kind::Reject, 14, "a brace without"),
        ] {
            let mistakes = Template::parse(text, kind).err().unwrap_or_default();
            let first = mistakes
                .first()
                .unwrap_or_else(|| panic!("{text:?} passed"));
            assert!(first.to_string().contains(says), "{text:?}: {first}");
            assert_eq!(first.start, start, "{text:?}");
        }
        assert!(Template::parse(&format!("550 {}", "x".repeat(500)), Kind::Reject).is_err());
        assert!(Template::parse(&format!("550 {}", "{helo}".repeat(17)), Kind::Reject).is_err());
        assert!(Template::parse("421 4.7.1 Good\nbye", Kind::Close).is_ok());
        assert!(Template::parse("554 5.7.1 Bye", Kind::Close).is_ok());
    }

    #[test]
    fn facts_of_a_later_stage_are_named() {
        let template = Template::parse("550 {helo} {spf}", Kind::Reject).expect("a template");
        let late: Vec<_> = template.too_late(At::Hello).map(|fact| fact.name).collect();
        assert_eq!(late, ["spf"]);
        assert_eq!(template.too_late(At::Mail).count(), 0);
    }
}
