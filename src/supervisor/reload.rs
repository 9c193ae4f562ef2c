//! Reloads: the configuration and its files are read, and all of it is built, on a thread of its own. Signals, the
//! watchdog and the admin endpoint go on meanwhile, however long a file or a name takes.
//!
//! Nothing that is in force changes before everything has passed ([`State::put_in_force`]).
//!
//! A reload that is asked for while another one reads follows it, since the file may have changed after that one began: however
//! many are asked for meanwhile, one more is carried out, and all askers hear what came of it. So the newest configuration is in
//! force in the end, however many are asked for.
//!
//! One that reads for long may never come back (a file on a network). A later one takes its place then. A thread that waits for a
//! file can't be ended, so that one goes on and its result is thrown away; where too many wait, a later one is refused, and carried
//! out once one of them has come back.

use super::{
    build_site, descriptors, examine,
    lists::probe_in_time,
    names::{Learned, learn},
    state::State,
};
use crate::{
    admin::Rules,
    config::{self, ConfigSource},
    log::say,
    metrics::{Counter, Scope},
    policy::Shared,
    process::notify,
    proxy::Site,
    upstream::{Backends, BuildError, Names, ServiceTarget},
};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

/// Threads that read a configuration at once: one, and those that hang in a read whose result is no longer wanted.
const READING_MAX: usize = 4;
/// How long a reload waits for the workers to take what it brings.
const APPLY_WAIT: Duration = Duration::from_secs(2);
/// The pause between two moves of backends to other addresses, and the one after a move that failed.
const MOVE_PAUSE: Duration = Duration::from_secs(1);
const MOVE_AGAIN: Duration = Duration::from_secs(30);
/// A reload that takes longer is spoken of, and a later one doesn't wait for it.
const SLOW: Duration = Duration::from_secs(5);
/// Requests over HTTP that wait for the outcome of one reload: as many as the endpoint has places on both of its sockets.
const ASKERS_MAX: usize = 128;

/// What came of a reload, in words.
pub(super) type Outcome = Result<String, String>;
/// Where it is told.
pub(super) type Asker = oneshot::Sender<Outcome>;

/// A configuration that has passed.
pub(super) struct Built {
    /// The one that lent it what outlives a reload.
    before: Arc<Site>,
    site: Arc<Site>,
    shared: Arc<Shared>,
    rules: Rules,
    /// What needs a restart.
    restart: Vec<String>,
    /// Its host names.
    learned: Learned,
}

/// What a thread brings.
pub(super) enum Brought {
    /// A whole configuration: the reload of this number.
    Configuration(u64, Result<Box<Built>, String>),
    /// New backends for the configuration that was in force: its names have led elsewhere.
    Backends(Arc<Site>, Result<Box<Backends>, Vec<BuildError>>),
}

/// The reload under way.
struct Pending {
    number: u64,
    began: Instant,
    /// That it takes long has been said.
    slow: bool,
    askers: Vec<Asker>,
}

/// Reloads, of which at most one is under way and one more wanted.
pub(super) struct Reloads {
    state: Arc<State>,
    pending: Option<Pending>,
    /// Another one is to begin when a thread has come back, and where its outcome is told.
    again: Option<Vec<Asker>>,
    /// Of the one that was begun last.
    number: Arc<AtomicU64>,
    reading: Arc<AtomicUsize>,
    /// New backends are being built; or that failed, and is tried again then.
    moving: bool,
    move_at: Instant,
    results: mpsc::Receiver<Brought>,
    bring: mpsc::Sender<Brought>,
}

impl Reloads {
    /// None is under way.
    pub fn new(state: Arc<State>) -> Reloads {
        let (bring, results) = mpsc::channel(READING_MAX + 1);
        Reloads {
            state,
            pending: None,
            again: None,
            number: Arc::default(),
            reading: Arc::default(),
            moving: false,
            move_at: Instant::now(),
            results,
            bring,
        }
    }

    /// Begins one, or has one follow that is under way. `asker` hears the outcome, which is logged as well.
    pub fn begin(&mut self, asker: Option<Asker>) {
        let askers: Vec<Asker> = asker.into_iter().collect();
        if let Some(pending) = &self.pending
            && pending.began.elapsed() <= SLOW
        {
            return self.follow(askers);
        }
        if self.reading.load(SeqCst) >= READING_MAX {
            let why = format!(
                "{READING_MAX} earlier reloads still wait for a file that they read: look at what the configuration names on network \
                 file systems; another reload begins by itself when one of them has come back"
            );
            self.again.get_or_insert_default();
            notify::reloading();
            return refuse(&self.state, &why, askers);
        }
        self.replace(askers);
    }

    /// Begins one in place of the one that is under way.
    fn replace(&mut self, mut askers: Vec<Asker>) {
        if let Some(before) = self.pending.take() {
            say!(Info, "reload: replaced by a later reload");
            askers.extend(before.askers);
        }
        askers.extend(self.again.take().unwrap_or_default());
        self.start(askers);
    }

