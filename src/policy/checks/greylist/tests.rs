//! Who waits, for how long, and who never does.

use super::*;
use crate::{
    policy::testing::{Rig, ip, rig, stranger},
    smtp::Tick,
};

const NOW: u64 = 1_800_000_000;
const ON: &str = "[greylist]\nmode = 'on'\nscore = 0.0\nallow_after = 1";
const NO_RECORD: &[(&str, &str)] = &[("TXT a.example", "nodata"), ("TXT h.example", "nodata")];
const PASSES: &[(&str, &str)] = &[(
    "TXT a.example",
    "v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 -all",
)];

/// What somebody at this address is told at RCPT, after so many seconds.
fn asked(rig: &mut Rig, client: &str, sender: &str, dns: &[(&str, &str)], after: u64) -> String {
    let facts = Facts {
        client: ip(client),
        hello: b"h.example",
        sender: Path::split(sender.as_bytes()),
        recipient: Some(Path::split(b"amy@ours.example")),
        recipient_is_ours: true,
        now: Tick((1_000 + after) * 1_000_000),
        unix_seconds: NOW + after,
        ..stranger()
    };
    let told = rig.judge_with(&facts, dns);
    assert_eq!(told, "accept");
    let inquiry = std::mem::take(&mut rig.inquiry);
    let facts = Facts {
        inquiry: Some(&inquiry),
        ..facts
    };
    let told = rig.ask(At::Rcpt, &facts);
    rig.inquiry = inquiry;
    told
}

#[test]
fn the_first_time_waits_and_the_second_passes() {
    let mut rig = rig(ON);
    let told = asked(&mut rig, "192.0.2.7", "b@a.example", NO_RECORD, 0);
    assert!(told.starts_with("defer 451 4.7.1 "), "{told}");
    assert_eq!(rig.hits(), "greylist defer(192.0.2.0/24 is new, 5m)");
    let told = asked(&mut rig, "192.0.2.9", "b@a.example", NO_RECORD, 100);
    assert!(told.starts_with("defer 451"), "{told}");
    assert_eq!(rig.hits(), "greylist defer(192.0.2.0/24 waits, 3m20s left)");
    // From another address of the network, with another extension and number.
    let told = asked(&mut rig, "192.0.2.9", "B+x@A.example", NO_RECORD, 301);
    assert_eq!(told, "accept");
    assert_eq!(
        rig.hits(),
        "greylist accept(192.0.2.0/24 has come again after 5m1s)"
    );
    let told = asked(&mut rig, "192.0.2.9", "c@a.example", NO_RECORD, 400);
    assert_eq!(told, "accept", "one success allows it here");
    let told = asked(&mut rig, "192.0.3.9", "c@a.example", NO_RECORD, 400);
    assert!(told.starts_with("defer"), "another network");
}

#[test]
fn a_domain_that_answers_for_its_servers_stands_for_all_of_them() {
    let mut rig = rig(ON);
    let told = asked(&mut rig, "192.0.2.7", "b@a.example", PASSES, 0);
    assert!(told.starts_with("defer"), "{told}");
    assert_eq!(rig.hits(), "greylist defer(a.example is new, 5m)");
    let told = asked(&mut rig, "198.51.100.1", "b@a.example", PASSES, 300);
    assert_eq!(told, "accept");
}

#[test]
fn only_what_has_a_score_waits() {
    let mut rig = rig("[greylist]\nmode = 'on'\nscore = 3.0\n[spf]\nsoftfail = 2.0\nfail = 3.0");
    for (record, told) in [
        ("v=spf1 -all", "defer"),
        ("v=spf1 ~all", "accept"),
        ("v=spf1 +all", "accept"),
    ] {
        let sender = format!("{told}@a.example");
        let said = asked(
            &mut rig,
            "192.0.2.7",
            &sender,
            &[("TXT a.example", record)],
            0,
        );
        assert!(said.starts_with(told), "{record}: {said}");
    }
}

