//! Records that are meant to hurt, and random ones.

use super::super::testing::{Zone, run};
use super::super::*;
use crate::dns::{Answer, Question, Record, RecordType, Unknown};
use proptest::prelude::*;
use std::net::IpAddr;

#[test]
fn a_loop_of_includes_ends() {
    let mut zone = Zone::default();
    zone.txt("b.example", "v=spf1 include:c.example -all");
    zone.txt("c.example", "v=spf1 include:b.example redirect=c.example");
    let run = zone.check();
    let result = run.result;
    // The answers are forgotten, so the same two are asked for again, but not without end.
    assert_eq!(run.asked.len(), 11);
    assert_eq!((result.code, result.lookups), (ResultCode::PermError, 10));
    assert_eq!(
        result.problem.as_deref(),
        Some("more than 10 terms ask the DNS")
    );
}

#[test]
fn a_record_of_10_000_octets_is_refused_and_one_of_8_000_is_not() {
    for (octets, code) in [(10_000, ResultCode::PermError), (8_000, ResultCode::Fail)] {
        let mut zone = Zone::default();
        let terms = "ip4:1.1.1.1 ".repeat(octets / 12);
        zone.txt("b.example", &format!("v=spf1 {terms}-all"));
        let result = zone.check().result;
        assert_eq!((result.code, result.lookups), (code, 0));
    }
}

#[test]
fn macros_that_explode_are_cut() {
    let mut zone = Zone::default();
    let macros = "%{S}".repeat(2_000);
    zone.txt(
        "b.example",
        &format!("v=spf1 exists:{macros} -all exp=e.example"),
    );
    zone.txt("e.example", &macros);
    let run = zone.check();
    assert_eq!(run.result.code, ResultCode::Fail);
    let explanation = run.result.explanation.expect("there is one");
    assert_eq!(explanation.len(), EXPLANATION_OCTETS_MAX);
    assert!(run.asked.iter().all(|question| question.name.len() <= 253));
}

#[test]
fn a_hundred_mx_are_refused_and_ten_are_asked_for() {
    for (hosts, code, questions) in [
        (100, ResultCode::PermError, 2),
        (11, ResultCode::PermError, 2),
        (10, ResultCode::Fail, 12),
    ] {
        let mut zone = Zone::default();
        zone.txt("b.example", "v=spf1 mx -all");
        let records = (0..hosts).map(|n| Record::Mx {
            preference: n,
            exchange: format!("m{n}.b.example").into(),
        });
        zone.put("b.example", RecordType::Mx, records.collect());
        let run = zone.check();
        assert_eq!((run.result.code, run.asked.len()), (code, questions));
        assert!(run.result.void_lookups <= 1, "one term");
    }
}

#[test]
fn a_host_that_matches_outweighs_one_that_is_not_known() {
    let mut zone = Zone::default();
    zone.txt("b.example", "v=spf1 mx -all");
    let host = |exchange: &str| Record::Mx {
        preference: 0,
        exchange: exchange.into(),
    };
    let hosts = vec![host("m1.example"), host(""), host("m2.example")];
    zone.put("b.example", RecordType::Mx, hosts);
    zone.fail("m1.example", RecordType::A, Unknown::Timeout);
    zone.fail("m2.example", RecordType::A, Unknown::Timeout);
    let result = zone.check().result;
    assert_eq!(result.code, ResultCode::TempError);
    zone.a("m1.example", "192.0.2.1");
    assert_eq!(zone.check().result.code, ResultCode::Pass);
}

#[test]
fn only_the_first_names_of_the_client_count() {
    let mut zone = Zone::default();
    zone.txt("b.example", "v=spf1 ptr -all");
    let names = (0..100).map(|n| Record::Ptr(format!("p{n}.b.example").into()));
    zone.put("1.2.0.192.in-addr.arpa", RecordType::Ptr, names.collect());
    zone.a("p10.b.example", "192.0.2.1");
    let run = zone.check();
    assert_eq!((run.result.code, run.asked.len()), (ResultCode::Fail, 12));
    zone.a("p9.b.example", "192.0.2.1");
    assert_eq!(zone.check().result.code, ResultCode::Pass);
    zone.fail("1.2.0.192.in-addr.arpa", RecordType::Ptr, Unknown::Timeout);
    let result = zone.check().result;
    assert_eq!((result.code, result.void_lookups), (ResultCode::Fail, 0));
}

