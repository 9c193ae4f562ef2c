//! What the connections of a worker share.

use super::{counters::Counters, plan::Plan, shared::Shared};
use gatepost::smtp::Tick;
use std::{cell::RefCell, sync::Arc};

/// What the connections of a worker share.
pub(super) struct Worker {
    pub shared: Arc<Shared>,
    number: usize,
    plan: RefCell<(u64, Arc<Plan>)>,
}

impl Worker {
    /// The worker of this number.
    pub fn new(shared: Arc<Shared>, number: usize) -> Worker {
        Worker {
            plan: RefCell::new(shared.plan()),
            shared,
            number,
        }
    }

    /// This worker's counters.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters[self.number]
    }

    /// The plan in force. The lock is touched once for each change.
    pub fn plan(&self) -> (u64, Arc<Plan>) {
        let mut known = self.plan.borrow_mut();
        if known.0 != self.shared.version() {
            *known = self.shared.plan();
        }
        known.clone()
    }

    /// Until when nothing is to be read or said, where that is so.
    pub fn stalled_until(&self, now: Tick, plan: &Plan) -> Option<Tick> {
        let once = self.shared.stalled_until();
        (once > now)
            .then_some(once)
            .or_else(|| plan.stalled_until(now))
    }
}
