//! The RFCs' examples, our own signatures verified by ourselves, and what strangers may send.

mod dkimpy;

use super::publish::record;
use super::*;
use crate::config;
use crate::dns::{Answer, Answers, Question, Record, Unknown};
use crate::policy::authentication::{BodyHashes, Job, Verified};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

const NOW: u64 = 1_528_640_000;

#[derive(Default)]
struct Keys(HashMap<String, Answer>);

impl Keys {
    fn with(mut self, name: &str, text: &str) -> Keys {
        let record = Record::Txt(text.as_bytes().into());
        self.0.insert(name.into(), Answer::Found([record].into()));
        self
    }
}

impl Answers for Keys {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        Some(self.0.get(&question.name[..]).unwrap_or(&Answer::NoName))
    }
}

fn verify(message: &[u8], keys: &dyn Answers, piece: usize) -> Dkim {
    verify_at(message, keys, piece, NOW)
}

fn verify_at(message: &[u8], keys: &dyn Answers, piece: usize, now: u64) -> Dkim {
    let end = crate::smtp::header::end(message).unwrap_or(message.len());
    let (header, body) = message.split_at(end);
    let mut hashes = BodyHashes::new();
    let mut verification = Verification::new(header, now, &mut hashes);
    let mut missing = Vec::new();
    verification.missing(keys, &mut missing);
    assert_eq!(missing, [], "all answers are there");
    let jobs: Vec<Job> = verification.jobs().collect();
    assert!(jobs.len() <= SIGNATURES_MAX);
    let verified: Vec<Verified> = jobs.iter().map(Job::run).collect();
    for piece in body.chunks(piece) {
        hashes.update(piece);
    }
    verification.finish(&verified, &hashes.finish())
}

fn reasons(message: &str, keys: &dyn Answers) -> Vec<Reason> {
    let dkim = verify(message.as_bytes(), keys, 7);
    dkim.signatures
        .iter()
        .map(|signature| signature.reason)
        .collect()
}

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// RFC 8463 §A: one message, signed by Ed25519 and RSA.
const RFC_8463: &str = include_str!("../../../../../tests/data/dkim/rfc8463.eml");

