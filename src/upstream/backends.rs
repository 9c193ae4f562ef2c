//! All pools and routes of one configuration, shared by all workers, and how they are made of it.
//!
//! A reload builds a new one beside the old. A pool keeps its number by its name, and a backend whose
//! [`ConnectionIdentity`] is as before keeps all its state; so a session that began under the old configuration may
//! use the numbers that it holds, and learns at worst that its pool is gone.

use super::{
    build_error::BuildError,
    changes::Changes,
    health::Rules,
    ids::PoolId,
    names::{self, Names, Spot, Unresolved},
    pool::{Pool, Waits},
    pooling::{
        backend::{Backend, BackendView, ConnectionIdentity},
        queue::WorkerWakers,
    },
    route::{Route, RouteId, RouteTable},
    security::{Material, SecurityIdentity},
    turns::Turns,
    verify_cache::Cache,
};
use crate::{
    config::{self, Config},
    smtp::{Tick, backend_session::BackendSettings},
    tls::Identity,
};
use std::{net::SocketAddr, sync::Arc};

/// All pools and routes.
#[derive(Debug, Default)]
pub struct Backends {
    /// By number; `None` for a pool of an earlier configuration.
    pools: Vec<Option<Arc<Pool>>>,
    /// By number, also those of earlier configurations.
    names: Vec<String>,
    routes: RouteTable,
    /// The pools that a route leads to.
    routed: Vec<PoolId>,
    wakers: Arc<WorkerWakers>,
    changes: Arc<Changes>,
    verified: Arc<Cache>,
    turns: Arc<Turns>,
    /// What the backends' host names were known to be.
    hosts: Names,
    /// The certificates that backends are shown.
    shown: Vec<Identity>,
    /// Weight and connections of the backends that were kept, until they are put in force.
    terms: Vec<(Arc<Backend>, u32, u32)>,
}

impl Backends {
    /// Makes them of a configuration. `previous` gives its numbers, its unchanged backends' state and its
    /// verified recipients; `hosts` is what is known of the backends' host names. Reads files, so it may block: not for a
    /// worker.
    ///
    /// Nothing that `previous` serves with changes until [`Backends::put_in_force`]: the rest of the configuration may
    /// yet be refused.
    ///
    /// # Errors
    /// Every backend that is neither an address nor a name, and every route without a pool. A name without an address is
    /// none: that backend counts as down.
    pub fn build(
        config: &Config,
        previous: Option<&Backends>,
        hosts: &Names,
    ) -> Result<Backends, Vec<BuildError>> {
        let mut errors = Vec::new();
        let mut made = Backends {
            names: previous.map(|p| p.names.clone()).unwrap_or_default(),
            wakers: previous.map(|p| Arc::clone(&p.wakers)).unwrap_or_default(),
            changes: previous.map(|p| Arc::clone(&p.changes)).unwrap_or_default(),
            verified: previous
                .map(|p| Arc::clone(&p.verified))
                .unwrap_or_default(),
            turns: previous.map(|p| Arc::clone(&p.turns)).unwrap_or_default(),
            hosts: hosts.clone(),
            ..Backends::default()
        };
        made.pools = vec![None; made.names.len()];
        for (i, pool) in config.pool.iter().enumerate() {
            made.add_pool(config, i, pool, previous, &mut errors);
        }
        for (i, route) in config.route.iter().enumerate() {
            made.add_route(i, route, &mut errors);
        }
        for pool in config.quarantine_pools() {
            made.add_quarantine(&pool);
        }
        if errors.is_empty() {
            Ok(made)
        } else {
            Err(errors)
        }
    }

