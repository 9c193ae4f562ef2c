//! One thread of the sink: an engine, its listeners, and its connections.

use super::{connection::serve, shared::Shared, worker::Worker};
use gatepost::net::{self, Bound, Engine, Listener, mailbox, now, sleep, sleep_until, spawn};
use std::{io, rc::Rc, sync::Arc, thread, time::Duration};

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    let worker = Rc::new(Worker::new(with.shared, with.number));
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
