//! What the sessions of one worker share: the messages to come, the sessions that are free, the notes.

use super::{
    arrivals::{Arrivals, Intended},
    dial::Call,
    outcomes::Outcomes,
    payload::Library,
    plan::{Load, Plan},
    record::{Outcome, Part, Recorder},
};
use gatepost::{
    net::{self, sync::Latch},
    smtp::Tick,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Poll, Waker},
};

/// What the workers of a run share.
#[derive(Debug)]
pub struct Shared {
    /// The plan.
    pub plan: Plan,
    /// The messages.
    pub library: Library,
    /// What became of them.
    pub outcomes: Outcomes,
    /// Closed loop: the next number.
    next: AtomicU32,
    /// Connections that were begun, of all workers.
    calls: AtomicU32,
    /// Whether any connection has ever been ready.
    reached: AtomicBool,
    /// Targets that answered nothing so far, and the last reason.
    silent: Mutex<(Vec<bool>, String)>,
    /// The target is not there at all.
    unreachable: AtomicBool,
    /// No more messages; for threads that read no orders.
    ending: AtomicBool,
}

impl Shared {
    /// Before anything was sent.
    #[must_use]
    pub fn new(plan: Plan, library: Library) -> Shared {
        Shared {
            silent: Mutex::new((vec![false; plan.targets.len()], String::new())),
            plan,
            library,
            outcomes: Outcomes::default(),
            next: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            reached: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    /// Whom to connect to next.
    #[must_use]
    pub fn call(&self) -> Call {
        let count = self.calls.fetch_add(1, Ordering::Relaxed);
        let targets = &self.plan.targets;
        let place = count as usize % targets.len();
        Call {
            target: targets[place],
            place,
            count: count / targets.len() as u32,
        }
    }

    /// A connection is ready.
    pub fn note_reached(&self) {
        if !self.reached.load(Ordering::Relaxed) {
            self.reached.store(true, Ordering::Relaxed);
        }
    }

    /// A target did not answer. When each has not, and none ever did, there is no use in going on.
    pub fn note_unreachable(&self, call: Call, why: &io::Error) {
        if self.reached.load(Ordering::Relaxed) {
            return;
        }
        let mut guard = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let (silent, reason) = &mut *guard;
        if let Some(at) = self.plan.targets.iter().position(|t| *t == call.target) {
            silent[at] = true;
        }
        *reason = format!("{}: {why}", call.target);
        if silent.iter().all(|silent| *silent) {
            self.unreachable.store(true, Ordering::Relaxed);
        }
    }

    /// No more messages are begun.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Are no more messages begun?
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Is no target there at all?
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    /// Why the target is not there.
    #[must_use]
    pub fn why_unreachable(&self) -> String {
        let guard = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        guard.1.clone()
    }
}

/// What a session is to do.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// Send this message.
    Send(Intended),
    /// Nothing is due.
    Wait,
    /// There will be nothing more.
    Over,
}

/// Where a free session waits.
#[derive(Debug, Default)]
pub struct Slot {
    job: Cell<Option<Intended>>,
    waker: RefCell<Option<Waker>>,
}

impl Slot {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A session's place among the others, however its task ends.
pub struct SlotGuard {
    dispatcher: Rc<Dispatcher>,
    slow: bool,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let dispatcher = &self.dispatcher;
        dispatcher.slots.set(dispatcher.slots.get() - 1);
        dispatcher
            .slow
            .set(dispatcher.slow.get() - u32::from(self.slow));
        dispatcher.settle();
    }
}

/// One worker's dispatcher.
pub struct Dispatcher {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The notes.
    pub notes: RefCell<Recorder>,
    /// For what is drawn.
    pub rng: RefCell<SmallRng>,
    /// Messages to come, in an open loop.
    arrivals: RefCell<Option<Arrivals>>,
    /// The same, for the counter.
    counted: RefCell<Option<Arrivals>>,
    free: RefCell<Vec<Rc<Slot>>>,
    /// Sessions, connected or about to be; with those that trickle.
    pub slots: Cell<u32>,
    /// Those that trickle.
    pub slow: Cell<u32>,
    /// Connections that stand.
    pub open: Cell<u64>,
    /// No more messages are begun.
    pub over: Rc<Cell<bool>>,
    end: Cell<Tick>,
    /// All messages have been released: a free session has nothing to wait for.
    released: Cell<bool>,
    /// No session is left.
    pub done: Latch,
}

impl Dispatcher {
    /// The dispatcher of one worker (from 0 on).
    #[must_use]
    pub fn new(shared: Arc<Shared>, worker: u32) -> Rc<Dispatcher> {
        let seed = shared.plan.seed.wrapping_add(u64::from(worker) << 32);
        Rc::new(Dispatcher {
            notes: RefCell::default(),
            rng: RefCell::new(SmallRng::seed_from_u64(seed)),
            arrivals: RefCell::default(),
            counted: RefCell::default(),
            free: RefCell::default(),
            slots: Cell::new(0),
            slow: Cell::new(0),
            open: Cell::new(0),
            over: Rc::default(),
            end: Cell::new(Tick::FAR),
            released: Cell::new(false),
            done: Latch::new(),
            shared,
        })
    }

