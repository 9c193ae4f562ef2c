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

/// Nothing has been asked.
pub(super) struct Nothing;

impl Answers for Nothing {
    fn answer(&self, _: &Question) -> Option<&Answer> {
        None
    }
}
