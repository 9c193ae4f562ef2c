//! Records, walks, alignment and policies.

use super::*;
use crate::dns::{Record as DnsRecord, Unknown};
use crate::policy::authentication::dkim::{Reason, SignatureResult};
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Default)]
struct Zone(HashMap<Question, Answer>);

impl Answers for Zone {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question)
    }
}

fn signature(domain: &str, reason: Reason) -> SignatureResult {
    SignatureResult::of(domain, "s", reason)
}

/// Answers from `records` (`_dmarc.` left out; `!` fails), all else is not there; names in `missing` don't exist.
fn run(records: &[(&str, &str)], missing: &[&str], evidence: &Evidence<'_>) -> (Dmarc, usize) {
    let mut zone = Zone::default();
    let mut asked = 0;
    loop {
        match step(evidence, &zone) {
            Step::Done(dmarc) => return (dmarc, asked),
            Step::Need(questions) => {
                assert!(!questions.is_empty());
                for question in questions {
                    asked += 1;
                    let name = question
                        .name
                        .strip_prefix("_dmarc.")
                        .unwrap_or(&question.name);
                    let texts: Vec<DnsRecord> = records
                        .iter()
                        .filter(|(owner, _)| {
                            *owner == name && question.record_type == RecordType::Txt
                        })
                        .map(|(_, text)| DnsRecord::Txt(text.as_bytes().into()))
                        .collect();
                    let answer = match texts.first() {
                        Some(DnsRecord::Txt(text)) if **text == *b"!" => {
                            Answer::Unknown(Unknown::Broken)
                        }
                        Some(_) => Answer::Found(texts.into()),
                        None if missing.contains(&name) => Answer::NoName,
                        None => Answer::NoRecords,
                    };
                    assert!(zone.0.insert(question, answer).is_none(), "asked twice");
                }
            }
        }
    }
}

/// Records by the name that the cases give them.
const ZONES: &[(&str, &[(&str, &str)])] = &[
    ("nothing", &[]),
    ("reject", &[("example.com", "v=DMARC1; p=reject")]),
    (
        "strict",
        &[("example.com", "v=DMARC1; p=reject; adkim=s; aspf=s")],
    ),
    (
        "three",
        &[("example.com", "v=DMARC1; p=reject; sp=quarantine; np=none")],
    ),
    (
        "test",
        &[("example.com", "v=DMARC1; p=reject; sp=quarantine; t=y")],
    ),
    (
        "two",
        &[
            ("example.com", "v=DMARC1; p=reject"),
            ("mail.example.com", "v=DMARC1; p=none"),
        ],
    ),
    (
        "own",
        &[
            ("example.com", "v=DMARC1; p=reject"),
            ("mail.example.com", "v=DMARC1; p=quarantine; psd=n"),
        ],
    ),
    (
        "psd",
        &[("com", "v=DMARC1; p=reject; psd=y; np=quarantine")],
    ),
    (
        "both",
        &[
            ("com", "v=DMARC1; p=reject; psd=y"),
            ("example.com", "v=DMARC1; p=quarantine"),
        ],
    ),
    ("start", &[("example.com", "v=DMARC1; p=reject; psd=y")]),
    ("broken", &[("example.com", "!")]),
    (
        "above",
        &[("example.com", "v=DMARC1; p=reject"), ("com", "!")],
    ),
    ("wrong", &[("example.com", "v=DMARC1; p=x")]),
];

/// Author; records; SPF; signatures; the conclusion, the domain with the policy, the organizational domain, the
/// disposition. Domains with `+` have passed, with `?` they are unknown, with `-` they have failed.
const CASES: &str = "
example.com        | nothing | +example.com        |                               | none -  none
example.com        | reject  |                     |                               | fail example.com example.com reject
example.com        | reject  | +example.com        |                               | pass example.com example.com none
example.com        | reject  | +bounce.EXAMPLE.com |                               | pass example.com example.com none
example.com        | reject  |                     | -example.com +sub.example.com | pass example.com example.com none
example.com        | reject  | +example.org        | +badexample.com -example.com  | fail example.com example.com reject
a.example.com      | reject  | +b.example.com      |                               | pass example.com example.com none
example.com        | strict  | +sub.example.com    | +sub.example.com              | fail example.com example.com reject
example.com        | strict  |                     | +example.com                  | pass example.com example.com none
a.example.com      | three   |                     |                               | fail example.com example.com quarantine
gone.example.com   | three   |                     |                               | fail example.com example.com none
example.com        | three   |                     |                               | fail example.com example.com reject
example.com        | test    |                     |                               | fail example.com example.com quarantine
a.example.com      | test    |                     |                               | fail example.com example.com none
a.mail.example.com | two     |                     |                               | fail example.com example.com reject
mail.example.com   | two     | +example.com        |                               | pass mail.example.com example.com none
mail.example.com   | own     | +example.com        |                               | fail mail.example.com mail.example.com quarantine
a.mail.example.com | own     | +b.mail.example.com |                               | pass mail.example.com mail.example.com none
example.com        | own     | +mail.example.com   |                               | fail example.com example.com reject
a.example.com      | psd     | +b.example.com      |                               | pass com example.com none
a.example.com      | psd     | +b.other.com        |                               | fail com example.com reject
gone.example.com   | psd     |                     |                               | fail com example.com quarantine
example.com        | both    |                     |                               | fail example.com example.com quarantine
example.com        | start   | +example.com        |                               | pass example.com example.com none
example.com        | broken  | +example.com        |                               | temperror -  none
example.com        | above   | +example.com        |                               | pass example.com example.com none
example.com        | above   | +a.example.com      |                               | temperror example.com example.com none
example.com        | above   | +example.org        |                               | fail example.com example.com reject
a.example.com      | above   |                     |                               | temperror example.com example.com none
example.com        | reject  | ?example.com        |                               | temperror example.com example.com none
example.com        | reject  |                     | ?a.example.com                | temperror example.com example.com none
example.com        | reject  | ?example.org        | ?b.example.org                | fail example.com example.com reject
example.com        | reject  | ?example.com        | +example.com                  | pass example.com example.com none
example.com        | wrong   |                     |                               | none example.com example.com none
";

