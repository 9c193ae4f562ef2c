//! Where a worker's questions leave and their answers come in.
//!
//! One mailbox a worker: an answer names the docket that waits for it, and wakes its session. A session makes a docket at its
//! first question that the cache can't answer, or has none.
//!
//! A docket holds its answers until it is dropped, and names and answers are of the client's choosing. So what they take is
//! counted (also of answers that the cache shares with it: it may drop them at any time), and beyond what small messages need charged
//! to the memory of the worker, of which a client has a share. Where that is spent, all that this docket still lacks is
//! [`Unknown::Overload`]. Nothing of that is put into the cache: others get their answers.

use super::{
    dns::{Asked, Dns},
    size::octets_of,
    waiter::{Arrived, Waiter},
};
use crate::{
    dns::{Answer, Answers, Question, Unknown},
    memory::Held,
    net::{
        mailbox::{Receiver, Sender, mailbox},
        timeout_at,
    },
    smtp::Tick,
};
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
};

/// Questions of one docket; with one beyond, all that has no answer is [`Unknown::Overload`].
pub const QUESTIONS_MAX: usize = 512;
/// Questions of most messages.
const QUESTIONS_USUAL: usize = 14;
/// Answers that may lie in a worker's mailbox.
const MAILBOX: usize = 8192;
/// Octets of a docket that aren't charged: those of nearly all messages.
const FREE: u64 = 8 * 1024;
/// What a question takes beside its name.
const ENTRY_OCTETS: usize = size_of::<(Question, Option<Answer>)>() + 2 * size_of::<usize>();

static OVERLOAD: Answer = Answer::Unknown(Unknown::Overload);

/// A worker's end.
pub struct Desk {
    to: Sender<Arrived>,
    dockets: RefCell<FxHashMap<u64, Rc<Entries>>>,
    next: Cell<u64>,
    /// What all dockets hold, octets.
    held: Rc<Cell<u64>>,
}

impl Desk {
    /// The desk, and the mailbox that [`Desk::serve`] reads.
    #[must_use]
    pub fn new() -> (Rc<Desk>, Receiver<Arrived>) {
        let (to, inbox) = mailbox(MAILBOX);
        let desk = Desk {
            to,
            dockets: RefCell::default(),
            next: Cell::new(0),
            held: Rc::default(),
        };
        (Rc::new(desk), inbox)
    }

    /// Hands the answers out. Ends never: the desk itself can send.
    pub async fn serve(self: Rc<Desk>, mut inbox: Receiver<Arrived>) {
        while let Some(arrived) = inbox.recv().await {
            // The session may be gone.
            let entries = self.dockets.borrow().get(&arrived.docket).cloned();
            if let Some(entries) = entries {
                entries.arrive(arrived);
            }
        }
    }

    /// What all sessions hold of questions and answers, octets.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.get()
    }

    /// A docket for a session of this client (`client_key::address`). `held`: what it is charged to.
    #[must_use]
    pub fn docket(self: &Rc<Desk>, dns: &Arc<Dns>, client: u128, held: Held) -> Docket {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let entries = Rc::new(Entries::new(held, &self.held));
        self.dockets
            .borrow_mut()
            .insert(number, Rc::clone(&entries));
        Docket {
            desk: Rc::clone(self),
            dns: Arc::clone(dns),
            number,
            client,
            entries,
        }
    }
}

/// The questions of a session, with the answers that are there.
struct Entries {
    answers: RefCell<FxHashMap<Question, Option<Answer>>>,
    open: Cell<usize>,
    waker: Cell<Option<Waker>>,
    /// What questions and answers take.
    octets: Cell<u64>,
    /// What of that is charged.
    held: RefCell<Held>,
    /// What all dockets of the desk hold.
    of_all: Rc<Cell<u64>>,
    /// There was no memory for something: what is missing stays so.
    full: Cell<bool>,
    /// Answers that found no memory, and have not been told.
    refused: Cell<u64>,
}

