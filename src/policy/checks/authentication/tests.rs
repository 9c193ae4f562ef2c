//! Each result with its effect, and what lifts a failure.

use crate::policy::{At, Facts, Inquiry, dns::testing, testing::*};
use crate::smtp::{Tick, envelope::Path};

/// What a stranger is told at the end of a message, and the hits, by a DNS that says `lines`.
fn told(config: &str, header: &str, body: &str, lines: &[(&str, &str)]) -> (String, String) {
    told_from("a@a.example", config, header, body, lines)
}

fn told_from(
    sender: &str,
    config: &str,
    header: &str,
    body: &str,
    lines: &[(&str, &str)],
) -> (String, String) {
    let mut rig = rig(config);
    let facts = Facts {
        hello: b"mx.a.example",
        sender: Path::split(sender.as_bytes()),
        ..stranger()
    };
    rig.judge_with(&facts, lines);
    let mut inquiry = std::mem::take(&mut rig.inquiry);
    let mut resolve = testing::dns(lines);
    let mut table = testing::Table::default();
    let header = header.replace('\n', "\r\n");
    let facts = Facts {
        // The signature of RFC 8463 is of this time.
        unix_seconds: 1_528_640_000,
        ..facts
    };
    let mut hashes = rig
        .policy
        .begin_message(&facts, header.as_bytes(), &mut inquiry);
    hashes.update(body.replace('\n', "\r\n").as_bytes());
    let mut hashes = Some(hashes);
    for _ in 0..20 {
        let mut need = Vec::new();
        rig.policy
            .inquire(0, &mut inquiry, &table, facts.now, &mut need);
        for question in &need {
            table.0.insert(question.clone(), resolve(question));
        }
        if need.is_empty()
            && let (Some(message), Some(hashes)) = (inquiry.message_mut(), hashes.take())
        {
            let work = message.close(hashes);
            message.conclude(&work.run());
        }
    }
    let facts = Facts {
        inquiry: Some(&inquiry),
        ..facts
    };
    let verdict = rig.ask(At::Body, &facts);
    (verdict, rig.hits())
}

const SIGNED: &str = include_str!("../../../../tests/data/dkim/rfc8463.eml");
const KEY: (&str, &str) = (
    "TXT brisbane._domainkey.football.example.com",
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
);

const AT: &str = "TXT _dmarc.football.example.com";

fn parts(message: &str) -> (&str, &str) {
    message.split_at(message.find("\n\n").expect("an empty line") + 2)
}

#[test]
fn each_result_of_dkim_has_its_effect() {
    let config = "dkim = { pass = -1, fail = 'reject', none = 2, neutral = 3, policy = 4, temperror = 'defer', permerror = 5 }\n\
                  dmarc.mode = 'off'\narc.mode = 'off'";
    let (header, body) = parts(SIGNED);
    let changed = body.replace("hungry", "thirsty");
    let expired = header.replace("t=1528637909;", "t=1528637909; x=1528637910;");
    let garbled = header.replace("v=1;", "v=1; v=1;");
    let slow = (KEY.0, "timeout");
    for (header, body, lines, verdict, hits) in [
        (
            header,
            body,
            vec![KEY],
            "accept",
            "dkim.pass score(football.example.com)",
        ),
        (
            header,
            &changed,
            vec![KEY],
            "reject 550 5.7.20",
            "dkim.fail reject(football.example.com: body hash differs)",
        ),
        (
            "From: a@a.example\n\n",
            body,
            vec![],
            "accept",
            "dkim.none score",
        ),
        (
            &garbled,
            body,
            vec![KEY],
            "accept",
            "dkim.neutral score(: malformed signature)",
        ),
        (
            &expired,
            body,
            vec![KEY],
            "accept",
            "dkim.policy score(football.example.com: expired)",
        ),
        (
            header,
            body,
            vec![slow],
            "defer 451 4.7.20",
            "dkim.temperror defer(football.example.com: key unavailable)",
        ),
        (
            header,
            body,
            vec![],
            "accept",
            "dkim.permerror score(football.example.com: no key)",
        ),
    ] {
        let (said, found) = told(config, header, body, &lines);
        assert!(said.starts_with(verdict), "{hits}: {said}");
        assert_eq!(found, hits);
    }
}

