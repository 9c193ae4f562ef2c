//! What a try came to, counted and timed.

use super::outcome::{Ending, Outcome};
use crate::{
    metrics::{Counter, Stage},
    upstream::{Lease, Pools},
};

/// Counts and times what a try came to.
pub(super) fn record(pools: &Pools, outcome: &Outcome, lease: &Lease) {
    let (recorder, scope, times) = (pools.recorder(), lease.scope(), &outcome.times);
    if let (Some(leased), Some(answered)) = (times.leased, times.envelope) {
        let took = answered.micros_since(leased);
        recorder.record(Stage::Envelope, scope, took);
    }
    if let (Some(sent), Some(heard)) = (times.sent, times.heard) {
        recorder.record(Stage::Commit, scope, heard.micros_since(sent));
    }
    let counter = match &outcome.ending {
        Ending::Accepted(_) => Counter::BackendAccepted,
        Ending::Refused(_, said) if said.head.is_permanent() => Counter::BackendRejected,
        Ending::Refused(..) => Counter::BackendDeferred,
        _ => return,
    };
    recorder.count(counter, scope, 1);
}
