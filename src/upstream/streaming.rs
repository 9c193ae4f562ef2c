//! A place for a message that takes a connection while it is still coming: see `pooling/streams`.

use super::{LeaseError, PoolId, Pools, pooling::streams::StreamPlace};
use crate::{
    metrics::{Counter, Stage},
    net::{now, sleep_until},
    smtp::Tick,
};
use std::time::Duration;

/// How often a stream that waits looks for a place. There is no queue: streams are few, and each has minutes ahead.
const LOOK: Duration = Duration::from_millis(20);

impl Pools {
    /// A place among the streams of a pool, waited for as long as for a connection. `client` is the key of a client that
    /// has a share of them, `None` of one that is trusted.
    ///
    /// # Errors
    /// There is no such pool, or no place came free in time.
    pub async fn stream_place(
        &self,
        pool: PoolId,
        client: Option<u128>,
        deadline: Tick,
    ) -> Result<StreamPlace, LeaseError> {
        let local = self.local(pool).ok_or(LeaseError::NoPool)?;
        let limits = local.pool.backends.iter().map(|b| b.budget.limit());
        let connections = limits.fold(0, u32::saturating_add);
        let streams = &local.pool.streams;
        if let Some(place) = streams.enter(client, connections) {
            return Ok(place);
        }
        let begun = now();
        let until = begun.after(local.pool.waits.lease).min(deadline);
        let _waiting = streams.wait();
        let mut moment = begun;
        let place = loop {
            if moment >= until {
                self.recorder.count(Counter::LeaseTimeout, local.scope, 1);
                break Err(LeaseError::Timeout);
            }
            sleep_until(moment.after(LOOK).min(until)).await;
            moment = now();
            if let Some(place) = streams.enter(client, connections) {
                break Ok(place);
            }
        };
        let waited = moment.micros_since(begun);
        self.recorder.record(Stage::LeaseWait, local.scope, waited);
        place
    }
}
