//! Messages handed to pools over real TCP, on each engine, with no session in sight. The backends are scripted peers in
//! threads of their own.

#![allow(clippy::unwrap_used)]

mod limits;
mod origins;
mod peer;
mod refusals;
mod surplus;
mod troubles;
mod unconfirmed;

use super::*;
use crate::{
    config::{Balance, Config, Io, Time},
    metrics::{Counter, Recorder},
    net::{self, now},
    smtp::{
        BodyFacts, Envelope, Span,
        backend_session::{Load, To, Unsupported},
        envelope::{MailParams, Path, Recipient},
    },
    upstream::{
        Backends, LeaseError, MessageSource, Needs, PoolId, Pools, Request, Tried, Trouble,
        Verification,
    },
};
use peer::{Peer, Script};
use std::{future::Future, rc::Rc, sync::Arc, sync::mpsc, thread, time::Duration};

const BODY: &[u8] = b"Subject: x\r\n\r\nHello\r\n";

/// Runs a test on each engine that can run here. One that hangs fails with its name.
fn on_each_engine<F: Future<Output = ()> + 'static>(test: fn() -> F) {
    for io in [Io::Epoll, Io::Uring, Io::Ring] {
        let engine = match net::probe(io, 1) {
            Ok(choice) => choice.engine,
            Err(why) => {
                println!("skipped: {why}");
                continue;
            }
        };
        println!("engine: {engine}");
        let (tell, done) = mpsc::channel();
        let thread = thread::spawn(move || {
            net::run_worker(engine, None, test).unwrap();
            tell.send(()).unwrap();
        });
        match done.recv_timeout(Duration::from_secs(90)) {
            Ok(()) => thread.join().unwrap(),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                std::panic::resume_unwind(thread.join().unwrap_err());
            }
        }
    }
}

/// One pool over these peers in their order, the first one preferred; its probes are done.
struct Rig {
    backends: Arc<Backends>,
    pools: Rc<Pools>,
    pool: PoolId,
}

impl Rig {
    async fn new(peers: &[&Peer]) -> Rig {
        Rig::with(peers, |_| {}).await
    }

    async fn with(peers: &[&Peer], change: fn(&mut crate::config::Pool)) -> Rig {
        Rig::configured(peers, |config| change(&mut config.pool[0])).await
    }

    async fn configured(peers: &[&Peer], change: impl FnOnce(&mut Config)) -> Rig {
        let mut config = Config::default();
        let address = |p: &&Peer| crate::config::Backend::Address(p.address.to_string());
        config.pool = vec![crate::config::Pool {
            name: "cluster".into(),
            backends: peers.iter().map(address).collect(),
            balance: Balance::FirstAvailable,
            lease_wait: Time::secs(60),
            ..Default::default()
        }];
        config.pool[0].health.interval = Time::secs(0);
        config.pool[0].health.slow_start = Time::secs(0);
        change(&mut config);
        let backends = Arc::new(Backends::build(&config, None, &Default::default()).unwrap());
        let pools = Pools::new(Arc::clone(&backends), Recorder::alone(), 0);
        let rig = Rig {
            pool: backends.pool_named("cluster").unwrap(),
            backends,
            pools,
        };
        rig.until(|| rig.backends.is_surveyed()).await;
        let is_idle = || rig.backends.view(now()).iter().all(|b| b.connections == 0);
        rig.until(is_idle).await;
        rig
    }

    async fn until(&self, fact: impl Fn() -> bool) {
        while !fact() {
            net::sleep(Duration::from_millis(5)).await;
        }
    }

    fn message<'a>(&self, envelope: &'a Envelope, pieces: &'a [&'a [u8]]) -> Message<'a> {
        Message {
            pool: self.pool,
            envelope,
            to: To::All,
            pieces,
            load: Load {
                size: pieces.iter().map(|piece| piece.len() as u64).sum(),
                eight_bit: false,
                whole: true,
            },
            undotted: true,
            origin: None,
            client: None,
            deadline: now().after(Duration::from_secs(60)),
        }
    }

    async fn deliver(&self, envelope: &Envelope) -> Outcome {
        deliver(&self.pools, &self.message(envelope, &[BODY])).await
    }

    /// A stream's beginning, where no backend takes the envelope.
    async fn open_in_vain(&self, envelope: &Envelope) -> Outcome {
        let mut message = self.message(envelope, &[BODY]);
        message.load.whole = false;
        *open(&self.pools, &message).await.err().unwrap()
    }

    fn count(&self, counter: Counter, peer: &Peer) -> u64 {
        let registry = self.pools.recorder().registry();
        let scope = registry.backend("cluster", &peer.address.to_string());
        registry.counter(counter, scope)
    }
}