#[test]
fn who_is_known_never_waits() {
    let mut rig = rig(&format!(
        "client_list = [{{ name = 'good', entries = ['203.0.113.0/24'], then = 'accept' }}]\n{ON}"
    ));
    let told = asked(&mut rig, "203.0.113.1", "b@a.example", NO_RECORD, 0);
    assert_eq!(
        (told.as_str(), rig.hits().as_str()),
        ("accept", "client_list.good accept")
    );
    rig.shared
        .wrote_to([Path::split(b"Bob@A.example")].into_iter(), NOW);
    let told = asked(&mut rig, "192.0.2.7", "bob@a.example", NO_RECORD, 10);
    assert_eq!(told, "accept", "our user has written to him");
    let denied = [("TXT a.example", "v=spf1 -all")];
    let told = asked(&mut rig, "192.0.2.7", "bob@a.example", &denied, 10);
    assert!(told.starts_with("defer"), "that may be anybody: {told}");
    for (trusted, authenticated) in [(true, None), (false, Some("amy"))] {
        let facts = Facts {
            trusted,
            authenticated,
            recipient: Some(Path::split(b"amy@ours.example")),
            recipient_is_ours: true,
            ..stranger()
        };
        assert_eq!(rig.ask(At::Rcpt, &facts), "accept");
    }
}

#[test]
fn a_list_that_lets_in_lets_in_here() {
    let mut rig = rig(&format!(
        "dnsbl = [{{ zone = 'wl.example', score = -5.0, requires = ['spf'], of = ['sender'], test_entries = false }}]\n{}",
        ON.replace("score = 0.0", "score = -10.0")
    ));
    let listed = |spf: &'static str| {
        [
            ("TXT a.example", spf),
            ("A a.example.wl.example", "127.0.0.2"),
        ]
    };
    let told = asked(
        &mut rig,
        "192.0.2.7",
        "b@a.example",
        &listed("v=spf1 ?all"),
        0,
    );
    assert!(told.starts_with("defer"), "nothing is proven: {told}");
    let told = asked(
        &mut rig,
        "192.0.2.7",
        "b@a.example",
        &listed("v=spf1 +all"),
        0,
    );
    assert_eq!(told, "accept");
}

#[test]
fn in_shadow_it_only_remembers() {
    let mut rig = rig(&ON.replace("'on'", "'shadow'"));
    let told = asked(&mut rig, "192.0.2.7", "b@a.example", NO_RECORD, 0);
    assert_eq!(told, "accept");
    assert_eq!(rig.hits(), "[greylist defer(192.0.2.0/24 is new, 5m)]");
}

#[test]
fn what_differs_from_message_to_message_is_left_out() {
    let of = |address: &str| String::from_utf8(sender(Path::split(address.as_bytes())));
    for (address, kept) in [
        (
            "bounce-12345-amy=ours.example@l.example",
            "bounce-#-amy=ours.example",
        ),
        ("prvs=0123abcdef=bob@a.example", "bob"),
        ("Bob+news@a.example", "bob"),
        ("2024@a.example", "#"),
        ("+x@a.example", "+x"),
        ("user7@a.example", "user7"),
        ("", ""),
    ] {
        assert_eq!(of(address).as_deref(), Ok(kept), "{address}");
    }
}

#[test]
fn networks_are_shown_as_they_are_counted() {
    for (client, shown) in [
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ] {
        assert_eq!(network(ip(client)).1, shown);
    }
}

#[test]
fn a_network_is_one_however_many_domains_and_subnets_it_has() {
    let of_one_host = |at: usize| ("192.0.2.7".into(), format!("b@d{at}.example"));
    let of_one_site = |at: usize| {
        let (subnet, sender) = (at % 256, at / 256);
        (
            format!("2001:db8:1:{subnet:x}::1"),
            format!("{}@a.example", ["b", "c", "d", "e"][sender]),
        )
    };
    for record in ["v=spf1 +all", "nodata"] {
        let of = |at: usize| match record {
            "nodata" => of_one_site(at),
            _ => of_one_host(at),
        };
        let mut rig = rig(ON);
        let mut hits = |at: usize, after: u64| {
            let (client, sender) = of(at);
            let name = format!("TXT {}", sender.split_once('@').expect("a domain").1);
            let dns = [(name.as_str(), record), ("TXT h.example", "nodata")];
            let told = asked(&mut rig, &client, &sender, &dns, after);
            assert!(told.starts_with("defer"), "{client} {sender}: {told}");
            rig.hits()
        };
        for at in 0..=1_000 {
            assert!(hits(at, 0).contains("is new"), "{record} {at}");
        }
        let (first, last) = (hits(0, 1), hits(1_000, 1));
        assert!(first.contains("waits"), "{first}");
        // It is not remembered, and so is new each time.
        assert!(last.contains("is new"), "{last}");
    }
}
