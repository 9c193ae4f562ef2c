//! dkimpy, which knows nothing of us, and we agree: on what it signs, and on what we sign. One Python process answers for
//! all messages (`tests/data/dkim/peer.py`).

use super::super::{KeyKind, PrivateKey, Reason, publish::record};
use super::{Keys, sign, signer, verify_at};
use crate::policy::authentication::tags;
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

struct Peer {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Peer {
    /// `None`, and a note, where dkimpy is not installed.
    fn start() -> Option<Peer> {
        let has = |python: &&str| {
            let mut asked = Command::new(python);
            let asked = asked.args(["-c", "import dkim, nacl"]);
            let status = asked.stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        // A python3 that comes first in PATH may not see the modules of the system's packages.
        let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has) else {
            let what = "the comparison with dkimpy: python3 has no modules dkim and nacl";
            eprintln!("left out: {what}");
            if let Some(path) = std::env::var_os("GATEPOST_LEFT_OUT") {
                let file = std::fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(path);
                let _ = file.and_then(|mut file| writeln!(file, "{what}"));
            }
            return None;
        };
        let mut child = Command::new(python)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/data/dkim/peer.py"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        Some(Peer {
            to: child.stdin.take(),
            from,
            child,
        })
    }

    fn ask(&mut self, question: &Value) -> Value {
        let to = self.to.as_mut().expect("it is open until the end");
        writeln!(to, "{question}").expect("it reads");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("it answers");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        assert!(answer["error"].is_null(), "{answer} to {question}");
        answer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

/// What headers are made of, beside From.
const FIELDS: &[&str] = &[
    "Subject: a  b \t c\r\n",
    "Subject:\r\n",
    "Subject: folded\r\n\t twice \r\n   and more\r\n",
    "SUBJECT: x\r\n",
    "To: b@example.net\r\n",
    "To: \"B, C\" <b@example.net>,\r\n c@example.net\r\n",
    "Cc:   \r\n",
    "Date: Fri, 27 Nov 2026 12:00:00 +0000\r\n",
    "Message-ID:<a@example.org>\r\n",
    "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
    "X-Other: ; b=c; =\r\n",
    "Content-Type: text/plain;\r\n charset=utf-8 \r\n",
];

/// What bodies are made of.
const TEXTS: &[&str] = &[
    "a", "b c", " ", "  ", "\t", "\t \t", "\r\n", "\r\n", "\r\n\r\n", " \r\n", "\t\r\n", ".", "..",
    "é", "--", "=",
];

/// White space, empty lines and nothing, at the end of bodies.
const TAILS: &[&str] = &[
    "",
    "\r\n",
    "\r\n\r\n\r\n",
    " \r\n",
    "\r\n \r\n\t\r\n",
    "\r\n\r\n \r\n",
    "x",
];

/// A header section without its empty line, and a body.
fn messages() -> impl Strategy<Value = (String, String)> {
    let body = (vec(select(TEXTS), 0..12), select(TAILS));
    let body = body.prop_map(|(texts, tail)| texts.concat() + tail);
    // A line that ends in white space without a line end is none that comes by DATA; the RFC leaves it open.
    let body = body.prop_map(|body| match body.ends_with([' ', '\t']) {
        true => body + "\r\n",
        false => body,
    });
    let header = vec(select(FIELDS), 0..8);
    let header = header.prop_map(|fields| fields.concat() + "From: A  <a@example.org>\r\n");
    (header, body)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is later than 1970").as_secs()
}

fn base64(octets: impl AsRef<[u8]>) -> String {
    tags::to_base64(octets.as_ref())
}

const CANONICAL: &[&str] = &[
    "relaxed/relaxed",
    "relaxed/simple",
    "simple/relaxed",
    "simple/simple",
];

/// The key for dkimpy: RSA as PEM, Ed25519 as its seed.
fn for_peer(kind: KeyKind, pem: &str) -> String {
    if kind != KeyKind::Ed25519 {
        return pem.into();
    }
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = tags::base64(text.as_bytes(), 200).expect("base64");
    base64(&der[16..48]) // RFC 8410 §7: the seed stands at the end of PKCS #8
}

#[test]
fn dkimpy_and_we_agree() {
    let Some(peer) = Peer::start() else { return };
    let peer = RefCell::new(peer);
    let keys = [("r", KeyKind::Rsa2048), ("e", KeyKind::Ed25519)].map(|(selector, kind)| {
        let (key, pem) = PrivateKey::generate(kind).expect("a key");
        let record = record(&key).expect("a record");
        (
            selector,
            key.algorithm().as_str(),
            for_peer(kind, &pem),
            pem,
            record,
        )
    });
    let name = |selector: &str| format!("{selector}._domainkey.example.org");
    let mut published = Keys::default();
    let mut told = json!({});
    for (selector, _, _, _, record) in &keys {
        published = published.with(&name(selector), record);
        told[name(selector)] = json!(record);
    }
    let mut runner = TestRunner::new(Config {
        cases: 100,
        failure_persistence: None,
        ..Config::default()
    });
    let any = (messages(), select(CANONICAL), any::<bool>(), any::<bool>());
    let outcome = runner.run(&any, |((header, body), canonical, length, more)| {
        let mut peer = peer.borrow_mut();
        let message = format!("{header}\r\n{body}");
        // What we sign holds there.
        let signers = keys.each_ref().map(|(selector, _, _, pem, _)| {
            signer("example.org", selector, PrivateKey::from_text(pem).expect("ours"), canonical)
        });
        let signed = sign(&header, body.as_bytes(), &signers, now());
        let question = json!({ "do": "verify", "message": base64(&signed), "keys": told });
        let answer = peer.ask(&question);
        prop_assert_eq!(&answer["holds"], &json!([true, true]), "{} {}", &answer, canonical);
        let broken = [&signed[..], b"x\r\n"].concat();
        let question = json!({ "do": "verify", "message": base64(&broken), "keys": told });
        prop_assert_eq!(&peer.ask(&question)["holds"], &json!([false, false]));
        // What is signed there holds here.
        for (selector, algorithm, key, _, _) in &keys {
            let answer = peer.ask(&json!({
                "do": "sign", "message": base64(&message), "domain": "example.org", "selector": selector, "key": key,
                "algorithm": algorithm, "canonical": canonical, "length": length,
            }));
            let field = answer["field"].as_str().unwrap_or_default();
            let field = tags::base64(field.as_bytes(), 1 << 16).expect("base64");
            // Under `l=` text may follow, from the line end of what is signed on.
            let tail: &[u8] = match more && (body.is_empty() || body.ends_with("\r\n")) {
                true => b"more\r\n",
                false => b"",
            };
            let text = [&field[..], message.as_bytes(), tail].concat();
            let found = verify_at(&text, &published, 11, now()).signatures;
            let expected = match tail.is_empty() || (length && is_prefix(&body, canonical)) {
                true => Reason::Verified,
                false => Reason::BodyDiffers,
            };
            prop_assert_eq!(found[0].reason, expected, "{}", String::from_utf8_lossy(&text));
            prop_assert_eq!(found[0].signed_length.is_some(), length);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|why| panic!("{why}"));
}

/// Whether the canonical form of a body still stands at the front once text has been added below. That of an empty simple
/// body is a line end, which the text then takes the place of.
fn is_prefix(body: &str, canonical: &str) -> bool {
    canonical.ends_with("/relaxed") || !body.is_empty()
}