fn envelope(recipients: &[&str]) -> Envelope {
    let mut envelope = Envelope::new();
    let sender = envelope.keep_path(Path::split(b"a@a.example"));
    envelope.set_sender(sender, MailParams::default());
    for recipient in recipients {
        let path = envelope.keep_path(Path::split(recipient.as_bytes()));
        envelope.push_recipient(Recipient {
            path,
            notify: None,
            orcpt: Span::default(),
        });
    }
    envelope
}

/// The reply that a client would get, as text; `250` where the message was taken.
fn told(outcome: &Outcome, envelope: &Envelope) -> String {
    match outcome.told(envelope) {
        Ok(()) => "250".into(),
        Err(reply) => reply.to_string(),
    }
}

#[test]
fn a_message_is_delivered_without_a_session() {
    on_each_engine(|| async {
        for offers in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"], &[]] {
            let peer = Peer::new(Script::offering(offers));
            let rig = Rig::new(&[&peer]).await;
            let envelope = envelope(&["joe@example.net", "amy@example.net"]);
            let outcome = rig.deliver(&envelope).await;
            let Ending::Accepted(said) = &outcome.ending else {
                panic!("{outcome:?}")
            };
            assert_eq!(said.text(), "queued as 1");
            assert!(outcome.refused.is_empty());
            let backend = outcome.backend.as_ref().unwrap();
            assert_eq!(backend.address(), peer.address);
            assert!(outcome.times.leased <= outcome.times.sent);
            assert!(outcome.times.sent <= outcome.times.heard);
            assert_eq!(peer.bodies(), [BODY]);
            assert_eq!(rig.count(Counter::BackendAccepted, &peer), 1);
        }
    });
}

#[test]
fn a_stream_is_delivered_without_a_session() {
    on_each_engine(|| async {
        for offers in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]] {
            let peer = Peer::new(Script::offering(offers));
            let rig = Rig::new(&[&peer]).await;
            let envelope = envelope(&["joe@example.net"]);
            let mut message = rig.message(&envelope, &[BODY]);
            message.load.whole = false;
            let mut streaming = open(&rig.pools, &message).await.unwrap();
            let line = [&[b'x'; 998][..], b"\r\n"].concat();
            let facts = BodyFacts::default();
            for _ in 0..100 {
                if streaming.take(&line, &facts) == Room::Full {
                    streaming.forward().await.unwrap();
                }
            }
            let outcome = streaming.end(false).await;
            assert!(outcome.is_accepted(), "{outcome:?}");
            assert_eq!(peer.bodies()[0].len(), BODY.len() + 100_000);
            // One that is abandoned leaves nothing.
            open(&rig.pools, &message).await.unwrap().abandon();
            rig.until(|| peer.open() == rig.pools.idle()).await;
            assert_eq!(peer.bodies().len(), 1);
        }
    });
}

#[test]
fn what_a_stream_begins_with_is_sent_in_pieces() {
    on_each_engine(|| async {
        let peer = Peer::new(Script::offering(&["PIPELINING", "CHUNKING"]));
        let rig = Rig::new(&[&peer]).await;
        let envelope = envelope(&["joe@example.net"]);
        let held = [BODY, &vec![b'x'; 20 * PIECE]].concat();
        for pieces in [&[BODY, &held[..]][..], &[&held[..3 * PIECE]]] {
            let mut message = rig.message(&envelope, pieces);
            message.load.whole = false;
            let outcome = open(&rig.pools, &message).await.unwrap().end(false).await;
            assert!(outcome.is_accepted(), "{outcome:?}");
            assert!(*peer.bodies().last().unwrap() == pieces.concat());
        }
        for command in peer.commands() {
            if let Some(chunk) = command.strip_prefix("BDAT ") {
                let size = chunk.split_whitespace().next().unwrap();
                let octets = size.parse::<usize>().unwrap();
                assert!(octets <= 2 * PIECE, "{command}");
            }
        }
    });
}

