//! The control loop: signals, reload, drain, and what the admin endpoint asks.

use super::{RunError, build_site, certificates, examine, unavailable};
use crate::{
    acme::{Acme, Install},
    admin::{self, Answer, BackendStatus, Collector, Door, Histograms, PoolStatus, Rules, Status},
    config::{self, Source},
    http::Listener,
    log::{Writer, say},
    metrics::{Counter, Gauge, Kind, Registry, Scope, Snapshot},
    net::now,
    policy::Shared,
    process::notify,
    proxy::Site,
    worker::{Order, Worker},
};
use crossbeam::channel::{RecvTimeoutError, bounded};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

/// How often the end of the workers is looked for while they drain.
const LOOK: Duration = Duration::from_millis(20);
/// How often a worker that ended by itself is looked for while they serve.
const GLANCE: Duration = Duration::from_secs(1);
/// How long a reload waits for the workers.
const APPLY_WAIT: Duration = Duration::from_secs(2);

/// What the control loop shares with the admin endpoint.
struct State {
    source: Source,
    registry: Arc<Registry>,
    site: Mutex<Arc<Site>>,
    shared: Mutex<Arc<Shared>>,
    orders: Vec<crate::net::mailbox::Sender<Order>>,
    /// Which requests the admin endpoint lets in.
    rules: Mutex<Arc<Rules>>,
    draining: AtomicBool,
    wishes: mpsc::Sender<Wish>,
    /// What ACME is to do; a reload says it again.
    ordering: watch::Sender<config::Acme>,
}

/// What the admin endpoint wants of the loop.
enum Wish {
    Reload(oneshot::Sender<Result<String, String>>),
    Drain,
}

/// The signals that the loop obeys.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on; those that come before the loop runs are kept for it. Call it before anything
    /// shows that the process is up: a signal that nobody catches ends it. Errors: no handler can be had.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn catch() -> Result<Signals, RunError> {
        let catch = |kind: SignalKind| {
            signal(kind).map_err(|why| unavailable(format!("no signal handler: {why}")))
        };
        Ok(Signals {
            hangup: catch(SignalKind::hangup())?,
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }
}

/// The control loop and its belongings.
pub struct Control {
    state: Arc<State>,
    inbox: mpsc::Receiver<Wish>,
    writer: Writer,
}

impl Control {
    /// Joins the parts. `writer` is kept open until the loop is dropped.
    #[must_use]
    pub fn new(
        source: Source,
        registry: Arc<Registry>,
        site: Arc<Site>,
        shared: Arc<Shared>,
        writer: Writer,
        workers: &[Worker],
    ) -> Control {
        let (wishes, inbox) = mpsc::channel(16);
        let orders = workers.iter().map(|worker| worker.orders.clone()).collect();
        site.backends
            .changes()
            .watch(Box::new(|change| say!(Warn, "{change}")));
        let (ordering, _) = watch::channel(site.config.acme.clone());
        let state = State {
            source,
            registry,
            site: Mutex::new(site),
            shared: Mutex::new(shared),
            orders,
            rules: Mutex::default(),
            draining: AtomicBool::new(false),
            wishes,
            ordering,
        };
        let control = Control {
            state: Arc::new(state),
            inbox,
            writer,
        };
        control.state.applied();
        let site = control.state.site();
        certificates::show(&site, &control.state.registry);
        control
    }

    /// Which requests the admin endpoint lets in.
    pub fn set_rules(&self, rules: Rules) {
        self.state.set_rules(rules);
    }

