//! Explanations are read as they were written.

use super::{
    Mail, Record, Refusal,
    explanation::{pack, unpack},
};
use crate::{
    config,
    policy::{Judgement, Policy},
    record::{BackendSaid, Client, Findings, Outcome, Recipients, Refusals, Times, Told},
    smtp::{Reply, Status, Text, Tick},
};
use serde_json::{Value, json};
use std::net::IpAddr;

fn explained(record: &Record<'_>) -> Value {
    let (mut packed, mut text) = (b"before".to_vec(), Vec::new());
    pack(record, 1_764_288_000_042_000, &mut packed);
    let entry = &packed[6..];
    assert_eq!(unpack(entry, &mut text), Some(()));
    for end in 0..entry.len() {
        // A part is none, or lacks nothing but the JSON at its end.
        let _ = unpack(&entry[..end], &mut Vec::new());
    }
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&text));
    })
}

fn client<'a>() -> Client<'a> {
    Client {
        listener: "mx",
        address: IpAddr::from([192, 0, 2, 7]),
        name: None,
        rdns: Some("none"),
        via: None,
        front: None,
        helo: Some(b"client\x1b.example"),
        login: None,
        auth: Some(("PLAIN", "u")),
        tls: None,
    }
}

fn mail<'a>(recipients: &'a Recipients, told: &'a Told) -> Mail<'a> {
    Mail {
        origin: None,
        sender: b"",
        spf: None,
        dkim: None,
        dmarc: None,
        arc: None,
        signed: None,
        recipients,
        size: Some(1200),
        outcome: Outcome::Accept,
        told: Some(told),
        backend: Some("pool/192.0.2.1:25"),
        backend_tls: Some("TLSv1.3"),
        backend_said: Some(BackendSaid {
            code: 250,
            status: Status(2, 0, 0),
            text: "Ok: queued as \"1\"".into(),
        }),
        started: Tick(100),
        times: Times {
            body: Some(Tick(107)),
            complete: None,
            leased: None,
            done: Some(Tick(300)),
        },
    }
}

/// What it says where nobody was refused.
fn plain() -> Value {
    json!({
        "id": "0123456789ABC", "time": "2025-11-28T00:00:00.042Z", "verdict": "accept",
        "reply": "250 2.0.0 Ok: 0123456789ABC", "listener": "mx", "client": "192.0.2.7", "rdns": "none",
        "helo": "client\u{1b}.example", "auth": "PLAIN", "user": "u", "from": "",
        "recipients": [
            {"recipient": "a@ours.example", "verdict": "accept"},
            {"recipient": "\"b\u{ff}\"@ours.example", "verdict": "accept"},
        ],
        "rcpt": 2, "refused": 0, "refusals": [], "size": 1200, "found": [], "checks": [], "score": 0,
        "backend": "pool/192.0.2.1:25", "backend_tls": "TLSv1.3",
        "backend_said": "250 2.0.0 Ok: queued as \"1\"", "envelope_us": 7, "total_us": 250,
    })
}

#[test]
fn it_has_what_the_record_has() {
    let policy = Policy::build(&config::Policy::default(), "mx.ours.example");
    let policy = policy.unwrap_or_else(|faults| panic!("{faults:?}"));
    let (judgement, none) = (Judgement::new(), Refusals::default());
    let (mut recipients, mut refusals) = (Recipients::default(), Refusals::default());
    recipients.push(b"a@ours.example");
    recipients.push(b"\"b\xff\"@ours.example");
    let no = Reply::fixed(550, Status(5, 1, 1), "No \"such\" user");
    refusals.push(Refusal::new("rcpt", b"\"b\xff\"@ours.example", &no, None));
    refusals.push(Refusal::new("vrfy", b"c", &no, None));
    let told = Told::new(&Reply::fixed(250, Status(2, 0, 0), ""), None);
    let mail = mail(&recipients, &told);
    let findings = Findings {
        judgement: &judgement,
        policy: &policy,
        listener: 0,
        inquiry: None,
    };
    let record = |mail, refusals| Record {
        id: *b"0123456789ABC",
        now: Tick(350),
        client: client(),
        mail,
        refusals,
        findings,
        end: None,
        shadow: None,
        session_us: 9,
    };
    let mut all = record(Some(mail), &none);
    let plain = plain();
    assert_eq!(explained(&all), plain);
    all.refusals = &refusals;
    let mut some = plain.clone();
    some["refused"] = json!(2);
    some["recipients"][1]["verdict"] = json!("reject");
    some["recipients"][1]["reply"] = json!("550 5.1.1 No \"such\" user");
    some["refusals"] = json!([{
        "command": "vrfy", "argument": "c", "code": 550, "status": "5.1.1", "reply": "No \"such\" user",
    }]);
    assert_eq!(explained(&all), some);
    let mut refusals = Refusals::default();
    let bye = Reply {
        code: 421,
        status: Status(4, 7, 0),
        text: Text::Static("Later"),
    };
    refusals.push(Refusal::new("ehlo", b"x", &bye, None));
    let session = explained(&record(None, &refusals));
    assert_eq!(
        session,
        json!({
            "id": "0123456789ABC", "time": "2025-11-28T00:00:00.042Z", "verdict": "defer",
            "reply": "421 4.7.0 Later", "listener": "mx", "client": "192.0.2.7", "rdns": "none",
            "helo": "client\u{1b}.example", "auth": "PLAIN", "user": "u", "refused": 1, "found": [], "checks": [],
            "refusals": [{
                "command": "ehlo", "helo": "x", "code": 421, "status": "4.7.0", "reply": "Later",
            }],
            "score": 0, "session_us": 9,
        })
    );
}
