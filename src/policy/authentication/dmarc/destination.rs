//! Whether an address in `rua=` may be sent reports about a domain (RFC 9990 §4): one outside of the organization must say
//! so itself, or anybody could have strangers flooded with reports.

use super::{record, walk::Walk};
use crate::{
    dns::{Answer, Answers, Question, Step},
    policy::authentication::names,
};

/// What is known of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It belongs to the organization of the domain.
    Own,
    /// It is elsewhere, and its host consents. The addresses that the host wants the reports at instead, if any.
    Given(Vec<Box<str>>),
    /// It is elsewhere, and its host does not consent; or it is no mail address.
    Refused,
    /// The DNS failed: ask again before something is sent.
    Unknown,
}

impl Consent {
    /// The word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Consent::Own => "own",
            Consent::Given(_) => "given",
            Consent::Refused => "refused",
            Consent::Unknown => "unknown",
        }
    }
}

/// Whether reports about the domain that has the record, `owner`, may go to `uri`.
pub fn consent(owner: &str, uri: &str, answers: &dyn Answers) -> Step<Consent> {
    let Some(host) = host(uri) else {
        return Step::Done(Consent::Refused);
    };
    let (ours, theirs) = (Walk::new(owner, answers), Walk::new(&host, answers));
    let mut missing = ours.missing.clone();
    for question in &theirs.missing {
        if !missing.contains(question) {
            missing.push(question.clone());
        }
    }
    if !missing.is_empty() {
        return Step::Need(missing);
    }
    if ours.failed || theirs.failed {
        return Step::Done(Consent::Unknown);
    }
    if ours.organizational() == theirs.organizational() {
        return Step::Done(Consent::Own);
    }
    let Some(question) = question(owner, &host) else {
        return Step::Done(Consent::Refused);
    };
    match answers.answer(&question) {
        None => Step::Need(vec![question]),
        Some(Answer::Unknown(_)) => Step::Done(Consent::Unknown),
        Some(answer) => Step::Done(match record::consents(answer) {
            None => Consent::Refused,
            // One that points elsewhere again must not be followed, nor the first one used.
            Some(instead)
                if instead
                    .iter()
                    .any(|uri| self::host(uri) != Some(host.clone())) =>
            {
                Consent::Refused
            }
            Some(instead) => Consent::Given(instead),
        }),
    }
}

/// The host of a mail address in an address of the kind `mailto:`.
fn host(uri: &str) -> Option<Box<str>> {
    let (scheme, rest) = uri.split_once(':')?;
    let address = rest.split('?').next().unwrap_or(rest);
    let (local, host) = address.rsplit_once('@')?;
    let usable = scheme.eq_ignore_ascii_case("mailto") && !local.is_empty();
    usable.then(|| names::normal(host.as_bytes())).flatten()
}

/// `None`: its name would be too long, so there is no consent.
fn question(owner: &str, host: &str) -> Option<Question> {
    names::text_at(&format!("{owner}._report._dmarc.{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Record, Unknown};
    use std::collections::HashMap;

    struct Zone(HashMap<Question, Answer>);

    impl Answers for Zone {
        fn answer(&self, question: &Question) -> Option<&Answer> {
            self.0.get(question)
        }
    }

    /// Texts by name; `!` is a failure.
    fn run(owner: &str, uri: &str, texts: &[(&str, &str)]) -> (Consent, usize) {
        let mut zone = Zone(HashMap::new());
        loop {
            match consent(owner, uri, &zone) {
                Step::Done(found) => return (found, zone.0.len()),
                Step::Need(questions) => {
                    for question in questions {
                        let found: Vec<Record> = texts
                            .iter()
                            .filter(|(name, _)| *name == &*question.name)
                            .map(|(_, text)| Record::Txt(text.as_bytes().into()))
                            .collect();
                        let answer = match found.first() {
                            None => Answer::NoName,
                            Some(Record::Txt(text)) if **text == *b"!" => {
                                Answer::Unknown(Unknown::Timeout)
                            }
                            Some(_) => Answer::Found(found.into()),
                        };
                        assert!(zone.0.insert(question, answer).is_none(), "asked twice");
                    }
                }
            }
        }
    }

    #[test]
    fn only_an_address_elsewhere_needs_consent() {
        let own = [("_dmarc.example.com", "v=DMARC1; p=none")];
        for uri in ["mailto:a@example.com", "MAILTO:a%21b@Mail.Example.com?x=y"] {
            assert_eq!(run("example.com", uri, &own).0, Consent::Own, "{uri}");
        }
        // A part of the same organization by its name, which says that it is one of its own.
        let apart = [
            own[0],
            ("_dmarc.red.example.com", "v=DMARC1; p=none; psd=n"),
        ];
        let (found, _) = run("example.com", "mailto:a@red.example.com", &apart);
        assert_eq!(found, Consent::Refused);
        for uri in [
            "mailto:example.com",
            "https://example.com/x",
            "mailto:@example.com",
            "x",
        ] {
            assert_eq!(
                run("example.com", uri, &own),
                (Consent::Refused, 0),
                "{uri}"
            );
        }
    }

    #[test]
    fn the_host_elsewhere_consents_or_names_another_address_of_its_own() {
        // The example of RFC 9990 §4.
        let name = "blue.example.com._report._dmarc.red.example.net";
        let uri = "mailto:reports@red.example.net";
        let with = |text: &str| run("blue.example.com", uri, &[(name, text)]).0;
        let instead =
            |uris: &[&str]| Consent::Given(uris.iter().map(|uri| (*uri).into()).collect());
        assert_eq!(run("blue.example.com", uri, &[]).0, Consent::Refused);
        assert_eq!(with("v=DMARC1"), instead(&[]));
        assert_eq!(with("v=DMARC1;"), instead(&[]));
        assert_eq!(
            with("v=DMARC1; rua=mailto:b@red.example.net"),
            instead(&["mailto:b@red.example.net"])
        );
        assert_eq!(
            with("v=DMARC1; rua=mailto:b@victim.example"),
            Consent::Refused
        );
        assert_eq!(with("v=spf1 -all"), Consent::Refused);
        assert_eq!(with("!"), Consent::Unknown);
        assert_eq!(
            run("blue.example.com", uri, &[("_dmarc.net", "!")]).0,
            Consent::Unknown
        );
        let long = format!("{0}.{0}.{0}.{0}.example", "a".repeat(58));
        let (found, asked) = run(&long, uri, &[]);
        assert_eq!(found, Consent::Refused);
        // A walk for each, and none for a name that would be too long.
        assert!(asked <= 2 * super::super::walk::QUESTIONS_MAX, "{asked}");
    }
}
