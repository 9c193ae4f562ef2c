//! Clients and names against lists, decent ones and hostile ones.

use super::*;
use crate::dns::Unknown;
use crate::policy::dns::{
    secret::ZoneName,
    testing::*,
    zone::{Families, Proofs},
};
use proptest::prelude::*;

fn names_zone(roles: &[Role]) -> Arc<Zone> {
    Arc::new(Zone {
        kind: Kind::Names(roles.iter().fold(Roles::NONE, |all, role| all.with(*role))),
        ..zone("rhs.example", &[(&[], 2.0)])
    })
}

/// The outcome and the codes, for one client.
fn client(zone: &Arc<Zone>, client: &str, lines: &[(&str, &str)]) -> (Outcome, String) {
    let lookup = Lookup::of_client(zone.clone(), ip(client));
    let (listing, _) = run(|answers| lookup.step(answers), dns(lines));
    let codes: Vec<_> = listing.codes.iter().map(Ipv4Addr::to_string).collect();
    (listing.outcome(), codes.join(","))
}

#[test]
fn what_lists_answer() {
    let zone = Arc::new(zone(
        "bl.example",
        &[(&["127.0.0.2-11"], 3.0), (&["127.0.0.4"], 2.0)],
    ));
    use Outcome::*;
    for (answer, outcome, codes) in [
        ("127.0.0.2", Listed, "127.0.0.2"),
        (
            "127.0.0.4|127.0.0.2|127.0.0.4|127.0.0.2",
            Listed,
            "127.0.0.2,127.0.0.4",
        ),
        ("127.0.0.12", NotListed, ""),
        ("127.0.0.12|127.0.0.3", Listed, "127.0.0.3"),
        ("nodata", NotListed, ""),
        ("timeout", Unknown(crate::dns::Unknown::Timeout), ""),
        ("servfail", Unknown(crate::dns::Unknown::Broken), ""),
        ("127.0.0.1", Error(ListError::Refused), ""),
        ("127.255.255.252", Error(ListError::ZoneName), ""),
        ("127.255.255.254", Error(ListError::PublicResolver), ""),
        ("127.0.0.2|127.255.255.255", Error(ListError::OverQuota), ""),
        (
            "127.0.0.2|203.0.113.9",
            Error(ListError::Outside([203, 0, 113, 9].into())),
            "",
        ),
    ] {
        let found = client(&zone, "192.0.2.7", &[("A 7.2.0.192.bl.example", answer)]);
        assert_eq!(found, (outcome, codes.to_string()), "{answer}");
    }
    assert_eq!(client(&zone, "192.0.2.7", &[]).0, NotListed);
}

#[test]
fn addresses_of_both_families() {
    let both = Arc::new(zone("bl.example", &[(&[], 1.0)]));
    let v6 = "A 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example";
    let lines = [("A 7.2.0.192.bl.example", "127.0.0.2"), (v6, "127.0.0.3")];
    assert_eq!(client(&both, "::ffff:192.0.2.7", &lines).1, "127.0.0.2");
    assert_eq!(client(&both, "2001:db8::1", &lines).1, "127.0.0.3");
    let v4 = Arc::new(Zone {
        kind: Kind::Addresses(Families {
            v4: true,
            v6: false,
        }),
        ..zone("bl.example", &[(&[], 1.0)])
    });
    let lookup = Lookup::of_client(v4, ip("2001:db8::1"));
    let (listing, asked) = run(|answers| lookup.step(answers), dns(&lines));
    assert_eq!((listing.outcome(), asked.len()), (Outcome::NotListed, 0));
}

#[test]
fn names_by_their_role() {
    let zone = names_zone(&[Role::Sender, Role::Helo]);
    let names: [(Role, &[u8]); 9] = [
        (Role::Sender, b"Spam.Example"),
        (Role::Helo, b"spam.example."),
        (Role::Rdns, b"host.spam.example"),
        (Role::Helo, b"[192.0.2.7]"),
        (Role::Helo, b"192.0.2.7"),
        (Role::Helo, b"localhost"),
        (Role::Helo, b"a b.example"),
        (Role::Sender, b""),
        (Role::Sender, &[b'a'; 300]),
    ];
    let lookup = Lookup::of_names(zone, names);
    let (listing, asked) = run(
        |answers| lookup.step(answers),
        dns(&[("A spam.example.rhs.example", "127.0.1.2")]),
    );
    assert_eq!(asked.len(), 1);
    let roles = Roles::NONE.with(Role::Sender).with(Role::Helo);
    assert_eq!(listing.entries.to_vec(), [(0, roles)]);
    // A name that fits by itself, but not with the zone.
    let long = ["a"; 125].join(".");
    let lookup = Lookup::of_names(names_zone(&[Role::Helo]), [(Role::Helo, long.as_bytes())]);
    assert!(matches!(lookup.step(&Table::default()), Step::Done(listing) if !listing.is_listed()));
}