    /// Has another one follow the one under way.
    // INV-LIMIT
    fn follow(&mut self, askers: Vec<Asker>) {
        if self.again.is_none() {
            say!(
                Info,
                "reload: another one reads; this one follows it, for what has changed since"
            );
        }
        let waiting = self.again.get_or_insert_default();
        for asker in askers {
            match waiting.len() < ASKERS_MAX {
                true => waiting.push(asker),
                false => tell(
                    vec![asker],
                    &Err("it follows the one that reads; too many wait to hear of it".into()),
                ),
            }
        }
    }

    fn start(&mut self, askers: Vec<Asker>) {
        notify::reloading();
        let number = self.number.fetch_add(1, SeqCst) + 1;
        match self.read(number) {
            Ok(()) => {
                self.pending = Some(Pending {
                    number,
                    began: Instant::now(),
                    slow: false,
                    askers,
                });
            }
            Err(why) => refuse(&self.state, &format!("no thread for it: {why}"), askers),
        }
    }

    /// Starts the thread.
    fn read(&self, number: u64) -> std::io::Result<()> {
        let reading = Reading::begin(&self.reading);
        let (state, bring) = (Arc::clone(&self.state), self.bring.clone());
        let runtime = Handle::current();
        let read = move || {
            let built = build(&state, &runtime);
            // In this order: a result that is there means a thread less.
            drop(reading);
            // The loop may be over.
            let _ = bring.blocking_send(Brought::Configuration(number, built.map(Box::new)));
        };
        thread::Builder::new()
            .name("reload".into())
            .spawn(read)
            .map(drop)
    }

