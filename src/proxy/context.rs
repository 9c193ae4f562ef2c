//! What the sessions of one worker share. All of it stays on the worker's thread.

use super::{
    message_id::Ids,
    pace::Paces,
    received::Dates,
    site::{ListenerSite, Site, scarce},
    verifier::Verifier,
};
use crate::{
    config::LogFormat,
    log::{Line, Lines},
    lookup::Desk,
    memory::BodyMemory,
    metrics::{Counter, Gauge, Recorder, Scope},
    net::{hasten_waits, now},
    policy::Shared,
    record::{self, Allowance, HeldBack, Record, Ring, explanation},
    smtp::{Capabilities, Tick, server::Settings},
    upstream::Pools,
};
use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

/// Buffers for replies that a worker keeps for the next session that has something to say.
const SPARE_MAX: usize = 64;
/// One that has grown larger is not kept, octets.
const SPARE_OCTETS: usize = 4 * 1024;
/// The first size of one: the reply to EHLO fits.
const FIRST: usize = 512;

/// Differences to a candidate's policy that a worker keeps.
const DIFFERENCES_MAX: usize = 256;

/// One worker's context.
pub struct Context {
    /// Ids for messages.
    pub ids: Ids,
    /// Dates for Received.
    pub dates: Dates,
    /// Memory for bodies, large envelopes and answers.
    pub memory: Rc<BodyMemory>,
    /// This worker's connections to the backends.
    pub pools: Rc<Pools>,
    /// How fast this worker's streams come.
    pub(super) paces: Paces,
    /// The worker's counters and histograms.
    pub recorder: Recorder,
    /// Where its questions leave and their answers come in.
    pub desk: Rc<Desk>,
    /// Where signatures are verified.
    pub verifier: Arc<Verifier>,
    /// The transaction log.
    pub lines: Lines,
    /// The process is going down: no new transactions.
    pub draining: Cell<bool>,
    /// Questions asked of policy.
    questions: Cell<u32>,
    /// Sessions open on this worker.
    pub sessions: Cell<u32>,
    /// Connections of clients, those that end or are refused among them.
    connections: Cell<u32>,
    /// The most that there may be.
    pub connections_max: Cell<u32>,
    current: RefCell<Rc<Current>>,
    spare: RefCell<Vec<Vec<u8>>>,
    /// How many workers there are: each keeps its share of the explanations.
    workers: usize,
    kept: RefCell<Kept>,
    /// Lines of clients that were refused at the greeting.
    greeted: RefCell<Allowance>,
    /// Lines of transactions and sessions without an accepted recipient.
    fruitless: RefCell<Allowance>,
}

/// What a worker keeps of its latest judgements.
#[derive(Default)]
pub struct Kept {
    /// Explanations, packed.
    pub all: Ring,
    /// Those of messages that a candidate's policy would have treated otherwise.
    pub differences: Ring,
}

/// A configuration as one worker uses it.
pub struct Current {
    /// Of the configuration in force; a session keeps the one that it began with.
    pub site: Arc<Site>,
    /// Rates and session counts, of all workers.
    pub shared: Arc<Shared>,
    /// One for each listener; made when the first session comes.
    settings: RefCell<Vec<Option<Made>>>,
}

/// Settings, and the backends' capabilities that they were made from.
type Made = (Capabilities, Arc<Settings>);

impl Current {
    /// Joins the parts.
    #[must_use]
    pub fn new(site: Arc<Site>, shared: Arc<Shared>) -> Rc<Current> {
        let settings = RefCell::new(vec![None; site.listeners.len()]);
        Rc::new(Current {
            site,
            shared,
            settings,
        })
    }

    /// The settings for a new session, or for one that says EHLO. Made anew only when the backends' capabilities have
    /// changed.
    #[must_use]
    pub fn settings(&self, listener: usize) -> Arc<Settings> {
        let announced = self.site.backends.announced();
        let mut all = self.settings.borrow_mut();
        match &all[listener] {
            Some((seen, settings)) if *seen == announced => Arc::clone(settings),
            _ => {
                let settings = Arc::new(self.site.settings(listener, &announced));
                all[listener] = Some((announced, Arc::clone(&settings)));
                settings
            }
        }
    }
}

/// A client's connection, which holds a descriptor until it is closed; given back when dropped.
pub struct Connection(Rc<Context>);

impl Connection {
    /// Of one that was just accepted; `None` where the worker has too many.
    // INV-LIMIT
    #[must_use]
    pub fn begin(context: &Rc<Context>) -> Option<Connection> {
        let others = context.connections.get();
        (others < context.connections_max.get()).then(|| {
            context.connections.set(others + 1);
            Connection(Rc::clone(context))
        })
    }

