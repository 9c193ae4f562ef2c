//! A client's share of a pool's connections: see `pooling/shares`.

use super::{
    LeaseError, PoolId, Pools,
    pool::Pool,
    pooling::shares::{Purpose, Share},
};
use crate::{
    metrics::{Counter, Stage},
    net::{self, now},
    smtp::Tick,
};
use std::time::Duration;

/// One that waits looks again this often: a connection of another client may have become free.
const LOOK: Duration = Duration::from_millis(20);

/// Connections of a pool that no message and no question has, over all workers: open, or still to be opened. Of backends
/// that are left out none counts, unless all are.
fn free(pool: &Pool) -> u32 {
    let count = |all: bool| {
        let usable = pool
            .backends
            .iter()
            .filter(|b| all || !b.health.is_ejected());
        let free = usable.map(|b| b.budget.limit().saturating_sub(b.leases()));
        free.fold(0, u32::saturating_add)
    };
    match count(false) {
        0 => count(true),
        free => free,
    }
}

impl Pools {
    /// A client's claim to a connection of this pool, waited for as long as for a connection.
    ///
    /// # Errors
    /// There is no such pool, too many wait, or the client's share did not come free in time.
    pub(super) async fn share(
        &self,
        pool: PoolId,
        client: u128,
        purpose: Purpose,
        deadline: Tick,
    ) -> Result<Share, LeaseError> {
        let local = self.local(pool).ok_or(LeaseError::NoPool)?;
        let shares = &local.pool.shares;
        let enter = || shares.enter(client, purpose, free(&local.pool));
        if let Some(share) = enter() {
            return Ok(share);
        }
        let waiting = shares.wait(client).ok_or(LeaseError::Busy)?;
        let begun = now();
        let until = begun.after(local.pool.waits.lease).min(deadline);
        let mut moment = begun;
        let share = loop {
            if moment >= until {
                self.recorder.count(Counter::LeaseTimeout, local.scope, 1);
                break Err(LeaseError::Timeout);
            }
            let look = moment.after(LOOK).min(until);
            let _ = net::timeout_at(look, waiting.waker.woken()).await;
            moment = now();
            if let Some(share) = enter() {
                break Ok(share);
            }
        };
        let waited = moment.micros_since(begun);
        self.recorder.record(Stage::LeaseWait, local.scope, waited);
        share
    }
}
