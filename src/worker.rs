//! One core: its runtime, listeners, pools, sessions and measures.
//!
//! Everything a session touches lives on this thread. The supervisor speaks to it through a mailbox.

use crate::{
    log::{Batch, Lines, say},
    lookup::Desk,
    metrics::{Counter, Registry, Scope, Snapshot},
    net::{
        self, Bound, Engine, Listener, Stopper,
        mailbox::{Receiver, Sender, mailbox},
        now, sleep, spawn, spawn_vital,
    },
    policy::Shared,
    proxy::{self, Connection, Context, Current, Kept, Site, Verifier},
    smtp::Tick,
    threads::Threads,
    upstream::Pools,
};
use std::{
    fmt, io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Orders that may wait for a worker at once.
const ORDERS_MAX: usize = 64;
/// How often log lines are handed over and gauges set.
const TICK: Duration = Duration::from_millis(100);
/// How long the sessions that are cut off at the end have for their last line and reply.
const LAST_LINES: Duration = Duration::from_millis(500);
/// Pause after a failed accept (out of descriptors, out of memory), to let sessions end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the listeners wait at the start for the first answers of the backends: what is announced then is true.
const SURVEY: Duration = Duration::from_secs(1);
/// How often they look.
const SURVEY_LOOK: Duration = Duration::from_millis(10);
/// How often a listener speaks of its pauses at most.
const ACCEPT_SILENCE: Duration = Duration::from_secs(60);

/// What the supervisor wants of a worker.
pub enum Order {
    /// Put a configuration in force for new sessions, then call the function.
    Apply(Arc<Site>, Arc<Shared>, Box<dyn FnOnce() + Send>),
    /// Show what is kept of the latest judgements.
    Judgements(Box<dyn FnOnce(&Kept) + Send>),
    /// Hand a copy of the histograms over.
    Snapshot(Box<dyn FnOnce(Snapshot) + Send>),
    /// Accept no more, end sessions as they come to a stop, then end.
    Drain,
    /// End now.
    Stop,
}

/// What a worker is started with.
pub struct Plan {
    /// Its number, from 0.
    pub number: usize,
    /// How many workers there are.
    pub workers: usize,
    /// The I/O engine that was chosen at the start.
    pub engine: Engine,
    /// The core to be pinned to; `None` leaves that to the kernel.
    pub core: Option<usize>,
    /// Its listening sockets, each with the number of its listener in the configuration.
    pub sockets: Vec<(usize, Bound)>,
    /// Connections of clients that it may have at once: each takes a descriptor, and others need some.
    pub connections_max: u32,
    /// The configuration.
    pub site: Arc<Site>,
    /// Rates and session counts of all workers.
    pub shared: Arc<Shared>,
    /// Where it records.
    pub registry: Arc<Registry>,
    /// The threads that compute its handshakes.
    pub helpers: Arc<Threads>,
    /// The threads that verify its clients' signatures.
    pub verifier: Arc<Verifier>,
    /// Where its log lines go.
    pub log: Option<crossbeam::channel::Sender<Batch>>,
}

/// A running worker.
pub struct Worker {
    /// The way to it.
    pub orders: Sender<Order>,
    /// Its thread, which ends after `Drain` or `Stop`.
    pub thread: thread::JoinHandle<io::Result<()>>,
}

/// Starts a worker on a thread of its own. Errors: no thread can be had.
pub fn start(plan: Plan) -> io::Result<Worker> {
    let (orders, inbox) = mailbox(ORDERS_MAX);
    let own = orders.clone();
    let thread = thread::Builder::new()
        .name(format!("worker-{}", plan.number))
        .spawn(move || {
            let (engine, core) = (plan.engine, plan.core);
            net::run_worker(engine, core, || work(plan, inbox, own)).flatten()
        })?;
    Ok(Worker { orders, thread })
}

async fn work(plan: Plan, mut inbox: Receiver<Order>, own: Sender<Order>) -> io::Result<()> {
    net::offload(plan.helpers);
    net::gather_events();
    let recorder = plan.registry.worker();
    let pools = Pools::new(
        Arc::clone(&plan.site.backends),
        recorder.clone(),
        plan.number,
    );
    let survey_due = now().after(SURVEY);
    while !plan.site.backends.is_surveyed() && now() < survey_due {
        sleep(SURVEY_LOOK).await;
    }
    let current = Current::new(plan.site, plan.shared);
    let (desk, answers) = Desk::new();
    spawn_vital("lookup", Rc::clone(&desk).serve(answers));
    let lines = Lines::new(plan.log);
    let place = (plan.number, plan.workers);
    let context = Context::new(place, current, pools, recorder, desk, plan.verifier, lines);
    context.connections_max.set(plan.connections_max);
    let mut stoppers = Vec::new();
    for (number, bound) in plan.sockets {
        let listener = Listener::adopt(bound)?;
        stoppers.push(listener.stopper());
        let name = context.current().site.listeners[number]
            .name
            .as_str()
            .into();
        spawn_vital("accept", accept(Rc::clone(&context), name, listener));
    }
    spawn_vital("keep", keep(Rc::clone(&context)));
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Apply(site, shared, done) => {
                context.pools.replace(Arc::clone(&site.backends));
                context.apply(Current::new(site, shared));
                done();
            }
            Order::Judgements(look) => context.with_kept(look),
            Order::Snapshot(give) => give(context.recorder.snapshot()),
            Order::Drain => {
                let stoppers = std::mem::take(&mut stoppers);
                spawn_vital("drain", drain(Rc::clone(&context), stoppers, own.clone()));
            }
            Order::Stop => {
                end_sessions(&context).await;
                break;
            }
        }
    }
    context.finish();
    Ok(())
}

