//! Who waits for an answer, and the answer on its way.

use crate::{
    dns::{Answer, Question},
    net::mailbox::{SendError, Sender},
};
use std::thread;

/// An answer on its way to a worker.
#[derive(Debug)]
pub struct Arrived {
    pub docket: u64,
    pub question: Question,
    pub answer: Answer,
}

/// Who waits for an answer.
pub(super) struct Waiter {
    pub docket: u64,
    /// Whose session it is for, as `client_key::address` has it.
    pub client: u128,
    pub to: Sender<Arrived>,
}

impl Waiter {
    /// Gives it. A mailbox that is full is a worker that stands still: what doesn't fit then is lost, and its session
    /// goes on at its deadline.
    pub fn give(self, arrived: Arrived) {
        if let Err(SendError::Full(arrived)) = self.to.try_send(arrived) {
            thread::yield_now();
            let _ = self.to.try_send(arrived);
        }
    }
}
