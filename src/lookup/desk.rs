//! Where a worker's questions leave and their answers come in.
//!
//! One mailbox a worker: an answer names the docket that waits for it, and wakes its session. A session makes a docket at its
//! first question that the cache can't answer, or has none.

use super::{
    dns::{Asked, Dns},
    waiter::{Arrived, Waiter},
};
use crate::{
    dns::{Answer, Answers, Question, Unknown},
    net::{
        mailbox::{Receiver, Sender, mailbox},
        timeout_at,
    },
    smtp::Tick,
};
use rustc_hash::FxHashMap;
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
};

/// Questions of one docket; one beyond is answered with [`Unknown::Overload`].
pub const QUESTIONS_MAX: usize = 512;
/// Answers that may lie in a worker's mailbox.
const MAILBOX: usize = 8192;

/// A worker's end.
pub struct Desk {
    to: Sender<Arrived>,
    dockets: RefCell<FxHashMap<u64, Rc<Entries>>>,
    next: Cell<u64>,
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

    /// A docket for a session of this client (`policy::client_key`).
    #[must_use]
    pub fn docket(self: &Rc<Desk>, dns: &Arc<Dns>, client: u128) -> Docket {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let entries = Rc::new(Entries::default());
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
#[derive(Default)]
struct Entries {
    answers: RefCell<FxHashMap<Question, Option<Answer>>>,
    open: Cell<usize>,
    waker: Cell<Option<Waker>>,
}

impl Entries {
    fn arrive(&self, arrived: Arrived) {
        let mut answers = self.answers.borrow_mut();
        if let Some(place @ None) = answers.get_mut(&arrived.question) {
            *place = Some(arrived.answer);
            self.open.set(self.open.get().saturating_sub(1));
        }
        drop(answers);
        if self.open.get() == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
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
            answers.insert(question.clone(), Some(Answer::Unknown(Unknown::Overload)));
            return Some(Asked::Refused(Unknown::Overload));
        }
        let waiter = Waiter {
            docket: self.number,
            client: self.client,
            to: self.desk.to.clone(),
        };
        let asked = self.dns.ask(question, waiter);
        let answer = match &asked {
            Asked::Cached(answer) => Some(answer.clone()),
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
        self.entries.answers.borrow().len() >= QUESTIONS_MAX / 2
    }

    /// Waits for the answers, to `due`. False: some have not come.
    pub async fn wait(&self, due: Tick) -> bool {
        let entries = &self.entries;
        let all = poll_fn(|cx| match entries.open.get() {
            0 => Poll::Ready(()),
            _ => {
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
        look(&*self.entries.answers.borrow())
    }
}

impl Answers for FxHashMap<Question, Option<Answer>> {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.get(question)?.as_ref()
    }
}

impl Drop for Docket {
    fn drop(&mut self) {
        self.desk.dockets.borrow_mut().remove(&self.number);
    }
}
