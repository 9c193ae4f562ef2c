//! The walk up the DNS tree (RFC 9989 §4.10), in place of a list of public suffixes.

use super::record::{self, Record, Suffix};
use crate::dns::{Answer, Answers, Question};
use crate::policy::authentication::names;

/// Questions of one walk.
pub const QUESTIONS_MAX: usize = 8;

/// The names that are asked about, from the domain itself upwards. Of a long name the middle is left out.
pub fn targets(domain: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(domain);
    std::iter::from_fn(move || {
        let target = next?;
        let above = names::labels(target)
            .saturating_sub(1)
            .min(QUESTIONS_MAX - 1);
        next = names::parent(target);
        while let Some(parent) = next.filter(|parent| names::labels(parent) > above) {
            next = names::parent(parent);
        }
        Some(target)
    })
}

/// The question for the record of a domain. `None`: its name would be too long, so there is no such record.
pub fn question(domain: &str) -> Option<Question> {
    names::text_at(&format!("_dmarc.{domain}"))
}

/// What a walk has met.
#[derive(Debug)]
pub struct Walk<'a> {
    start: &'a str,
    /// The records, from the longest name to the shortest.
    pub found: Vec<(&'a str, Record)>,
    /// Questions without an answer yet.
    pub missing: Vec<Question>,
    /// A question that the DNS failed to answer.
    pub failed: bool,
}

impl<'a> Walk<'a> {
    /// Walks as far as answers are there. All questions are asked at once: they are few, and cached for all mail.
    pub fn new(start: &'a str, answers: &dyn Answers) -> Walk<'a> {
        let mut walk = Walk {
            start,
            found: Vec::new(),
            missing: Vec::new(),
            failed: false,
        };
        for target in targets(start) {
            let Some(question) = question(target) else {
                continue;
            };
            match answers.answer(&question) {
                None => walk.missing.push(question),
                Some(Answer::Unknown(_)) => walk.failed = true,
                Some(answer) => {
                    if let Some(record) = record::find(answer)
                        && walk.ends_with(target, record)
                    {
                        break;
                    }
                }
            }
        }
        walk
    }

    /// Takes a record. Whether the walk ends there (steps 2 and 7).
    fn ends_with(&mut self, target: &'a str, record: Record) -> bool {
        let ends = match record.suffix {
            Suffix::No => true,
            Suffix::Yes => target != self.start,
            Suffix::Unsaid => false,
        };
        self.found.push((target, record));
        ends
    }

    /// The organizational domain (RFC 9989 §4.10.2).
    pub fn organizational(&self) -> &'a str {
        for (name, record) in &self.found {
            match record.suffix {
                Suffix::No => return name,
                Suffix::Yes if *name != self.start => return below(self.start, name),
                _ => {}
            }
        }
        self.found.last().map_or(self.start, |(name, _)| *name)
    }

    /// The record that applies, and where it is: that of the domain, of the organizational domain, or of the public suffix
    /// above that (§4.10.1).
    pub fn policy(&self) -> Option<(&'a str, &Record)> {
        let at = |wanted: &str| self.found.iter().find(|(name, _)| *name == wanted);
        let suffix = || {
            self.found
                .iter()
                .find(|(_, record)| record.suffix == Suffix::Yes)
        };
        let found = at(self.start)
            .or_else(|| at(self.organizational()))
            .or_else(suffix)?;
        Some((found.0, &found.1))
    }
}

/// The name one label below `above` on the way down to `name`.
fn below<'a>(name: &'a str, above: &str) -> &'a str {
    let mut at = name;
    while let Some(parent) = names::parent(at) {
        if parent == above {
            return at;
        }
        at = parent;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_has_eight_steps_at_most() {
        let walk = |domain: &'static str| targets(domain).collect::<Vec<_>>();
        // RFC 9989 §4.10.
        assert_eq!(
            walk("a.b.c.d.e.f.g.h.i.j.mail.example.com"),
            [
                "a.b.c.d.e.f.g.h.i.j.mail.example.com",
                "g.h.i.j.mail.example.com",
                "h.i.j.mail.example.com",
                "i.j.mail.example.com",
                "j.mail.example.com",
                "mail.example.com",
                "example.com",
                "com"
            ]
        );
        assert_eq!(walk("a.b.c.d.e.f.g.h").len(), 8);
        assert_eq!(walk("a.b.c.d.e.f.g.h")[1], "b.c.d.e.f.g.h");
        assert_eq!(
            walk("a.example.com"),
            ["a.example.com", "example.com", "com"]
        );
        assert_eq!(walk("com"), ["com"]);
        assert_eq!(below("a.b.c.d", "c.d"), "b.c.d");
    }
}
