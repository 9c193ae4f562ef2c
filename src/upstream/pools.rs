//! One worker's connections: the idle ones of each backend, newest first, and what becomes of them.
//!
//! All of it belongs to one thread. Other workers reach it by two ways alone: through the queue, which is
//! given a connection where one waits for it, and through the waker, which says that one does.

use super::{
    backends::Backends,
    conn::{Conn, fitness},
    error::LeaseError,
    flights::Flights,
    ids::{BackendId, PoolId},
    origin::{Origin, keeps_apart},
    pool::Pool,
    pooling::{
        backend::Backend,
        budget::Permit,
        queue::{Grant, Wait, WorkerWaker},
    },
    select::Needs,
    tried::Tried,
};
use crate::{
    config::PoolIdentity,
    log::say,
    metrics::{Counter, Gauge, Recorder, Scope},
    net::{self, now},
    smtp::{Tick, backend_session::Event},
};
use rustc_hash::FxHashMap;
use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
};

/// Idle connections to one backend, oldest first.
type Stack = Vec<Box<Conn>>;

/// A pool with this worker's handles for its metrics.
pub(super) struct Local {
    pub(super) pool: Arc<Pool>,
    pub(super) scope: Scope,
    /// Of the backends, by their places.
    pub(super) scopes: Vec<Scope>,
}

/// One worker's connections to all backends. It stays on its thread.
pub struct Pools {
    shared: RefCell<Arc<Backends>>,
    /// By pool number.
    locals: RefCell<Vec<Option<Rc<Local>>>>,
    /// Oldest first.
    idle: RefCell<FxHashMap<BackendId, Stack>>,
    pub(super) recorder: Recorder,
    pub(super) waker: Arc<WorkerWaker>,
    pub(super) flights: Flights,
    random: Cell<u64>,
    draining: Cell<bool>,
}

impl Pools {
    /// The connections of worker number `worker`, none yet. Starts the tasks that probe backends, close what
    /// has been idle for too long and serve other workers; they end with it.
    ///
    /// # Panics
    /// Outside `net::run_worker`.
    #[must_use]
    pub fn new(backends: Arc<Backends>, recorder: Recorder, worker: usize) -> Rc<Pools> {
        let waker = backends.wakers().add();
        let pools = Rc::new(Pools {
            shared: RefCell::new(Arc::clone(&backends)),
            locals: RefCell::default(),
            idle: RefCell::default(),
            recorder,
            waker,
            flights: Flights::default(),
            // Workers must not draw the same backends in the same order.
            random: Cell::new(now().0 ^ ((worker as u64 + 1) << 48)),
            draining: Cell::new(false),
        });
        pools.replace(backends);
        pools.keep_house();
        pools
    }