#[test]
fn dmarc_goes_by_what_the_domain_asks_for() {
    let config = "dmarc = { pass = -1, reject = 'reject', quarantine = 4, none = 1, temperror = 'defer', permerror = 'reject' }\n\
                  arc.mode = 'off'";
    let (header, body) = parts(SIGNED);
    let unsigned = "From: joe@football.example.com\n\n";
    let two = "From: joe@football.example.com, amy@other.example\n\n";
    let asks = |record| (AT, record);
    for (header, lines, verdict, hits) in [
        (
            header,
            vec![KEY, asks("v=DMARC1; p=reject")],
            "accept",
            "dmarc.pass score(football.example.com)",
        ),
        (
            unsigned,
            vec![KEY, asks("v=DMARC1; p=reject")],
            "reject 550 5.7.1",
            "dmarc.reject reject(football.example.com)",
        ),
        (
            unsigned,
            vec![asks("v=DMARC1; p=reject; t=y")],
            "accept",
            "dmarc.quarantine score(football.example.com)",
        ),
        (
            unsigned,
            vec![asks("v=DMARC1; p=quarantine")],
            "accept",
            "dmarc.quarantine score(football.example.com)",
        ),
        (unsigned, vec![asks("v=DMARC1; p=none")], "accept", ""),
        (
            unsigned,
            vec![],
            "accept",
            "dmarc.none score(football.example.com)",
        ),
        (
            unsigned,
            vec![asks("timeout")],
            "defer 451 4.7.1",
            "dmarc.temperror defer(football.example.com)",
        ),
        (
            two,
            vec![asks("v=DMARC1; p=none")],
            "reject 550 5.7.1",
            "dmarc.permerror reject",
        ),
    ] {
        let (said, found) = told(config, header, body, &lines);
        assert!(said.starts_with(verdict), "{header} {lines:?}: {said}");
        assert_eq!(found, hits, "{header} {lines:?}");
    }
}

#[test]
fn spf_is_enough_for_dmarc_and_fail_is_for_what_is_not_set() {
    let config = "dmarc.reject = 'reject'\narc.mode = 'off'";
    let (_, body) = parts(SIGNED);
    let unsigned = "From: joe@football.example.com\n\n";
    // Also for an author below the domain of the sender.
    let lines = [
        ("TXT a.example", "v=spf1 +all"),
        ("TXT _dmarc.a.example", "v=DMARC1; p=reject"),
    ];
    let (said, _) = told(config, "From: <amy@mail.a.example>\n\n", "x\n", &lines);
    assert_eq!(said, "accept");
    // `fail` holds where nothing else does.
    let (said, found) = told(
        "dmarc.fail = 'reject'",
        unsigned,
        body,
        &[(AT, "v=DMARC1; p=quarantine")],
    );
    assert!(said.starts_with("reject"), "{said}");
    assert_eq!(found, "dmarc.quarantine reject(football.example.com)");
}

#[test]
fn nothing_is_verified_for_known_clients() {
    let rig = rig("dkim.fail = 'reject'");
    let mut inquiry = Inquiry::default();
    let facts = Facts {
        trusted: true,
        ..stranger()
    };
    let (header, _) = parts(SIGNED);
    let hashes = rig
        .policy
        .begin_message(&facts, header.as_bytes(), &mut inquiry);
    assert!(hashes.is_empty() && inquiry.message().is_none());
}

#[test]
fn a_list_of_names_may_want_a_signature() {
    let (header, body) = parts(SIGNED);
    let changed = body.replace("hungry", "thirsty");
    let listed = ("A football.example.com.wl.example", "127.0.0.2");
    let lines = [KEY, listed, (AT, "v=DMARC1; p=reject")];
    for proof in ["dkim", "dmarc"] {
        let config = format!(
            "dnsbl = [{{ zone = 'wl.example', of = ['sender'], score = -3.0, requires = ['{proof}'] }}]\ndkim.mode = 'off'"
        );
        let hits = |body| told_from("joe@Football.example.com", &config, header, body, &lines).1;
        assert_eq!(
            hits(body),
            "dnsbl.wl.example score(wl.example 127.0.0.2(sender))"
        );
        assert_eq!(hits(&changed), "");
    }
}