    /// The worker's.
    #[must_use]
    pub fn context(&self) -> &Rc<Context> {
        &self.0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

impl Context {
    /// A context whose sessions start under `current`.
    #[must_use]
    pub fn new(
        (worker, workers): (usize, usize),
        current: Rc<Current>,
        pools: Rc<Pools>,
        recorder: Recorder,
        desk: Rc<Desk>,
        verifier: Arc<Verifier>,
        lines: Lines,
    ) -> Rc<Context> {
        let limits = &current.site.config.limits;
        let memory = BodyMemory::new(limits.body_memory.0, limits.window.0);
        let kept = Kept {
            all: Ring::new(share(current.site.config.admin.explanations, workers)),
            differences: Ring::new(DIFFERENCES_MAX),
        };
        Rc::new(Context {
            ids: Ids::new(worker),
            dates: Dates::new(now()),
            memory,
            pools,
            paces: Paces::default(),
            recorder,
            desk,
            verifier,
            lines,
            draining: Cell::new(false),
            questions: Cell::new(0),
            sessions: Cell::new(0),
            connections: Cell::new(0),
            connections_max: Cell::new(u32::MAX),
            current: RefCell::new(current),
            spare: RefCell::default(),
            workers,
            kept: RefCell::new(kept),
            greeted: RefCell::new(Allowance::new(record::AT_GREETING)),
            fruitless: RefCell::new(Allowance::new(record::FRUITLESS)),
        })
    }

    /// An empty buffer for replies: the one that was used last.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(FIRST))
    }

    /// Takes a buffer back.
    pub fn keep(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= SPARE_OCTETS && spare.len() < SPARE_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Whether the looks of this question are timed: those of one in sixteen are. A look takes less than
    /// reading the clock twice, so timing all of them would cost more than they do.
    #[must_use]
    pub fn times_looks(&self) -> bool {
        let count = self.questions.get().wrapping_add(1);
        self.questions.set(count);
        count % 16 == 1
    }

    /// The configuration for a new session.
    #[must_use]
    pub fn current(&self) -> Rc<Current> {
        Rc::clone(&self.current.borrow())
    }

    /// Puts a new configuration in force for the sessions to come.
    pub fn apply(&self, current: Rc<Current>) {
        let limits = &current.site.config.limits;
        self.memory.set_max(limits.body_memory.0, limits.window.0);
        let explanations = current.site.config.admin.explanations;
        let mut kept = self.kept.borrow_mut();
        kept.all.resize(share(explanations, self.workers));
        *self.current.borrow_mut() = current;
    }

    /// Hands the log lines over, sets the gauges that change too often to be set at each change, and ends a stream that
    /// is too slow while others wait. Called a few times a second.
    pub fn tick(&self) {
        let moment = now();
        self.dates.set(moment);
        let rate_min = self.current.borrow().site.config.timeouts.stress_rate.0;
        if self.paces.relieve(moment, rate_min) {
            self.recorder.count(Counter::StreamsEnded, Scope::NONE, 1);
        }
        self.hasten(moment);
        for allowance in [&self.greeted, &self.fruitless] {
            let held = allowance.borrow_mut().sum_up(moment);
            self.tell_of(&held, moment);
        }
        self.count_lost_lines(self.lines.hand_over());
        self.recorder
            .set(Gauge::BodyMemory, Scope::NONE, self.memory.used() as i64);
        self.recorder
            .set(Gauge::LookupMemory, Scope::NONE, self.desk.held() as i64);
    }

    /// The last tick, after the last session.
    pub fn finish(&self) {
        for allowance in [&self.greeted, &self.fruitless] {
            let held = allowance.borrow_mut().close();
            self.tell_of(&held, now());
        }
        self.tick();
    }

    /// Whether a client that was refused at the greeting may have one more line. `key`: as [`crate::client_key::address`].
    pub fn admits_refused(&self, key: u128, address: IpAddr, moment: Tick) -> bool {
        self.greeted.borrow_mut().admits(key, address, moment)
    }

    /// The same for a transaction, or a session, that had no accepted recipient.
    pub fn admits_fruitless(&self, key: u128, address: IpAddr, moment: Tick) -> bool {
        self.fruitless.borrow_mut().admits(key, address, moment)
    }

    /// A line for each client whose lines were held back.
    fn tell_of(&self, held: &[HeldBack], moment: Tick) {
        for held in held {
            self.log(|line| {
                self.dates.stamp(moment, line);
                record::line::held_back(held, line);
            });
        }
    }

    /// While places or memory are scarce, sessions that have waited for their client since better times are held to
    /// `timeouts.stress` as well, between two messages and within one.
    fn hasten(&self, moment: Tick) {
        let current = self.current.borrow();
        let site = &current.site;
        let others = self.sessions.get().saturating_sub(1);
        let stressed = scarce(others, site.config.limits.sessions)
            || self.memory.is_scarce()
            || site.listeners.iter().any(ListenerSite::is_scarce);
        if stressed {
            hasten_waits(moment.after(site.config.timeouts.stress.0));
        }
    }

    /// Appends a line to the transaction log, as `json` or logfmt by configuration.
    pub fn log(&self, render: impl FnOnce(&mut Line<'_>)) {
        if !self.lines.wanted() {
            return;
        }
        let json = self.current.borrow().site.config.log.format == LogFormat::Json;
        let lost = self.lines.push(|out| {
            let mut line = Line::start(out, json);
            render(&mut line);
            line.end();
        });
        self.count_lost_lines(lost);
    }

    /// Keeps an explanation; twice where the candidate's policy differs. Nothing waits between this and its end, so that the ring is free.
    // INV-LOCK
    pub fn explain(&self, record: &Record<'_>) {
        let (id, micros) = (record.id, self.dates.micros(record.now));
        let render = |out: &mut Vec<u8>| explanation::pack(record, micros, out);
        let Kept { all, differences } = &mut *self.kept.borrow_mut();
        all.keep(id, micros, render);
        if record.shadow.is_some_and(|shadow| shadow.differs) {
            differences.keep(id, micros, render);
        }
    }

    /// Shows what is kept.
    pub fn with_kept(&self, look: impl FnOnce(&Kept)) {
        look(&self.kept.borrow());
    }

    fn count_lost_lines(&self, lost: u32) {
        if lost > 0 {
            self.recorder
                .count(Counter::LogQueue, Scope::NONE, u64::from(lost));
        }
    }
}

/// A worker's share of the explanations that are kept.
fn share(explanations: u32, workers: usize) -> usize {
    (explanations as usize).div_ceil(workers.max(1))
}
