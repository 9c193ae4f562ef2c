//! Recipients asked about, remembered, and asked about once.

use super::*;
use crate::{config::PoolIdentity, upstream::learned::Limit};
use std::net::{IpAddr, Ipv4Addr};

fn asked(peer: &Peer) -> Vec<String> {
    std::mem::take(&mut *peer.seen().recipients.lock().unwrap())
}

async fn verify(pools: &Rc<Pools>, pool: PoolId, path: &str) -> Verification {
    verify_from(pools, pool, "a@a.example", path).await
}

async fn verify_from(pools: &Rc<Pools>, pool: PoolId, sender: &str, path: &str) -> Verification {
    let path = Path::split(path.as_bytes());
    if let Some(known) = pools.verified(pool, path, now()) {
        return known;
    }
    let asking = pools.verify(pool, (sender.as_bytes(), None), path, soon());
    asking.await
}

#[test]
fn nothing_is_learned_from_replies_that_have_shifted() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::Doubles);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        // The second answer to MAIL stood for that to RCPT.
        let bad = "bad@example.net";
        assert_eq!(code(&verify(&pools, pool, bad).await), 250);
        peer.set(Mode::Good);
        assert_eq!(code(&verify(&pools, pool, bad).await), 550, "it is asked");
        assert!(count(&pools, Counter::BackendSurplus, &peer) > 0);
    });
}

fn code(answer: &Verification) -> u16 {
    match answer {
        Verification::Accepted => 250,
        Verification::Refused(said) | Verification::Deferred(said) => said.head.code,
        Verification::NoUtf8 => 553,
        Verification::Unknown(reply) => reply.code,
    }
}

fn said(code: u16, status: Status) -> BackendReply {
    BackendReply::new(ReplyHead { code, status }, "no")
}

#[test]
fn answers_are_remembered() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        for path in ["joe@example.net", "bad@example.net"] {
            let first = verify(&pools, pool, path).await;
            let again = verify(&pools, pool, &path.replace("example", "EXAMPLE")).await;
            assert_eq!(first, again);
            assert_eq!(asked(&peer), [path]);
        }
        let good = verify(&pools, pool, "joe@example.net").await;
        assert_eq!(good, Verification::Accepted);
        let bad = verify(&pools, pool, "bad@example.net").await;
        assert!(matches!(&bad, Verification::Refused(said) if said.head.code == 550));
        assert_eq!(asked(&peer), [""; 0]);
        // A refusal for now is not remembered.
        for _ in 0..2 {
            let later = verify(&pools, pool, "later@example.net").await;
            assert!(matches!(&later, Verification::Deferred(said) if said.head.code == 450));
            assert_eq!(asked(&peer), ["later@example.net"]);
        }
        // One connection for all of that, and it's clean.
        assert_eq!(peer.connections(), 2);
        deliver(&pools, pool).await;
        assert_eq!(peer.connections(), 2);
        // The other workers and the next configuration know it too.
        let next = Arc::new(
            Backends::build(&config(&[&peer]), Some(&backends), &Names::default()).unwrap(),
        );
        let other = Pools::new(next, Recorder::alone(), 1);
        asked(&peer);
        assert_eq!(code(&verify(&other, pool, "bad@example.net").await), 550);
        assert_eq!(asked(&peer), [""; 0]);
    });
}

#[test]
fn sessions_that_ask_together_ask_once() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let answers = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..50 {
            let (pools, answers) = (Rc::clone(&pools), Rc::clone(&answers));
            net::spawn(async move {
                let answer = verify(&pools, pool, "bad@example.net").await;
                answers.borrow_mut().push(code(&answer));
            });
        }
        until(|| answers.borrow().len() == 50).await;
        assert!(answers.borrow().iter().all(|code| *code == 550));
        assert_eq!(asked(&peer), ["bad@example.net"]);
        let registry = pools.recorder.registry();
        let joined = registry.counter(Counter::VerifyJoined, registry.pool("cluster"));
        assert_eq!(joined, 49);
    });
}