#[test]
fn a_listing_outweighs_what_is_unknown() {
    let zone = names_zone(&[Role::Sender, Role::Helo]);
    let names: [(Role, &[u8]); 2] = [(Role::Sender, b"a.example"), (Role::Helo, b"b.example")];
    let lookup = Lookup::of_names(zone, names);
    for (a, b, outcome) in [
        ("timeout", "127.0.1.2", Outcome::Listed),
        ("timeout", "nodata", Outcome::Unknown(Unknown::Timeout)),
        (
            "127.0.1.255",
            "timeout",
            Outcome::Error(ListError::AddressAsked),
        ),
        ("127.0.1.255", "127.0.1.2", Outcome::Listed),
    ] {
        let lines = [
            ("A a.example.rhs.example", a),
            ("A b.example.rhs.example", b),
        ];
        let (listing, _) = run(|answers| lookup.step(answers), dns(&lines));
        assert_eq!(listing.outcome(), outcome, "{a} {b}");
    }
}

#[test]
fn text_is_asked_only_where_it_is_wanted_and_listed() {
    let zone = Arc::new(zone("bl.example", &[(&[], 1.0)]));
    let lookup = Lookup::of_client(zone, ip("192.0.2.7"));
    let wanting = lookup.clone().with_text();
    let long = "x".repeat(70_000);
    let kept = "x".repeat(TEXT_MAX);
    for (lookup, a, text, kept, asked) in [
        (&lookup, "127.0.0.2", "why", None, 1),
        (&wanting, "nodata", "why", None, 1),
        (&wanting, "127.0.0.1", "why", None, 1),
        (
            &wanting,
            "127.0.0.2",
            " see https://bl.example/?7 ",
            Some("see https://bl.example/?7"),
            2,
        ),
        (
            &wanting,
            "127.0.0.2",
            "a\r\n250 b\u{e9}\0",
            Some("a??250 b???"),
            2,
        ),
        (&wanting, "127.0.0.2", "   ", None, 2),
        (&wanting, "127.0.0.2", "timeout", None, 2),
        (&wanting, "127.0.0.2", "nodata", None, 2),
        (&wanting, "127.0.0.2", long.as_str(), Some(kept.as_str()), 2),
    ] {
        let lines = [
            ("A 7.2.0.192.bl.example", a),
            ("TXT 7.2.0.192.bl.example", text),
        ];
        let (listing, questions) = run(|answers| lookup.step(answers), dns(&lines));
        assert_eq!(listing.text.as_deref(), kept);
        assert_eq!(questions.len(), asked);
    }
}

#[test]
fn the_key_stays_inside() {
    let zone = Arc::new(Zone {
        name: ZoneName::new("{key}.zen.example", Some("topsecret"), Some("zen")).expect("a zone"),
        requires: Proofs::NONE,
        ..zone("x.example", &[(&[], 1.0)])
    });
    let lookup = Lookup::of_client(zone.clone(), ip("192.0.2.7")).with_text();
    let straddling = format!("{}topsecret", "x".repeat(TEXT_MAX - 4));
    for text in ["see TopSecret.zen.example", straddling.as_str()] {
        let lines = [
            ("A 7.2.0.192.topsecret.zen.example", "127.0.0.2"),
            ("TXT 7.2.0.192.topsecret.zen.example", text),
        ];
        let (listing, asked) = run(|answers| lookup.step(answers), dns(&lines));
        assert!(listing.is_listed() && listing.text.is_none());
        assert!(!format!("{listing:?} {zone:?} {asked:?}").contains("topsecret"));
    }
}

#[test]
fn hundreds_of_records_are_bounded() {
    let zone = Arc::new(zone("bl.example", &[(&[], 1.0)]));
    let lookup = Lookup::of_client(zone, ip("192.0.2.7"));
    let records: Vec<Record> = (0..5_000u32)
        .map(|n| Record::A(Ipv4Addr::from_bits(0x7f00_0002 + n)))
        .collect();
    let (listing, _) = run(
        |answers| lookup.step(answers),
        |_| Answer::Found(records.clone().into()),
    );
    assert_eq!(
        (listing.codes.len(), listing.has_more_codes),
        (CODES_MAX, true)
    );
    assert_eq!(listing.entries.len(), 1);
}

proptest! {
    #[test]
    fn any_answers_end_it(
        subjects in prop::collection::vec("[a-z.]{0,12}|\\PC{0,300}", 0..20),
        answers in prop::collection::vec(any_answer(), 1..12),
    ) {
        let zone = names_zone(&[Role::Sender, Role::Rdns]);
        let names = subjects.iter().map(|name| (Role::Rdns, name.as_bytes()));
        let lookup = Lookup::of_names(zone, names).with_text();
        let mut next = answers.iter().cycle();
        let (listing, asked) = run(
            |answers| lookup.step(answers),
            |_| next.next().cloned().unwrap_or(Answer::NoName),
        );
        prop_assert!(asked.len() <= QUESTIONS_MAX);
        let mut next = answers.iter().cycle();
        let turned = |_: &Question| next.next().map_or(Answer::NoName, turned);
        let (other, _) = run(|answers| lookup.step(answers), turned);
        prop_assert_eq!(&other, &listing);
        prop_assert!(listing.codes.len() <= CODES_MAX);
        prop_assert!(listing.codes.iter().all(|code| ListError::of(*code).is_none()));
        prop_assert!(listing.text.is_none_or(|text| text.len() <= TEXT_MAX
            && text.bytes().all(|octet| (b' '..=b'~').contains(&octet))));
    }
}
