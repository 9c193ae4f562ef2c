//! Rules as a session meets them.

use crate::{
    policy::{At, Facts, Policy, Shared, What, testing::*},
    smtp::{Tick, envelope::Path},
};

fn says<'a>(hello: &'a str, sender: &'a str) -> Facts<'a> {
    Facts {
        hello: hello.as_bytes(),
        sender: Path::split(sender.as_bytes()),
        ..stranger()
    }
}

#[test]
fn a_rule_refuses_with_its_reply_or_scores() {
    let mut rig = rig(r#"
        [[list]]
        name = 'partners'
        entries = ['192.0.2.0/24', '.partner.example', 'bücher.example', 'amy@example.com', '/^x-/']
        [[rule]]
        name = 'ours'
        when = 'helo == "mx.example.net" && !client.trusted'
        then = 'reject'
        reply = '550 5.7.1 {helo} is our name, {client.address}'
        [[rule]]
        name = 'sums'
        when = 'sender in list("partners") && client.address in list("partners")'
        score = 2.0
        [[rule]]
        name = 'reads-the-sum'
        when = 'score == 2'
        then = 'defer'
        mode = 'shadow'
    "#);
    let told = rig.judge_with(&says("MX.example.net.", "a@a.example"), &[]);
    assert_eq!(
        told,
        "reject 550 5.7.1 MX.example.net. is our name, 192.0.2.7"
    );
    assert_eq!(rig.hits(), "rule.ours reject");
    for (sender, listed) in [
        ("a@a.example", false),
        ("a@sub.Partner.example", true),
        ("a@xn--bcher-kva.example", true),
        ("AMY@example.com", true),
        ("x-y@z.example", true),
        ("bob@example.com", false),
    ] {
        assert_eq!(rig.judge_with(&says("a.example", sender), &[]), "accept");
        let hits = if listed {
            "rule.sums score, [rule.reads-the-sum defer]"
        } else {
            ""
        };
        assert_eq!(rig.hits(), hits, "{sender}");
    }
}

#[test]
fn what_a_rule_reads_is_asked_and_nothing_else() {
    let with = |when: &str| {
        let off =
            ["spf", "rdns", "dkim", "dmarc", "arc"].map(|key| format!("{key}.mode = 'off'\n"));
        rig(&format!(
            "{}rule = [{{ name = 'a', score = 1.0, when = '{when}' }}]",
            off.concat()
        ))
    };
    let reads = with("helo_domain == \"no_name\"");
    assert!(
        reads.policy.inquires(0, ip("8.8.8.8"))
            && reads.policy.waits(0, At::Answers, &reads.inquiry)
    );
    let plain = with("tls");
    assert!(
        !plain.policy.inquires(0, ip("8.8.8.8"))
            && !plain.policy.waits(0, At::Answers, &plain.inquiry)
    );
    assert!(plain.policy.judges(0, At::Answers));
}

#[test]
fn answers_decide_and_what_is_unknown_does_nothing() {
    let mut rig = rig(r#"
        dnsbl = [{ zone = 'bl.example', score = 1.5 }, { zone = 'wl.example', score = -1.0 }]
        [[rule]]
        name = 'spf'
        when = 'spf == "fail" || rdns == "none" && sender_domain == "no_name"'
        then = 'reject'
        reply = '550 5.7.23 SPF says {spf}'
        [[rule]]
        name = 'listed'
        when = 'dnsbl_hits == 1 && dnsbl.zone == "bl.example" && "bl.example" in dnsbl.zones && dnsbl.score == 1.5'
        then = 'defer'
        reply = '450 4.7.1 {dnsbl.zone}'
    "#);
    let facts = says("mx.a.example", "a@a.example");
    let fails = ("TXT a.example", "v=spf1 -all");
    let listed = ("A 7.2.0.192.bl.example", "127.0.0.2");
    assert_eq!(
        rig.judge_with(&facts, &[fails]),
        "reject 550 5.7.23 SPF says fail"
    );
    assert_eq!(
        rig.judge_with(
            &facts,
            &[
                listed,
                ("MX a.example", "10 mx.a.example"),
                ("A mx.a.example", "198.51.100.1")
            ]
        ),
        "defer 450 4.7.1 bl.example"
    );
    let silent = [
        ("A 7.2.0.192.bl.example", "timeout"),
        ("A 7.2.0.192.wl.example", "timeout"),
        ("MX a.example", "timeout"),
        ("A a.example", "timeout"),
        ("AAAA a.example", "timeout"),
        ("TXT a.example", "nodata"),
        ("PTR 7.2.0.192.in-addr.arpa", "nodata"),
    ];
    assert_eq!(rig.judge_with(&facts, &silent), "accept");
    let hits = rig.hits();
    assert!(
        hits.contains("rule.spf unknown(`sender_domain` is unknown: the look-up took too long)"),
        "{hits}"
    );
    assert!(
        hits.contains("rule.listed unknown(`dnsbl_hits` is unknown: the look-up took too long)"),
        "{hits}"
    );
    // Of a client that is known nothing is asked, and nothing is said.
    let known = Facts {
        trusted: true,
        ..facts
    };
    assert_eq!(rig.judge_with(&known, &[fails]), "accept");
    assert_eq!(rig.hits(), "");
}

#[test]
fn accept_and_stop_end_the_rules() {
    let mut rig = rig(r#"
        rule = [
            { name = 'first', when = 'sender == "a@a.example"', then = 'accept' },
            { name = 'one', when = 'recipient == "one@ours.example"', score = 1.0, stop = true },
            { name = 'two', when = 'recipient.ours', score = 2.0 },
            { name = 'head', when = 'header("Subject") == "x"', then = 'reject' },
        ]"#);
    let message = |rig: &mut Rig, sender: &str, recipients: &[&str]| {
        let facts = says("h.example", sender);
        assert_eq!(rig.ask(At::Mail, &facts), "accept");
        assert_eq!(rig.ask(At::Answers, &facts), "accept");
        for recipient in recipients {
            assert_eq!(rig.rcpt(recipient), "accept");
        }
        rig.ask(
            At::Header,
            &Facts {
                header: b"Subject: x\r\n\r\n",
                ..facts
            },
        )
    };
    assert_eq!(
        message(&mut rig, "a@a.example", &["one@ours.example"]),
        "accept"
    );
    assert_eq!(rig.hits(), "rule.first accept");
    let refused = message(
        &mut rig,
        "b@a.example",
        &["one@ours.example", "two@ours.example"],
    );
    assert!(
        refused.starts_with("reject 550 5.7.1 Message refused"),
        "{refused}"
    );
    assert_eq!(
        rig.hits(),
        "rule.one score, rule.two score, rule.head reject"
    );
}

#[test]
fn rates_have_accounts_of_their_own() {
    let config = config(
        r#"rule = [
        { name = 'many', when = 'rate(sender.domain, 2, "1m")', then = 'defer', at = 'mail' },
        { name = 'net', when = 'rate(client.address, 5, "1m")', then = 'reject', at = 'mail' },
    ]"#,
    );
    let policy =
        Policy::build(&config, "mx.example.net").unwrap_or_else(|faults| panic!("{faults:?}"));
    let mut rig = Rig {
        policy,
        shared: Shared::new(&config),
        judgement: Default::default(),
        inquiry: Default::default(),
    };
    for (sender, told) in [
        ("a@a.example", "accept"),
        ("b@A.example.", "accept"),
        (
            "c@a.example",
            "defer rule.many defer(2 in 1m for a.example)",
        ),
        ("c@b.example", "accept"),
        ("c@c.example", "accept"),
        ("c@d.example", "accept"),
        (
            "c@e.example",
            "reject rule.net reject(5 in 1m for 192.0.2.7)",
        ),
    ] {
        let said = rig.mail(sender);
        let (told, hits) = told.split_once(' ').unwrap_or((told, ""));
        assert!(said.starts_with(told), "{sender}: {said}");
        // What an explanation shows.
        assert!(rig.hits().ends_with(hits), "{sender}: {}", rig.hits());
    }
    let later = Facts {
        now: Tick(61_000_000),
        ..says("h", "c@a.example")
    };
    assert_eq!(rig.ask(At::Mail, &later), "accept");
    // What a reload keeps.
    let shared = rig.shared.adapted(std::slice::from_ref(&config));
    assert!(std::sync::Arc::ptr_eq(&shared.rules, &rig.shared.rules));
}

#[test]
fn the_point_follows_from_what_is_read() {
    for (rule, at) in [
        ("when = 'client.trusted'", At::Answers),
        ("when = 'client.trusted', at = 'connect'", At::Connect),
        (
            "when = 'client.name == \"a\"', at = 'connect'",
            At::Greeting,
        ),
        ("when = 'client.trusted', at = 'mail'", At::Mail),
        ("when = 'spf == \"fail\"', at = 'mail'", At::Mail),
        ("when = 'recipient.ours'", At::Rcpt),
        (
            "when = 'header(\"a\") == \"b\" && spf == \"fail\"'",
            At::Header,
        ),
        ("when = 'message.size > bytes(\"1MiB\")'", At::Body),
    ] {
        let rig = rig(&format!("rule = [{{ name = 'a', score = 1.0, {rule} }}]"));
        assert!(rig.policy.judges(0, at), "{rule}");
    }
    let waits =
        rig("rule = [{ name = 'a', score = 1.0, when = 'recipient.ours && spf == \"fail\"' }]");
    assert!(waits.policy.waits(0, At::Answers, &waits.inquiry));
}

#[test]
fn mistakes_are_told() {
    for (rule, says) in [
        (
            "when = 'helo == \"a\"', at = 'connect', then = 'reject'",
            "`helo` is known at helo, and not at connect",
        ),
        (
            "when = 'header(\"a\") == \"a\"', at = 'mail', then = 'reject'",
            "the header is known at header, and not at mail",
        ),
        (
            "when = 'tls', then = 'reject', reply = '550 5.7.1 {message.size}'",
            "`message.size` is known at body, and the rule is judged at rcpt",
        ),
        (
            "when = 'tls', then = 'reject', reply = '450 4.7.1 No'",
            "5xx, not 450",
        ),
        (
            "when = 'dnsbl_hits > \"x\"', score = 1.0",
            "int and string can't be compared with `>`",
        ),
        (
            "when = 'sender in list(\"none\")', score = 1.0",
            "the configuration has no lists",
        ),
    ] {
        let found = faults(&format!("rule = [{{ name = 'a', {rule} }}]"));
        assert!(
            found.iter().any(|fault| fault.contains(says)),
            "{rule}: {found:?}"
        );
    }
    assert_eq!(What::Unknown.as_str(), "unknown");
}