#[test]
fn who_goes_in_the_middle_leaves_the_question_to_the_next() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::Silent);
        let mut config = config(&[&peer]);
        config.pool[0].health.timeout = Time::millis(50);
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let answer = Rc::new(RefCell::new(None));
        {
            let first = verify(&pools, pool, "joe@example.net");
            let brief = now().after(Duration::from_millis(30));
            let second = (Rc::clone(&pools), Rc::clone(&answer));
            net::spawn(async move {
                let found = verify(&second.0, pool, "joe@example.net").await;
                second.1.replace(Some(found));
            });
            assert!(net::timeout_at(brief, first).await.is_none());
        }
        peer.set(Mode::Good);
        peer.cut();
        until(|| answer.borrow().is_some()).await;
        assert_eq!(answer.take(), Some(Verification::Accepted));
    });
}

#[test]
fn a_dead_pool_is_no_answer_and_is_not_remembered() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        peer.stop();
        let answer = verify(&pools, pool, "bad@example.net").await;
        assert!(matches!(&answer, Verification::Unknown(reply) if reply.code == 451));
        peer.start();
        assert_eq!(code(&verify(&pools, pool, "bad@example.net").await), 550);
    });
}

#[test]
fn a_stale_connection_is_not_the_recipients_fault() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::Stale);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        assert_eq!(code(&verify(&pools, pool, "joe@example.net").await), 250);
        assert_eq!(code(&verify(&pools, pool, "bad@example.net").await), 550);
    });
}

const AMY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const BOB: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));

#[test]
fn where_backends_judge_by_the_client_it_is_put_off() {
    on_each_engine(|| async {
        let peer = Peer::new();
        for (identity, code) in [
            (PoolIdentity::Xclient, 450),
            (PoolIdentity::ProxyV1, 450),
            (PoolIdentity::ProxyV2, 450),
            (PoolIdentity::Xforward, 550),
        ] {
            let mut config = config(&[&peer]);
            config.pool[0].identity = identity;
            let (pools, pool) = pools(&build(&config)).await;
            let (sender, picky) = (b"a@a.example", Path::split(b"picky@example.net"));
            let no = said(550, Status(5, 7, 1));
            pools.note_refused(&sending(pool, AMY, sender, 50), picky, found(&no, true));
            let lately = |client| told(&pools, &sending(pool, client, sender, 50), picky);
            // The backend may say something else to Bob.
            assert_eq!(lately(BOB), Some(code), "{identity}");
            assert_eq!(lately(AMY), None, "{identity}: once");
        }
    });
}

#[test]
fn a_delivery_teaches() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let refuse = |path: &str, status: Status| {
            let (path, reply) = (Path::split(path.as_bytes()), said(550, status));
            let sending = sending(pool, AMY, b"a@a.example", 50);
            pools.note_refused(&sending, path, found(&reply, true));
        };
        refuse("gone@example.net", Status(5, 1, 1));
        refuse("picky@example.net", Status(5, 7, 1));
        assert_eq!(code(&verify(&pools, pool, "gone@example.net").await), 550);
        assert_eq!(asked(&peer), [""; 0]);
        // That one's code was about the sender or the message: another one asks anew, the same one meets it again.
        assert_eq!(code(&verify(&pools, pool, "picky@example.net").await), 250);
        assert_eq!(asked(&peer), ["picky@example.net"]);
        let picky = Path::split(b"picky@example.net");
        let lately =
            |client, sender, size| told(&pools, &sending(pool, client, sender, size), picky);
        let stranger = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
        assert_eq!(lately(AMY, b"b@a.example", 50), None, "another sender");
        assert_eq!(lately(AMY, b"", 50), None, "the null sender");
        assert_eq!(lately(AMY, b"a@a.example", 51), None, "another message");
        assert_eq!(lately(AMY, b"a@a.example", 0), None, "another message");
        // From another network it is the same message, and meets the refusal once.
        assert_eq!(lately(stranger, b"a@a.example", 50), Some(550));
        assert_eq!(lately(AMY, b"a@a.example", 50), None);
        // Without a size only its client knows it again.
        let no = said(550, Status(5, 7, 1));
        let unsized_one = sending(pool, AMY, b"a@a.example", 0);
        pools.note_refused(&unsized_one, picky, found(&no, true));
        assert_eq!(lately(BOB, b"a@a.example", 0), None, "another client");
        assert_eq!(lately(AMY, b"a@a.example", 0), Some(550));
    });
}

