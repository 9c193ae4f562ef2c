//! The tasks of a worker that hold connections: sessions that send one message after the other, those that trickle, and
//! those that are idle.

use super::{
    arrivals::Intended,
    dial::{NoLink, dial},
    dispatcher::{Dispatcher, Slot},
    link::{Link, LinkError, Pace},
    plan::Load,
    record::{Outcome, Step},
    send::{self, Leave, Letter, Rest},
};
use gatepost::{
    net::{self, spawn},
    smtp::Envelope,
};
use rand::RngExt;
use std::{cell::Cell, mem, rc::Rc, time::Duration};

/// In a closed loop, how long a session waits after a message that could not be sent: a target that is away must not
/// be stormed.
const RECOVERY: Duration = Duration::from_millis(100);
/// How many idle sessions are opened at the same time.
const OPENERS: u32 = 16;

/// A count of open connections that is right however the task ends.
struct Open(Rc<Dispatcher>);

impl Open {
    fn new(dispatcher: &Rc<Dispatcher>) -> Open {
        dispatcher.open.set(dispatcher.open.get() + 1);
        Open(Rc::clone(dispatcher))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// A session: what it holds from one message to the next.
struct Session {
    dispatcher: Rc<Dispatcher>,
    link: Option<(Link, Open)>,
    envelope: Envelope,
    /// A place to work in.
    text: Vec<u8>,
    stamp: Vec<u8>,
}

/// Starts a session; its first message may be known already.
pub fn start(dispatcher: &Rc<Dispatcher>, first: Option<Intended>) {
    let slot_guard = dispatcher.take_slot(false);
    let dispatcher = Rc::clone(dispatcher);
    spawn(async move {
        let _seated = slot_guard;
        let mut session = Session::new(&dispatcher);
        session.work(first).await;
        if let Some((link, _open)) = session.link.take() {
            link.quit().await;
        }
    });
}

/// Starts a session that trickles one message.
fn start_slow(dispatcher: &Rc<Dispatcher>, message: Intended) {
    let slot_guard = dispatcher.take_slot(true);
    let dispatcher = Rc::clone(dispatcher);
    spawn(async move {
        let _seated = slot_guard;
        let mut session = Session::new(&dispatcher);
        session.trickle(message).await;
    });
}

impl Session {
    fn new(dispatcher: &Rc<Dispatcher>) -> Session {
        Session {
            dispatcher: Rc::clone(dispatcher),
            link: None,
            envelope: Envelope::new(),
            text: Vec::new(),
            stamp: Vec::new(),
        }
    }

    async fn work(&mut self, first: Option<Intended>) {
        let dispatcher = Rc::clone(&self.dispatcher);
        let slot = Rc::new(Slot::default());
        let mut next = first;
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => match dispatcher.next(&slot).await {
                    Some(message) => message,
                    None => return,
                },
            };
            dispatcher.note_begun(message);
            if self.is_slow() {
                start_slow(&dispatcher, message);
                continue;
            }
            let sent = self.carry(message).await;
            if !sent && matches!(dispatcher.plan().load, Load::Closed { .. }) {
                net::sleep(RECOVERY).await;
            }
        }
    }

    /// Sends a message, connecting first where that is needed, and makes the connection ready for another. False where
    /// nothing of it could be sent.
    async fn carry(&mut self, message: Intended) -> bool {
        let dispatcher = Rc::clone(&self.dispatcher);
        let now = net::now();
        if self
            .link
            .as_ref()
            .is_some_and(|(link, _)| link.is_stale(now))
        {
            self.link = None;
        }
        if self.link.is_none() && !self.connect().await {
            dispatcher.note_end(message, &Outcome::FAILED, net::now());
            return false;
        }
        if let Some((link, _)) = &mut self.link {
            link.at = link.at.max(now);
        }
        let leave = dispatcher
            .draws(dispatcher.plan().trouble.abort)
            .then(|| self.draw_leave());
        let outcome = self.send(message, leave).await;
        let Some((link, open)) = self.link.take() else {
            return false;
        };
        dispatcher.note_end(message, &outcome, link.at);
        let unsent = outcome == Outcome::FAILED && link.session.is_clean();
        self.link = self.tidy(link, &outcome).await.map(|link| (link, open));
        !unsent
    }

    /// Ends a connection that has carried enough, and cleans one that a refusal has soiled.
    async fn tidy(&self, mut link: Link, outcome: &Outcome) -> Option<Link> {
        link.carried += 1;
        let offered = link.session.capabilities().messages_max;
        let limit = match offered {
            0 => self.dispatcher.plan().per_session,
            offered => offered.min(self.dispatcher.plan().per_session),
        };
        match send::rest(&link, outcome) {
            Rest::Dead => None,
            Rest::Ready | Rest::Soiled if link.carried >= limit => {
                link.quit().await;
                None
            }
            Rest::Ready => Some(link),
            Rest::Soiled => match link.reset().await {
                Ok(()) => Some(link),
                Err(failure) => {
                    self.dispatcher
                        .notes
                        .borrow_mut()
                        .error(Step::Reset, failure.fault());
                    None
                }
            },
        }
    }

