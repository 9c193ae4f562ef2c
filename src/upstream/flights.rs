//! Questions that are under way on one worker: sessions that ask the same at the same time ask once.

use super::{recipient_key::RecipientKey, verification::Answer};
use rustc_hash::FxHashMap;
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// A question that is under way.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) answer: RefCell<Option<Answer>>,
    /// The session that asked is done, or has gone.
    over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// Questions under way on this worker. As many as sessions that ask.
#[derive(Default)]
pub(super) struct Flights {
    by_key: RefCell<FxHashMap<Box<[u8]>, Rc<Flight>>>,
}

/// Ends a flight when the session that asks is done, or is gone without an answer.
pub(super) struct Landing<'a> {
    flights: &'a Flights,
    key: RecipientKey,
    pub(super) flight: Rc<Flight>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.flights.by_key.borrow_mut().remove(self.key.as_bytes());
        self.flight.over.set(true);
        self.flight.waiting.take().into_iter().for_each(Waker::wake);
    }
}

impl Flights {
    /// Whether a question of this key is under way.
    pub(super) fn has(&self, key: &RecipientKey) -> bool {
        self.by_key.borrow().contains_key(key.as_bytes())
    }

    /// The flight of a key: `Err` is one that another session has begun.
    pub(super) fn board(&self, key: RecipientKey) -> Result<Landing<'_>, Rc<Flight>> {
        let mut by_key = self.by_key.borrow_mut();
        if let Some(flight) = by_key.get(key.as_bytes()) {
            return Err(Rc::clone(flight));
        }
        let flight = Rc::<Flight>::default();
        by_key.insert(key.as_bytes().into(), Rc::clone(&flight));
        Ok(Landing {
            flights: self,
            key,
            flight,
        })
    }
}

impl Flight {
    /// Its answer; `None` where the session that asked has gone without.
    pub(super) async fn landed(self: Rc<Self>) -> Option<Answer> {
        poll_fn(|cx| {
            if self.over.get() {
                return Poll::Ready(self.answer.borrow().clone());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}