#[test]
fn an_address_that_the_backend_can_not_take_is_refused() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let answer = verify(&pools, pool, "jürgen@example.net").await;
        assert_eq!(answer, Verification::NoUtf8);
        // All of them are known not to: none is asked.
        assert_eq!(asked(&peer), [""; 0]);
    });
}

#[test]
fn a_refusal_that_may_be_about_the_sender_is_asked_about_with_it() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let (pools, pool) = pools(&build(&config(&[&peer]))).await;
        let path = "members@example.net";
        let from = |sender: &'static str| verify_from(&pools, pool, sender, path);
        assert_eq!(from("amy@a.example").await, Verification::Accepted);
        assert_eq!(asked(&peer), [path, path], "with <>, and with amy");
        // Now it is known that <> tells nothing; each sender has an answer of its own, and it is remembered.
        assert_eq!(code(&from("bob@a.example").await), 550);
        assert_eq!(asked(&peer), [path]);
        assert_eq!(code(&from("bob@a.example").await), 550);
        assert_eq!(from("amy@a.example").await, Verification::Accepted);
        assert_eq!(asked(&peer), [""; 0]);
        // A bounce has no other sender than <>.
        assert_eq!(code(&from("").await), 550);
        // A bare 550 may mean either. It is no verdict on the mailbox, but on the two.
        let bare = verify(&pools, pool, "bare@example.net").await;
        assert_eq!(code(&bare), 550);
        assert_eq!(pools.idle(), 1);
    });
}

#[test]
fn a_backend_that_refuses_the_question_is_asked_with_the_messages_sender() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::NoNull);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let refusal = || backends.view(now())[0].question_refused.clone();
        assert_eq!(refusal(), None);
        assert_eq!(code(&verify(&pools, pool, "joe@example.net").await), 250);
        assert_eq!(code(&verify(&pools, pool, "bad@example.net").await), 550);
        let said = refusal().expect("it was heard").to_string();
        assert_eq!(said, "554 5.7.1 no bounces here");
        // A bounce can't be asked about: its delivery tells.
        let bounce = verify_from(&pools, pool, "", "jim@example.net").await;
        assert_eq!(bounce, Verification::Accepted);
        // An address of ours does.
        let mut config = config(&[&peer]);
        config.pool[0].verify_sender = "edge@a.example".into();
        let (pools, pool) = self::pools(&build(&config)).await;
        let bounce = verify_from(&pools, pool, "", "bad@example.net").await;
        assert_eq!(code(&bounce), 550);
    });
}

#[test]
fn an_answer_before_the_end_of_the_connection_is_kept() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::ClosesAfterRefusal);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        for n in 0..5 {
            let path = format!("bad{n}@example.net");
            assert_eq!(code(&verify(&pools, pool, &path).await), 550);
        }
        assert!(backends.view(now())[0].up);
    });
}

#[test]
fn a_connection_retires_before_its_backend_tires_of_questions() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let (pools, pool) = pools(&build(&config(&[&peer]))).await;
        for n in 0..40 {
            let name = if n % 2 == 0 { "joe" } else { "bad" };
            verify(&pools, pool, &format!("{name}{n}@example.net")).await;
        }
        // The probe's, and one for eight questions at most.
        let connections = peer.connections() - 1;
        assert!((5..=10).contains(&connections), "{connections}");
        // A message that is taken makes a connection new.
        for n in 0..40 {
            verify(&pools, pool, &format!("jim{n}@example.net")).await;
            deliver(&pools, pool).await;
        }
        assert!(peer.connections() - 1 <= connections + 1);
    });
}