    async fn connect(&mut self) -> bool {
        match connect(&self.dispatcher).await {
            Some(link) => {
                self.link = Some((link, Open::new(&self.dispatcher)));
                true
            }
            None => false,
        }
    }

    async fn send(&mut self, message: Intended, leave: Option<Leave>) -> Outcome {
        let Some((link, _)) = &mut self.link else {
            return Outcome::FAILED;
        };
        let Dispatcher {
            shared, notes, rng, ..
        } = &*self.dispatcher;
        let template = {
            let rng = &mut *rng.borrow_mut();
            let plan = &shared.plan;
            plan.addresses
                .write(rng, &mut self.envelope, &mut self.text);
            let spam = plan.trouble.spam > 0.0 && rng.random_bool(plan.trouble.spam);
            shared.library.pick(rng, spam)
        };
        template.stamp(message.number, &mut self.stamp);
        let letter = Letter {
            envelope: &self.envelope,
            stamp: &self.stamp,
            template,
            leave,
        };
        send::send(link, &letter, notes).await
    }

    fn draw_leave(&self) -> Leave {
        match self.dispatcher.rng.borrow_mut().random_range(0..3) {
            0 => Leave::BehindRcpt,
            1 => Leave::InBody,
            _ => Leave::BeforeEnd,
        }
    }

    fn is_slow(&self) -> bool {
        let dispatcher = &self.dispatcher;
        let trouble = &dispatcher.plan().trouble;
        dispatcher.draws(trouble.slow)
            && dispatcher.slow.get() < trouble.slow_max.div_ceil(dispatcher.plan().workers)
    }

    async fn trickle(&mut self, message: Intended) {
        let dispatcher = Rc::clone(&self.dispatcher);
        if !self.connect().await {
            dispatcher.note_end(message, &Outcome::FAILED, net::now());
            return;
        }
        if let Some((link, _)) = &mut self.link {
            link.pace = Some(Pace {
                octets: dispatcher.plan().trouble.slow_pace,
                over: Rc::clone(&dispatcher.over),
            });
        }
        let outcome = self.send(message, None).await;
        let Some((link, _open)) = self.link.take() else {
            return;
        };
        // Its time is its own fault: it must not stand among the latencies of the others.
        dispatcher.note_slow_end(message, &outcome, link.at);
        if send::rest(&link, &outcome) != Rest::Dead {
            link.quit().await;
        }
    }
}

/// Connects to the next target.
async fn connect(dispatcher: &Dispatcher) -> Option<Link> {
    let call = dispatcher.shared.call();
    match dial(dispatcher.plan(), call, &dispatcher.notes).await {
        Ok(link) => {
            dispatcher.shared.note_reached();
            Some(link)
        }
        Err(NoLink::Unreachable(why)) => {
            dispatcher.shared.note_unreachable(call, &why);
            None
        }
        Err(NoLink::Unwilling) => {
            dispatcher.shared.note_reached();
            None
        }
    }
}

/// Opens idle sessions, and comes back when all of them stand (or could not be had).
pub async fn open_idle(dispatcher: &Rc<Dispatcher>, count: u32) {
    let left = Rc::new(Cell::new(count));
    let at_work = Rc::new(Cell::new(0));
    let done = net::sync::Latch::new();
    for _ in 0..OPENERS.min(count) {
        let (dispatcher, left, at_work, done) = (
            Rc::clone(dispatcher),
            Rc::clone(&left),
            Rc::clone(&at_work),
            done.clone(),
        );
        at_work.set(at_work.get() + 1);
        spawn(async move {
            while left.get() > 0 && !dispatcher.shared.is_ending() {
                left.set(left.get() - 1);
                if let Some(link) = connect(&dispatcher).await {
                    hold(&dispatcher, link);
                }
            }
            at_work.set(at_work.get() - 1);
            if at_work.get() == 0 {
                done.set();
            }
        });
    }
    if count > 0 {
        done.wait().await;
    }
}

/// Keeps a connection that says nothing, until the other end does.
fn hold(dispatcher: &Rc<Dispatcher>, mut link: Link) {
    let open = Open::new(dispatcher);
    // It sends nothing any more.
    drop(mem::take(&mut link.out));
    let dispatcher = Rc::clone(dispatcher);
    spawn(async move {
        let failure: LinkError = link.rest().await;
        dispatcher
            .notes
            .borrow_mut()
            .error(Step::Idle, failure.fault());
        drop(open);
    });
}