fn keys_of_8463() -> Keys {
    Keys::default()
        .with("brisbane._domainkey.football.example.com", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
        .with(
            "test._domainkey.football.example.com",
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0\
             Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
        )
}

#[test]
fn the_example_of_rfc_8463_verifies() {
    let message = crlf(RFC_8463);
    let dkim = verify(message.as_bytes(), &keys_of_8463(), 3);
    let told: Vec<_> = dkim
        .signatures
        .iter()
        .map(|s| (s.reason, s.key_bits, &*s.selector, &*s.beginning))
        .collect();
    assert_eq!(
        told,
        [
            (Reason::Verified, Some(256), "brisbane", "/gCrinpc"),
            (Reason::Verified, Some(1024), "test", "F45dVWDf")
        ]
    );
    let both = |reason| vec![reason; 2];
    let changed = |from: &str, to: &str| reasons(&message.replace(from, to), &keys_of_8463());
    assert_eq!(changed("hungry", "angry"), both(Reason::BodyDiffers));
    assert_eq!(changed("dinner", "supper"), both(Reason::SignatureDiffers));
    assert_eq!(
        changed("\r\nTo:", "\r\nSubject: x\r\nTo:"),
        both(Reason::SignatureDiffers)
    );
    assert_eq!(
        changed("Is dinner  ", " Is \t dinner"),
        both(Reason::Verified)
    );
    assert_eq!(
        changed("Joe.\r\n", "Joe. \t\r\n \r\n\t"),
        both(Reason::Verified)
    );
    assert_eq!(reasons(&message, &Keys::default()), both(Reason::NoKey));
}

/// RFC 6376 §A.2, with the key of §C.
#[test]
fn the_example_of_rfc_6376_verifies() {
    let message = crlf(
        "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
",
    );
    let keys = Keys::default().with(
        "brisbane._domainkey.example.com",
        "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uB\
         ItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB",
    );
    let dkim = verify(message.as_bytes(), &keys, 1000);
    let found = &dkim.signatures[0];
    assert_eq!(
        (found.reason, &*found.identity),
        (Reason::Verified, "joe@football.example.com")
    );
}

#[test]
fn what_a_signature_may_not_be() {
    let keys = keys_of_8463();
    let first = crlf(RFC_8463);
    let reason = |from: &str, to: &str| reasons(&first.replacen(from, to, 1), &keys)[0];
    for (from, to, expected) in [
        ("v=1;", "v=2;", Reason::Version),
        ("v=1;", "", Reason::Version),
        ("v=1;", "v=1; v=1;", Reason::Syntax),
        ("a=ed25519-sha256;", "a=rsa-sha1;", Reason::Sha1),
        ("a=ed25519-sha256;", "a=rsa-md5;", Reason::UnknownAlgorithm),
        ("a=ed25519-sha256;", "a=rsa-sha256;", Reason::KeyAlgorithm),
        ("a=ed25519-sha256;", "", Reason::MissingTag),
        ("c=relaxed/relaxed", "c=loose", Reason::Syntax),
        ("c=relaxed/relaxed", "c=relaxed", Reason::BodyDiffers),
        ("d=football", "d=foot ball", Reason::Syntax),
        (
            "d=football.example.com",
            "d=football.example.com; l=99999999999999999999999",
            Reason::BodyDiffers,
        ),
        (
            "d=football.example.com",
            "d=football.example.com; l=1x",
            Reason::Syntax,
        ),
        ("i=@football", "i=@ball", Reason::IdentityOutside),
        ("i=@football", "i=football", Reason::Syntax),
        ("q=dns/txt", "q=http", Reason::QueryMethod),
        ("q=dns/txt", "q=x:dns/txt", Reason::SignatureDiffers),
        ("t=1528637909", "t=1528640301", Reason::Future),
        ("t=1528637909", "t=1528640300", Reason::SignatureDiffers),
        ("t=1528637909", "t=never", Reason::Syntax),
        (
            "t=1528637909",
            "t=1528637909; x=1528639999",
            Reason::Expired,
        ),
        (
            "t=1528637909",
            "t=1528637909; x=1528637909",
            Reason::Expired,
        ),
        (
            "t=1528637909",
            "t=1528637909; x=1528640000",
            Reason::SignatureDiffers,
        ),
        ("h=from : to", "h=to", Reason::SignatureDiffers),
        ("bh=2jUS", "bh=2jU", Reason::Syntax),
        ("b=/gCr", "b=", Reason::SignatureDiffers),
        ("b=/gCr", "b=!gCr", Reason::Syntax),
        ("s=brisbane", "s=sydney", Reason::NoKey),
    ] {
        assert_eq!(reason(from, to), expected, "{from} -> {to}");
    }
    let names = format!("h=from : {}to", "to:".repeat(100));
    assert_eq!(reason("h=from : to", &names), Reason::TooManyNames);
    let without =
        first
            .replacen("h=from : to", "h=to", 1)
            .replacen(": from : subject : date;", ";", 1);
    assert_eq!(reasons(&without, &keys)[0], Reason::FromNotSigned);
}

#[test]
fn flags_of_the_key_count() {
    let key = "k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let name = "brisbane._domainkey.football.example.com";
    let message = crlf(RFC_8463);
    let of = |text: &str, message: &str| {
        let keys = Keys::default().with(name, text);
        verify(message.as_bytes(), &keys, 99)
            .signatures
            .swap_remove(0)
    };
    let testing = of(&format!("t=y; {key}"), &message);
    assert!(testing.testing && testing.passed());
    assert!(of(&format!("t=s; {key}"), &message).passed());
    let below = message.replacen("i=@", "i=x@sub.", 1);
    assert_eq!(
        of(&format!("t=s; {key}"), &below).reason,
        Reason::IdentityNotDomain
    );
    assert_eq!(of("k=ed25519; p=", &message).reason, Reason::KeyRevoked);
    let mut keys = Keys::default();
    keys.0
        .insert(name.into(), Answer::Unknown(Unknown::Timeout));
    let late = verify(message.as_bytes(), &keys, 99)
        .signatures
        .swap_remove(0);
    assert_eq!(late.outcome(), Outcome::TempError);
}

#[test]
fn eight_signatures_are_looked_at() {
    let message = crlf(RFC_8463);
    let (signatures, rest) = message.split_at(message.find("From:").expect("it is there"));
    let dkim = verify(
        (signatures.repeat(900) + rest).as_bytes(),
        &keys_of_8463(),
        4096,
    );
    assert_eq!(
        (dkim.signatures.len(), dkim.skipped),
        (SIGNATURES_MAX, 1_792)
    );
    assert!(dkim.signatures.iter().all(SignatureResult::passed));
}

#[test]
fn a_header_has_two_thousand_fields_at_most() {
    let message = crlf(RFC_8463);
    let with = |count: usize| {
        reasons(
            &message.replacen("From:", &("X:\r\n".repeat(count) + "From:"), 1),
            &keys_of_8463(),
        )
    };
    assert_eq!(with(2000 - 7), [Reason::Verified; 2]);
    assert_eq!(with(2000 - 6), [Reason::TooManyFields; 2]);
}

fn signer(domain: &str, selector: &str, key: PrivateKey, canonical: &str) -> Arc<Signer> {
    let table = config::Dkim {
        domain: domain.into(),
        selector: selector.into(),
        canonicalization: canonical.parse().expect("a word"),
        expires_after: config::Time::secs(3600),
        ..config::Dkim::default()
    };
    Arc::new(Signer::new(&table, key).expect("names"))
}

/// A message with its signatures.
fn sign(header: &str, body: &[u8], signers: &[Arc<Signer>], now: u64) -> Vec<u8> {
    let mut hashes = BodyHashes::new();
    let signing = Signing::new(header.as_bytes(), signers, now, &mut hashes).expect("signers");
    hashes.update(body);
    let fields = signing.finish(&hashes.finish()).expect("signatures");
    [&fields, header.as_bytes(), b"\r\n", body].concat()
}

#[test]
fn what_we_sign_we_verify() {
    let mut keys = Keys::default();
    let mut signers = Vec::new();
    for (selector, kind) in [("r", KeyKind::Rsa2048), ("e", KeyKind::Ed25519)] {
        let (key, _) = PrivateKey::generate(kind).expect("a key");
        let name = format!("{selector}._domainkey.example.org");
        keys = keys.with(&name, &record(&key).expect("a record"));
        signers.push(signer("example.org", selector, key, "relaxed/relaxed"));
    }
    let header = "From: a@a.example.org\r\nTo: b\r\n  (c)\r\nList-Unsubscribe: <x>\r\nX: y\r\n";
    for body in ["", "\r\n", " \r\n", "a \t b \r\n\r\n \r\n", "no end"] {
        let message = sign(header, body.as_bytes(), &signers, NOW);
        for piece in [1, 2, 1 << 20] {
            let dkim = verify(&message, &keys, piece);
            assert_eq!(dkim.signatures.len(), 2);
            assert!(
                dkim.signatures.iter().all(SignatureResult::passed),
                "{body:?} {dkim:?}"
            );
        }
        let text = String::from_utf8(message).expect("ASCII");
        for name in [
            "From",
            "List-Unsubscribe",
            "list-unsubscribe-post",
            "Subject",
            "References",
        ] {
            let added = text.replacen("X: y", &format!("{name}: z"), 1);
            assert_eq!(
                reasons(&added, &keys),
                [Reason::SignatureDiffers; 2],
                "{name}"
            );
        }
        assert_eq!(
            reasons(&text.replacen("X: y", "Sender: z", 1), &keys),
            [Reason::Verified; 2]
        );
    }
}

/// What messages are made of in the property test.
const PARTS: &[&[u8]] = &[
    b"DKIM-Signature: ",
    b"v=1;",
    b"a=rsa-sha256;",
    b"a=ed25519-sha256;",
    b"b=AAAA;",
    b"bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;",
    b"d=a.example;",
    b"s=s;",
    b"h=from:x:from;",
    b"l=3;",
    b"c=relaxed/simple;",
    b"\r\n",
    b"\r\n",
    b"\r\n ",
    b"From: x\r\n",
    b"X:\xff\0;=",
    b"\n",
    b"\r",
    b"i=@",
];

proptest! {
    #[test]
    fn no_message_upsets_it(message in proptest::collection::vec(
        proptest::sample::select(PARTS), 0..40)) {
        let message = message.concat();
        let keys = keys_of_8463().with("s._domainkey.a.example", "k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        let dkim = verify(&message, &keys, 5);
        prop_assert!(dkim.signatures.len() <= SIGNATURES_MAX && dkim.domains().next().is_none());
    }

    #[test]
    fn no_key_record_upsets_it(record in "(v=DKIM1|k=rsa|k=ed25519|p=|[A-Za-z0-9+/=]{1,40}|; |=|t=s|h=sha256){0,12}") {
        let keys = Keys::default().with("brisbane._domainkey.football.example.com", &record)
            .with("test._domainkey.football.example.com", &record);
        prop_assert!(reasons(&crlf(RFC_8463), &keys).iter().all(|reason| *reason != Reason::Verified));
    }
}
