//! Lending over real TCP, on each engine. The backends are scripted peers in threads of their own.

#![allow(clippy::unwrap_used)]

mod answers;
mod budget;
mod config;
mod health;
mod lending;
mod peer;
mod sharing;
mod silence;
mod sink;
mod turns;
mod verify;

use super::*;
use crate::{
    config::{Config, Io, Route as RouteConfig, Time},
    metrics::{Counter, Recorder, Scope},
    net::{self, Engine, now},
    smtp::{
        Envelope, Span, Status, Tick,
        backend_session::{Event, Load, To},
        envelope::{MailParams, Path, Recipient},
        reply_parse::ReplyHead,
    },
};
use peer::{Mode, Peer};
use std::{
    cell::RefCell,
    future::Future,
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// The engines that can run here.
fn engines() -> Vec<Engine> {
    let probed = [Io::Epoll, Io::Uring, Io::Ring].map(|io| net::probe(io, 1));
    let sound = probed.into_iter().filter_map(|result| match result {
        Ok(choice) => Some(choice.engine),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    });
    sound.collect()
}

/// Runs the test of one worker on each engine.
fn on_each_engine<F: Future<Output = ()> + 'static>(test: fn() -> F) {
    for engine in engines() {
        println!("engine: {engine}");
        Worker::start(engine, test).join();
    }
}

/// A worker on a thread of its own. A test that hangs fails with its name.
struct Worker {
    thread: thread::JoinHandle<()>,
    done: mpsc::Receiver<()>,
}

impl Worker {
    fn start<F: Future<Output = ()> + 'static>(
        engine: Engine,
        main: impl FnOnce() -> F + Send + 'static,
    ) -> Worker {
        let (tell, done) = mpsc::channel();
        let thread = thread::spawn(move || {
            net::run_worker(engine, None, main).unwrap();
            tell.send(()).unwrap();
        });
        Worker { thread, done }
    }

    fn join(self) {
        match self.done.recv_timeout(Duration::from_secs(90)) {
            Ok(()) => self.thread.join().unwrap(),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                std::panic::resume_unwind(self.thread.join().unwrap_err());
            }
        }
    }
}

/// A deadline that no sound test meets.
fn soon() -> Tick {
    now().after(Duration::from_secs(60))
}

/// One pool over these peers, and a route to it.
fn config(peers: &[&Peer]) -> Config {
    let mut config = Config::default();
    config.pool = vec![crate::config::Pool {
        name: "cluster".into(),
        backends: peers
            .iter()
            .map(|p| crate::config::Backend::Address(p.address.to_string()))
            .collect(),
        lease_wait: Time::secs(60),
        ..Default::default()
    }];
    config.pool[0].health.interval = Time::secs(0);
    config.pool[0].health.slow_start = Time::secs(0);
    config.pool[0].health.backoff = Time::millis(300);
    config.route = vec![RouteConfig {
        domains: vec!["example.net".into()],
        pool: "cluster".into(),
        ..Default::default()
    }];
    config
}

fn build(config: &Config) -> Arc<Backends> {
    Arc::new(Backends::build(config, None, &Names::default()).unwrap())
}

/// Pools over these backends, each probed once.
async fn pools(backends: &Arc<Backends>) -> (Rc<Pools>, PoolId) {
    let pools = Pools::new(Arc::clone(backends), Recorder::alone(), 0);
    until(|| backends.is_surveyed()).await;
    // The probes have gone.
    until(|| {
        backends
            .pools()
            .flat_map(|p| &p.backends)
            .all(|b| b.budget.used() == 0)
    })
    .await;
    (pools, backends.pool_named("cluster").unwrap())
}

/// Waits for something to become true.
async fn until(mut fact: impl FnMut() -> bool) {
    while !fact() {
        net::sleep(Duration::from_millis(5)).await;
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

/// As a caller of [`Pools::acquire`] does it: another backend where one fails.
impl Pools {
    async fn lease(
        self: &Rc<Self>,
        pool: PoolId,
        key: &[u8],
        avoid: &[BackendId],
        deadline: Tick,
    ) -> Result<Lease, LeaseError> {
        let mut tried = Tried::default();
        avoid.iter().for_each(|id| tried.refused(*id));
        self.acquire_any(pool, key, tried, deadline).await
    }

    async fn lease_fresh(
        self: &Rc<Self>,
        pool: PoolId,
        key: &[u8],
        _avoid: &[BackendId],
        deadline: Tick,
    ) -> Result<Lease, LeaseError> {
        let mut tried = Tried::default();
        tried.stale();
        self.acquire_any(pool, key, tried, deadline).await
    }

    async fn acquire_any(
        self: &Rc<Self>,
        pool: PoolId,
        key: &[u8],
        mut tried: Tried,
        deadline: Tick,
    ) -> Result<Lease, LeaseError> {
        let request = Request {
            pool,
            key,
            origin: None,
            client: None,
            needs: Needs::default(),
            deadline,
        };
        loop {
            match self.acquire(&request, &mut tried).await {
                Err(LeaseError::Failed(..)) => {}
                other => return other,
            }
        }
    }
}

/// Takes one message through a lease, up to its final reply.
async fn carry(lease: &mut Lease) -> Result<ReplyHead, Broken> {
    const BODY: &[u8] = b"Subject: x\r\n\r\nHello\r\n";
    let load = Load {
        size: BODY.len() as u64,
        eight_bit: false,
        whole: true,
    };
    lease
        .open(&envelope(&["joe@example.net"]), To::All, load)
        .unwrap();
    if lease.takes_body() {
        lease.body(&[BODY], true);
    }
    loop {
        match lease.next().await? {
            Event::Go => lease.body(&[BODY], true),
            Event::Final(head) => return Ok(head),
            Event::Refused => panic!("refused: {:?}", lease.reply()),
            _ => {}
        }
    }
}

/// Delivers one message; says over which backend.
async fn deliver(pools: &Rc<Pools>, pool: PoolId) -> BackendId {
    let mut lease = pools
        .lease(pool, b"joe@example.net", &[], soon())
        .await
        .unwrap();
    let id = lease.backend().id;
    assert_eq!(carry(&mut lease).await.unwrap().code, 250);
    lease.give_back();
    id
}

fn scope(pools: &Pools, peer: &Peer) -> Scope {
    let registry = pools.recorder.registry();
    registry.backend("cluster", &peer.address.to_string())
}

fn count(pools: &Pools, counter: Counter, peer: &Peer) -> u64 {
    pools
        .recorder
        .registry()
        .counter(counter, scope(pools, peer))
}
