//! Executes a plan: starts the workers, listens to them, and makes a result of what they say.

use super::{
    dispatcher::Shared,
    gather::Gathered,
    machine,
    payload::Library,
    plan::Plan,
    worker::{self, Order, Report, Worker},
};
use crate::{
    ledger::Ledger,
    report::progress::{Progress, Snapshot},
    result::{self, RunResult},
    stamp::RunId,
};
use gatepost::{
    net::{self, mailbox::SendError},
    smtp::Tick,
};
use rand::TryRng as _;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// How often the stop flag is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// From the order to the start, so that all workers have it in time.
const RUN_UP: Duration = Duration::from_millis(20);

/// Where a run tells how it goes, and hears that it should end.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Told after each interval.
    pub progress: Option<mpsc::Sender<Snapshot>>,
    /// Set: no more messages are begun, those under way are waited for.
    pub stop: Arc<AtomicBool>,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The plan makes no sense, or its files can't be read.
    Plan(String),
    /// No target answered, before any message was sent.
    Unreachable(String),
    /// This machine has no thread, ring or descriptor for us.
    System(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Plan(why) | Error::System(why) => f.write_str(why),
            Error::Unreachable(why) => write!(f, "the target is not reachable: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// Executes a plan and waits for its end: the result without what only others know (the tally, stages, processes), and
/// the ledger.
///
/// # Errors
/// Nothing could be sent: see [`Error`].
pub fn execute(plan: &Plan, hooks: &Hooks) -> Result<(RunResult, Ledger), Error> {
    machine::raise_descriptors();
    let engine = net::probe(plan.io, plan.workers as usize)
        .map_err(Error::System)?
        .engine;
    let seed = rand::rngs::SysRng.try_next_u64();
    let run = RunId(seed.map_err(|why| Error::System(why.to_string()))?);
    let library = Library::new(plan, run).map_err(|why| Error::Plan(why.to_string()))?;
    let shared = Arc::new(Shared::new(plan.clone(), library));
    let (sender, reports) = mpsc::channel();
    let mut workers = Vec::new();
    for number in 0..plan.workers {
        let started = worker::start(&shared, engine, number, sender.clone());
        workers.push(started.map_err(|why| Error::System(format!("no thread: {why}")))?);
    }
    drop(sender);
    let mut conductor = Conductor {
        shared: &shared,
        hooks,
        workers: &workers,
        reports,
        gathered: Gathered::new(plan),
        stopped: false,
        broken: None,
    };
    let started = jiff::Timestamp::now();
    let panics = net::panics();
    let cpu = machine::cpu();
    let start = conductor.conduct();
    let cpu = machine::cpu().saturating_sub(cpu);
    let Conductor {
        gathered, broken, ..
    } = conductor;
    shared.end();
    for Worker { thread, .. } in workers {
        // A worker that panicked has been missed already.
        let _ = thread.join();
    }
    if net::panics() > panics {
        return Err(Error::System(
            "a session ended in a panic, which is a bug".into(),
        ));
    }
    if let Some(why) = broken {
        return Err(Error::System(why));
    }
    if shared.is_unreachable() {
        return Err(Error::Unreachable(shared.why_unreachable()));
    }
    let result = result(plan, gathered, start, cpu);
    let (mut result, numbers) = result;
    let panics = net::panics() - panics;
    if panics > 0 {
        let name = "session ended in a panic, which is a bug";
        result.errors.insert(name.into(), panics);
    }
    result.started = started.to_string();
    Ok((result, shared.outcomes.ledger(run, numbers)))
}

fn result(plan: &Plan, gathered: Gathered, start: Tick, cpu: Duration) -> (RunResult, u32) {
    let took_s = gathered.last().micros_since(start) as f64 / 1e6;
    let whole = gathered.finish(took_s);
    let targets: Vec<String> = plan.targets.iter().map(ToString::to_string).collect();
    let messages = whole.totals.acknowledged.max(1) as f64;
    let result = RunResult {
        version: result::VERSION,
        name: plan.name.clone(),
        took_s,
        machine: machine::machine(),
        target: targets.join(", "),
        plan: plan.to_toml(),
        totals: whole.totals,
        latency: whole.latency,
        steps: whole.steps,
        intervals: whole.intervals,
        errors: whole.errors,
        knee: whole.knee,
        own_cpu_us_per_message: cpu.as_secs_f64() * 1e6 / messages,
        ..RunResult::default()
    };
    (result, whole.numbers)
}

/// Between the workers and the caller of the run.
struct Conductor<'a> {
    shared: &'a Shared,
    hooks: &'a Hooks,
    workers: &'a [Worker],
    reports: mpsc::Receiver<(u32, Report)>,
    gathered: Gathered,
    stopped: bool,
    broken: Option<String>,
}

impl Conductor<'_> {
    /// Goes through the run; says when it started.
    fn conduct(&mut self) -> Tick {
        let mut ready = 0;
        let mut start = net::now();
        let mut at_work = self.workers.len();
        while at_work > 0 {
            // Looked at first: what a thread has said before its end is in the queue then.
            let gone = self.workers.iter().filter(|w| w.thread.is_finished());
            let gone = gone.count() > self.workers.len() - at_work;
            match self.reports.recv_timeout(LOOK) {
                Ok((_, Report::Ready)) => {
                    ready += 1;
                    if ready == self.workers.len() {
                        start = net::now().after(RUN_UP);
                        self.order(Order::Start(start));
                    }
                }
                Ok((worker, Report::Part(number, part))) => {
                    if let Some(shown) = self.gathered.part(worker, number, &part) {
                        self.show(shown);
                    }
                }
                Ok((
                    worker,
                    Report::Done {
                        steps,
                        numbers,
                        last,
                    },
                )) => {
                    self.gathered.done(worker, steps, numbers, last);
                    at_work -= 1;
                }
                Ok((worker, Report::Broken(why))) => {
                    self.gathered.done(worker, Vec::new(), 0, Tick::default());
                    at_work -= 1;
                    self.broken = Some(why.to_string());
                }
                Err(RecvTimeoutError::Disconnected) => break,
                // Without its last words: it panicked.
                Err(RecvTimeoutError::Timeout) if gone => {
                    self.broken = Some("a worker ended in a panic, which is a bug".into());
                    at_work -= 1;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let end = self.hooks.stop.load(Ordering::Relaxed)
                || self.shared.is_unreachable()
                || self.gathered.is_beyond()
                || self.broken.is_some();
            if end && !self.stopped {
                self.stopped = true;
                self.shared.end();
                self.order(Order::Stop);
            }
        }
        start
    }

    fn show(&self, shown: Snapshot) {
        if let Some(progress) = &self.hooks.progress {
            // A caller that has gone is not waited for.
            let _ = progress.send(shown);
        }
    }

    /// Tells all workers. Their mailboxes have room for all orders of a run.
    fn order(&self, order: Order) {
        for worker in self.workers {
            match worker.orders.try_send(order) {
                Ok(()) | Err(SendError::Closed(_) | SendError::Full(_)) => {}
            }
        }
    }
}

/// Shows a run in the terminal until its sender of snapshots is gone.
#[must_use]
pub fn display(title: String) -> (mpsc::Sender<Snapshot>, thread::JoinHandle<()>) {
    let (sender, snapshots) = mpsc::channel::<Snapshot>();
    let shown = thread::spawn(move || {
        let mut progress = Progress::new(title);
        while let Ok(now) = snapshots.recv() {
            progress.show(&now);
        }
    });
    (sender, shown)
}
