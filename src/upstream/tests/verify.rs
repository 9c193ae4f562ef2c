//! Recipients asked about, remembered, and asked about once.

use super::*;
use crate::config::PoolIdentity;
use std::net::{IpAddr, Ipv4Addr};

fn asked(peer: &Peer) -> Vec<String> {
    std::mem::take(&mut *peer.seen().recipients.lock().unwrap())
}

async fn verify(pools: &Rc<Pools>, pool: PoolId, path: &str) -> Verification {
    pools
        .verify(pool, Path::split(path.as_bytes()), now(), soon())
        .await
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
        for path in ["joe@example.net", "bad@example.net", "later@example.net"] {
            let first = verify(&pools, pool, path).await;
            let again = verify(&pools, pool, &path.replace("example", "EXAMPLE")).await;
            assert_eq!(first, again);
            assert_eq!(asked(&peer), [path]);
        }
        let good = verify(&pools, pool, "joe@example.net").await;
        assert_eq!(good, Verification::Accepted);
        let bad = verify(&pools, pool, "bad@example.net").await;
        assert!(matches!(&bad, Verification::Refused(said) if said.head.code == 550));
        let later = verify(&pools, pool, "later@example.net").await;
        assert!(matches!(&later, Verification::Deferred(said) if said.head.code == 450));
        assert_eq!(asked(&peer), [""; 0]);
        // One connection for all of that, and it's clean.
        assert_eq!(peer.connections(), 2);
        deliver(&pools, pool).await;
        assert_eq!(peer.connections(), 2);
        // The other workers and the next configuration know it too.
        let next = Arc::new(Backends::build(&config(&[&peer]), Some(&backends)).unwrap());
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
fn where_the_clients_are_known_each_learns_for_itself() {
    on_each_engine(|| async {
        let peer = Peer::new();
        for (identity, bob) in [
            (PoolIdentity::Xclient, None),
            (PoolIdentity::ProxyV1, None),
            (PoolIdentity::ProxyV2, None),
            (PoolIdentity::Xforward, Some(550)),
        ] {
            let mut config = config(&[&peer]);
            config.pool[0].identity = identity;
            let (pools, pool) = pools(&build(&config)).await;
            let (sender, picky) = (b"a@a.example", Path::split(b"picky@example.net"));
            let no = said(550, Status(5, 7, 1));
            pools.note_refused(pool, AMY, sender, picky, &no);
            let lately = |client| {
                let known = pools.refused_lately(pool, client, sender, picky);
                known.map(|reply| reply.head.code)
            };
            assert_eq!((lately(AMY), lately(BOB)), (Some(550), bob), "{identity}");
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
            let reply = said(550, status);
            pools.note_refused(
                pool,
                AMY,
                b"a@a.example",
                Path::split(path.as_bytes()),
                &reply,
            );
        };
        refuse("gone@example.net", Status(5, 1, 1));
        refuse("picky@example.net", Status(5, 7, 1));
        assert_eq!(code(&verify(&pools, pool, "gone@example.net").await), 550);
        assert_eq!(asked(&peer), [""; 0]);
        // That one's code was about the sender: another one asks anew, the same one meets it again.
        assert_eq!(code(&verify(&pools, pool, "picky@example.net").await), 250);
        assert_eq!(asked(&peer), ["picky@example.net"]);
        // These backends don't know the clients: to them it's always us.
        let lately = |sender: &[u8]| {
            let picky = Path::split(b"picky@example.net");
            pools
                .refused_lately(pool, BOB, sender, picky)
                .map(|reply| reply.head.code)
        };
        assert_eq!(lately(b"a@a.example"), Some(550));
        assert_eq!(lately(b"b@a.example"), None);
        assert_eq!(lately(b""), None);
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
        assert_eq!(pools.idle(), 1);
    });
}