#[test]
fn the_most_questions_are_within_the_bound() {
    let mut zone = Zone::default();
    let terms: String = (0..10)
        .map(|n| format!("mx:{n}.%{{p}}.c.example "))
        .collect();
    zone.txt("b.example", &format!("v=spf1 {terms}-all exp=e.example"));
    let names = (0..10).map(|n| Record::Ptr(format!("p{n}.example").into()));
    zone.put("1.2.0.192.in-addr.arpa", RecordType::Ptr, names.collect());
    for n in 0..10 {
        let hosts = (0..10).map(|host| Record::Mx {
            preference: 0,
            exchange: format!("m{host}.d{n}.example").into(),
        });
        let name = format!("{n}.unknown.c.example");
        zone.put(&name, RecordType::Mx, hosts.collect());
        zone.a(&format!("m0.d{n}.example"), "1.1.1.1");
    }
    let run = zone.check();
    assert_eq!(run.result.code, ResultCode::Fail);
    assert_eq!(run.asked.len(), QUESTIONS_MAX);
}

#[test]
fn what_a_result_says() {
    let mut zone = Zone::default();
    zone.txt("b.example", "v=spf1 include:c.example ~all");
    zone.txt("c.example", "v=spf1 a:x.example ip4:192.0.2.0/24 -all");
    let result = zone.check().result;
    assert_eq!(result.mechanism.as_deref(), Some("include:c.example"));
    assert_eq!((result.lookups, result.void_lookups), (2, 1));
    assert_eq!(
        (&*result.sender, &*result.domain),
        ("a@b.example", "b.example")
    );
    zone.txt("c.example", "v=spf1 moo:\u{7f}x -all");
    assert_eq!(
        zone.check().result.problem.as_deref(),
        Some("an unknown mechanism in the record of c.example: moo:?x")
    );
    zone.fail("c.example", RecordType::Txt, Unknown::Timeout);
    assert_eq!(
        zone.check().result.problem.as_deref(),
        Some("TXT records of c.example: no answer in time")
    );
    zone.txt("b.example", "v=spf1 redirect=%{l}");
    assert_eq!(
        zone.check().result.problem.as_deref(),
        Some("no valid domain in the record of b.example: redirect=%{l}")
    );
}

/// Names that refer to each other often.
fn a_name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-d]\\.example",
        1 => "%\\{[slodipvhcrtSDP][0-9]?r?[-.+]?\\}(\\.example)?",
        1 => "[ -~]{0,20}",
    ]
}

fn a_term() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => ("[-+~?]?", "include|a|mx|ptr|exists", a_name()).prop_map(|(q, m, n)| format!("{q}{m}:{n}")),
        2 => ("redirect|exp|x", a_name()).prop_map(|(m, n)| format!("{m}={n}")),
        2 => "[-~?]?(a|mx|ptr|all)(/[0-9]{1,2})?(//[0-9]{1,3})?",
        1 => "ip4:[0-9.]{7,12}(/[0-9]{1,2})?|ip6:[0-9a-f:]{2,20}",
        1 => "\\PC{0,12}",
    ]
}

fn a_record() -> impl Strategy<Value = Record> {
    let record = prop::collection::vec(a_term(), 0..12)
        .prop_map(|terms| format!("v=spf1 {}", terms.join(" ")));
    let text = prop_oneof![6 => record, 1 => "\\PC*"];
    let name = prop_oneof![5 => "[a-d]\\.example", 1 => "[ -~]{0,40}", 1 => "\\PC{0,20}"];
    prop_oneof![
        6 => text.prop_map(|text| Record::Txt(text.into_bytes().into())),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|text| Record::Txt(text.into())),
        2 => any::<[u8; 4]>().prop_map(|octets| Record::A(octets.into())),
        2 => any::<[u8; 16]>().prop_map(|octets| Record::Aaaa(octets.into())),
        2 => name.clone().prop_map(|name| Record::Mx { preference: 1, exchange: name.into() }),
        2 => name.prop_map(|name| Record::Ptr(name.into())),
    ]
}