impl Entries {
    fn new(held: Held, of_all: &Rc<Cell<u64>>) -> Entries {
        Entries {
            answers: RefCell::new(FxHashMap::with_capacity_and_hasher(
                QUESTIONS_USUAL,
                FxBuildHasher,
            )),
            open: Cell::new(0),
            waker: Cell::new(None),
            octets: Cell::new(0),
            held: RefCell::new(held),
            of_all: Rc::clone(of_all),
            full: Cell::new(false),
            refused: Cell::new(0),
        }
    }

    /// Takes memory for so many octets. False: there is none, and none will be.
    fn take(&self, octets: usize) -> bool {
        let octets = octets as u64;
        let all = self.octets.get() + octets;
        let charged = all.saturating_sub(FREE);
        let fits = !self.full.get() && (charged == 0 || self.held.borrow_mut().grow_to(charged));
        match fits {
            true => {
                self.octets.set(all);
                self.of_all.set(self.of_all.get() + octets);
            }
            false => self.full.set(true),
        }
        fits
    }

    fn arrive(&self, arrived: Arrived) {
        let mut answers = self.answers.borrow_mut();
        if let Some(place @ None) = answers.get_mut(&arrived.question) {
            match self.take(octets_of(&arrived.answer)) {
                true => *place = Some(arrived.answer),
                false => {
                    *place = Some(OVERLOAD.clone());
                    self.refused.set(self.refused.get() + 1);
                }
            }
            self.open.set(self.open.get().saturating_sub(1));
        }
        drop(answers);
        if self.is_settled()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// Whether there is nothing to wait for.
    fn is_settled(&self) -> bool {
        self.open.get() == 0 || self.full.get()
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.of_all.set(self.of_all.get() - self.octets.get());
    }
}

/// What one session has asked. Dropped, it forgets what is still on its way; the answers fill the cache.
pub struct Docket {
    desk: Rc<Desk>,
    dns: Arc<Dns>,
    number: u64,
    client: u128,
    entries: Rc<Entries>,
}

impl Docket {
    /// Asks, unless it has asked that before. `None`: it has.
    pub fn ask(&self, question: &Question) -> Option<Asked> {
        let mut answers = self.entries.answers.borrow_mut();
        if answers.contains_key(question) {
            return None;
        }
        if answers.len() >= QUESTIONS_MAX {
            self.entries.full.set(true);
        }
        if !self.entries.take(ENTRY_OCTETS + question.name.len()) {
            return Some(Asked::Refused(Unknown::Overload));
        }
        let waiter = Waiter {
            docket: self.number,
            client: self.client,
            to: self.desk.to.clone(),
        };
        let asked = self.dns.ask(question, waiter);
        let answer = match &asked {
            Asked::Cached(answer) if self.entries.take(octets_of(answer)) => Some(answer.clone()),
            Asked::Cached(_) => {
                answers.insert(question.clone(), Some(OVERLOAD.clone()));
                return Some(Asked::Refused(Unknown::Overload));
            }
            Asked::Refused(why) => Some(Answer::Unknown(*why)),
            Asked::Joined | Asked::Sent => {
                self.entries.open.set(self.entries.open.get() + 1);
                None
            }
        };
        answers.insert(question.clone(), answer);
        Some(asked)
    }

    /// Whether it holds so much that a new one should follow it before more is asked.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        let entries = &self.entries;
        entries.answers.borrow().len() >= QUESTIONS_MAX / 2
            || entries.octets.get() > FREE
            || entries.full.get()
    }