    /// The run starts.
    pub fn start(&self, start: Tick, arrivals: Option<Arrivals>) {
        self.counted.replace(arrivals.clone());
        self.arrivals.replace(arrivals);
        if let Some(duration) = self.shared.plan.duration {
            self.end.set(start.after(duration));
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// Takes what is to be done at this moment.
    pub fn take(&self, now: Tick) -> Next {
        if self.over.get() || now >= self.end.get() {
            return Next::Over;
        }
        if let Load::Closed { .. } = self.plan().load {
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.plan().messages {
                // Not that the count ever comes round.
                self.shared
                    .next
                    .store(self.plan().messages, Ordering::Relaxed);
                return Next::Over;
            }
            return Next::Send(Intended { number, at: now });
        }
        let mut arrivals = self.arrivals.borrow_mut();
        match arrivals.as_mut().and_then(|list| list.take_due(now)) {
            Some(message) => Next::Send(message),
            None if self.released.get() => Next::Over,
            None => Next::Wait,
        }
    }

    /// The next message for a session: one that is late, or the next that is due. `None` when there are no more.
    pub async fn next(&self, slot: &Rc<Slot>) -> Option<Intended> {
        match self.take(net::now()) {
            Next::Send(message) => return Some(message),
            Next::Over => return None,
            Next::Wait => self.free.borrow_mut().push(Rc::clone(slot)),
        }
        poll_fn(|cx| {
            if let Some(message) = slot.job.take() {
                return Poll::Ready(Some(message));
            }
            if self.over.get() || self.released.get() {
                return Poll::Ready(None);
            }
            slot.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Gives what is due to free sessions, the one used last first; `open` is asked for more sessions.
    pub fn release(&self, now: Tick, mut open: impl FnMut(Intended)) {
        let Load::Open { .. } = self.plan().load else {
            return;
        };
        loop {
            let room = self.has_room();
            if self.free.borrow().is_empty() && !room {
                return;
            }
            // Also after the end: what was due before it and has a session is only as late as its wake.
            let due = self
                .arrivals
                .borrow_mut()
                .as_mut()
                .and_then(|list| list.take_due(now));
            let Some(message) = due.filter(|_| !self.over.get()) else {
                return;
            };
            let free = self.free.borrow_mut().pop();
            match free {
                Some(slot) => {
                    slot.job.set(Some(message));
                    slot.wake();
                }
                None => open(message),
            }
        }
    }

    fn has_room(&self) -> bool {
        // Those that trickle are beside the others.
        let ordinary = self.slots.get() - self.slow.get();
        ordinary < self.session_limit()
    }

    fn session_limit(&self) -> u32 {
        let Load::Open { sessions_max, .. } = self.plan().load else {
            return 0;
        };
        sessions_max.div_ceil(self.plan().workers)
    }

    /// Nothing more will be released: sessions that are free go home.
    pub fn all_released(&self) {
        self.released.set(true);
        self.wake_all();
    }

    /// No more messages are begun.
    pub fn stop(&self) {
        self.end();
        self.wake_all();
    }

    fn end(&self) {
        // What was due by now counts, and nothing thereafter.
        let due = self.count_due(net::now());
        self.notes.borrow_mut().totals().intended += due;
        self.over.set(true);
    }

    fn wake_all(&self) {
        for slot in self.free.take() {
            slot.wake();
        }
    }

    /// A session begins; it ends when what comes back is dropped. `slow`: one that trickles.
    pub fn take_slot(self: &Rc<Self>, slow: bool) -> SlotGuard {
        self.slots.set(self.slots.get() + 1);
        self.slow.set(self.slow.get() + u32::from(slow));
        SlotGuard {
            dispatcher: Rc::clone(self),
            slow,
        }
    }

    /// Is the last session gone, and will there be no other? Those that trickle are cut where the run has a time in
    /// which it should be over.
    pub fn settle(&self) {
        let last = self.over.get() || self.released.get() || net::now() >= self.end.get();
        let closed = matches!(self.plan().load, Load::Closed { .. });
        if !last && !closed {
            return;
        }
        if self.slots.get() == self.slow.get() && self.plan().duration.is_some() {
            self.end();
        }
        if self.slots.get() == 0 {
            self.done.set();
        }
    }

    /// Draws whether something with this share happens.
    pub fn draws(&self, share: f64) -> bool {
        share > 0.0 && self.rng.borrow_mut().random_bool(share)
    }

    /// Notes that a message begins.
    pub fn note_begun(&self, message: Intended) {
        let mut notes = self.notes.borrow_mut();
        notes.totals().begun += 1;
        notes.numbers = notes.numbers.max(message.number.saturating_add(1));
        if matches!(self.plan().load, Load::Closed { .. }) {
            notes.totals().intended += 1;
        }
    }

    /// Notes how a message ended.
    pub fn note_end(&self, message: Intended, outcome: &Outcome, at: Tick) {
        self.shared.outcomes.note(message.number, outcome.entry());
        self.notes.borrow_mut().finish(outcome, message.at, at);
    }

    /// The same of a message that trickled in.
    pub fn note_slow_end(&self, message: Intended, outcome: &Outcome, at: Tick) {
        self.shared.outcomes.note(message.number, outcome.entry());
        self.notes.borrow_mut().finish_slow(outcome, message.at, at);
    }

    /// How many messages have become due since the last time; none once the run was stopped.
    fn count_due(&self, now: Tick) -> u64 {
        match &mut *self.counted.borrow_mut() {
            Some(list) if !self.over.get() => list.skip_due(now),
            _ => 0,
        }
    }

    /// Hands over what happened since the last time.
    pub fn hand_over(&self, now: Tick) -> Part {
        let due = self.count_due(now);
        let mut notes = self.notes.borrow_mut();
        notes.totals().intended += due;
        notes.hand_over(self.open.get())
    }
}