#[test]
fn what_each_recipient_met_is_kept_in_the_backends_own_words() {
    on_each_engine(|| async {
        let peer = Peer::new(Script::offering(&["PIPELINING"]));
        let rig = Rig::new(&[&peer]).await;
        let some = envelope(&["joe@example.net", "bad@example.net"]);
        let outcome = rig.deliver(&some).await;
        assert!(matches!(outcome.ending, Ending::Recipients), "{outcome:?}");
        let (place, said) = &outcome.refused[0];
        assert_eq!((*place, &*said.to_string()), (1, "550 5.1.1 no such user"));
        let reply = told(&outcome, &some);
        assert!(reply.starts_with("451 4.5.3"), "{reply}");
        assert!(
            reply.ends_with("<bad@example.net> 550 5.1.1 no such user"),
            "{reply}"
        );
        let all = envelope(&["bad@example.net"]);
        let reply = told(&rig.deliver(&all).await, &all);
        assert_eq!(reply, "550 5.1.1 no such user");
        assert!(peer.bodies().is_empty());
    });
}

#[test]
fn four_backends_are_tried_for_a_message_and_no_more() {
    on_each_engine(|| async {
        // Those that close at MAIL were connected to: the bound holds for both kinds of failure together.
        let closing = || Peer::new(Script::offering(&[]).on("MAIL", "!close"));
        let dead = || Peer::new(Script::offering(&[]));
        let peers = [closing(), dead(), closing(), dead(), closing(), dead()];
        let rig = Rig::new(&peers.each_ref()).await;
        let before: Vec<usize> = peers.iter().map(Peer::connections).collect();
        peers.iter().skip(1).step_by(2).for_each(Peer::stop);
        let envelope = envelope(&["joe@example.net"]);
        let outcome = rig.deliver(&envelope).await;
        assert!(matches!(outcome.ending, Ending::Lost(_)), "{outcome:?}");
        let after: Vec<usize> = peers.iter().map(Peer::connections).collect();
        let tried = |i: usize| after[i] > before[i];
        assert!(tried(0) && tried(2) && !tried(4), "{before:?} {after:?}");
        let view = rig.backends.view(now());
        assert!(!view[1].up && !view[3].up && view[5].up);
        assert!(told(&outcome, &envelope).starts_with("451 4.4.2"));
    });
}

#[test]
fn a_pool_without_a_backend_says_so() {
    on_each_engine(|| async {
        let peer = Peer::new(Script::offering(&[]));
        let rig = Rig::new(&[&peer]).await;
        peer.stop();
        let envelope = envelope(&["joe@example.net"]);
        let outcome = rig.deliver(&envelope).await;
        let wanted = LeaseError::Down(Some(Trouble::Connect));
        assert!(matches!(&outcome.ending, Ending::NoConnection(why) if *why == wanted));
        assert!(outcome.backend.is_none());
        assert!(told(&outcome, &envelope).starts_with("451 4.4.1"));
    });
}

#[test]
fn what_one_backend_can_not_take_another_may() {
    on_each_engine(|| async {
        let small = Peer::new(Script::offering(&["SIZE 10"]));
        let large = Peer::new(Script::offering(&["SIZE 1000"]));
        let envelope = envelope(&["joe@example.net"]);
        let rig = Rig::new(&[&small, &large]).await;
        assert!(rig.deliver(&envelope).await.is_accepted());
        assert_eq!(large.bodies().len(), 1);
        let alone = Rig::new(&[&small]).await;
        let outcome = alone.deliver(&envelope).await;
        assert!(matches!(
            outcome.ending,
            Ending::Unsupported(Unsupported::Size)
        ));
        assert!(told(&outcome, &envelope).starts_with("552 5.3.4"));
    });
}

#[test]
// INV-ONCE
fn a_lost_reply_to_the_end_of_data_is_uncertain_and_the_message_goes_nowhere_else() {
    on_each_engine(|| async {
        for offers in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]] {
            let closing = Peer::new(Script::offering(offers).on("END", "!close"));
            let other = Peer::new(Script::offering(offers));
            let rig = Rig::new(&[&closing, &other]).await;
            let envelope = envelope(&["joe@example.net"]);
            let outcome = rig.deliver(&envelope).await;
            assert!(outcome.is_uncertain(), "{outcome:?}");
            assert!(other.bodies().is_empty());
            assert!(told(&outcome, &envelope).starts_with("451 4.4.2"));
        }
    });
}
