//! Each result with its effect.

use crate::policy::{Facts, testing::*};
use crate::smtp::envelope::Path;

/// A client at 192.0.2.7 that says `helo` and `sender`.
fn says<'a>(helo: &'a str, sender: &'a str) -> Facts<'a> {
    Facts {
        hello: helo.as_bytes(),
        sender: Path::split(sender.as_bytes()),
        ..stranger()
    }
}

const PTR: &str = "PTR 7.2.0.192.in-addr.arpa";

#[test]
fn the_names_of_an_address() {
    let config = "rdns = { none = 'reject', unconfirmed = 2.5, generic = 1, unknown = 'defer' }";
    let name = "pool-192-0-2-7.isp.example";
    for (lines, verdict, hits) in [
        (vec![], "reject 550 5.7.25", "rdns.none reject"),
        (
            vec![(PTR, "a.example"), ("A a.example", "192.0.2.7")],
            "accept",
            "",
        ),
        (
            vec![(PTR, "a.example")],
            "accept",
            "rdns.unconfirmed score(a.example)",
        ),
        (
            vec![(PTR, name), ("A pool-192-0-2-7.isp.example", "192.0.2.7")],
            "accept",
            "rdns.generic score(pool-192-0-2-7.isp.example)",
        ),
        (
            vec![(PTR, "timeout")],
            "defer 450 4.7.25 The name of your address could not be looked up",
            "rdns.unknown defer(no answer in time)",
        ),
    ] {
        let mut rig = rig(config);
        let said = rig.judge_with(&says("mx.a.example", "a@a.example"), &lines);
        assert!(said.starts_with(verdict), "{lines:?}: {said}");
        assert_eq!(rig.hits(), hits);
    }
}

#[test]
fn names_in_helo() {
    let config = "helo_domain = { no_name = 'reject', no_host = 'defer', not_client = 1.5, unknown = 'defer' }";
    for (lines, verdict, hits) in [
        (vec![], "reject 550 5.7.1", "helo_domain.no_name reject"),
        (
            vec![("TXT mx.a.example", "x")],
            "reject",
            "helo_domain.no_name reject",
        ),
        (
            vec![("A mx.a.example", "nodata")],
            "defer",
            "helo_domain.no_host defer",
        ),
        (vec![("A mx.a.example", "192.0.2.7")], "accept", ""),
        (
            vec![("A mx.a.example", "192.0.2.8")],
            "accept",
            "helo_domain.not_client score",
        ),
        (
            vec![("A mx.a.example", "timeout")],
            "defer 450 4.7.1 The name you said in HELO could not be looked up",
            "helo_domain.unknown defer",
        ),
    ] {
        let mut rig = rig(config);
        let said = rig.judge_with(&says("mx.a.example", "a@a.example"), &lines);
        assert!(said.starts_with(verdict), "{lines:?}: {said}");
        assert_eq!(rig.hits(), hits, "{lines:?}");
    }
}

#[test]
fn domains_of_senders() {
    let config = "sender_domain = { no_name = 'reject', no_mail = 'defer', null_mx = 'reject', unusable = 3, unknown = 'defer' }";
    for (lines, verdict, hits) in [
        (vec![], "reject 550 5.1.8", "sender_domain.no_name reject"),
        (
            vec![("MX a.example", "0 .")],
            "reject 550 5.7.27",
            "sender_domain.null_mx reject",
        ),
        (
            vec![
                ("MX a.example", "10 mx.a.example"),
                ("A mx.a.example", "198.51.100.7"),
            ],
            "accept",
            "sender_domain.unusable score",
        ),
        (
            vec![
                ("MX a.example", "10 mx.a.example"),
                ("A mx.a.example", "8.8.8.8"),
            ],
            "accept",
            "",
        ),
        (
            vec![("A a.example", "nodata")],
            "defer 450 4.1.8",
            "sender_domain.no_mail defer",
        ),
        (
            vec![("MX a.example", "timeout"), ("A a.example", "timeout")],
            "defer",
            "sender_domain.unknown defer",
        ),
    ] {
        let mut rig = rig(config);
        let said = rig.judge_with(&says("mx.a.example", "a@a.example"), &lines);
        assert!(said.starts_with(verdict), "{lines:?}: {said}");
        assert_eq!(rig.hits(), hits, "{lines:?}");
    }
    // A bounce has no domain to look at.
    let mut rig = rig(config);
    assert_eq!(rig.judge_with(&says("mx.a.example", ""), &[]), "accept");
}

#[test]
fn spf_by_result() {
    let config = "spf = { fail = 'reject', softfail = 2.0, temperror = 'defer', at = 'mail' }";
    for (record, verdict, hits) in [
        ("v=spf1 ip4:192.0.2.0/24 -all", "accept", ""),
        (
            "v=spf1 -all",
            "reject 550 5.7.23",
            "spf.fail reject(a.example)",
        ),
        ("v=spf1 ~all", "accept", "spf.softfail score(a.example)"),
        (
            "timeout",
            "defer 451 4.7.24",
            "spf.temperror defer(a.example)",
        ),
    ] {
        let mut rig = rig(config);
        let lines = [("TXT a.example", record)];
        let said = rig.judge_with(&says("mx.a.example", "amy@a.example"), &lines);
        assert!(said.starts_with(verdict), "{record}: {said}");
        assert_eq!(rig.hits(), hits, "{record}");
    }
}

#[test]
fn what_nothing_reads_is_not_asked() {
    let off =
        ["rdns", "spf", "dkim", "dmarc", "arc"].map(|table| format!("{table}.mode = 'off'\n"));
    let rig = rig(&off.concat());
    assert!(!rig.policy.inquires(0, ip("8.8.8.8")));
}

#[test]
fn a_client_that_is_known_is_not_asked_about() {
    let mut rig = rig("spf.fail = 'reject'\nrdns.none = 'reject'");
    let known = Facts {
        authenticated: Some("amy"),
        ..says("mx.a.example", "amy@a.example")
    };
    assert_eq!(
        rig.judge_with(&known, &[("TXT a.example", "v=spf1 -all")]),
        "accept"
    );
    assert!(rig.inquiry.spf().is_none());
}

#[test]
fn one_reply_for_several_results_is_said_where_it_fits() {
    let mut rig =
        rig("spf = { fail = 'reject', temperror = 'defer', reply = '550 5.7.23 See spf.example' }");
    let fail = [("TXT a.example", "v=spf1 -all")];
    let facts = says("mx.a.example", "amy@a.example");
    assert_eq!(
        rig.judge_with(&facts, &fail),
        "reject 550 5.7.23 See spf.example"
    );
    let late = [("TXT a.example", "timeout")];
    assert!(
        rig.judge_with(&facts, &late)
            .starts_with("defer 451 4.7.24")
    );
}