/// Accepts for one listener until it is stopped.
async fn accept(context: Rc<Context>, name: Rc<str>, mut listener: Listener) {
    let address = listener.address();
    let mut say_at = Tick::default();
    let mut short = |what: &str, why: &dyn fmt::Display| {
        let scope = context.recorder.registry().listener(&name);
        context.recorder.count(Counter::AcceptPauses, scope, 1);
        // One session that ends lets another in: they come in swarms.
        let moment = now();
        if moment >= say_at {
            say_at = moment.after(ACCEPT_SILENCE);
            say!(
                Warn,
                "{address}: {what}: {why}; raise the limit of open files (LimitNOFILE)"
            );
        }
    };
    loop {
        match listener.accept().await {
            Ok(Some((stream, _))) => match Connection::begin(&context) {
                Some(connection) => spawn(proxy::serve(connection, Rc::clone(&name), stream)),
                // An engine may have accepted more than was asked for, so a pause would not keep the descriptors.
                None => {
                    drop(stream);
                    short(
                        "connections are closed at once",
                        &"no descriptor is left for clients",
                    );
                }
            },
            Ok(None) => return,
            Err(error) => {
                short("accepting pauses", &error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Hands log lines over, sets gauges, reports panics.
async fn keep(context: Rc<Context>) {
    // The count of panics is the process's: the worker that looks first reports the difference.
    static REPORTED: AtomicU64 = AtomicU64::new(0);
    loop {
        sleep(TICK).await;
        context.tick();
        let seen = net::panics();
        let new = seen.saturating_sub(REPORTED.fetch_max(seen, Relaxed));
        if new > 0 {
            context.recorder.count(Counter::Panics, Scope::NONE, new);
        }
    }
}

/// Ends the sessions that are left: each hears what its message came to, as far as that is known, and has its line in the log.
async fn end_sessions(context: &Context) {
    context.draining.set(true);
    context.pools.end_waits();
    let due = now().after(LAST_LINES);
    while context.sessions.get() > 0 && now() < due {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Ends what can end, waits for the rest.
async fn drain(context: Rc<Context>, stoppers: Vec<Stopper>, own: Sender<Order>) {
    context.draining.set(true);
    for stopper in stoppers {
        stopper.stop();
    }
    // Clients that are silent between two messages are told now; the others after their message.
    net::end_idle_waits(now());
    while context.sessions.get() > 0 {
        sleep(Duration::from_millis(20)).await;
    }
    context.pools.drain();
    // The goodbyes to the backends leave in tasks of their own.
    sleep(Duration::from_millis(50)).await;
    // A full mailbox empties; this worker is the one that reads it.
    while own.try_send(Order::Stop).is_err() {
        sleep(Duration::from_millis(20)).await;
    }
}