    /// Puts another configuration in force. Connections to backends that are in it stay; those to others
    /// close with QUIT, the leased ones once they are given back.
    pub fn replace(self: &Rc<Self>, backends: Arc<Backends>) {
        let registry = self.recorder.registry();
        let mut locals = Vec::new();
        for pool in backends.pools() {
            let scope_of = |b: &Arc<Backend>| {
                let scope = registry.backend(&pool.name, &b.address().to_string());
                registry.set(Gauge::BackendUp, scope, i64::from(!b.health.is_ejected()));
                registry.set(Gauge::BackendWeight, scope, i64::from(b.weight()));
                scope
            };
            let at = pool.id.0 as usize;
            locals.resize_with(locals.len().max(at + 1), || None);
            locals[at] = Some(Rc::new(Local {
                pool: Arc::clone(pool),
                scope: registry.pool(&pool.name),
                scopes: pool.backends.iter().map(scope_of).collect(),
            }));
        }
        let before = self.locals.replace(locals);
        self.shared.replace(backends);
        for local in before.into_iter().flatten() {
            for (place, backend) in local.pool.backends.iter().enumerate() {
                let stays = self
                    .local(local.pool.id)
                    .is_some_and(|l| l.pool.place(backend.id).is_some());
                if !stays {
                    self.close_all(&local, place, Counter::ClosedDrain);
                }
            }
            local.pool.queue.retry_all();
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn backends(&self) -> Arc<Backends> {
        Arc::clone(&self.shared.borrow())
    }

    /// Closes every idle connection with QUIT, and from now on those that are given back. Leases can still
    /// be had: messages that are under way need them.
    pub fn drain(self: &Rc<Self>) {
        self.draining.set(true);
        for local in self.all() {
            for place in 0..local.pool.backends.len() {
                self.close_all(&local, place, Counter::ClosedDrain);
            }
        }
    }

    /// Whether the backends of a pool are told the client's identity ([`super::Request::origin`]).
    #[must_use]
    pub fn tells(&self, pool: PoolId) -> bool {
        let locals = self.locals.borrow();
        let local = locals.get(pool.0 as usize).and_then(Option::as_ref);
        local.is_some_and(|local| local.pool.identity != PoolIdentity::None)
    }

    /// Whether no backend of the pool is left that was not tried.
    #[must_use]
    pub fn is_exhausted(&self, pool: PoolId, needs: Needs, tried: &Tried) -> bool {
        let Some(local) = self.local(pool) else {
            return true;
        };
        let pool = &local.pool;
        let untried = |b: &Arc<Backend>| !tried.backends().contains(&b.id) && pool.fits(b, needs);
        !pool.backends.iter().any(untried)
    }

    /// Whether each backend of a pool has been reached, and none of them can take this.
    #[must_use]
    pub fn lacks(&self, pool: PoolId, needs: Needs) -> bool {
        self.local(pool)
            .is_some_and(|local| local.pool.lacks(needs))
    }

    /// The size of the largest message that one of a pool's backends takes; 0: no limit is known.
    #[must_use]
    pub fn size_max(&self, pool: PoolId) -> u64 {
        self.local(pool).map_or(0, |local| local.pool.size_max())
    }

    /// What this worker measures with.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Idle connections of this worker.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.borrow().values().map(Stack::len).sum()
    }

    pub(super) fn local(&self, pool: PoolId) -> Option<Rc<Local>> {
        self.locals.borrow().get(pool.0 as usize)?.clone()
    }

    pub(super) fn all(&self) -> Vec<Rc<Local>> {
        self.locals.borrow().iter().flatten().cloned().collect()
    }

    pub(super) fn random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        super::balance::mix(next)
    }

    pub(super) fn closed(&self, why: Counter, scope: Scope) {
        self.recorder.count(why, scope, 1);
    }

    /// Whether this worker has an idle connection to a backend.
    pub(super) fn has_idle(&self, id: BackendId) -> bool {
        self.idle
            .borrow()
            .get(&id)
            .is_some_and(|stack| !stack.is_empty())
    }

    fn pop(&self, local: &Local, place: usize) -> Option<Box<Conn>> {
        let backend = &local.pool.backends[place];
        let conn = self.idle.borrow_mut().get_mut(&backend.id)?.pop()?;
        backend.idle_went();
        self.recorder
            .add(Gauge::BackendIdle, local.scopes[place], -1);
        Some(conn)
    }

    /// The one that does best for this origin; among equals the newest one.
    fn pop_for(
        &self,
        local: &Local,
        place: usize,
        origin: Option<&Origin<'_>>,
    ) -> Option<Box<Conn>> {
        let kind = local.pool.identity;
        if !keeps_apart(kind) {
            return self.pop(local, place);
        }
        let backend = &local.pool.backends[place];
        let mut idle = self.idle.borrow_mut();
        let stack = idle.get_mut(&backend.id)?;
        let ranked = stack.iter().enumerate();
        let fit = ranked.filter_map(|(at, conn)| Some((fitness(kind, conn, origin)?, at)));
        let (_, at) = fit.max()?;
        let conn = stack.remove(at);
        backend.idle_went();
        self.recorder
            .add(Gauge::BackendIdle, local.scopes[place], -1);
        Some(conn)
    }

    /// The newest idle connection that is still good, and does for this origin or for a question of ours. Those that
    /// are not good are closed on the way.
    pub(super) fn take_idle(
        self: &Rc<Self>,
        local: &Rc<Local>,
        place: usize,
        origin: Option<&Origin<'_>>,
        now: Tick,
    ) -> Option<Box<Conn>> {
        while let Some(conn) = self.pop_for(local, place, origin) {
            match self.fault(&conn, local, now) {
                None => return Some(conn),
                Some(why) => self.part(conn, local, place, why),
            }
        }
        None
    }

