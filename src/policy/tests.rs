//! What the points of a session do together.

use super::{testing::*, *};
use crate::{config, smtp::envelope::Path};

#[test]
fn of_a_client_that_a_list_accepts_only_what_is_told_is_asked() {
    let asked = |client: &str, more: &str| {
        let rig = &mut rig(&format!(
            "rdns.none = 1.0
            helo_domain.no_name = 1.0
            sender_domain.no_name = 1.0
            spf.fail = 'reject'
            dnsbl = [{{ zone = 'bl.example' }}]
            client_list = [{{ name = 'good', entries = ['8.8.8.8'], then = 'accept' }}]
            {more}"
        ));
        let facts = Facts {
            client: ip(client),
            hello: b"mx.a.example",
            sender: Path::split(b"a@b.example"),
            ..stranger()
        };
        let mut inquiry = Inquiry::default();
        let mut need = Vec::new();
        for at in [At::Connect, At::Hello, At::Mail] {
            let _ = rig.ask(at, &facts);
            let judgement = &rig.judgement;
            rig.policy
                .begin_inquiry(at, &facts, judgement, &mut inquiry);
        }
        let table = dns::testing::Table::default();
        rig.policy
            .inquire(0, &mut inquiry, &table, facts.now, &mut need);
        let waits = |at| rig.policy.waits(0, at, &inquiry);
        assert_eq!(waits(At::Answers), client != "8.8.8.8" || !more.is_empty());
        assert!(waits(At::Header));
        need.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<&str> = need.iter().map(|question| &*question.name).collect();
        names.join(" ")
    };
    let told = "8.8.8.8.in-addr.arpa b.example";
    assert_eq!(asked("8.8.8.8", ""), told);
    let rule = "rule = [{ name = 'r', when = 'helo_domain == \"no_name\"', then = 'reject', at = 'rcpt' }]";
    assert_eq!(
        asked("8.8.8.8", rule),
        "8.8.8.8.in-addr.arpa b.example mx.a.example mx.a.example"
    );
    let of_strangers = asked("8.8.8.9", "");
    assert!(
        of_strangers.contains("9.8.8.8.bl.example"),
        "{of_strangers}"
    );
    assert!(of_strangers.contains("mx.a.example"), "{of_strangers}");
}

/// As `permit` in the access list of Postfix's postscreen: no test comes after it.
#[test]
fn a_client_that_a_list_accepts_meets_no_rule_about_lists_in_the_dns() {
    for when in [
        "dnsbl.score >= 3.0",
        "dnsbl_hits > 0",
        "dnsbl_hits == 0",
        "has(dnsbl.zone)",
        "dnsbl.zones.size() < 9",
    ] {
        for at in ["connect", "rcpt"] {
            let told = |client: &str| {
                let mut rig = rig(&format!(
                    "dnsbl = [{{ zone = 'bl.example', score = 3.0 }}]
                    client_list = [{{ name = 'good', entries = ['8.8.8.8'], then = 'accept' }}]
                    rule = [{{ name = 'r', when = '{when}', then = 'close', at = '{at}' }}]"
                ));
                let facts = Facts {
                    client: ip(client),
                    ..stranger()
                };
                let _ = rig.ask(At::Connect, &facts);
                let listed = ["8", "9"].map(|last| format!("A {last}.8.8.8.bl.example"));
                let lines = listed.each_ref().map(|name| (&**name, "127.0.0.2"));
                let lines = match when {
                    "dnsbl_hits == 0" => &[][..],
                    _ => &lines,
                };
                let told = rig.judge_with(&facts, lines);
                let points = [At::Greeting, At::Answers].into_iter();
                let mut waits = points.map(|at| rig.policy.waits(0, at, &rig.inquiry));
                (told, waits.any(|waits| waits))
            };
            assert_eq!(told("8.8.8.8"), ("accept".into(), false), "{when} at {at}");
            let (closed, waits) = told("8.8.8.9");
            assert!(
                closed.starts_with("close") && waits,
                "{when} at {at}: {closed}"
            );
        }
    }
}