    /// Runs until the workers have ended. Errors: the histogram log can't be opened.
    pub async fn run(
        &mut self,
        signals: Signals,
        doors: Vec<(Door, Listener)>,
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
        for (door, listener) in doors {
            let serving = admin::serve(listener, door, Arc::clone(&collector), ended());
            tasks.spawn(async move {
                if let Err(why) = serving.await {
                    say!(Error, "the admin endpoint ended: {why}");
                }
            });
        }
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
        let histograms = match &site.config.admin.histogram_log {
            None => None,
            Some(path) => {
                let log = Histograms::open(path).map_err(unavailable)?;
                let every = site.config.admin.histogram_interval.0;
                let failed = |why| say!(Warn, "the histogram log: {why}");
                tasks.spawn(log.clone().run(collector, every, ended(), failed));
                Some(log)
            }
        };
        let state = Arc::clone(&self.state);
        tasks.spawn(certificates::watch(move || state.site(), ended()));
        self.watch(signals, histograms, workers).await?;
        let _ = stop.send(true);
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Signals and wishes, until every worker has ended or been told to.
    async fn watch(
        &mut self,
        mut signals: Signals,
        histograms: Option<Histograms>,
        workers: &[Worker],
    ) -> Result<(), RunError> {
        let mut deadline: Option<Instant> = None;
        loop {
            let look = if deadline.is_some() { LOOK } else { GLANCE };
            // What falls through wants the process to go down.
            tokio::select! {
                _ = signals.hangup.recv() => {
                    // The outcome is in the log.
                    let _ = self.reload(histograms.as_ref()).await;
                    continue;
                }
                _ = signals.terminate.recv() => {}
                _ = signals.interrupt.recv() => {}
                Some(wish) = self.inbox.recv() => match wish {
                    Wish::Reload(answer) => {
                        let _ = answer.send(self.reload(histograms.as_ref()).await);
                        continue;
                    }
                    Wish::Drain if deadline.is_some() => continue,
                    Wish::Drain => {}
                },
                () = sleep(look) => {
                    notify::alive();
                    if workers.iter().all(|worker| worker.thread.is_finished()) {
                        return Ok(());
                    }
                    if deadline.is_some() || !workers.iter().any(|worker| worker.thread.is_finished()) {
                        continue;
                    }
                    say!(Error, "a worker ended by itself; going down");
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    say!(Warn, "the drain took too long: ending what is left");
                    return Ok(());
                }
            }
            if deadline.is_some() {
                say!(Warn, "ending at once");
                return Ok(());
            }
            deadline = Some(Instant::now() + self.drain());
        }
    }

    /// Tells the workers to drain: how long they may take.
    fn drain(&self) -> Duration {
        notify::stopping();
        self.state.draining.store(true, SeqCst);
        self.state.registry.set(Gauge::Draining, Scope::NONE, 1);
        let patience = self.state.site().config.timeouts.drain.0;
        say!(
            Info,
            "draining: sessions may finish their messages, for {} s at most",
            patience.as_secs()
        );
        for orders in &self.state.orders {
            // A full or closed mailbox is a worker that is stuck or gone; the deadline is for it.
            let _ = orders.try_send(Order::Drain);
        }
        patience
    }

    /// Loads the configuration again and puts it in force, or changes nothing and says why.
    async fn reload(&self, histograms: Option<&Histograms>) -> Result<String, String> {
        notify::reloading();
        let outcome = self.reload_all(histograms).await;
        notify::ready();
        outcome
    }

    async fn reload_all(&self, histograms: Option<&Histograms>) -> Result<String, String> {
        let state = Arc::clone(&self.state);
        // Lists may be large and names slow to resolve: not on this thread, which answers /health.
        let outcome = tokio::task::spawn_blocking(move || state.load()).await;
        let outcome = outcome.unwrap_or_else(|why| Err(format!("the reload failed: {why}")));
        match &outcome {
            Ok(done) => {
                self.writer.reopen();
                if let Some(histograms) = histograms
                    && let Err(why) = histograms.reopen().await
                {
                    say!(Warn, "the histogram log: {why}");
                }
                self.state
                    .registry
                    .count(Counter::ReloadApplied, Scope::NONE, 1);
                say!(Info, "{done}");
            }
            Err(why) => {
                self.state
                    .registry
                    .count(Counter::ReloadRefused, Scope::NONE, 1);
                for line in why.lines() {
                    say!(Error, "reload: {line}");
                }
                say!(Error, "reload: nothing was changed");
            }
        }
        outcome
    }
}

impl State {
    fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_rules(&self, rules: Rules) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    fn applied(&self) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        self.registry
            .set(Gauge::ConfigApplied, Scope::NONE, now as i64);
    }

    /// Hands a configuration to the workers, and waits until all of them have it: whoever connects after the
    /// reload was reported gets what it brought. Blocks.
    fn apply(&self, site: &Arc<Site>, shared: &Arc<Shared>) {
        let (done, applied) = bounded(self.orders.len());
        for orders in &self.orders {
            let order = Order::Apply(Arc::clone(site), Arc::clone(shared), done.clone());
            if orders.try_send(order).is_err() {
                say!(
                    Warn,
                    "a worker does not take the new configuration; it keeps the old one"
                );
            }
        }
        // What a worker did not take has gone with its sender: once all have, there is nothing to wait for.
        drop(done);
        let due = std::time::Instant::now() + APPLY_WAIT;
        let last = std::iter::repeat_with(|| applied.recv_deadline(due)).find_map(Result::err);
        if let Some(RecvTimeoutError::Timeout) = last {
            say!(Warn, "a worker is slow to take the new configuration");
        }
    }

