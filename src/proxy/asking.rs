//! What a session has asked elsewhere; `inquire` asks it.

use crate::{
    dns::{Answer, Answers, Question},
    lookup::Docket,
    policy::Inquiry,
};

/// What a session asks elsewhere.
#[derive(Default)]
pub(super) struct Asking {
    /// The machines, and what they found.
    pub inquiry: Inquiry,
    /// The questions with their answers; made with the first.
    pub docket: Option<Docket>,
}

impl Asking {
    /// A transaction is over. What its connection needs is found by now, or is asked anew, of the cache.
    pub fn end_transaction(&mut self) {
        self.docket = None;
        self.inquiry.forget_message();
    }
}

/// Nothing has been asked.
pub(super) struct Nothing;

impl Answers for Nothing {
    fn answer(&self, _: &Question) -> Option<&Answer> {
        None
    }
}