fn told(author: &str, zone: &str, spf: &str, dkim: &str) -> String {
    let author = Author::of([format!("a@{author}").as_bytes()]);
    let spf = match spf.split_at_checked(1) {
        Some(("+", domain)) => Spf::Pass(domain),
        Some(("?", domain)) => Spf::Unknown(domain),
        _ => Spf::NotPassed,
    };
    let signatures = dkim.split_whitespace().map(|dkim| match dkim.split_at(1) {
        ("+", domain) => signature(domain, Reason::Verified),
        ("?", domain) => signature(domain, Reason::KeyUnavailable),
        (_, domain) => signature(domain, Reason::BodyDiffers),
    });
    let dkim = Dkim {
        signatures: signatures.collect(),
        skipped: 0,
    };
    let evidence = Evidence {
        author: &author,
        spf,
        dkim: &dkim,
    };
    let (_, records) = ZONES
        .iter()
        .find(|(name, _)| *name == zone)
        .expect("a zone of this name");
    let (dmarc, asked) = run(records, &["gone.example.com"], &evidence);
    assert!(asked <= QUESTIONS_MAX);
    let owner = dmarc.record.map_or(Box::from("-"), |(owner, _)| owner);
    let (conclusion, disposition) = (dmarc.conclusion.as_str(), dmarc.disposition.as_str());
    format!(
        "{conclusion} {owner} {} {disposition}",
        dmarc.organizational
    )
}

#[test]
fn policies_and_alignment() {
    for case in CASES.trim().lines() {
        let parts: Vec<&str> = case.split('|').map(str::trim).collect();
        assert_eq!(
            told(parts[0], parts[1], parts[2], parts[3]),
            parts[4],
            "{case}"
        );
    }
}

#[test]
fn existence_is_asked_only_where_it_matters() {
    let (_, three) = ZONES[3];
    let asked = |author: &str, spf: &'static str| {
        let author = Author::of([format!("a@{author}").as_bytes()]);
        let spf = if spf.is_empty() {
            Spf::NotPassed
        } else {
            Spf::Pass(spf)
        };
        run(
            three,
            &[],
            &Evidence {
                author: &author,
                spf,
                dkim: &Dkim::default(),
            },
        )
        .1
    };
    assert_eq!(asked("example.com", ""), 2);
    assert_eq!(asked("a.example.com", "a.example.com"), 3);
    assert_eq!(asked("a.example.com", ""), 4);
}

#[test]
fn an_author_has_one_domain() {
    let of = |addresses: &[&str]| Author::of(addresses.iter().map(|address| address.as_bytes()));
    assert_eq!(
        of(&["a@Example.COM", "b@example.com."]),
        Author::Domain("example.com".into())
    );
    assert_eq!(
        of(&["a@bücher.example"]),
        Author::Domain("xn--bcher-kva.example".into())
    );
    assert_eq!(of(&[]), Author::Missing);
    assert_eq!(of(&["a@a.example", "b@b.example"]), Author::Several);
    assert_eq!(of(&["a@[192.0.2.1]"]), Author::Malformed);
    for author in [Author::Missing, Author::Several, Author::Malformed] {
        let evidence = Evidence {
            author: &author,
            spf: Spf::Pass("a.example"),
            dkim: &Dkim::default(),
        };
        assert_eq!(run(&[], &[], &evidence).0.conclusion, Conclusion::PermError);
    }
}

proptest! {
    #[test]
    fn questions_stay_in_bounds(
        author in "([a-c]\\.){0,12}[a-c]", spf in "([a-c]\\.){0,12}[a-c]",
        dkim in proptest::collection::vec("([a-c]\\.){0,12}[a-c]", 0..8),
        records in proptest::collection::vec(("([a-c]\\.){0,3}[a-c]",
            "v=DMARC1; (p=(none|reject|x); |psd=[yn]; |sp=quarantine; |np=reject; |t=y; |rua=a:b; ){0,4}|!"), 0..8)) {
        let author = Author::Domain(author.into());
        let dkim = Dkim { signatures: dkim.iter().map(|domain| signature(domain, Reason::Verified)).collect(), skipped: 0 };
        let evidence = Evidence { author: &author, spf: Spf::Pass(&spf), dkim: &dkim };
        let records: Vec<(&str, &str)> = records.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let (dmarc, asked) = run(&records, &[], &evidence);
        prop_assert!(asked <= QUESTIONS_MAX);
        prop_assert!(dmarc.conclusion == Conclusion::Fail || dmarc.disposition == Policy::None);
    }
}
