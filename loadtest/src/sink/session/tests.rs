//! However the input is cut, replies, tallies and faults are the same.
#![allow(clippy::unwrap_used)]

use super::{Context, Do, Session};
use crate::{
    sink::{
        behaviour::Behaviour,
        counters::Counters,
        plan::{Fixed, Plan},
        point::Fault,
        verify::Finding,
    },
    stamp::{RunId, Stamp, sum},
};
use gatepost::smtp::{Reply, Status, Tick};

/// What a session said and found, and which faults it counted.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    said: String,
    found: Vec<Finding>,
    faults: Vec<u64>,
}

/// Plays all pieces; every third question is answered with no.
fn play(lmtp: bool, changes: &str, pieces: &[&[u8]]) -> Seen {
    let fixed = Fixed {
        hostname: "sink.test".into(),
        lmtp,
        started: Tick(0),
        tls: None,
    };
    let plan = Plan::new(
        fixed,
        &Behaviour::of(serde_json::from_str(changes).unwrap()),
    );
    let counters = Counters::default();
    let context = Context {
        plan: &plan,
        counters: &counters,
        saver: None,
        now: Tick(1),
    };
    let (mut session, mut out, mut asked) = (Session::new(), Vec::new(), 0);
    let mut found = Vec::new();
    for piece in pieces {
        let mut at = 0;
        loop {
            let (taken, next) = session.step(&context, &piece[at..], &mut out);
            at += taken;
            match next {
                Do::Read | Do::Close => break assert_eq!(at, piece.len()),
                Do::Middle => {}
                Do::StartTls => session.secured(),
                Do::Ask(_) => {
                    asked += 1;
                    if asked % 7 == 0 {
                        let no = Reply::fixed(450, Status(4, 2, 0), "Not now");
                        session.refuse(&no, &mut out);
                    } else {
                        session.accept(&context, &mut out);
                    }
                }
                Do::End => {
                    found.push(session.received(&context).unwrap().finding);
                    for _ in 0..session.replies(&plan) {
                        session.say(&Reply::fixed(250, Status(2, 0, 0), "Ok"), &mut out);
                    }
                    session.done();
                }
            }
        }
    }
    // Whether a client waited can only be seen in how the input is cut.
    let seen = Fault::ALL
        .iter()
        .filter(|fault| **fault != Fault::Pipelining);
    Seen {
        said: String::from_utf8(out).unwrap(),
        found,
        faults: seen
            .map(|fault| counters.faults[*fault as usize].get())
            .collect(),
    }
}

fn dialogue(hello: &str) -> Vec<u8> {
    let rest = "Subject: x\r\n\r\n.dot\r\nbare\nnewline\r\n";
    let stamp = Stamp {
        run: RunId(1),
        number: 1,
        sum: sum(rest.as_bytes()),
        octets: rest.len() as u64,
    };
    let mut payload = Vec::new();
    stamp.write(&mut payload);
    payload.extend_from_slice(rest.as_bytes());
    let payload = String::from_utf8(payload).unwrap();
    let stuffed = payload.replace("\r\n.", "\r\n..");
    let (front, back) = payload.split_at(payload.len() / 2);
    let envelope = "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<c@c.example>\r\n";
    let chunks = format!(
        "BDAT {}\r\n{front}BDAT {} LAST\r\n{back}",
        front.len(),
        back.len()
    );
    format!(
        "{hello} x\r\n{envelope}DATA\r\nno stamp\r\n.\r\n{envelope}DATA\r\n{stuffed}.\r\n{envelope}{chunks}NONSENSE\r\n{envelope}{chunks}RSET\r\n\
         \r\n{envelope}{chunks}QUIT\r\nNOOP\r\n"
    )
    .into_bytes()
}

#[test]
fn any_split_is_the_same() {
    for (lmtp, changes) in [
        (false, "{}"),
        (false, r#"{"size_max": 100, "drop": "body-middle:50%"}"#),
        (true, "{}"),
        (false, r#"{"auth": "plain,login", "auth_required": true}"#),
    ] {
        let mut input = dialogue(if lmtp { "LHLO" } else { "EHLO" });
        if changes.contains("auth") {
            let auth = b"EHLO x\r\nAUTH PLAIN\r\n*\r\nAUTH LOGIN\r\nbWU=\r\ncGFzcw==\r\n";
            input = [&auth[..], &input].concat();
        }
        let whole = play(lmtp, changes, &[&input]);
        assert!(whole.said.ends_with("221 2.0.0 Bye\r\n"), "{}", whole.said);
        for at in 0..input.len() {
            let (front, back) = input.split_at(at);
            assert_eq!(play(lmtp, changes, &[front, back]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(play(lmtp, changes, &single), whole);
    }
}

#[test]
fn what_lies_whole_is_found_whole() {
    let seen = play(false, "{}", &[&dialogue("EHLO")]);
    let sound = |finding: &&Finding| matches!(finding, Finding::Sound(_));
    assert!(seen.found.iter().filter(sound).count() >= 2, "{seen:?}");
    assert!(seen.found.contains(&Finding::Unstamped), "{seen:?}");
    let lost = |finding: &Finding| matches!(finding, Finding::Damaged(_));
    assert!(!seen.found.iter().any(lost), "{seen:?}");
}