#[test]
fn a_temporary_refusal_of_some_is_told_once() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let (sender, joe) = (b"a@a.example", Path::split(b"joe@example.net"));
        let sending = sending(pool, AMY, sender, 50);
        let note = |said: &BackendReply, partly| {
            pools.note_refused(&sending, joe, found(said, partly));
        };
        let lately = || pools.refused_lately(&sending, joe, 1).is_some();
        let later = said(450, Status(4, 2, 0));
        note(&later, true);
        assert_eq!((lately(), lately()), (true, false));
        // The client has heard it, where it was refused alone.
        note(&later, false);
        assert!(!lately());
        // That is about the message. Where no limit was learned of it, it is told once, so that the message is split.
        note(&said(452, Status(4, 5, 3)), true);
        assert_eq!((lately(), lately()), (true, false));
        note(&said(552, Status(5, 5, 3)), true);
        let told = told(&pools, &sending, joe);
        assert_eq!(told, Some(452), "RFC 5321 section 4.5.3.1.10");
        assert!(!lately());
        // Also where one is known, which may not hold for the next try; but the first recipient is within it.
        let limit = &backends.pools().next().unwrap().backends[0].learned;
        limit.learn(named(1, &sending), now());
        let elsewhere = Sending {
            client: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
            ..sending
        };
        for (code, status) in [(452, Status(4, 5, 3)), (552, Status(5, 5, 3))] {
            note(&said(code, status), true);
            assert_eq!(self::told(&pools, &elsewhere, joe), Some(452));
            note(&said(code, status), true);
            assert_eq!(pools.refused_lately(&sending, joe, 0), None);
            assert!(!lately(), "told once");
        }
        // By a limit of two it would be in the next message again.
        limit.learn(named(2, &sending), now());
        note(&said(452, Status(4, 5, 3)), true);
        assert!(pools.refused_lately(&sending, joe, 0).is_some());
        note(&said(550, Status(5, 7, 1)), true);
        assert_eq!((lately(), lately()), (true, false));
    });
}

/// A message of this client's, as RCPT knows it.
fn sending(pool: PoolId, client: IpAddr, sender: &[u8], size: u64) -> Sending<'_> {
    Sending {
        pool,
        client,
        source: MessageSource::new(Some(crate::client_key::address(client)), sender),
        sender,
        size,
    }
}

/// This, of the second recipient.
fn found(said: &BackendReply, partly: bool) -> Found<'_> {
    Found {
        said,
        place: 1,
        partly,
        elsewhere: false,
    }
}

/// The code that a recipient is told.
fn told(pools: &Pools, sending: &Sending<'_>, recipient: Path<'_>) -> Option<u16> {
    match pools.refused_lately(sending, recipient, 1)? {
        Lately::Told(said) => Some(said.head.code),
        Lately::Alone => Some(0),
    }
}

#[test]
fn what_may_be_about_room_refuses_no_other_message() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let (pools, pool) = pools(&build(&config(&[&peer]))).await;
        let joe = Path::split(b"joe@example.net");
        for (code, status) in [
            (552, Status(5, 2, 2)),
            (552, Status::NONE),
            (550, Status(5, 2, 3)),
            (554, Status(5, 3, 4)),
            (452, Status(4, 2, 2)),
            (452, Status(4, 3, 1)),
        ] {
            let no = said(code, status);
            let of_size = |size| sending(pool, AMY, b"a@a.example", size);
            pools.note_refused(&of_size(4000), joe, found(&no, true));
            assert_eq!(told(&pools, &of_size(50), joe), None);
            // For now: the mailbox may have room for the next one.
            assert_eq!(told(&pools, &of_size(4000), joe), Some(452));
            // Where it can't be known again, the backend itself is heard, unless it had said so for now: the next message may be alone
            // each second time then, and the others never get theirs.
            pools.note_refused(&of_size(0), joe, found(&no, true));
            let alone = if no.head.is_permanent() { 0 } else { 452 };
            assert_eq!(told(&pools, &of_size(0), joe), Some(alone));
            assert_eq!(told(&pools, &of_size(0), joe), None);
        }
    });
}

#[test]
fn what_another_pools_backend_says_of_a_mailbox_holds_for_the_message() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let (pools, pool) = pools(&build(&config(&[&peer]))).await;
        let (joe, gone) = (Path::split(b"joe@example.net"), said(550, Status(5, 1, 1)));
        let found = Found {
            elsewhere: true,
            ..found(&gone, true)
        };
        let sending = sending(pool, AMY, b"a@a.example", 50);
        pools.note_refused(&sending, joe, found);
        assert_eq!(code(&verify(&pools, pool, "joe@example.net").await), 250);
        assert_eq!(told(&pools, &sending, joe), Some(550));
    });
}

/// A limit that a backend has named.
fn named(recipients: u32, sending: &Sending<'_>) -> Limit {
    Limit {
        recipients,
        by: sending.source.expect("not the null sender"),
        is_named: true,
    }
}
