//! The control loop: signals, reload, drain, and what the admin endpoint asks.

use super::{
    RunError, certificates,
    doors::Doors,
    memory::Memory,
    names::{Directory, Learned},
    reload::Reloads,
    signals::{Signals, Wanted},
    state::{Request, State},
};
use crate::{
    acme::{Acme, Install},
    admin::{Collector, Histograms, Rules},
    config::{ConfigSource, InForce},
    log::{Writer, say},
    metrics::{Gauge, Registry, Scope},
    net,
    policy::Shared,
    process::notify,
    proxy::Site,
    worker::{Order, Worker},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// How often the end of the workers is looked for while they drain.
const LOOK: Duration = Duration::from_millis(20);
/// How often a worker that ended by itself is looked for while they serve, and the watchdog is told that all is well.
const GLANCE: Duration = Duration::from_secs(1);

/// How far the end of the process has come.
#[derive(Clone, Copy)]
enum Phase {
    /// It serves.
    Serving,
    /// `/ready` says no, so that load balancers look elsewhere; connections are still taken until then.
    Leaving(Instant),
    /// No connection is taken any more; what is left ends then.
    Draining(Instant),
}

/// What the process was started with.
pub(super) struct Given {
    /// Where the configuration comes from.
    pub source: ConfigSource,
    /// What a reload can't change.
    pub in_force: InForce,
    /// The names of the first configuration.
    pub learned: Learned,
    /// Where what is counted is kept.
    pub memory: Memory,
}

/// The control loop and its belongings.
pub struct Control {
    state: Arc<State>,
    inbox: mpsc::Receiver<Request>,
    reloads: Reloads,
    writer: Writer,
    histograms: Option<Histograms>,
    phase: Phase,
}

impl Control {
    /// Joins the parts. `writer` is kept open until the loop is dropped.
    #[must_use]
    pub(super) fn new(
        given: Given,
        registry: Arc<Registry>,
        site: Arc<Site>,
        shared: Arc<Shared>,
        writer: Writer,
        workers: &[Worker],
    ) -> Control {
        let Given {
            source,
            in_force,
            learned,
            memory,
        } = given;
        let (requests, inbox) = mpsc::channel(16);
        let orders = workers.iter().map(|worker| worker.orders.clone()).collect();
        site.backends
            .changes()
            .watch(Box::new(|change| say!(Warn, "{change}")));
        let (ordering, _) = watch::channel(site.config.acme.clone());
        let state = State {
            source,
            registry,
            in_force,
            directory: Directory::new(learned),
            site: Mutex::new(site),
            shared: Mutex::new(shared),
            memory,
            orders,
            rules: Mutex::default(),
            draining: AtomicBool::new(false),
            requests,
            ordering,
        };
        let state = Arc::new(state);
        let control = Control {
            reloads: Reloads::new(Arc::clone(&state)),
            state,
            inbox,
            writer,
            histograms: None,
            phase: Phase::Serving,
        };
        control.state.applied();
        // Shows what has no traffic yet: certificates, backends without an address.
        control.state.forget_names(&control.state.site());
        control
    }

    /// Keeps what was counted, once the workers have ended.
    pub fn keep_memory(&self) {
        self.state.keep_memory();
    }

    /// Which requests the admin endpoint lets in.
    pub fn set_rules(&self, rules: Rules) {
        self.state.set_rules(rules);
    }

    /// Has what DMARC reports are made of put on disk.
    pub fn finish_reports(&self) {
        if let Some(reports) = &self.state.site().reports {
            reports.finish();
        }
    }

    /// Runs until the workers have ended. Errors: a worker is broken.
    pub(super) async fn run(
        &mut self,
        signals: Signals,
        doors: Doors,
        acme: Option<(Acme, Install)>,
        workers: &[Worker],
    ) -> Result<(), RunError> {
        let site = self.state.site();
        let collector = Collector::new(
            Arc::<State>::clone(&self.state),
            Arc::clone(&self.state.registry),
        );
        let (stop, stopped) = watch::channel(false);
        let ended = move || {
            let mut stopped = stopped.clone();
            async move {
                // An error is the sender's end, which is the end as well.
                let _ = stopped.wait_for(|stop| *stop).await;
            }
        };
        let mut tasks = tokio::task::JoinSet::new();
        doors.serve(&mut tasks, &collector, &self.state.registry, &ended);
        if let Some((acme, install)) = acme {
            let (ordering, ended) = (self.state.ordering.subscribe(), ended());
            tasks.spawn(async move {
                // An order that is half done does no harm.
                tokio::select! {
                    () = acme.run(ordering, install) => {}
                    () = ended => {}
                }
            });
        }
        self.histograms = site.config.admin.histogram_log.as_deref().map(|path| {
            let log = Histograms::new(path);
            let every = site.config.admin.histogram_interval.0;
            let failed = |why| say!(Warn, "the histogram log: {why}");
            tasks.spawn(log.clone().run(collector, every, ended(), failed));
            log
        });
        let (state, stopping) = (Arc::clone(&self.state), ended());
        tasks.spawn(async move {
            // A look-up that is half done does no harm, and a write that is under way goes on: the last one waits for it.
            tokio::select! {
                () = state.directory.keep(|| state.site()) => {}
                () = super::lists::keep(|| state.site()) => {}
                () = super::reports::keep(|| state.site()) => {}
                () = super::validation::keep(|| state.site(), &state.registry) => {}
                () = State::keep_memory_fresh(Arc::clone(&state)) => {}
                () = stopping => {}
            }
        });
        let state = Arc::clone(&self.state);
        tasks.spawn(certificates::watch(move || state.site(), ended()));
        let outcome = self.watch(signals, workers).await;
        let _ = stop.send(true);
        while tasks.join_next().await.is_some() {}
        outcome
    }

    /// Signals and requests, until every worker has ended or been told to. Errors: a worker is broken.
    async fn watch(&mut self, mut signals: Signals, workers: &[Worker]) -> Result<(), RunError> {
        let mut outcome = Ok(());
        // A time and not a wait: whatever else keeps the loop busy, the watchdog is told.
        let mut look_at = Instant::now() + GLANCE;
        loop {
            tokio::select! {
                wanted = signals.next() => match wanted {
                    Wanted::Reload => self.reload(None),
                    Wanted::Nothing(name) => say!(Info, "{name} has no meaning here and is ignored"),
                    Wanted::End(name) if matches!(self.phase, Phase::Serving) => self.leave(name),
                    Wanted::End(name) => {
                        say!(Warn, "{name}, the second signal to end: ending at once");
                        break;
                    }
                },
                Some(wish) = self.inbox.recv() => match wish {
                    Request::Reload(asker) => self.reload(Some(asker)),
                    Request::Drain if matches!(self.phase, Phase::Serving) => self.leave("POST /drain"),
                    Request::Drain => {}
                },
                brought = self.reloads.next() => self.reloads.finish(brought),
                () = self.phase.over() => match self.phase {
                    Phase::Leaving(_) => self.drain(),
                    _ => {
                        say!(Warn, "the drain took too long: ending what is left");
                        break;
                    }
                },
                () = sleep_until(look_at) => {
                    notify::alive();
                    self.reloads.look();
                    if workers.iter().all(|worker| worker.thread.is_finished()) {
                        break;
                    }
                    if outcome.is_ok() && !matches!(self.phase, Phase::Draining(_)) {
                        outcome = self.examine(workers);
                    }
                }
            }
            let patience = match self.phase {
                Phase::Draining(_) => LOOK,
                _ => GLANCE,
            };
            let now = Instant::now();
            look_at = if look_at <= now {
                now + patience
            } else {
                look_at.min(now + patience)
            };
        }
        outcome
    }

    /// Goes down where a worker can't go on: what it does not take, the others would not get.
    fn examine(&mut self, workers: &[Worker]) -> Result<(), RunError> {
        if let Some(task) = net::lost_task() {
            say!(
                Error,
                "a panic ended the task \"{task}\" of a worker; the process ends"
            );
            self.drain();
            return Err(RunError::Internal(format!(
                "the task \"{task}\" of a worker panicked; the message is above"
            )));
        }
        if workers.iter().any(|worker| worker.thread.is_finished()) {
            say!(Error, "a worker ended unexpectedly; the process ends");
            self.drain();
        }
        Ok(())
    }

    /// Begins to go down: first out of the load balancers' lists, then the drain.
    fn leave(&mut self, why: &str) {
        notify::stopping();
        self.state.draining.store(true, SeqCst);
        self.state.registry.set(Gauge::Draining, Scope::NONE, 1);
        self.reloads.give_up();
        let delay = self.state.site().config.timeouts.drain_delay.0;
        if delay.is_zero() {
            return self.drain();
        }
        say!(
            Info,
            "{why}: /ready says 503 from now on; connections are accepted for another {} s, then the drain begins",
            delay.as_secs_f32()
        );
        self.phase = Phase::Leaving(Instant::now() + delay);
    }

    /// Tells the workers to drain.
    fn drain(&mut self) {
        notify::stopping();
        self.state.draining.store(true, SeqCst);
        self.state.registry.set(Gauge::Draining, Scope::NONE, 1);
        self.reloads.give_up();
        let patience = self.state.site().config.timeouts.drain.0;
        say!(
            Info,
            "draining: sessions may finish their messages, for {} s at most; another signal ends at once",
            patience.as_secs_f32()
        );
        for orders in &self.state.orders {
            // A full or closed mailbox is a worker that is stuck or gone; the deadline is for it.
            let _ = orders.try_send(Order::Drain);
        }
        self.phase = Phase::Draining(Instant::now() + patience);
    }

    /// Opens the logs again, whatever comes of the configuration: a rotation has moved them away, and will remove them. Begins a
    /// reload, unless the process goes down.
    fn reload(&mut self, asker: Option<super::reload::Asker>) {
        self.writer.reopen();
        if let Some(histograms) = &self.histograms {
            histograms.reopen();
        }
        if matches!(self.phase, Phase::Serving) {
            return self.reloads.begin(asker);
        }
        say!(Info, "reload: the process is ending, nothing is loaded");
        if let Some(asker) = asker {
            // It may have stopped waiting.
            let _ = asker.send(Err("the process is ending".into()));
        }
    }
}

impl Phase {
    /// Waits for the end of it.
    async fn over(self) {
        match self {
            Phase::Serving => std::future::pending().await,
            Phase::Leaving(until) | Phase::Draining(until) => sleep_until(until).await,
        }
    }
}