    /// Why an idle connection can't be used.
    fn fault(&self, conn: &Conn, local: &Local, now: Tick) -> Option<Counter> {
        if !conn.stream.is_quiet() {
            return Some(Counter::ClosedStale);
        }
        conn.is_spent(&local.pool, now)
    }

    /// Closes an idle connection: with QUIT, if the other side still listens.
    pub(super) fn part(
        self: &Rc<Self>,
        conn: Box<Conn>,
        local: &Rc<Local>,
        place: usize,
        why: Counter,
    ) {
        self.closed(why, local.scopes[place]);
        if why != Counter::ClosedStale {
            net::spawn(conn.quit());
        } else if !conn.stream.is_quiet() {
            let (pools, local) = (Rc::clone(self), Rc::clone(local));
            net::spawn(async move {
                if conn.has_surplus().await {
                    pools.said_too_much(&local, place);
                }
            });
        }
    }

    /// Takes note of a backend that has said more than it was asked: its replies don't fit our commands any more.
    pub(super) fn said_too_much(&self, local: &Local, place: usize) {
        let backend = &local.pool.backends[place];
        self.closed(Counter::BackendSurplus, local.scopes[place]);
        if backend.in_step.lose() {
            say!(
                Warn,
                "{} says more than it is asked: from now on its messages go by DATA, whose replies can't be confused",
                backend.label
            );
        }
    }

    /// Closes all idle connections to a backend.
    pub(super) fn close_all(self: &Rc<Self>, local: &Rc<Local>, place: usize, why: Counter) {
        while let Some(conn) = self.pop(local, place) {
            self.part(conn, local, place, why);
        }
        self.idle
            .borrow_mut()
            .remove(&local.pool.backends[place].id);
    }

    /// Takes a clean connection back: to a lease that waits for it, else into the pool.
    pub(super) fn take_back(self: &Rc<Self>, mut conn: Box<Conn>, local: &Rc<Local>, place: usize) {
        let backend = &local.pool.backends[place];
        conn.idle_since = Tick::default();
        let left = !self.is_current(local, backend.id) || self.draining.get();
        let why = match left {
            true => Some(Counter::ClosedDrain),
            false => conn.is_spent(&local.pool, conn.now),
        };
        if let Some(why) = why {
            return self.part(conn, local, place, why);
        }
        conn.rest();
        // Counted before the queue is asked: a waiter counts itself before it looks for idle connections.
        backend.idle_came();
        self.recorder
            .add(Gauge::BackendIdle, local.scopes[place], 1);
        let mut idle = self.idle.borrow_mut();
        idle.entry(backend.id).or_default().push(conn);
        drop(idle);
        if backend.has_waiters() {
            self.serve(local, place);
        }
    }

    /// Whether a backend of an earlier configuration perhaps is in the present one.
    fn is_current(&self, local: &Rc<Local>, id: BackendId) -> bool {
        self.local(local.pool.id)
            .is_some_and(|now| Rc::ptr_eq(&now, local) || now.pool.place(id).is_some())
    }

    /// Gives idle connections to leases that wait for one, on whatever worker.
    pub(super) fn serve(self: &Rc<Self>, local: &Rc<Local>, place: usize) {
        let backend = &local.pool.backends[place];
        while backend.has_waiters() {
            // Whatever waits there, the connection or at least its place is for it.
            let Some(conn) = self.pop(local, place) else {
                return;
            };
            if let Some(why) = self.fault(&conn, local, now()) {
                self.part(conn, local, place, why);
                continue;
            }
            match conn.pack() {
                // The first waiter gets it; where all have gone meanwhile it is closed.
                Ok(handover) => handover.pass_on(),
                // Dropping it drops its permit, and that is what the waiter gets.
                Err(_) => self.closed(Counter::ClosedShed, local.scopes[place]),
            }
        }
    }

    /// [`Pools::serve`] for every backend.
    pub(super) fn serve_all(self: &Rc<Self>) {
        for local in self.all() {
            for place in 0..local.pool.backends.len() {
                if local.pool.backends[place].has_waiters() {
                    self.serve(&local, place);
                }
            }
        }
    }