    fn add_pool(
        &mut self,
        config: &Config,
        i: usize,
        pool: &config::Pool,
        previous: Option<&Backends>,
        errors: &mut Vec<BuildError>,
    ) {
        let id = self.name_pool(&pool.name);
        if self.pool(id).is_some() {
            errors.push(BuildError {
                key: format!("pool[{i}].name"),
                problem: format!("there is another pool `{}`", pool.name),
            });
            return;
        }
        let old = previous.and_then(|p| p.pool(id));
        let queue = old.map(|old| Arc::clone(&old.queue)).unwrap_or_default();
        let mut backends: Vec<Arc<Backend>> = Vec::new();
        let mut faults = Vec::new();
        let material = Material::read(i, pool, &mut faults);
        self.shown.extend(material.shown().cloned());
        errors.extend(faults.into_iter().map(BuildError::from));
        let found = resolve(i, pool, &self.hosts, errors);
        let session = pool.session(&config.hostname);
        let mut tiers = Vec::new();
        for (host, spot) in found.all {
            let security = material.identity(pool, host);
            let identity = identity(pool, &session, spot.address, security);
            if backends.iter().any(|b| b.identity == identity) {
                continue;
            }
            tiers.push(spot.tier);
            let same = |b: &&Arc<Backend>| b.identity == identity;
            let kept = old.and_then(|old| old.backends.iter().find(same));
            let (weight, connections) = (spot.weight, pool.connections);
            backends.push(match kept {
                Some(kept) => {
                    self.terms.push((Arc::clone(kept), weight, connections));
                    Arc::clone(kept)
                }
                None => {
                    let queue = Arc::clone(&queue);
                    Arc::new(Backend::new(identity, weight, connections, queue))
                }
            });
        }
        let names = backends.iter().map(|b| &*b.identity.security.name);
        self.pools[id.0 as usize] = Some(Arc::new(Pool {
            id,
            name: pool.name.clone(),
            clear: Arc::new(session.in_clear()),
            session: Arc::new(session),
            security: material.security(i, pool, names, errors),
            rules: rules(&pool.health),
            balance: pool.balance,
            waits: waits(config, pool),
            messages_max: pool.messages,
            identity: pool.identity,
            verify_sender: pool.verify_path().to_owned(),
            backends,
            tiers: several(tiers),
            unresolved: found.unresolved,
            queue,
            streams: old.map(|old| Arc::clone(&old.streams)).unwrap_or_default(),
            shares: old.map(|old| Arc::clone(&old.shares)).unwrap_or_default(),
        }));
    }

    /// The number of a pool's name, a new one where it has none. Numbers are as many as names were ever
    /// configured in this process.
    fn name_pool(&mut self, name: &str) -> PoolId {
        let at = self.names.iter().position(|n| n == name);
        let at = at.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.pools.push(None);
            self.names.len() - 1
        });
        PoolId(at as u32)
    }

    /// Suspicious mail goes there, whatever its route: what the pool can't take is not offered.
    fn add_quarantine(&mut self, name: &str) {
        if let Some(pool) = self.pool_named(name)
            && !self.routed.contains(&pool)
        {
            self.routed.push(pool);
        }
    }

    fn add_route(&mut self, i: usize, route: &config::Route, errors: &mut Vec<BuildError>) {
        let Some(pool) = self.pool_named(&route.pool) else {
            errors.push(BuildError {
                key: format!("route[{i}].pool"),
                problem: format!("there is no pool `{}`", route.pool),
            });
            return;
        };
        let made = Route {
            id: RouteId(i as u32),
            pool,
            recipients: route.recipients.word(),
        };
        if !self.routed.contains(&pool) {
            self.routed.push(pool);
        }
        for (j, domain) in route.domains.iter().enumerate() {
            if let Err(other) = self.routes.add(domain, made) {
                errors.push(BuildError {
                    key: format!("route[{i}].domains[{j}]"),
                    problem: format!("route[{}] has `{domain}` already", other.0),
                });
            }
        }
    }

    /// Gives the backends that were kept from before their new weights and connection limits. To be called once, when
    /// the configuration is accepted, before the workers get it.
    pub fn put_in_force(&self) {
        for (backend, weight, connections) in &self.terms {
            backend.adjust(*weight, *connections);
        }
    }

    /// A pool; `None` where a reload has taken it away.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> Option<&Arc<Pool>> {
        self.pools.get(id.0 as usize)?.as_ref()
    }

    /// The number of the pool of this name.
    #[must_use]
    pub fn pool_named(&self, name: &str) -> Option<PoolId> {
        self.pools().find(|p| p.name == name).map(|p| p.id)
    }

    /// All pools.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.iter().flatten()
    }

    /// Which domain goes to which pool.
    #[must_use]
    pub fn routes(&self) -> &RouteTable {
        &self.routes
    }

    /// Whether a route leads to a pool.
    #[must_use]
    pub fn is_routed(&self, pool: PoolId) -> bool {
        self.routed.contains(&pool)
    }

    /// Whether each backend has been probed once, or used, with whatever result.
    #[must_use]
    pub fn is_surveyed(&self) -> bool {
        let mut all = self.pools().flat_map(|p| &p.backends);
        all.all(|b| b.seen.get().is_some() || b.health.failures() > 0)
    }

    /// What an operator sees of all backends, in the order of the file.
    #[must_use]
    pub fn view(&self, now: Tick) -> Vec<BackendView> {
        self.pools()
            .flat_map(|pool| self.view_of(pool, now))
            .collect()
    }

    /// The same for one pool.
    #[must_use]
    pub fn view_of(&self, pool: &Pool, now: Tick) -> Vec<BackendView> {
        let slow_start = pool.rules.slow_start;
        pool.backends
            .iter()
            .map(|backend| backend.view(now, slow_start))
            .collect()
    }

    /// What the backends' host names were known to be when this was built.
    #[must_use]
    pub fn hosts(&self) -> &Names {
        &self.hosts
    }

    /// The certificates that backends are shown.
    #[must_use]
    pub fn shown(&self) -> &[Identity] {
        &self.shown
    }

    /// The changes of health, over reloads.
    #[must_use]
    pub fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// Whether a pool speaks LMTP.
    #[must_use]
    pub fn is_lmtp(&self, id: PoolId) -> bool {
        self.pool(id).is_some_and(|pool| pool.session.lmtp)
    }

    pub(super) fn wakers(&self) -> &Arc<WorkerWakers> {
        &self.wakers
    }

    pub(super) fn verified(&self) -> &Arc<Cache> {
        &self.verified
    }

    /// The recipients that have had their turn, of messages that were cut.
    #[must_use]
    pub fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }
}