#[test]
fn sealers_are_domains() {
    assert_eq!(
        faults("arc.trusted = ['lists.example.net', 'b\u{fc}cher.example', 'a b']"),
        ["arc.trusted: \"a b\" is no domain"]
    );
}

/// A message of d1.example.org that example.org has sealed, out of the published vectors.
fn sealed() -> String {
    let vectors = include_str!("../../../../tests/data/arc/arc-draft-validation-tests.yml");
    let (_, from) = vectors.split_once("  cv_pass_i1_1:").expect("it is there");
    let (_, from) = from.split_once("message:     |\n").expect("a message");
    let (message, _) = from.split_once("\n    cv:").expect("its end");
    let lines = message
        .lines()
        .map(|line| line.get(6..).unwrap_or_default());
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_sealer_that_is_trusted_lifts_a_failure_of_dmarc_alone() {
    let lines = [
        ("TXT _dmarc.d1.example.org", "v=DMARC1; p=reject"),
        (
            "TXT dummy._domainkey.example.org",
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3id\
             Y6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lx\
             j+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
        ),
    ];
    let message = sealed();
    let (header, body) = parts(&message);
    let said = |arc: &str, header: &str| {
        let config = format!("dmarc.reject = 'reject'\ndkim.none = 1\n{arc}");
        let (verdict, hits) = told(&config, header, body, &lines);
        (verdict.starts_with("accept"), hits)
    };
    let lifted = (true, "dkim.none score".to_string());
    assert_eq!(said("arc.trusted = ['Example.org']", header), lifted);
    let refused = (
        false,
        "dkim.none score, dmarc.reject reject(d1.example.org)".to_string(),
    );
    for arc in [
        "",
        "arc.mode = 'off'",
        "arc.trusted = ['example.net', 'lists.example.org']",
        "arc = { trusted = ['example.org'], mode = 'shadow' }",
    ] {
        assert_eq!(said(arc, header), refused, "{arc}");
    }
    // What the sealer has found is under its seal.
    let forged = header.replace("dmarc=pass", "dmarc=pass ");
    assert!(said("arc.trusted = ['example.org']", &forged).0);
    let forged = header.replace("d1.example;\n    dkim", "d1.example;\n    xdkim");
    assert_eq!(said("arc.trusted = ['example.org']", &forged), refused);
}

#[test]
fn rules_read_what_was_found() {
    let (header, body) = parts(SIGNED);
    let rules = "rule = [
        { name = 'signed', when = 'dkim == \"pass\" && \"FOOTBALL.example.com\" in dkim.domains && arc == \"none\"', score = 1.0 },
        { name = 'author', when = 'dmarc == \"pass\" && dmarc.policy == \"reject\" && dmarc.author == \"football.example.com\"', then = 'reject', reply = '550 5.7.1 {dmarc.author}: {dmarc}' },
    ]";
    let asks = (AT, "v=DMARC1; p=reject");
    let (verdict, hits) = told(rules, header, body, &[KEY, asks]);
    assert_eq!(verdict, "reject 550 5.7.1 football.example.com: pass");
    assert_eq!(hits, "rule.signed score, rule.author reject");
    let (verdict, hits) = told(rules, header, body, &[asks]);
    assert_eq!((&*verdict, &*hits), ("accept", ""));
}

#[test]
fn what_is_reported_is_judged_of_clients_of_private_networks_too() {
    let reports = "dmarc.reports = { directory = '/reports', email = 'a@b.example' }";
    for (config, is_judged) in [("", false), (reports, true)] {
        let rig = rig(config);
        let facts = Facts::of(ip("10.0.0.1"), Tick(0));
        let mut inquiry = Inquiry::default();
        let header = b"From: a@a.example\r\n\r\n";
        drop(rig.policy.begin_message(&facts, header, &mut inquiry));
        let (table, mut need) = (testing::Table::default(), Vec::new());
        rig.policy
            .inquire(0, &mut inquiry, &table, facts.now, &mut need);
        // The records of its author's domain and of those above it.
        assert_eq!(!need.is_empty(), is_judged, "{need:?}");
    }
}