    /// Closes an idle connection for the sake of its permit.
    pub(super) fn shed(self: &Rc<Self>, local: &Rc<Local>, place: usize) -> Option<Permit> {
        let conn = self.pop(local, place)?;
        self.closed(Counter::ClosedShed, local.scopes[place]);
        Some(conn.into_permit())
    }

    /// Takes a lapsed transaction's RSET to its end and the connection back.
    pub(super) fn tidy(self: &Rc<Self>, mut conn: Box<Conn>, local: &Rc<Local>, place: usize) {
        let (pools, local) = (Rc::clone(self), Rc::clone(local));
        net::spawn(async move {
            conn.now = now();
            let due = conn.now.after(local.pool.waits.reply);
            loop {
                match conn.next(due).await {
                    Ok(Event::Reset) if conn.is_clean() => {
                        return pools.take_back(conn, &local, place);
                    }
                    Ok(Event::Reset | Event::Bye) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            if conn.said_too_much() {
                pools.said_too_much(&local, place);
            }
            pools.closed(Counter::ClosedFailed, local.scopes[place]);
        });
    }

    /// Closes what has been idle too long, has closed, or belongs to a backend that is left out.
    pub(super) fn reap(self: &Rc<Self>) {
        let remembered = self.shared.borrow().verified().count();
        let (registry, now) = (self.recorder.registry(), now());
        registry.set(Gauge::VerifyEntries, Scope::NONE, remembered as i64);
        for local in self.all() {
            for (place, backend) in local.pool.backends.iter().enumerate() {
                if backend.health.is_ejected() {
                    self.close_all(&local, place, Counter::ClosedStale);
                    continue;
                }
                let mut gone = Vec::new();
                if let Some(stack) = self.idle.borrow_mut().get_mut(&backend.id) {
                    let bad = |conn: &mut Box<Conn>| self.fault(conn, &local, now).is_some();
                    gone.extend(stack.extract_if(.., bad));
                }
                for conn in gone {
                    backend.idle_went();
                    self.recorder
                        .add(Gauge::BackendIdle, local.scopes[place], -1);
                    let why = self
                        .fault(&conn, &local, now)
                        .unwrap_or(Counter::ClosedIdle);
                    self.part(conn, &local, place, why);
                }
            }
        }
    }

    /// Waits in the queue for a connection to one of `wants`.
    pub(super) async fn wait(
        self: &Rc<Self>,
        local: &Rc<Local>,
        wants: Vec<Arc<Backend>>,
        until: Tick,
    ) -> Result<Grant, LeaseError> {
        let wait = local.pool.queue.join(wants).ok_or(LeaseError::Busy)?;
        let _level = Level::up(&self.recorder, Gauge::LeaseWaiters, local.scope);
        self.granted(wait, until).await
    }

    /// What comes of a place in the queue.
    pub(super) async fn granted(&self, wait: Wait, until: Tick) -> Result<Grant, LeaseError> {
        // Room that was made just before we counted ourselves was offered to no waiter.
        wait.look_again();
        // Every worker looks through its idle connections, this one too. One that comes later is offered by
        // the worker that gives it back: it is counted before the queue is looked at.
        if wait.has_idle() {
            self.shared.borrow().wakers().wake_all();
        }
        let granted = net::timeout_at(until, wait).await;
        granted.ok_or(LeaseError::Timeout)
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        // The task that listens for it sees that we are gone.
        self.waker.wake();
        // Without a QUIT: there may be no runtime any more to send it.
        for conn in self.idle.take().into_values().flatten() {
            conn.permit.backend().idle_went();
        }
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools")
            .field("idle", &self.idle())
            .finish_non_exhaustive()
    }
}

/// A gauge that is one higher for as long as this lives.
pub(super) struct Level {
    recorder: Recorder,
    gauge: Gauge,
    scope: Scope,
}

impl Level {
    pub(super) fn up(recorder: &Recorder, gauge: Gauge, scope: Scope) -> Level {
        recorder.add(gauge, scope, 1);
        Level {
            recorder: recorder.clone(),
            gauge,
            scope,
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.recorder.add(self.gauge, self.scope, -1);
    }
}