    /// What the next thread brings. Safe to drop while it waits.
    pub async fn next(&mut self) -> Brought {
        match self.results.recv().await {
            Some(brought) => brought,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// Puts in force what a thread brought, where it is still wanted. Then the next one begins, where one is wanted.
    pub fn finish(&mut self, brought: Brought) {
        let (number, built) = match brought {
            Brought::Configuration(number, built) => (number, built),
            Brought::Backends(before, built) => return self.moved(&before, built),
        };
        self.settle(number, built);
        // One that was replaced has come back while a later one still reads: that one is followed in its turn.
        if self.pending.is_none()
            && let Some(askers) = self.again.take()
        {
            self.start(askers);
        }
    }

    /// [`Reloads::finish`] of the reload of this number.
    fn settle(&mut self, number: u64, built: Result<Box<Built>, String>) {
        let Some(pending) = self.pending.take_if(|pending| pending.number == number) else {
            return;
        };
        let built = match built {
            Ok(built) => built,
            Err(why) => return refuse(&self.state, &why, pending.askers),
        };
        if !Arc::ptr_eq(&built.before, &self.state.site()) {
            // What it builds on is no longer in force.
            self.again.get_or_insert_default().extend(pending.askers);
            return;
        }
        let Built {
            site,
            shared,
            rules,
            restart,
            learned,
            ..
        } = *built;
        self.state.set_rules(rules);
        self.state.directory.replace(learned);
        let (taken, mut wait) = mpsc::channel(self.state.orders.len().max(1));
        self.state.put_in_force(&site, &shared, &taken);
        // What a worker did not take has gone with its sender: once all have, there is nothing to wait for.
        drop(taken);
        self.state.ordering.send_replace(site.config.acme.clone());
        self.state.applied();
        let mut done = String::from("reloaded: new connections get the new configuration");
        for change in restart {
            done.push_str("; ");
            done.push_str(&change);
        }
        let (state, latest) = (Arc::clone(&self.state), Arc::clone(&self.number));
        tokio::spawn(async move {
            let due = Instant::now() + APPLY_WAIT;
            let all = async { while wait.recv().await.is_some() {} };
            if timeout_at(due, all).await.is_err() {
                say!(Warn, "a worker is slow to take the new configuration");
            }
            let registry = &state.registry;
            registry.count(Counter::ReloadApplied, Scope::NONE, 1);
            say!(Info, "{done}");
            // Another one may have begun, whose end is what the service manager waits for.
            if latest.load(SeqCst) == pending.number {
                ready(&state);
            }
            tell(pending.askers, &Ok(done));
        });
    }

    /// Looks whether names have led elsewhere, and says once that a reload takes long. To be called now and then.
    pub fn look(&mut self) {
        self.follow_names();
        if let Some(pending) = &mut self.pending
            && !pending.slow
            && pending.began.elapsed() > SLOW
        {
            pending.slow = true;
            say!(
                Warn,
                "reload: a file of the configuration, or a name in it, takes long; what is in force stays until it is there"
            );
        }
        // One that follows waits no longer than that.
        let is_slow = self.pending.as_ref().is_some_and(|pending| pending.slow);
        if is_slow && self.again.is_some() && self.reading.load(SeqCst) < READING_MAX {
            self.replace(Vec::new());
        }
    }

    /// Builds new backends where the names of those in force have led elsewhere.
    fn follow_names(&mut self) {
        if self.pending.is_some() || self.moving || Instant::now() < self.move_at {
            return;
        }
        let (site, names) = (self.state.site(), self.state.directory.names());
        if same_addresses(site.backends.hosts(), &names) {
            return;
        }
        let bring = self.bring.clone();
        let build = move || {
            let built = Backends::build(&site.config, Some(&site.backends), &names);
            // The loop may be over.
            let _ = bring.blocking_send(Brought::Backends(site, built.map(Box::new)));
        };
        let thread = thread::Builder::new().name("names".into()).spawn(build);
        self.moving = thread.is_ok();
        self.move_at = Instant::now() + MOVE_PAUSE;
    }

    /// Puts new backends in force, unless what they belong to is so no more: then the next look begins anew.
    fn moved(&mut self, before: &Arc<Site>, built: Result<Box<Backends>, Vec<BuildError>>) {
        self.moving = false;
        match built {
            Err(problems) => {
                for problem in problems {
                    say!(Warn, "backends at new addresses can't be used: {problem}");
                }
                self.move_at = Instant::now() + MOVE_AGAIN;
            }
            Ok(backends) if Arc::ptr_eq(before, &self.state.site()) => {
                let site = Arc::new(before.with_backends(*backends));
                // Nothing waits for the workers here.
                let (taken, _) = mpsc::channel(1);
                let shared = self.state.shared();
                self.state.put_in_force(&site, &shared, &taken);
            }
            Ok(_) => {}
        }
    }

    /// Gives up the one that is under way: the process goes down.
    pub fn give_up(&mut self) {
        let mut askers = self.again.take().unwrap_or_default();
        askers.extend(self.pending.take().into_iter().flat_map(|one| one.askers));
        tell(askers, &Err("the process is ending".into()));
    }
}

/// A thread that reads; counted out when dropped.
struct Reading(Arc<AtomicUsize>);

impl Reading {
    fn begin(all: &Arc<AtomicUsize>) -> Reading {
        all.fetch_add(1, SeqCst);
        Reading(Arc::clone(all))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn tell(askers: Vec<Asker>, outcome: &Outcome) {
    for asker in askers {
        // It may have stopped waiting.
        let _ = asker.send(outcome.clone());
    }
}

fn refuse(state: &State, why: &str, askers: Vec<Asker>) {
    let registry = &state.registry;
    registry.count(Counter::ReloadRefused, Scope::NONE, 1);
    for line in why.lines() {
        say!(Error, "reload: {line}");
    }
    say!(Error, "reload: nothing was changed");
    ready(state);
    tell(askers, &Err(why.to_string()));
}

/// Tells the service manager that a reload is over, unless it has been told that the process goes down.
fn ready(state: &State) {
    if !state.draining.load(SeqCst) {
        notify::ready();
    }
}

/// Reads and builds. Blocks for as long as its files take.
fn build(state: &Arc<State>, runtime: &Handle) -> Result<Built, String> {
    let before = state.site();
    let mut config = load(&state.source)?;
    let restart = config::difference(&state.in_force, &config);
    config = descriptors::fitted(config, state.orders.len());
    let rules = Rules::build(&config)?;
    // A listener's sockets stay until a restart, and its sessions need its settings.
    for bound in &state.in_force.config.listener {
        let is_named = |listener: &config::Listener| listener.name == bound.name;
        if !config.listener.iter().any(is_named) {
            let last = before.config.listener.iter().find(|one| is_named(one));
            config.listener.push(last.unwrap_or(bound).clone());
        }
    }
    let (names, wanted) = (Arc::clone(state), config.clone());
    let learned = on_control(runtime, async move {
        learn(&wanted, Some(&names.directory)).await
    })?;
    let (names, dns) = (learned.names(), Some(learned.dns()));
    let site = build_site(config, Some(&before), &state.registry, &names, dns)
        .map_err(|problems| problems.join("\n"))?;
    let site = Arc::new(site);
    let probed = Arc::clone(&site);
    on_control(runtime, async move { probe_in_time(&probed).await })?;
    let shared = Arc::new(state.shared().adapted(&site.config.policies()));
    Ok(Built {
        before,
        site,
        shared,
        rules,
        restart,
        learned,
    })
}

/// Has the control thread do this, and waits for it.
fn on_control<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let (give, take) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        // The thread waits for nothing else.
        let _ = give.send(work.await);
    });
    take.recv().map_err(|_| "the process is ending".to_string())
}

/// Whether names lead to the same addresses, whatever the last look-up said.
fn same_addresses(one: &Names, other: &Names) -> bool {
    let addresses = |names: &Names| -> Vec<(String, Vec<IpAddr>, Vec<ServiceTarget>)> {
        let all = names.iter();
        all.map(|(host, named)| (host.clone(), named.addresses.clone(), named.targets.clone()))
            .collect()
    };
    addresses(one) == addresses(other)
}

fn load(source: &ConfigSource) -> Result<config::Config, String> {
    let loaded = examine::load(source).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    for warning in &loaded.warnings {
        say!(Warn, "{}", warning.brief());
    }
    Ok(loaded.config)
}