    /// Takes the names that are not in the configuration any more out of the metrics.
    fn forget_names(&self, site: &Site) {
        let registry = &self.registry;
        let listeners: Vec<Scope> = site.listeners.iter().map(|l| l.scope).collect();
        let (mut pools, mut backends) = (Vec::new(), Vec::new());
        for pool in site.backends.pools() {
            pools.push(registry.pool(&pool.name));
            let addresses = pool.backends.iter().map(|b| b.address().to_string());
            backends.extend(addresses.map(|address| registry.backend(&pool.name, &address)));
        }
        let certificates = certificates::show(site, registry);
        let checks = [&site.checks[..], &site.kinds[..]].concat();
        for (kind, live) in [
            (Kind::Listener, listeners),
            (Kind::Pool, pools),
            (Kind::Backend, backends),
            (Kind::Check, checks),
            (Kind::Certificate, certificates),
        ] {
            registry.retain(kind, &live);
        }
    }

    /// Loads, builds, hands over. Blocks.
    fn load(&self) -> Result<String, String> {
        let loaded = examine::load(&self.source).map_err(|problems| {
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        })?;
        for warning in &loaded.warnings {
            say!(Warn, "{}", warning.brief());
        }
        let before = self.site();
        let mut config = loaded.config;
        let restart = config::difference(&before.config, &config);
        let rules = Rules::build(&config)?;
        // A listener's sockets stay until a restart, and its sessions need its settings.
        for gone in &before.config.listener {
            if !config
                .listener
                .iter()
                .any(|listener| listener.name == gone.name)
            {
                config.listener.push(gone.clone());
            }
        }
        let site = build_site(config, Some(&before), &self.registry)
            .map_err(|problems| problems.join("\n"))?;
        if site.front.lacks_certificate() {
            return Err(
                "listener: no certificate for TLS: `[acme]` brings one only after a restart".into(),
            );
        }
        let site = Arc::new(site);
        let shared = {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            *shared = Arc::new(shared.adapted(&site.config.policies()));
            Arc::clone(&shared)
        };
        self.apply(&site, &shared);
        self.set_rules(rules);
        self.forget_names(&site);
        crate::log::set_level(super::build::level(&site.config));
        crate::log::set_json(site.config.log.format == config::LogFormat::Json);
        self.ordering.send_replace(site.config.acme.clone());
        *self.site.lock().unwrap_or_else(PoisonError::into_inner) = site;
        self.applied();
        let mut done = String::from("reloaded: new connections get the new configuration");
        for change in restart {
            done.push_str("; ");
            done.push_str(&change);
        }
        Ok(done)
    }
}

impl admin::Source for State {
    fn workers(&self) -> usize {
        self.orders.len()
    }

    fn snapshot(&self, worker: usize) -> Answer<Option<Snapshot>> {
        let (give, take) = oneshot::channel();
        let order = Order::Snapshot(Box::new(move |snapshot| {
            // Whoever asked may have lost patience.
            let _ = give.send(snapshot);
        }));
        let sent = self
            .orders
            .get(worker)
            .is_some_and(|orders| orders.try_send(order).is_ok());
        Box::pin(async move { if sent { take.await.ok() } else { None } })
    }

    fn status(&self) -> Status {
        let site = self.site();
        let moment = now();
        let pools = site.backends.pools().map(|pool| {
            let views = site.backends.view_of(pool, moment);
            let backends = views.into_iter().map(|view| BackendStatus {
                address: view.address.to_string(),
                usable: view.up,
                weight: view.weight,
                why: if view.up {
                    String::new()
                } else {
                    format!("left out after {} failures", view.failures)
                },
            });
            PoolStatus {
                name: pool.name.clone(),
                backends: backends.collect(),
            }
        });
        let pools = pools.collect();
        Status {
            draining: self.draining.load(SeqCst),
            starting: false,
            pools,
        }
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Answer<Result<String, String>> {
        let wishes = self.wishes.clone();
        Box::pin(async move {
            let (give, take) = oneshot::channel();
            let gone = || String::from("the process is going down");
            wishes.send(Wish::Reload(give)).await.map_err(|_| gone())?;
            take.await.map_err(|_| gone())?
        })
    }

    fn drain(&self) -> Answer<Result<String, String>> {
        let wishes = self.wishes.clone();
        Box::pin(async move {
            wishes
                .send(Wish::Drain)
                .await
                .map_err(|_| "the process is going down already".to_string())?;
            Ok("draining".into())
        })
    }
}
