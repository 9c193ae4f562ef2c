//! The format of a report, and what is told of a message.

use super::collecting::{BEGIN, DAY, seen, settings};
use crate::{
    policy::{
        authentication::{
            dkim::{Dkim, Reason, SignatureResult},
            dmarc::{Conclusion, Dmarc, Policy, PolicyTag, Record},
        },
        spf::{Identity, ResultCode, SpfResult},
    },
    reports::{
        seen::{Found, Seen},
        table::Table,
        xml::{self, Period},
    },
};
use std::path::Path;

fn signature(domain: &str, reason: Reason) -> SignatureResult {
    SignatureResult::of(domain, "s1", reason)
}

fn dmarc(conclusion: Conclusion, requested: Policy, testing: bool) -> Dmarc {
    let record = Record {
        policy: Some(requested),
        testing,
        aggregate_uris: vec!["mailto:r@example.com".into()],
        ..Record::default()
    };
    Dmarc {
        conclusion,
        author: "news.example.com".into(),
        organizational: "example.com".into(),
        record: Some(("example.com".into(), record)),
        requested: Some((requested, PolicyTag::Domain)),
        disposition: match testing {
            true => requested.in_test(),
            false => requested,
        },
        spf_aligned: false,
        dkim_aligned: conclusion == Conclusion::Pass,
    }
}

fn found<'a>(dmarc: &'a Dmarc, applied: Policy) -> Found<'a> {
    Found {
        client: "::ffff:192.0.2.1".parse().expect("an address"),
        sender: b"Bounces.Example.ORG",
        dmarc,
        dkim: None,
        spf: None,
        applied,
        vouched: false,
    }
}

/// Whether DMARC passes, what is asked for, whether only for a test, what was done, whether a forwarder vouches; and the row's
/// disposition and reason.
type Case = (
    Conclusion,
    Policy,
    bool,
    Policy,
    bool,
    (&'static str, Option<&'static str>),
);

const CASES: &[Case] = &[
    (
        Conclusion::Pass,
        Policy::Reject,
        false,
        Policy::None,
        false,
        ("pass", None),
    ),
    (
        Conclusion::Pass,
        Policy::None,
        false,
        Policy::None,
        false,
        ("none", None),
    ),
    (
        Conclusion::Fail,
        Policy::None,
        false,
        Policy::None,
        false,
        ("none", None),
    ),
    (
        Conclusion::Fail,
        Policy::Reject,
        false,
        Policy::Reject,
        false,
        ("reject", None),
    ),
    (
        Conclusion::Fail,
        Policy::Reject,
        false,
        Policy::None,
        false,
        ("none", Some("local_policy")),
    ),
    (
        Conclusion::Fail,
        Policy::Reject,
        false,
        Policy::None,
        true,
        ("none", Some("trusted_forwarder")),
    ),
    (
        Conclusion::Fail,
        Policy::Quarantine,
        false,
        Policy::Reject,
        false,
        ("reject", Some("local_policy")),
    ),
    (
        Conclusion::Fail,
        Policy::None,
        false,
        Policy::Reject,
        false,
        ("reject", Some("local_policy")),
    ),
    (
        Conclusion::Fail,
        Policy::Quarantine,
        true,
        Policy::None,
        false,
        ("none", Some("policy_test_mode")),
    ),
    (
        Conclusion::Fail,
        Policy::Reject,
        true,
        Policy::Quarantine,
        false,
        ("quarantine", Some("policy_test_mode")),
    ),
];

#[test]
fn the_disposition_is_what_was_done_and_says_why_where_that_is_not_what_was_asked_for() {
    for (conclusion, requested, testing, applied, vouched, expected) in CASES.iter().copied() {
        let dmarc = dmarc(conclusion, requested, testing);
        let found = Found {
            vouched,
            ..found(&dmarc, applied)
        };
        let row = Seen::of(&found).expect("it is told").row;
        assert_eq!(
            (&*row.disposition, row.reason.as_deref()),
            expected,
            "{conclusion:?} {requested:?} {testing} {applied:?} {vouched}"
        );
        assert_eq!(
            (&*row.sender, row.source.to_string()),
            ("bounces.example.org", "192.0.2.1".into())
        );
    }
}

#[test]
fn nothing_is_told_to_a_domain_that_asks_for_nothing_or_has_no_result() {
    let mut silent = dmarc(Conclusion::Fail, Policy::Reject, false);
    for conclusion in [
        Conclusion::None,
        Conclusion::TempError,
        Conclusion::PermError,
    ] {
        silent.conclusion = conclusion;
        assert_eq!(Seen::of(&found(&silent, Policy::None)), None);
    }
    silent.conclusion = Conclusion::Fail;
    if let Some((_, record)) = &mut silent.record {
        record.aggregate_uris.clear();
    }
    assert_eq!(Seen::of(&found(&silent, Policy::None)), None);
    silent.record = None;
    assert_eq!(Seen::of(&found(&silent, Policy::None)), None);
}

#[test]
fn a_report_is_as_the_rfc_has_it() {
    let dmarc = dmarc(Conclusion::Pass, Policy::Reject, false);
    let dkim = Dkim {
        signatures: vec![
            signature("other.example", Reason::BodyDiffers),
            signature("esp.example", Reason::Verified),
            signature("example.com", Reason::Verified),
            signature("news.example.com", Reason::Verified),
            signature("", Reason::Syntax),
        ],
        skipped: 0,
    };
    let spf = SpfResult {
        code: ResultCode::SoftFail,
        identity: Identity::MailFrom,
        sender: "a@bounces.example.org".into(),
        domain: "bounces.example.org".into(),
        mechanism: None,
        explanation: None,
        problem: None,
        lookups: 0,
        void_lookups: 0,
    };
    let mut told = Seen::of(&Found {
        dkim: Some(&dkim),
        spf: Some(&spf),
        ..found(&dmarc, Policy::None)
    })
    .expect("it is told");
    // A name of a stranger's that is none.
    told.row.signatures[3].selector = "<a>&\u{1}]]>".into();
    let mut table = Table::default();
    assert!(table.add(told, 2));
    let settings = settings(Path::new("/nowhere"));
    let period = Period {
        id: "0123456789abcdef",
        begin: BEGIN,
        end: BEGIN + DAY - 1,
    };
    let report = table.report("example.com").expect("there");
    let text = xml::write(&settings, period, report);
    let expected = include_str!("../../../tests/data/dmarc/report.xml")
        .replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(text, expected);

    // Whatever the order in which they came, the file is the same.
    let sources = ["192.0.2.9", "192.0.2.10", "2001:db8::9"];
    let written = |sources: &mut dyn Iterator<Item = &&str>| {
        let mut table = Table::default();
        sources.for_each(|source| assert!(table.add(seen("a.example", source), 1)));
        xml::write(&settings, period, table.report("a.example").expect("there"))
    };
    assert_eq!(
        written(&mut sources.iter()),
        written(&mut sources.iter().rev())
    );
}