    /// Waits for the answers, to `due`. False: some have not come.
    pub async fn wait(&self, due: Tick) -> bool {
        let entries = &self.entries;
        let all = poll_fn(|cx| match entries.is_settled() {
            true => Poll::Ready(()),
            false => {
                entries.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        });
        timeout_at(due, all).await.is_some()
    }

    /// Answers what has not come with [`Unknown::Timeout`].
    pub fn give_up(&self) {
        for answer in self.entries.answers.borrow_mut().values_mut() {
            answer.get_or_insert(Answer::Unknown(Unknown::Timeout));
        }
        self.entries.open.set(0);
    }

    /// Lends the answers.
    pub fn with<T>(&self, look: impl FnOnce(&dyn Answers) -> T) -> T {
        look(&Lent {
            answers: &self.entries.answers.borrow(),
            full: self.entries.full.get(),
        })
    }

    /// How many answers have found no memory since the last call.
    #[must_use]
    pub fn take_refused(&self) -> u64 {
        self.entries.refused.take()
    }
}

/// The answers that are there.
struct Lent<'a> {
    answers: &'a FxHashMap<Question, Option<Answer>>,
    full: bool,
}

impl Answers for Lent<'_> {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        let answer = self.answers.get(question).and_then(Option::as_ref);
        answer.or(self.full.then_some(&OVERLOAD))
    }
}

impl Drop for Docket {
    fn drop(&mut self) {
        self.desk.dockets.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        dns::{Record, RecordType},
        memory::BodyMemory,
    };

    /// Octets of each answer.
    const TEXT: usize = 8 * 1024;

    fn question(number: usize) -> Question {
        Question {
            name: format!("{number}.example").into(),
            record_type: RecordType::Txt,
        }
    }

    fn memory(max: u64) -> Rc<BodyMemory> {
        BodyMemory::new(max, 0)
    }

    /// Asks so many questions, and has the answers come.
    fn fill(docket: &Docket, count: usize) {
        for number in 0..count {
            if matches!(
                docket.ask(&question(number)),
                Some(Asked::Sent | Asked::Joined)
            ) {
                docket.entries.arrive(Arrived {
                    docket: docket.number,
                    question: question(number),
                    answer: Answer::Found([Record::Txt(vec![b'x'; TEXT].into())].into()),
                });
            }
        }
    }

    fn found(docket: &Docket, count: usize) -> usize {
        let is_there = |number: &usize| {
            docket.with(|answers| {
                matches!(answers.answer(&question(*number)), Some(Answer::Found(_)))
            })
        };
        (0..count).filter(is_there).count()
    }

    #[test]
    // INV-LIMIT
    fn a_client_holds_no_more_answers_than_its_share() {
        let dns = Dns::new(&config::Dns::default(), None);
        dns.attend(drop);
        let (desk, _inbox) = Desk::new();
        let memory = memory(1 << 20);
        let of = |client: u128| desk.docket(&dns, client, Held::new(&memory, Some(client)));
        let (first, second) = (of(1), of(1));
        fill(&first, 100);
        fill(&second, 100);
        let (one, two) = (found(&first, 100), found(&second, 100));
        // An eighth, and what is free of each.
        let most = (1 << 20) / 8 + 2 * 2 * FREE as usize;
        assert!(
            one > 4 && two >= 1 && (one + two) * TEXT <= most,
            "{one} {two}"
        );
        assert!(desk.held() <= most as u64 + FREE);
        assert!(memory.used() <= 1 << 18);
        // What it lacks is known to be lacking, and nothing is waited for.
        first.with(|answers| {
            assert_eq!(answers.answer(&question(99)), Some(&OVERLOAD));
        });
        assert!(first.take_refused() > 0 && first.is_worn() && first.entries.is_settled());
        // Others are not concerned.
        let other = of(7 << 8);
        fill(&other, 10);
        assert_eq!(found(&other, 10), 10);
        drop((first, second, other));
        assert_eq!((desk.held(), memory.used(), memory.holders()), (0, 0, 0));
    }

    #[test]
    fn a_small_docket_is_not_charged() {
        let dns = Dns::new(&config::Dns::default(), None);
        dns.attend(drop);
        let (desk, _inbox) = Desk::new();
        let memory = memory(0);
        let docket = desk.docket(&dns, 1, Held::new(&memory, Some(1)));
        for number in 0..20 {
            assert_eq!(docket.ask(&question(number)), Some(Asked::Sent));
        }
        assert!(desk.held() > 0 && !docket.is_worn());
        assert_eq!(memory.used(), 0);
    }
}
