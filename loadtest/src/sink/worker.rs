//! One thread of the sink: an engine, its listeners, and its connections.

use super::{connection::serve, counters::Counters, plan::Plan, shared::Shared};
use gatepost::{
    net::{self, Bound, Engine, Listener, mailbox, now, sleep, sleep_until, spawn},
    smtp::Tick,
};
use std::{cell::RefCell, io, rc::Rc, sync::Arc, thread, time::Duration};

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of a worker share.
pub(super) struct Worker {
    pub shared: Arc<Shared>,
    number: usize,
    plan: RefCell<(u64, Arc<Plan>)>,
}

/// What a worker is started with.
pub(super) struct Start {
    pub number: usize,
    pub engine: Engine,
    pub core: Option<usize>,
    pub listeners: Vec<Bound>,
    pub shared: Arc<Shared>,
}

/// A running worker.
pub(super) struct Running {
    pub stop: mailbox::Sender<()>,
    pub thread: thread::JoinHandle<io::Result<()>>,
}

impl Worker {
    /// This worker's counters.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters[self.number]
    }

    /// The plan in force. The lock is touched once for each change.
    pub fn plan(&self) -> (u64, Arc<Plan>) {
        let mut known = self.plan.borrow_mut();
        if known.0 != self.shared.version() {
            *known = self.shared.plan();
        }
        known.clone()
    }

    /// Until when nothing is to be read or said, where that is so.
    pub fn stalled_until(&self, now: Tick, plan: &Plan) -> Option<Tick> {
        let once = self.shared.stalled_until();
        (once > now)
            .then_some(once)
            .or_else(|| plan.stalled_until(now))
    }
}

/// Starts a worker. Errors: no thread can be had.
pub(super) fn start(with: Start) -> io::Result<Running> {
    let (stop, stopped) = mailbox::mailbox(1);
    let thread = thread::Builder::new()
        .name(format!("sink-{}", with.number))
        .spawn(move || {
            let (engine, core) = (with.engine, with.core);
            net::run_worker(engine, core, || work(with, stopped)).flatten()
        })?;
    Ok(Running { stop, thread })
}

async fn work(with: Start, mut stopped: mailbox::Receiver<()>) -> io::Result<()> {
    let worker = Rc::new(Worker {
        plan: RefCell::new(with.shared.plan()),
        shared: with.shared,
        number: with.number,
    });
    for bound in with.listeners {
        let listener = Listener::adopt(bound)?;
        spawn(accept(Rc::clone(&worker), listener));
    }
    // What is open then is dropped with the runtime.
    stopped.recv().await;
    Ok(())
}

async fn accept(worker: Rc<Worker>, mut listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(Some((stream, _))) => {
                while let Some(until) = worker.stalled_until(now(), &worker.plan().1) {
                    sleep_until(until).await;
                }
                spawn(serve(Rc::clone(&worker), stream));
            }
            Ok(None) => return,
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}