fn an_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        12 => prop::collection::vec(a_record(), 1..2).prop_map(|found| Answer::Found(found.into())),
        2 => prop::collection::vec(a_record(), 0..20).prop_map(|found| Answer::Found(found.into())),
        1 => Just(Answer::NoRecords),
        1 => Just(Answer::NoName),
        1 => Just(Answer::Unknown(Unknown::Broken)),
    ]
}

/// Of these answers one for each question, most often of its type.
fn choose(answers: &[Answer], question: &Question, asked: usize) -> Answer {
    let fits = |answer: &&Answer| match answer {
        Answer::Found(records) => records.iter().any(|record| {
            matches!(
                (record, question.record_type),
                (Record::Txt(_), RecordType::Txt)
                    | (Record::A(_), RecordType::A)
                    | (Record::Aaaa(_), RecordType::Aaaa)
                    | (Record::Mx { .. }, RecordType::Mx)
                    | (Record::Ptr(_), RecordType::Ptr)
            )
        }),
        _ => asked % 7 == 3,
    };
    let fitting: Vec<&Answer> = answers.iter().filter(fits).collect();
    match fitting.len() {
        0 => Answer::NoRecords,
        count => fitting[asked % count].clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// `run` also sees that a step without answers asks for the same.
    #[test]
    fn every_check_ends_within_its_bound(
        answers in prop::collection::vec(an_answer(), 1..40),
        mail_from in prop_oneof![3 => Just("a@b.example".to_string()), 1 => "\\PC{0,40}"],
        helo in prop_oneof![3 => Just("a.example".to_string()), 1 => "\\PC{0,40}"],
        client in any::<[u8; 16]>(),
        is_v4: bool,
    ) {
        let client_ip = match is_v4 {
            true => IpAddr::from([client[0], client[1], client[2], client[3]]),
            false => IpAddr::from(client),
        };
        let receiver = "mx.example".into();
        let subject = Subject {
            client_ip,
            mail_from: mail_from.as_bytes(),
            helo: helo.as_bytes(),
            receiver: &receiver,
            unix_seconds: u64::MAX,
        };
        for spf in [Spf::new(&subject), Spf::helo(&subject)] {
            let mut count = 0;
            let run = run(spf, |question| {
                count += 1;
                choose(&answers, question, count)
            });
            prop_assert!(run.asked.len() <= QUESTIONS_MAX);
            for question in &run.asked {
                prop_assert!(question.name.len() <= 253 && question.name.contains('.'));
                prop_assert!(question.name.bytes().all(|o| matches!(o, b' '..=b'~')));
                prop_assert!(!question.name.bytes().any(|o| o.is_ascii_uppercase()));
            }
            let result = run.result;
            prop_assert!(result.lookups <= LOOKUPS_MAX && result.void_lookups <= VOID_LOOKUPS_MAX);
            let texts = [&result.mechanism, &result.explanation, &result.problem];
            for text in texts.into_iter().flatten() {
                prop_assert!(text.len() <= EXPLANATION_OCTETS_MAX);
                prop_assert!(text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
            }
            let mut out = Vec::new();
            write_received_spf(&mut out, &result, &subject);
            write_method_result(&mut out, &result);
            prop_assert!(out.len() < 6000 && out.is_ascii());
            prop_assert_eq!(out.iter().filter(|octet| **octet == b'\r').count(),
                out.iter().filter(|octet| **octet == b'\n').count());
        }
    }

    #[test]
    fn any_octets_are_a_record_or_none(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = [b"v=spf1 ", &*text].concat();
        let _ = record::SpfRecord::select(&[Record::Txt(text.into())], IpAddr::from([192, 0, 2, 1]));
    }
}

#[test]
fn texts_that_are_too_large_are_an_error_that_stays() {
    for (why, code) in [
        (Unknown::TooLarge, ResultCode::PermError),
        (Unknown::Overload, ResultCode::TempError),
    ] {
        let mut zone = Zone::default();
        zone.fail("b.example", RecordType::Txt, why);
        assert_eq!(zone.check().result.code, code);
    }
}
