//! Reloads: the configuration and its files are read, and all of it is built, on a thread of its own. Signals, the
//! watchdog and the admin endpoint go on meanwhile, however long a file or a name takes.
//!
//! Nothing that is in force changes before everything has passed ([`State::put_in_force`]).
//!
//! A reload that is asked for while another one reads takes its place: the file may have changed since that one began.
//! A thread that waits for a file can't be ended, so that one goes on and its result is thrown away.

use super::{build_site, examine, state::State};
use crate::{
    admin::Rules,
    config::{self, Source},
    log::say,
    metrics::{Counter, Scope},
    policy::Shared,
    process::notify,
    proxy::Site,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

/// Threads that read a configuration at once: one, and those that hang in a read whose result nobody wants any more.
const READING_MAX: usize = 4;
/// How long a reload waits for the workers to take what it brings.
const APPLY_WAIT: Duration = Duration::from_secs(2);
/// A reload that takes longer is spoken of.
const SLOW: Duration = Duration::from_secs(5);

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
    /// What takes a restart.
    restart: Vec<String>,
}

/// What a thread brings.
pub(super) type Brought = (u64, Result<Box<Built>, String>);

/// The reload under way.
struct Pending {
    number: u64,
    began: Instant,
    /// That it takes long has been said.
    slow: bool,
    asker: Option<Asker>,
}

/// Reloads, of which at most one is wanted at a time.
pub(super) struct Reloads {
    state: Arc<State>,
    pending: Option<Pending>,
    number: u64,
    reading: Arc<AtomicUsize>,
    results: mpsc::Receiver<Brought>,
    bring: mpsc::Sender<Brought>,
}

impl Reloads {
    /// None is under way.
    pub fn new(state: Arc<State>) -> Reloads {
        let (bring, results) = mpsc::channel(READING_MAX);
        Reloads {
            state,
            pending: None,
            number: 0,
            reading: Arc::default(),
            results,
            bring,
        }
    }

    /// Begins one, in place of the one that is under way. `asker` hears the outcome, which is logged as well.
    pub fn begin(&mut self, asker: Option<Asker>) {
        if let Some(before) = self.pending.take() {
            say!(Info, "reload: a later one takes its place");
            tell(before.asker, Err("a later reload takes its place".into()));
        }
        notify::reloading();
        if self.reading.load(SeqCst) >= READING_MAX {
            let why = format!(
                "{READING_MAX} earlier reloads still wait for a file that they read; look at what the \
                 configuration names on network file systems"
            );
            return refuse(&self.state, &why, asker);
        }
        self.number += 1;
        match self.read(self.number) {
            Ok(()) => {
                self.pending = Some(Pending {
                    number: self.number,
                    began: Instant::now(),
                    slow: false,
                    asker,
                });
            }
            Err(why) => refuse(&self.state, &format!("no thread for it: {why}"), asker),
        }
    }

    /// Starts the thread.
    fn read(&self, number: u64) -> std::io::Result<()> {
        let reading = Reading::begin(&self.reading);
        let (state, bring) = (Arc::clone(&self.state), self.bring.clone());
        let read = move || {
            let built = build(&state);
            // In this order: a result that is there means a thread less.
            drop(reading);
            // The loop may be over.
            let _ = bring.blocking_send((number, built.map(Box::new)));
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

    /// Puts in force what a thread brought, where it is still wanted, and says whether it did. `after` is what else a
    /// reload does.
    pub fn finish(
        &mut self,
        (number, built): Brought,
        after: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        let Some(pending) = self.pending.take_if(|pending| pending.number == number) else {
            return false;
        };
        let built = match built {
            Ok(built) => built,
            Err(why) => {
                refuse(&self.state, &why, pending.asker);
                return false;
            }
        };
        if !Arc::ptr_eq(&built.before, &self.state.site()) {
            // What it builds on is no longer in force.
            self.begin(pending.asker);
            return false;
        }
        let Built {
            site,
            shared,
            rules,
            restart,
            ..
        } = *built;
        self.state.set_rules(rules);
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
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            let due = Instant::now() + APPLY_WAIT;
            let all = async { while wait.recv().await.is_some() {} };
            if timeout_at(due, all).await.is_err() {
                say!(Warn, "a worker is slow to take the new configuration");
            }
            after.await;
            let registry = &state.registry;
            registry.count(Counter::ReloadApplied, Scope::NONE, 1);
            say!(Info, "{done}");
            ready(&state);
            tell(pending.asker, Ok(done));
        });
        true
    }

    /// Says once that a reload takes long.
    pub fn look(&mut self) {
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
    }

    /// Gives up the one that is under way: the process goes down.
    pub fn give_up(&mut self) {
        if let Some(pending) = self.pending.take() {
            tell(pending.asker, Err("the process is going down".into()));
        }
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

fn tell(asker: Option<Asker>, outcome: Outcome) {
    if let Some(asker) = asker {
        // It may have stopped waiting.
        let _ = asker.send(outcome);
    }
}

fn refuse(state: &State, why: &str, asker: Option<Asker>) {
    let registry = &state.registry;
    registry.count(Counter::ReloadRefused, Scope::NONE, 1);
    for line in why.lines() {
        say!(Error, "reload: {line}");
    }
    say!(Error, "reload: nothing was changed");
    ready(state);
    tell(asker, Err(why.to_string()));
}

/// Tells the service manager that a reload is over, unless it has been told that the process goes down.
fn ready(state: &State) {
    if !state.draining.load(SeqCst) {
        notify::ready();
    }
}

/// Reads and builds. Blocks for as long as its files take.
fn build(state: &State) -> Result<Built, String> {
    let before = state.site();
    let mut config = load(&state.source)?;
    let restart = config::difference(&state.in_force, &config);
    let rules = Rules::build(&config)?;
    // A listener's sockets stay until a restart, and its sessions need its settings.
    for bound in &state.in_force.config.listener {
        let is_named = |listener: &config::Listener| listener.name == bound.name;
        if !config.listener.iter().any(is_named) {
            let last = before.config.listener.iter().find(|one| is_named(one));
            config.listener.push(last.unwrap_or(bound).clone());
        }
    }
    let site = build_site(config, Some(&before), &state.registry)
        .map_err(|problems| problems.join("\n"))?;
    let shared = Arc::new(state.shared().adapted(&site.config.policies()));
    Ok(Built {
        before,
        site: Arc::new(site),
        shared,
        rules,
        restart,
    })
}

fn load(source: &Source) -> Result<config::Config, String> {
    let loaded = examine::load(source).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    for warning in &loaded.warnings {
        say!(Warn, "{}", warning.brief());
    }
    Ok(loaded.config)
}
