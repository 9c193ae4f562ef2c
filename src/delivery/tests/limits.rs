//! Backends that take few connections or few messages on one, and those that have changed.

use super::*;
use crate::{config::Protocol, smtp::envelope::BodyKind};
use std::cell::{Cell, RefCell};

/// So many sessions at once, each with so many messages: how those ended that were not taken.
pub async fn crowd(rig: &Rc<Rig>, sessions: usize, messages: usize) -> Vec<Ending> {
    let envelope = Rc::new(envelope(&["joe@example.net"]));
    let done = Rc::new(Cell::new(0));
    let wrong = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..sessions {
        let (rig, envelope) = (Rc::clone(rig), Rc::clone(&envelope));
        let (done, wrong) = (Rc::clone(&done), Rc::clone(&wrong));
        net::spawn(async move {
            for _ in 0..messages {
                let outcome = rig.deliver(&envelope).await;
                if !outcome.is_accepted() {
                    wrong.borrow_mut().push(outcome.ending);
                }
            }
            done.set(done.get() + 1);
        });
    }
    rig.until(|| done.get() == sessions).await;
    wrong.take()
}

#[test]
fn a_backend_at_its_limit_of_connections_is_not_ill() {
    on_each_engine(|| async {
        let peer = Peer::new(Script::offering(&["PIPELINING"]).at_most(3));
        let rig = Rc::new(Rig::new(&[&peer]).await);
        // The probe's connection has ended at the peer, too.
        rig.until(|| peer.open() == 0).await;
        // While the limit is found out, messages wait; none is put off, and the backend stays in.
        let wrong = crowd(&rig, 8, 10).await;
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(peer.bodies().len(), 80);
        let view = &rig.backends.view(now())[0];
        assert!(view.up && view.connections_max <= 3, "{view:?}");
    });
}

/// As Exim does: a connection too many is turned away at once, the others are greeted after their address was looked up.
#[test]
fn a_backend_that_turns_away_sooner_than_it_greets_is_not_ill() {
    on_each_engine(|| async {
        let slow = Duration::from_millis(100);
        let script = Script::offering(&["PIPELINING"]).at_most(3);
        let peer = Peer::new(script.greeting_after(slow));
        let rig = Rc::new(Rig::new(&[&peer]).await);
        rig.until(|| peer.open() == 0).await;
        // It has not greeted for longer than a backend is taken for full on that ground alone.
        net::sleep(Duration::from_millis(1200)).await;
        let wrong = crowd(&rig, 8, 2).await;
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(rig.backends.view(now())[0].up);
    });
}

#[test]
fn a_backend_that_still_counts_connections_of_before_is_not_ill() {
    on_each_engine(|| async {
        let script = Script::offering(&["PIPELINING"]).at_most(1);
        let peer = Peer::new(script.lingering(Duration::from_millis(200)));
        let rig = Rig::new(&[&peer]).await;
        let envelope = envelope(&["joe@example.net"]);
        for _ in 0..3 {
            let outcome = rig.deliver(&envelope).await;
            assert!(outcome.is_accepted(), "{outcome:?}");
            peer.cut();
        }
        assert!(rig.backends.view(now())[0].up);
        assert!(peer.connections() > 4, "it was full in between");
    });
}

#[test]
fn a_backend_that_turns_all_away_is_left_out() {
    on_each_engine(|| async {
        let script = Script::offering(&["PIPELINING"]);
        let (first, second) = (Peer::new(script.clone()), Peer::new(script.clone()));
        let rig = Rc::new(Rig::new(&[&first, &second]).await);
        first.follow(script.on("GREETING", "421 4.3.2 going down\r\n!close"));
        let wrong = crowd(&rig, 8, 2).await;
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(second.bodies().len(), 16);
        let view = rig.backends.view(now());
        assert!(!view[0].up && view[1].up, "{view:?}");
    });
}

#[test]
fn questions_are_no_messages_that_a_connection_has_carried() {
    on_each_engine(|| async {
        let script = Script::offering(&["PIPELINING", "CHUNKING"]);
        let peer = Peer::new(script.closing_after(1));
        let rig = Rig::new(&[&peer]).await;
        let envelope = envelope(&["joe@example.net"]);
        for n in 0..8 {
            let name = format!("joe{n}@example.net");
            let (path, until) = (
                Path::split(name.as_bytes()),
                now().after(Duration::from_secs(60)),
            );
            let asking = rig
                .pools
                .verify(rig.pool, (b"a@a.example", None), path, until);
            assert_eq!(asking.await, Verification::Accepted);
            for _ in 0..3 {
                let outcome = rig.deliver(&envelope).await;
                assert!(outcome.is_accepted(), "{outcome:?}");
            }
        }
        assert_eq!(rig.count(Counter::Uncertain, &peer), 0);
        assert_eq!(peer.bodies().len(), 24);
    });
}

