//! What the control loop shares with the admin endpoint: the configuration in force, the way to the workers, and what
//! an operator may ask of them.

use super::{build, certificates, memory::Memory, names::Directory};
use crate::{
    admin::{self, Answer, BackendStatus, Judgements, PoolStatus, Rules, Status, Wanted},
    config::{self, ConfigSource, InForce},
    log::say,
    metrics::{Gauge, Kind, Registry, Scope, Snapshot},
    net::{calendar, mailbox::Sender, now},
    policy::Shared,
    proxy::{Kept, Site},
    record::explanation,
    worker::Order,
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
    time::sleep,
};

/// What the admin endpoint asks the control loop for.
pub(super) enum Request {
    /// Load the configuration again, and tell the outcome.
    Reload(oneshot::Sender<Result<String, String>>),
    /// Drain, then end.
    Drain,
}

/// What the control loop shares with the admin endpoint.
pub(super) struct State {
    pub source: ConfigSource,
    pub registry: Arc<Registry>,
    /// What a reload can't change.
    pub in_force: InForce,
    pub site: Mutex<Arc<Site>>,
    pub shared: Mutex<Arc<Shared>>,
    /// Where what is counted is kept.
    pub memory: Memory,
    /// The backends' host names.
    pub directory: Directory,
    pub orders: Vec<Sender<Order>>,
    /// Which requests the admin endpoint lets in.
    pub rules: Mutex<Arc<Rules>>,
    pub draining: AtomicBool,
    pub requests: mpsc::Sender<Request>,
    /// What ACME is to do; a reload says it again.
    pub ordering: watch::Sender<config::Acme>,
}

impl State {
    /// The configuration in force.
    pub fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What all workers count, under the configuration in force.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes what is to outlive a restart. Blocks for as long as the disk takes.
    pub fn keep_memory(&self) {
        let (site, shared) = (self.site(), self.shared());
        self.memory.save(&shared, &site.auth, &self.registry);
    }

    /// The same at each interval, for ever.
    pub async fn keep_memory_fresh(state: Arc<State>) {
        loop {
            let interval = state.site().config.state.interval.0;
            sleep(interval.max(Duration::from_secs(1))).await;
            let state = Arc::clone(&state);
            // It fails only where the process ends.
            let _ = spawn_blocking(move || state.keep_memory()).await;
        }
    }

    /// Has the admin endpoint let in what these allow.
    pub fn set_rules(&self, rules: Rules) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Records when a configuration was put in force: now.
    pub fn applied(&self) {
        let now = calendar(now()) / 1_000_000;
        self.registry
            .set(Gauge::ConfigApplied, Scope::NONE, now as i64);
    }

    /// Puts a configuration in force that was built in full. Nothing here can fail. Each worker that takes it sends on
    /// `taken`, which ends when all have.
    pub fn put_in_force(&self, site: &Arc<Site>, shared: &Arc<Shared>, taken: &mpsc::Sender<()>) {
        build::put_in_force(site);
        for orders in &self.orders {
            let taken = taken.clone();
            let done = Box::new(move || {
                // The receiver may have stopped waiting.
                let _ = taken.try_send(());
            });
            let order = Order::Apply(Arc::clone(site), Arc::clone(shared), done);
            if orders.try_send(order).is_err() {
                say!(
                    Warn,
                    "a worker does not take the new configuration; it keeps the old one"
                );
            }
        }
        self.forget_names(site);
        *self.site.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(site);
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(shared);
    }

    /// Takes the names that are not in the configuration any more out of the metrics.
    pub fn forget_names(&self, site: &Site) {
        let registry = &self.registry;
        let listeners: Vec<Scope> = site.listeners.iter().map(|l| l.scope).collect();
        let (mut pools, mut backends) = (Vec::new(), Vec::new());
        for pool in site.backends.pools() {
            pools.push(registry.pool(&pool.name));
            for unresolved in &pool.unresolved {
                let scope = registry.backend(&pool.name, &unresolved.address);
                registry.set(Gauge::BackendUp, scope, 0);
                backends.push(scope);
            }
            let addresses = pool.backends.iter().map(|b| b.address().to_string());
            backends.extend(addresses.map(|address| registry.backend(&pool.name, &address)));
        }
        let certificates = certificates::show(site, registry);
        let checks = [&site.checks[..], &site.kinds[..]].concat();
        for (kind, live) in [
            (Kind::Listener, listeners),
            (Kind::Pool, pools),
            (Kind::Backend, backends),
            (Kind::Check, checks),
            (Kind::Certificate, certificates),
        ] {
            registry.retain(kind, &live);
        }
    }
}

