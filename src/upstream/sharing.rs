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

/// One that waits looks again this often: it is told when its client gives a connection back, but not when another client
/// does, by which its own share grows.
const LOOK: Duration = Duration::from_millis(200);

/// A pool with no more connections than this, by the configuration, is not shared out: a part of so few would be one connection, and a client that
/// sends several messages at once would wait for itself.
const SMALL: u32 = 16;
/// So many times as large a small pool passes for: a third of it is all that there is, a sixth is half.
const SMALL_PASSES_FOR: u32 = 4;

/// A pool's connections, open or still to be opened, those that messages and questions have, over all workers, and how many
/// there may be by the configuration. Of backends that are left out only the last counts, unless all are.
fn connections(pool: &Pool) -> (u32, u32, u32) {
    let (mut usable, mut all, mut configured) = ((0_u32, 0_u32), (0_u32, 0_u32), 0_u32);
    for backend in &pool.backends {
        let (limit, leased) = (backend.budget.limit(), backend.leases());
        let add = |sum: &mut (u32, u32)| {
            *sum = (sum.0.saturating_add(limit), sum.1.saturating_add(leased));
        };
        add(&mut all);
        if !backend.health.is_ejected() {
            add(&mut usable);
        }
        configured = configured.saturating_add(backend.budget.configured());
    }
    let (limit, leased) = if usable.0 == 0 { all } else { usable };
    (limit, leased, configured)
}

/// A claim of this client, where it has not had its share.
fn enter(pool: &Pool, client: u128, purpose: Purpose) -> Option<Share> {
    let (mut connections, leased, configured) = connections(pool);
    // Not by what is left of it in an outage: then one client must not have it all.
    if configured <= SMALL {
        connections *= SMALL_PASSES_FOR;
    }
    pool.shares.enter(client, purpose, connections, leased)
}

impl Pools {
    /// The same where it need not be waited for.
    pub(super) fn share_at_once(
        &self,
        pool: PoolId,
        client: u128,
        purpose: Purpose,
    ) -> Option<Share> {
        enter(&self.local(pool)?.pool, client, purpose)
    }

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
        if let Some(share) = enter(&local.pool, client, purpose) {
            return Ok(share);
        }
        let scope = local.scope;
        let Some(waiting) = local.pool.shares.wait(client, purpose) else {
            self.recorder.count(Counter::LeaseBusy, scope, 1);
            return Err(LeaseError::Busy);
        };
        let begun = now();
        let until = begun.after(local.pool.waits.lease).min(deadline);
        drop(local);
        let mut moment = begun;
        let share = loop {
            // A reload keeps the line, and may change the backends meanwhile, or take the pool away.
            let Some(local) = self.local(pool) else {
                self.recorder.count(Counter::LeaseDown, scope, 1);
                break Err(LeaseError::NoPool);
            };
            // Once more though it has just been in vain: what was given back before this one stood in the line called none.
            let share = enter(&local.pool, client, purpose);
            drop(local);
            if let Some(share) = share {
                break Ok(share);
            }
            if moment >= until {
                self.recorder.count(Counter::LeaseTimeout, scope, 1);
                break Err(LeaseError::Timeout);
            }
            let look = moment.after(LOOK).min(until);
            let _ = net::timeout_at(look, waiting.called()).await;
            moment = now();
        };
        let waited = moment.micros_since(begun);
        self.recorder.record(Stage::LeaseWait, scope, waited);
        share
    }
}