#[test]
fn a_connection_of_before_a_change_is_not_held_against_a_message() {
    on_each_engine(|| async {
        let old = Peer::new(Script::offering(&["PIPELINING"]));
        let rig = Rig::new(&[&old]).await;
        let plain = envelope(&["joe@example.net"]);
        let mut eight = envelope(&["joe@example.net"]);
        let params = MailParams {
            body: BodyKind::EightBitMime,
            ..Default::default()
        };
        let sender = eight.keep_path(Path::split(b"a@a.example"));
        eight.set_sender(sender, params);
        let message = |envelope, eight_bit| {
            let mut message = rig.message(envelope, &[BODY]);
            message.load.eight_bit = eight_bit;
            message
        };
        assert!(rig.deliver(&plain).await.is_accepted());
        // One connection stays out while the backend is started anew, with more to offer.
        let request = Request {
            pool: rig.pool,
            key: b"",
            origin: None,
            client: None,
            needs: Needs::default(),
            deadline: now().after(Duration::from_secs(60)),
        };
        let before = rig.pools.acquire(&request, &mut Tried::default()).await;
        let before = before.unwrap();
        old.follow(Script::offering(&["PIPELINING", "8BITMIME"]));
        assert!(rig.deliver(&plain).await.is_accepted());
        before.give_back();
        assert_eq!(rig.pools.idle(), 2);
        // The newest idle connection is the old one: it can't carry this message, and is of no more use.
        let outcome = deliver(&rig.pools, &message(&eight, true)).await;
        assert!(outcome.is_accepted(), "{outcome:?}");
        rig.until(|| old.open() == 2 && rig.pools.idle() == 2).await;
        let outcome = deliver(&rig.pools, &message(&eight, true)).await;
        assert!(outcome.is_accepted(), "{outcome:?}");
        assert_eq!(old.connections(), 4, "the probe's, and three");
        assert_eq!(rig.count(Counter::RetryStale, &old), 1);
        // A backend that really has less than it offered last is no reason to refuse a message for good, as long as
        // others of its pool were not reached since.
        old.follow(Script::offering(&["PIPELINING"]));
        old.cut();
        let outcome = deliver(&rig.pools, &message(&eight, true)).await;
        let reply = told(&outcome, &eight);
        assert!(reply.starts_with("451 4.3.5"), "{reply}");
    });
}

#[test]
fn a_pool_that_became_lmtp_gets_one_recipient_a_message() {
    on_each_engine(|| async {
        let peer = Peer::new(Script::offering(&["PIPELINING"]));
        let rig = Rig::with(&[&peer], |pool| pool.protocol = Protocol::Lmtp).await;
        let several = envelope(&["joe@example.net", "amy@example.net"]);
        for outcome in [
            rig.deliver(&several).await,
            rig.open_in_vain(&several).await,
        ] {
            let reply = told(&outcome, &several);
            assert!(reply.starts_with("451 4.4.2"), "{reply}");
        }
        assert!(peer.bodies().is_empty());
        let one = envelope(&["joe@example.net"]);
        assert!(rig.deliver(&one).await.is_accepted());
        assert_eq!(peer.bodies().len(), 1);
    });
}

#[test]
fn what_a_backend_offered_of_late_puts_a_message_off() {
    on_each_engine(|| async {
        const ALL: &[&str] = &["PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8"];
        let mut utf8 = envelope(&["j\u{f6}e@example.net"]);
        let sender = utf8.keep_path(Path::split(b"a@a.example"));
        let params = MailParams {
            smtputf8: true,
            ..Default::default()
        };
        utf8.set_sender(sender, params);
        let plain = envelope(&["joe@example.net"]);
        for (envelope, size, eight_bit, before, lapsed, never) in [
            (&utf8, 10, true, "250", "451 4.3.5", "553 5.6.7"),
            (&plain, 10, true, "250", "451 4.3.5", "554 5.6.3"),
            (&plain, 900, false, "250", "451 4.3.5", "552 5.3.4"),
            (&plain, 1001, false, "552 5.3.4", "552 5.3.4", "552 5.3.4"),
        ] {
            let load = Load {
                size,
                eight_bit,
                whole: true,
            };
            let less = Script::offering(&["PIPELINING", "SIZE 100"]);
            let mut told_in_turn = Vec::new();
            for changes in [false, true] {
                let peer = Peer::new(Script::offering(ALL));
                if !changes {
                    peer.follow(less.clone());
                }
                let rig = Rig::new(&[&peer]).await;
                for lacks in [false, true] {
                    if lacks {
                        peer.follow(less.clone());
                        peer.cut();
                    }
                    let message = Message {
                        load,
                        ..rig.message(envelope, &[BODY])
                    };
                    // The first one finds out where it has changed.
                    if lacks {
                        rig.deliver(&plain).await;
                    }
                    let outcome = deliver(&rig.pools, &message).await;
                    told_in_turn.push(told(&outcome, envelope));
                }
            }
            for (told, wanted) in told_in_turn.iter().zip([never, never, before, lapsed]) {
                assert!(told.starts_with(wanted), "{told} instead of {wanted}");
            }
        }
    });
}