impl admin::AdminSource for State {
    fn workers(&self) -> usize {
        self.orders.len()
    }

    fn snapshot(&self, worker: usize) -> Answer<Option<Snapshot>> {
        let (give, take) = oneshot::channel();
        let order = Order::Snapshot(Box::new(move |snapshot| {
            // The asker may have given up.
            let _ = give.send(snapshot);
        }));
        let sent = self
            .orders
            .get(worker)
            .is_some_and(|orders| orders.try_send(order).is_ok());
        Box::pin(async move { if sent { take.await.ok() } else { None } })
    }

    fn judgements(&self, worker: usize, wanted: &Wanted) -> Answer<Option<Judgements>> {
        let (give, take) = oneshot::channel();
        let wanted = wanted.clone();
        let order = Order::Judgements(Box::new(move |kept| {
            // The asker may have given up.
            let _ = give.send(judgements(kept, &wanted));
        }));
        let orders = self.orders.get(worker);
        let sent = orders.is_some_and(|orders| orders.try_send(order).is_ok());
        Box::pin(async move {
            let mut found = if sent { take.await.ok()? } else { return None };
            found.texts = found
                .texts
                .iter()
                .filter_map(|packed| json(packed))
                .collect();
            Some(found)
        })
    }

    fn status(&self) -> Status {
        let site = self.site();
        let moment = now();
        let pools = site.backends.pools().map(|pool| {
            let views = site.backends.view_of(pool, moment);
            let backends = views.into_iter().map(|view| BackendStatus {
                address: view.address.to_string(),
                usable: view.up,
                weight: view.weight,
                why: if view.up {
                    String::new()
                } else {
                    format!("left out after {} failures", view.failures)
                },
                question_refused: view
                    .question_refused
                    .map_or_else(String::new, |said| said.to_string()),
            });
            let unresolved = pool.unresolved.iter().map(|unresolved| BackendStatus {
                address: unresolved.address.clone(),
                usable: false,
                weight: unresolved.weight,
                why: unresolved.why.clone(),
                question_refused: String::new(),
            });
            PoolStatus {
                name: pool.name.clone(),
                backends: backends.chain(unresolved).collect(),
            }
        });
        let pools = pools.collect();
        Status {
            draining: self.draining.load(SeqCst),
            starting: false,
            pools,
        }
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Answer<Result<String, String>> {
        let requests = self.requests.clone();
        Box::pin(async move {
            let (give, take) = oneshot::channel();
            let gone = || String::from("the process is ending");
            requests
                .send(Request::Reload(give))
                .await
                .map_err(|_| gone())?;
            take.await.map_err(|_| gone())?
        })
    }

    fn drain(&self) -> Answer<Result<String, String>> {
        let requests = self.requests.clone();
        Box::pin(async move {
            requests
                .send(Request::Drain)
                .await
                .map_err(|_| "the process is ending already".to_string())?;
            Ok("draining".into())
        })
    }
}

/// A packed explanation as JSON.
fn json(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    explanation::unpack(packed, &mut text)?;
    Some(text)
}

/// What is wanted of what a worker keeps, packed as it is there. Runs on that worker, so it copies and does nothing else.
fn judgements(kept: &Kept, wanted: &Wanted) -> Judgements {
    let owned = |text: &[u8]| text.to_vec();
    let texts = match wanted {
        Wanted::Id(id) => kept
            .all
            .find(id.as_bytes())
            .map(owned)
            .into_iter()
            .collect(),
        Wanted::Latest(most) => kept.all.latest().take(*most).map(owned).collect(),
        Wanted::Differences(most) => kept.differences.latest().take(*most).map(owned).collect(),
    };
    let ring = match wanted {
        Wanted::Differences(_) => &kept.differences,
        Wanted::Id(_) | Wanted::Latest(_) => &kept.all,
    };
    let extent = ring.extent();
    Judgements {
        texts,
        count: extent.count,
        max: ring.max(),
        since: extent.since,
        missing: 0,
    }
}