#[test]
fn at_mail_what_needs_no_answer_is_judged_first() {
    let mut rig = rig("spf.fail = 'reject'
        spf.at = 'mail'
        sender_rate.messages = 1
        rule = [{ name = 'r', when = 'score > 100.0', score = 1.0, at = 'mail' }]");
    let facts = Facts {
        sender: Path::split(b"a@b.example"),
        ..stranger()
    };
    let (policy, shared, judgement) = (&rig.policy, &rig.shared, &mut rig.judgement);
    assert!(policy.judges_answers(0, At::Mail) && !policy.judges_answers(0, At::Hello));
    let mut part = |part| policy.ask_part(part, At::Mail, &facts, shared, judgement);
    assert!(part(Part::Unasked).is_accept());
    assert!(part(Part::Asked).is_accept(), "it is charged once");
    assert!(!part(Part::Unasked).is_accept());
}

#[test]
fn the_default_policy_lets_a_decent_message_pass() {
    let mut rig =
        rig("helo.ours.mode = 'on'\nclient_rate.sessions = 100\nprefix_rate.sessions = 500");
    let names: Vec<_> = rig
        .policy
        .checks()
        .iter()
        .map(|check| &*check.name)
        .collect();
    assert_eq!(
        names,
        [
            "identity.sender",
            "header_size",
            "loop",
            "identity.from",
            "early_talk",
            "client_rate",
            "prefix_rate",
            "helo.unqualified",
            "helo.address",
            "helo.ours",
            "relay",
            "reject_score"
        ]
    );
    assert_eq!(rig.connect("192.0.2.7"), "accept");
    assert_eq!(rig.hello("mail.client.example"), "accept");
    assert_eq!(rig.mail("a@client.example"), "accept");
    assert_eq!(rig.rcpt("b@ours.example"), "accept");
    assert_eq!(rig.body("Subject: hello\r\n"), "accept");
    assert_eq!((rig.hits(), rig.judgement.score()), (String::new(), 0.0));
}

#[test]
fn scores_of_all_points_decide_at_the_body() {
    let mut rig = rig("
        reject_score = 6.0
        defer_score = 4.0
        client_list = [{ name = 'c', entries = ['192.0.2.7'], then = 'score', score = 1.5 }]
        helo.unqualified = { then = 'score', score = 1.5 }
        sender_list = [{ name = 's', entries = ['s.example'], then = 'score', score = 1.0 }]
        recipient_list = [{ name = 'r', entries = ['r.example'], then = 'score', score = 2.0 }]");
    rig.connect("192.0.2.7");
    rig.hello("me");
    assert_eq!(rig.mail("a@s.example"), "accept");
    assert!(rig.body("").starts_with("defer 451 4.7.1"));
    assert_eq!(rig.mail("a@s.example"), "accept");
    assert_eq!(rig.rcpt("a@r.example"), "accept");
    assert!(rig.body("").starts_with("reject 550 5.7.1"));
    assert_eq!(rig.judgement.score(), 6.0);
    assert_eq!(rig.judgement.fresh().len(), 1);
    assert_eq!(rig.mail("a@b.example"), "accept");
    assert_eq!(rig.body(""), "accept");
    assert_eq!(rig.judgement.score(), 3.0);
}

#[test]
fn what_a_refused_recipient_scored_is_taken_back() {
    let mut rig = rig("
        [[recipient_list]]
        name = 'r'
        entries = ['.example']
        then = 'score'
        score = 2.0
        [[recipient_list]]
        name = 'no'
        entries = ['no.example']");
    assert_eq!(rig.rcpt("a@yes.example"), "accept");
    assert!(rig.rcpt("a@no.example").starts_with("reject"));
    assert_eq!(rig.judgement.score(), 2.0);
    assert_eq!(rig.judgement.hits().len(), 3);
}

/// A client at 192.0.2.7 on a listener that offers AUTH.
fn may_log_in(hello: &'static str) -> Facts<'static> {
    Facts {
        may_log_in: true,
        hello: hello.as_bytes(),
        ..stranger()
    }
}

const FOR_STRANGERS: &str = "
    reject_score = 6.0
    client_list = [
        { name = 'grey', entries = ['192.0.2.0/24'], then = 'score', score = 5.0 },
        { name = 'bad', entries = ['192.0.2.7'] },
    ]
    [helo.unqualified]
    then = 'reject'
    [helo.address]
    then = 'score'
    score = 3.0";

#[test]
fn a_client_that_logs_in_is_not_refused_as_a_stranger() {
    let mut rig = rig(FOR_STRANGERS);
    for hello in ["DESKTOP-1", "[192.168.1.5]"] {
        let stranger = may_log_in(hello);
        assert_eq!(rig.ask(At::Connect, &stranger), "accept");
        assert_eq!(rig.hits(), "client_list.grey score, client_list.bad reject");
        assert_eq!(rig.ask(At::Hello, &stranger), "accept");
        let known = Facts {
            authenticated: Some("amy"),
            ..stranger
        };
        for at in [At::Mail, At::Rcpt, At::Header, At::Body] {
            assert_eq!(rig.ask(at, &known), "accept", "{hello}");
        }
        assert_eq!((rig.hits(), rig.judgement.score()), (String::new(), 0.0));
    }
}

#[test]
fn one_that_does_not_is_refused_at_mail() {
    let mut rig = rig(FOR_STRANGERS);
    let listed = may_log_in("mail.client.example");
    assert_eq!(rig.ask(At::Connect, &listed), "accept");
    assert_eq!(rig.ask(At::Hello, &listed), "accept");
    for _ in 0..2 {
        assert!(
            rig.ask(At::Mail, &listed)
                .starts_with("reject 554 5.7.1 Your")
        );
    }
    let elsewhere = Facts {
        client: ip("198.51.100.1"),
        ..may_log_in("DESKTOP-1")
    };
    assert_eq!(rig.ask(At::Connect, &elsewhere), "accept");
    assert_eq!(rig.ask(At::Hello, &elsewhere), "accept");
    for _ in 0..2 {
        assert!(
            rig.ask(At::Mail, &elsewhere)
                .starts_with("reject 550 5.7.1 The name")
        );
        assert_eq!(rig.hits(), "helo.unqualified reject");
    }
    let literal = Facts {
        hello: b"[192.168.1.5]",
        ..elsewhere
    };
    assert_eq!(rig.ask(At::Hello, &literal), "accept");
    for _ in 0..2 {
        assert_eq!(rig.ask(At::Mail, &literal), "accept");
        assert_eq!(rig.hits(), "helo.address score(literal)");
        assert_eq!(rig.judgement.score(), 3.0);
    }
    let mut closing =
        self::rig("client_list = [{ name = 'c', entries = ['192.0.2.7'], then = 'close' }]");
    assert!(
        closing
            .ask(At::Connect, &may_log_in("x"))
            .starts_with("close")
    );
}

#[test]
fn each_listener_has_its_policy() {
    let plain = config(
        "client_list = [{ name = 'bad', entries = ['192.0.2.7'] }]\nhelo.ours.then = 'reject'",
    );
    let mut other = plain.clone();
    other.helo.ours.mode = config::Mode::Shadow;
    other.client_list.clear();
    let policies = [plain.clone(), other, plain];
    let mut rig = rig("");
    rig.policy =
        Policy::build_all(&policies, 1, "mx.example.net").unwrap_or_else(|f| panic!("{f:?}"));
    assert_eq!(rig.policy.profiles.len(), 2);
    let names: Vec<_> = rig
        .policy
        .checks()
        .iter()
        .map(|check| &*check.name)
        .collect();
    let ours = names.iter().filter(|name| **name == "helo.ours").count();
    assert_eq!(ours, 1, "one name has one id: {names:?}");
    let mut asked = |profile, at| {
        let facts = Facts {
            profile,
            hello: b"mx.example.net",
            ..stranger()
        };
        (rig.ask(at, &facts), rig.hits())
    };
    for profile in [0, 2] {
        assert!(asked(profile, At::Connect).0.starts_with("reject 554"));
        assert!(asked(profile, At::Hello).0.starts_with("reject 550"));
    }
    assert_eq!(asked(1, At::Connect), ("accept".into(), String::new()));
    assert_eq!(
        asked(1, At::Hello),
        ("accept".into(), "[helo.ours reject]".into())
    );
}

#[test]
fn what_a_route_wants_to_know_is_asked_before_it_is_known() {
    let plain = config(
        "spf.mode = 'off'\nrdns.mode = 'off'\ndkim.mode = 'off'\ndmarc.mode = 'off'\narc.mode = 'off'",
    );
    let mut routed = plain.clone();
    routed.spf.mode = config::Mode::On;
    routed.spf.fail = config::Effect::Reject;
    let policies = [plain.clone(), routed, plain.clone(), plain];
    let policy =
        Policy::build_all(&policies, 2, "mx.example.net").unwrap_or_else(|f| panic!("{f:?}"));
    let inquires = |place| policy.inquires(place, ip("203.0.113.9"));
    assert!(inquires(0) && inquires(1), "the route is not known yet");
    let waits = |place| policy.waits(place, At::Answers, &Inquiry::default());
    assert!(!waits(0) && waits(1));
    assert!(!inquires(2), "no route of this listener wants it");
}

#[test]
fn a_list_of_a_check_shares_the_entries_of_a_named_one() {
    let mut rig = rig("
        list = [{ name = 'bad', entries = ['192.0.2.7', 'bad.example', 'x@y.example'] }]
        client_list = [{ name = 'c', list = 'bad', then = 'score', score = 1.0 }]
        helo_list = [{ name = 'h', list = 'bad', entries = ['own.example'] }]
        sender_list = [{ name = 's', list = 'bad' }]
        recipient_list = [{ name = 'r', list = 'bad' }]");
    assert_eq!(rig.connect("192.0.2.7"), "accept");
    assert_eq!(rig.hits(), "client_list.c score");
    assert_eq!(rig.connect("192.0.2.8"), "accept");
    assert_eq!(rig.hits(), "");
    assert!(rig.hello("bad.example").starts_with("reject"));
    assert!(rig.hello("own.example").starts_with("reject"));
    assert_eq!(rig.hello("good.example"), "accept");
    assert!(rig.mail("a@bad.example").starts_with("reject"));
    assert!(rig.mail("x@y.example").starts_with("reject"));
    assert_eq!(rig.mail("z@y.example"), "accept");
    assert!(rig.rcpt("x@y.example").starts_with("reject"));
    let told = faults("sender_list = [{ name = 's', list = 'gone' }]");
    assert!(told[0].contains("there is no list \"gone\""), "{told:?}");
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let mut config = config::Policy {
        reject_score: f64::NAN,
        defer_score: -1.0,
        ..Default::default()
    };
    config.early_talk.score = f64::INFINITY;
    let faults = Policy::build(&config, "mx").err().expect("three mistakes");
    assert_eq!(faults.len(), 3, "{faults:?}");
}

#[test]
fn a_hit_is_timed_by_the_clock_that_is_given() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NOW: AtomicU64 = AtomicU64::new(17);
    let mut rig = rig("client_list = [{ name = 'c', entries = ['192.0.2.7'], mode = 'shadow' }]");
    let facts = Facts {
        now: Tick(10),
        clock: || Tick(NOW.fetch_add(7, Relaxed)),
        ..stranger()
    };
    assert_eq!(rig.ask(At::Connect, &facts), "accept");
    assert_eq!(rig.judgement.hits()[0].micros, 7);
}

proptest::proptest! {
    #[test]
    fn no_octets_make_it_panic(
        hello in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
        path in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
        header in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
    ) {
        let mut rig = rig("
            helo_list = [{ name = 'a', entries = ['.x', 'y', '/z/'], then = 'accept' }]
            sender_list = [{ name = 'b', entries = ['.x', 'y', 'a@z', '/z/', '<>'] }]
            recipient_list = [{ name = 'c', entries = ['.x', 'y', 'a@z', '/z/', '<>'] }]
            header = [{ name = 'd', field = 'S', pattern = '.+' }, { name = 'e', field = 'E', when = 'absent' }]
            helo.ours.mode = 'on'
            sender_rate.messages = 5");
        let path = Path::split(&path);
        let facts = Facts {
            hello: &hello, sender: path, recipient: Some(path), recipient_is_ours: true, header: &header, ..stranger()
        };
        for at in [At::Connect, At::Hello, At::Mail, At::Rcpt, At::Body] {
            rig.ask(at, &facts);
        }
    }
}

#[test]
fn replies_fit_their_codes() {
    for known in replies::ALL {
        assert_eq!(
            known.code / 100,
            u16::from(known.status.0),
            "{}",
            known.text
        );
        assert!(!known.cause.is_empty() && !known.advice.is_empty());
    }
}

#[test]
fn without_facts_the_verdict_is_the_same() {
    let said = |policy: &str, before: f64, at: At, breaches: Breaches, streams: bool| {
        let mut rig = rig(policy);
        let hello = match before > 0.0 {
            true => "localhost",
            false => "mx.a.example",
        };
        assert_eq!(rig.hello(hello), "accept");
        let nothing = rig
            .policy
            .ask_nothing(at, 0, breaches, streams, &mut rig.judgement);
        let facts = Facts {
            breaches,
            streams,
            ..stranger()
        };
        let asked = rig.policy.ask(at, &facts, &rig.shared, &mut rig.judgement);
        nothing.map(|nothing| {
            assert_eq!(nothing, asked);
            nothing.is_accept()
        })
    };
    let hops = Breaches {
        hops: true,
        ..Breaches::NONE
    };
    let scores = "helo.unqualified = { then = 'score', score = 2.0 }\n";
    let tags = format!("{scores}tag_score = 1.0");
    let quiet = "early_talk = { mode = 'off' }\n";
    for (policy, before, at, breaches, streams, expected) in [
        (quiet, 0.0, At::Header, Breaches::NONE, false, Some(true)),
        (quiet, 0.0, At::Header, hops, false, None),
        (quiet, 0.0, At::Mail, Breaches::NONE, false, None),
        (quiet, 0.0, At::Body, Breaches::NONE, false, Some(true)),
        (scores, 2.0, At::Header, Breaches::NONE, true, Some(true)),
        (&tags, 2.0, At::Header, Breaches::NONE, false, Some(true)),
        (&tags, 2.0, At::Header, Breaches::NONE, true, None),
        (&tags, 0.0, At::Header, Breaches::NONE, true, Some(true)),
    ] {
        let got = said(policy, before, at, breaches, streams);
        assert_eq!(got, expected, "{policy} {at:?} {breaches:?} {streams}");
    }
    let rule = "header = [{ name = 'x', field = 'X', when = 'present', then = 'reject' }]";
    let got = said(rule, 0.0, At::Header, Breaches::NONE, false);
    assert_eq!(got, None, "a check looks");
}
