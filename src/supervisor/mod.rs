//! The process: what is built before the first worker starts, what holds while they run, how they end.
//!
//! The supervisor runs on the main thread, with a tokio runtime of its own for signals and the admin endpoint
//! (the control thread of the design). It holds every listening socket, builds each configuration as a whole
//! before any worker hears of it, and nothing else ends the process.
//!
//! It must not touch a session: a worker that is asked something answers through its mailbox or not at all.

mod build;
mod candidate;
mod certificates;
mod control;
mod descriptors;
mod doors;
pub mod examine;
pub mod explain;
mod exposed;
mod lists;
mod memory;
mod names;
pub mod published;
mod reload;
mod reports;
mod rights;
mod signals;
mod sockets;
mod state;
mod validation;

pub use build::build_site;
pub use control::Control;
pub use signals::Signals;

use control::Given;
use doors::Doors;
use sockets::Sockets;

use crate::{
    acme::{Acme, Challenges},
    admin,
    config::{Config, ConfigSource, InForce, LogFormat, Workers},
    log::{self, Target, Writer, say},
    lookup,
    metrics::{Counter, Info, Registry, Scope},
    net::{self, Choice},
    policy::Shared,
    process,
    proxy::{Site, Verifier},
    quickstart::Maildir,
    threads::Threads,
    worker::{self, Order, Plan, Worker},
};
use std::{
    fmt, io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// Bytes of a log batch, roughly, to turn `log.queue` (lines) into batches.
const LINES_PER_BATCH: u32 = 64;
/// Handshakes that may wait for each thread that computes them: half a second's work, or less.
const HANDSHAKES_WAITING_MAX: usize = 1024;

/// How long a worker that was told to stop may take, and how often it is looked at meanwhile.
const STOP_WAIT: Duration = Duration::from_secs(5);
const STOP_LOOK: Duration = Duration::from_millis(10);

/// Why the process could not start, or had to end.
#[derive(Debug)]
pub enum RunError {
    /// The configuration can't be used: every reason.
    Config(Vec<String>),
    /// The machine refuses what is needed: a port, a file, a thread. It may be there on the next try.
    Unavailable(String),
    /// A fault of the program: a worker panicked.
    Internal(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Config(problems) => f.write_str(&problems.join("\n")),
            RunError::Unavailable(problem) | RunError::Internal(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for RunError {}

fn unavailable(problem: impl fmt::Display) -> RunError {
    RunError::Unavailable(problem.to_string())
}

/// The process before it has a configuration: its signals are caught, so that none of those that mean something else
/// elsewhere ends it while it starts.
pub struct Process {
    runtime: Runtime,
    signals: Signals,
}

impl Process {
    /// Catches the signals.
    ///
    /// # Errors
    /// The machine refuses what is needed.
    pub fn begin() -> Result<Process, RunError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| unavailable(format!("the control thread can't start: {why}")))?;
        let signals = {
            let _inside = runtime.enter();
            Signals::catch()?
        };
        Ok(Process { runtime, signals })
    }

    /// Runs the proxy until a signal ends it.
    ///
    /// # Errors
    /// What keeps it from starting; see [`RunError`].
    pub fn run(self, config: Config, source: ConfigSource) -> Result<(), RunError> {
        let (runtime, mut signals) = (self.runtime, self.signals);
        log::set_level(build::level(&config));
        log::set_json(config.log.format == LogFormat::Json);
        let registry = Registry::new();
        // First what takes root's rights, then all that holds for the threads to come, then everything else.
        descriptors::raise();
        let cores = cores(config.workers);
        let (sockets, doors, challenges, rights) = bind(&config, &cores, source.file.as_deref())?;
        let acme = Acme::prepare(&config.acme, challenges, &registry).map_err(unavailable)?;
        let writer = start_logs(&config, &registry)?;
        let choice = net::probe(config.io, cores.len()).map_err(unavailable)?;
        inform(&registry, &choice);
        let maildir = Maildir::start(&config).map_err(unavailable)?;
        let (memory, kept) = memory::Memory::load(&config);
        let rules = rules(&config);
        let in_force = InForce {
            workers: cores.len(),
            cores: net::allowed_cores().len(),
            engine: choice.engine.as_str(),
            addresses: sockets.addresses(),
            config: config.clone(),
        };
        let connections_max = descriptors::connections(&config, cores.len());
        let config = descriptors::fitted(config, cores.len());
        let shared = Arc::new(Shared::with_secret(&config.policies(), memory.secret));
        let learned = runtime.block_on(names::learn(&config, None));
        let site = first_site(config, &registry, &learned)?;
        memory::restore(&memory, kept, &shared, &site.auth);
        let acme = certificates::plug_in(acme, &site, &registry).map_err(unavailable)?;
        let site = Arc::new(site);
        runtime.block_on(lists::probe_in_time(&site));
        let _asking = attend(&site, &runtime, &registry)?;
        let inside = runtime.enter();
        signals.catch_ends()?;
        drop(inside);
        let helpers = helpers().map_err(unavailable)?;
        let verifier = Verifier::start().map(Arc::new).map_err(unavailable)?;
        let plans = cores.iter().zip(sockets.into_workers()).enumerate();
        let plans = plans.map(|(number, (core, sockets))| Plan {
            number,
            workers: cores.len(),
            engine: choice.engine,
            core: *core,
            sockets,
            connections_max,
            site: Arc::clone(&site),
            shared: Arc::clone(&shared),
            registry: Arc::clone(&registry),
            helpers: Arc::clone(&helpers),
            verifier: Arc::clone(&verifier),
            log: writer.queue(),
        });
        let workers: io::Result<Vec<Worker>> = plans.map(worker::start).collect();
        let workers = workers.map_err(unavailable)?;
        announce(&in_force, &choice, &doors, maildir.as_ref());
        ready(&rights);
        let given = Given {
            source,
            in_force,
            learned,
            memory,
        };
        let mut control = Control::new(given, registry, site, shared, writer, &workers);
        control.set_rules(rules);
        let outcome = runtime.block_on(control.run(signals, doors, acme, &workers));
        finish(outcome, control, workers, maildir, runtime)
    }
}

/// Binds all sockets, and gives up the rights that they took; what is left of these, in a line.
fn bind(
    config: &Config,
    cores: &[Option<usize>],
    file: Option<&Path>,
) -> Result<(Sockets, Doors, Challenges, String), RunError> {
    let inherited = net::inherited().map_err(unavailable)?;
    let sockets = sockets::bind(config, cores.len(), inherited).map_err(unavailable)?;
    let user = rights::wanted(config)?;
    let doors = Doors::bind(config, user.as_ref());
    let challenges = Challenges::bind(&config.acme);
    let mut later = doors.later();
    later.ports.extend(challenges.missing_ports());
    let rights = rights::settle(config, user.as_ref(), file, &later)?;
    Ok((sockets, doors, challenges, rights))
}

/// Ends what runs, in this order: the log is written out by the control's end, which waits for the workers' last lines.
fn finish(
    outcome: Result<(), RunError>,
    control: Control,
    workers: Vec<Worker>,
    maildir: Option<Maildir>,
    runtime: Runtime,
) -> Result<(), RunError> {
    let (ended, all) = end(workers, maildir);
    control.finish_reports();
    control.keep_memory();
    match all {
        true => drop(control),
        // A worker that is stuck holds its end of the log, for which the log's writer would wait for ever.
        false => std::mem::forget(control),
    }
    // Not a drop, which waits for what blocks: a name that is being looked up, a file on a network.
    runtime.shutdown_background();
    outcome.and(ended)
}

/// Which requests the admin endpoint lets in. A token that can't be read stops no mail.
fn rules(config: &Config) -> admin::Rules {
    admin::Rules::build(config).unwrap_or_else(|why| {
        say!(
            Error,
            "{why}: the admin endpoint changes nothing over the network until a reload can read it"
        );
        admin::Rules::closed(config)
    })
}

/// Builds what the workers begin with.
fn first_site(
    config: Config,
    registry: &Registry,
    learned: &names::Learned,
) -> Result<Site, RunError> {
    let (names, dns) = (learned.names(), Some(learned.dns()));
    build_site(config, None, registry, &names, dns).map_err(RunError::Config)
}

/// Puts what runs among the metrics.
fn inform(registry: &Registry, choice: &Choice) {
    registry.info(Info::Build, &[("version", env!("CARGO_PKG_VERSION"))]);
    let engine = [("engine", choice.engine.as_str()), ("why", &*choice.why)];
    registry.info(Info::Engine, &engine);
}

/// Has passwords asked about on the control thread, and the DNS on a thread of its own, which is returned. Starts the thread that
/// adds DMARC reports up, where there are to be any.
fn attend(
    site: &Site,
    runtime: &Runtime,
    registry: &Arc<Registry>,
) -> Result<lookup::Thread, RunError> {
    let control = runtime.handle().clone();
    site.auth.attend(move |task| drop(control.spawn(task)));
    let asking = lookup::Thread::start();
    let asking =
        asking.map_err(|why| unavailable(format!("the thread for the DNS can't start: {why}")))?;
    site.dns.attend(asking.spawner());
    let reports = site.reports.as_ref();
    reports
        .map_or(Ok(()), |reports| reports.attend(registry))
        .map_err(|why| unavailable(format!("the thread for reports can't start: {why}")))?;
    Ok(asking)
}

/// Says that it serves, and with what rights.
fn ready(rights: &str) {
    say!(Info, "{rights}");
    process::notify::ready();
}

/// The threads that compute handshakes for all workers: one per core, because an idle worker leaves its core to them.
fn helpers() -> io::Result<Arc<Threads>> {
    let count = net::allowed_cores().len();
    Threads::start("tls", count, count * HANDSHAKES_WAITING_MAX).map(Arc::new)
}

/// Opens the transaction log, and starts the threads that write it and the service's lines.
fn start_logs(config: &Config, registry: &Arc<Registry>) -> Result<Writer, RunError> {
    let counts = Arc::clone(registry);
    log::start(move |why, lines| {
        let counter = match why {
            log::Lost::Queue => Counter::ServiceQueue,
            log::Lost::Write => Counter::ServiceWrite,
        };
        counts.count(counter, Scope::NONE, lines);
    })
    .map_err(|why| unavailable(format!("the log's thread can't start: {why}")))?;
    let target = Target::parse(&config.log.to);
    let batches = (config.log.queue / LINES_PER_BATCH).max(4) as usize;
    let counts = Arc::clone(registry);
    let lost = move |lines| counts.count(Counter::LogWrite, Scope::NONE, lines);
    Writer::start(&target, batches, lost)
        .map_err(|why| unavailable(format!("log.to = \"{}\": {why}", config.log.to)))
}

/// The core of each worker; `None` where pinning makes no sense (more workers than cores).
fn cores(workers: Workers) -> Vec<Option<usize>> {
    let allowed = net::allowed_cores();
    match workers {
        Workers::Auto => allowed.into_iter().map(Some).collect(),
        Workers::Count(count) => {
            let count = count as usize;
            let pinned = count <= allowed.len();
            (0..count).map(|i| pinned.then(|| allowed[i])).collect()
        }
    }
}

/// Waits for the workers, and tells those that the drain has left to go. True with the outcome: all have ended.
fn end(workers: Vec<Worker>, maildir: Option<Maildir>) -> (Result<(), RunError>, bool) {
    for worker in &workers {
        // A full mailbox is a worker that is stuck, which the wait below finds.
        let _ = worker.orders.try_send(Order::Stop);
    }
    let due = Instant::now() + STOP_WAIT;
    let ended = |worker: &Worker| worker.thread.is_finished();
    while !workers.iter().all(ended) && Instant::now() < due {
        thread::sleep(STOP_LOOK);
    }
    let mut result = Ok(());
    let mut all = true;
    for worker in workers {
        if !ended(&worker) {
            all = false;
            result = Err(RunError::Internal("a worker does not stop".into()));
            continue;
        }
        result = match worker.thread.join() {
            Ok(Ok(())) => result,
            Ok(Err(why)) => Err(unavailable(format!("a worker failed: {why}"))),
            Err(_) => Err(RunError::Internal(
                "a worker panicked; the message is above".into(),
            )),
        };
    }
    drop(maildir);
    say!(Info, "ended");
    (result, all)
}

/// Says where everything is, on standard error.
fn announce(in_force: &InForce, choice: &Choice, doors: &Doors, maildir: Option<&Maildir>) {
    let InForce {
        config,
        workers,
        addresses,
        ..
    } = in_force;
    let engine = choice.engine.as_str();
    say!(
        Info,
        "{} {}: {workers} workers on {engine} ({})",
        config.hostname,
        env!("CARGO_PKG_VERSION"),
        choice.why
    );
    for (name, address) in addresses {
        say!(Info, "listening on {address} ({name})");
    }
    doors.announce();
    if let Some(maildir) = maildir {
        say!(
            Info,
            "built-in backend on {}: mail is stored in {}",
            maildir.address(),
            maildir.directory().display()
        );
        if let Some((_, address)) = addresses.first() {
            let domain = config
                .route
                .iter()
                .flat_map(|route| &route.domains)
                .find(|d| !d.starts_with(['.', '*']));
            let domain = domain.map_or("example.net", String::as_str);
            say!(Info, "send a test message: {}", test_line(*address, domain));
        }
    }
}

/// A line to paste that sends a message with what every machine has: Python's smtplib.
fn test_line(address: SocketAddr, domain: &str) -> String {
    format!(
        "python3 -c \"import smtplib; smtplib.SMTP('{}', {}).sendmail('me@sender.example', ['you@{domain}'], 'Subject: hello\\r\\n\\r\\nIt works.\\r\\n')\"",
        address.ip(),
        address.port()
    )
}