/// The tiers, where they are not all the same.
fn several(tiers: Vec<u16>) -> Box<[u16]> {
    match tiers.last() {
        Some(0) | None => Box::default(),
        Some(_) => tiers.into(),
    }
}

/// A pool's backends, found.
#[derive(Default)]
struct Found<'a> {
    /// Every address of every backend, with its host, by tiers.
    all: Vec<(&'a str, Spot)>,
    /// Those whose names have no address.
    unresolved: Vec<Unresolved>,
}

/// Finds every backend of a pool.
fn resolve<'a>(
    i: usize,
    pool: &'a config::Pool,
    names: &Names,
    errors: &mut Vec<BuildError>,
) -> Found<'a> {
    let mut found = Found::default();
    for (j, backend) in pool.backends.iter().enumerate() {
        let (name, weight) = match backend {
            config::Backend::Address(name) => (name, 1),
            config::Backend::Weighted(weighted) => (&weighted.address, weighted.weight.max(1)),
        };
        match names::find(name, weight, names) {
            Ok(places) => {
                let all = places.at.into_iter();
                found.all.extend(all.map(|spot| (backend.host(), spot)));
                found.unresolved.extend(places.unresolved);
            }
            Err(problem) => errors.push(BuildError {
                key: format!("pool[{i}].backends[{j}]"),
                problem,
            }),
        }
    }
    found.all.sort_by_key(|(_, spot)| spot.tier);
    if pool.backends.is_empty() {
        errors.push(BuildError {
            key: format!("pool[{i}].backends"),
            problem: format!("pool `{}` has no backend", pool.name),
        });
    }
    found
}

fn identity(
    pool: &config::Pool,
    session: &BackendSettings,
    address: SocketAddr,
    security: SecurityIdentity,
) -> ConnectionIdentity {
    ConnectionIdentity {
        pool: pool.name.clone(),
        address,
        lmtp: session.lmtp,
        chunking: session.chunking,
        hello: session.hello.clone(),
        told: pool.identity,
        security,
    }
}

fn rules(health: &config::Health) -> Rules {
    Rules {
        backoff: health.backoff.0,
        backoff_max: health.backoff_max.0,
        interval: health.interval.0,
        timeout: health.timeout.0,
        slow_start: health.slow_start.0,
        eject_max: health.eject_max,
    }
}

fn waits(config: &Config, pool: &config::Pool) -> Waits {
    Waits {
        lease: pool.lease_wait.0,
        idle: pool.idle.0,
        lifetime: pool.lifetime.0,
        connect: config.timeouts.connect.0,
        reply: config.timeouts.backend.0,
        commit: config.timeouts.commit.0,
        verify_good: config.timeouts.verify_good.0,
        verify_bad: config.timeouts.verify_bad.0,
    }
}
