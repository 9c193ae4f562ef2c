//! Lending: from a pool's name to a connection that can carry a message.
//!
//! Where an idle connection of this worker is at hand, none of this waits, locks or allocates. Else a
//! connection is opened, or waited for; a backend that fails is left out of the next try, up to
//! [`TRIES_MAX`] of them within the deadline.

use super::{
    backend::{Backend, BackendId},
    backends::PoolId,
    budget::Permit,
    caller::{Caller, fitness, refusal},
    conn::Conn,
    connect::{about_caller, connect},
    health::Trouble,
    lease::{Lease, LeaseError},
    pool::Choice,
    pools::{Level, Local, Pools},
    queue::Grant,
};
use crate::{
    config::{Balance, PoolIdentity},
    log::say,
    metrics::{Counter, Gauge, Stage},
    net::now,
    smtp::{Reply, Tick},
};
use std::{
    cell::OnceCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// Backends that one lease tries at most.
pub const TRIES_MAX: usize = 4;

/// What else a lease is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// A connection that has carried nothing yet: for the retry after one from the pool was stale.
    pub fresh: bool,
    /// The client that the message is from; `None` for a question of ours.
    pub caller: Option<&'a Caller<'a>>,
}

/// What one lease is after, and what it has met.
struct Search<'a> {
    key: &'a [u8],
    avoid: &'a [BackendId],
    /// Whose message it is for; none for a question of ours.
    caller: Option<&'a Caller<'a>>,
    deadline: Tick,
    fresh: bool,
    begun: Tick,
    /// The last moment that is known.
    now: Tick,
    tried: [BackendId; TRIES_MAX],
    tries: usize,
    last: Option<Trouble>,
    /// A backend's refusal of the client, in its own words.
    refusal: OnceCell<Reply>,
}

impl Search<'_> {
    fn failed(&mut self, id: BackendId, trouble: Trouble) {
        self.tried[self.tries] = id;
        self.tries += 1;
        self.last = Some(trouble);
    }

    fn lists(&self) -> [&[BackendId]; 2] {
        [self.avoid, &self.tried[..self.tries]]
    }
}

impl Pools {
    /// A connection to a backend of the pool, until `deadline` and for no longer than the pool's
    /// `lease_wait` where all are in use. `key` is the recipient, for `hash-recipient`; backends of `avoid`
    /// are not used.
    ///
    /// # Errors
    /// See [`LeaseError`]; [`LeaseError::reply`] is for the client.
    pub async fn lease(
        self: &Rc<Self>,
        pool: PoolId,
        key: &[u8],
        avoid: &[BackendId],
        deadline: Tick,
    ) -> Result<Lease, LeaseError> {
        let wish = Wish::default();
        self.lease_for(pool, key, avoid, deadline, wish).await
    }

    /// [`Pools::lease`] with a connection that has carried nothing yet: for the retry after one from the
    /// pool was stale.
    ///
    /// # Errors
    /// As `lease`.
    pub async fn lease_fresh(
        self: &Rc<Self>,
        pool: PoolId,
        key: &[u8],
        avoid: &[BackendId],
        deadline: Tick,
    ) -> Result<Lease, LeaseError> {
        let wish = Wish {
            fresh: true,
            ..Wish::default()
        };
        self.lease_for(pool, key, avoid, deadline, wish).await
    }

    /// [`Pools::lease`] for a client's message: the backend is told of the client as the pool wants it, and the
    /// connection is one that may be used for it.
    ///
    /// # Errors
    /// As `lease`.
    pub async fn lease_for(
        self: &Rc<Self>,
        pool: PoolId,
        key: &[u8],
        avoid: &[BackendId],
        deadline: Tick,
        wish: Wish<'_>,
    ) -> Result<Lease, LeaseError> {
        let begun = now();
        let mut search = Search {
            key,
            avoid,
            caller: wish.caller,
            deadline,
            fresh: wish.fresh,
            begun,
            now: begun,
            tried: [BackendId(u32::MAX); TRIES_MAX],
            tries: 0,
            last: None,
            refusal: OnceCell::new(),
        };
        let local = self.local(pool).ok_or(LeaseError::NoPool)?;
        let result = self.try_all(local, &mut search).await;
        if let Err((local, error)) = &result {
            let counter = match error {
                LeaseError::NoPool | LeaseError::Down(_) => Some(Counter::LeaseDown),
                LeaseError::Timeout => Some(Counter::LeaseTimeout),
                LeaseError::Busy => Some(Counter::LeaseBusy),
                // The backend has answered, and that is counted at it (`IdentityRefused`).
                LeaseError::Refused(_) => None,
            };
            if let Some(counter) = counter {
                self.recorder.count(counter, local.scope, 1);
            }
        }
        result.map_err(|(_, error)| error)
    }

    async fn try_all(
        self: &Rc<Self>,
        mut local: Rc<Local>,
        search: &mut Search<'_>,
    ) -> Result<Lease, (Rc<Local>, LeaseError)> {
        let pool = local.pool.id;
        loop {
            let (place, got) = match self.next_step(&local, search) {
                Next::Hit(place, conn) => {
                    let conn = self.reuse(conn, &local, place, search).await;
                    (place, conn.map(|conn| (conn, Counter::LeaseReused)))
                }
                Next::Open(place, permit) => {
                    (place, self.open(&local, place, permit, search).await)
                }
                Next::Nobody => return Err((local, LeaseError::Down(search.last))),
                Next::Wait(wants) => {
                    let since = search.now;
                    let until = search
                        .begun
                        .after(local.pool.waits.lease)
                        .min(search.deadline);
                    let granted = self.wait(&local, wants, until).await;
                    search.now = now();
                    let waited = search.now.micros_since(since);
                    self.recorder.record(Stage::LeaseWait, local.scope, waited);
                    let grant = granted.map_err(|error| (Rc::clone(&local), error))?;
                    // Meanwhile another configuration may have come.
                    local = self.local(pool).ok_or((local, LeaseError::NoPool))?;
                    match self.accept(grant, &local, search) {
                        Some((place, Accepted::Conn(conn))) => {
                            let conn = self.reuse(conn, &local, place, search).await;
                            (place, conn.map(|conn| (conn, Counter::LeaseMoved)))
                        }
                        Some((place, Accepted::Permit(permit))) => {
                            (place, self.open(&local, place, permit, search).await)
                        }
                        None => continue,
                    }
                }
            };
            match got {
                Ok((Some(conn), source)) => {
                    return Ok(self.lend(conn, local, place, source, search));
                }
                // It was stale: that costs nobody a try, but the next one is fresh.
                Ok((None, _)) => search.fresh = true,
                Err(trouble) => search.failed(local.pool.backends[place].id, trouble),
            }
            // An answer, as a refusal of a recipient is: nobody else is asked.
            if let Some(said) = search.refusal.take() {
                return Err((local, LeaseError::Refused(Box::new(said))));
            }
            search.now = now();
            if search.tries == TRIES_MAX || search.now >= search.deadline {
                return Err((local, LeaseError::Down(search.last)));
            }
        }
    }

    /// Has the backend told whose the message is, over a connection from the pool; `None` where that was stale.
    async fn reuse(
        self: &Rc<Self>,
        mut conn: Box<Conn>,
        local: &Rc<Local>,
        place: usize,
        search: &Search<'_>,
    ) -> Result<Option<Box<Conn>>, Trouble> {
        if local.pool.identity == PoolIdentity::None {
            return Ok(Some(conn));
        }
        let due = self.due(local, search);
        match self.introduce(&mut conn, local, place, search, due).await {
            Ok(()) => Ok(Some(conn)),
            Err(Trouble::Lost) => {
                self.closed(Counter::ClosedStale, local.scopes[place]);
                Ok(None)
            }
            Err(trouble) => {
                self.closed(Counter::ClosedFailed, local.scopes[place]);
                self.failed(local, place, trouble);
                Err(trouble)
            }
        }
    }

    async fn introduce(
        self: &Rc<Self>,
        conn: &mut Box<Conn>,
        local: &Rc<Local>,
        place: usize,
        search: &Search<'_>,
        due: Tick,
    ) -> Result<(), Trouble> {
        conn.now = search.now;
        let told = conn.introduce(&local.pool, search.caller, due).await;
        let scope = local.scopes[place];
        match told {
            Ok(None) => {}
            Ok(Some(counter)) => {
                self.recorder.count(counter, scope, 1);
                let backend = &local.pool.backends[place];
                if counter == Counter::IdentityUnoffered && !backend.untold.swap(true, Relaxed) {
                    let word = local.pool.identity;
                    say!(
                        Warn,
                        "{} offers no {word}: it sees our address as the client's",
                        backend.label
                    );
                }
            }
            Err(trouble) => {
                let about = match trouble {
                    // The other end of one from the pool had gone.
                    Trouble::Lost if conn.uses > 0 => trouble,
                    trouble => about_caller(conn, trouble),
                };
                if about == Trouble::Caller {
                    self.recorder.count(Counter::IdentityRefused, scope, 1);
                }
                if let Some(said) = refusal(conn) {
                    // The search ends with the first one.
                    let _ = search.refusal.set(said);
                }
                return Err(about);
            }
        }
        Ok(())
    }

    /// Until when a connection must be ready.
    fn due(&self, local: &Local, search: &Search<'_>) -> Tick {
        let since = search.now;
        let due = since.after(local.pool.waits.connect).min(search.deadline);
        // One that hangs must leave time for another.
        if search.tries + 1 < TRIES_MAX.min(local.pool.backends.len())
            && search.deadline != Tick::FAR
        {
            return due.min(since.after(search.deadline.since(since) / 2));
        }
        due
    }

    /// Finds an idle connection, or a permit to open one.
    fn next_step(self: &Rc<Self>, local: &Rc<Local>, search: &Search<'_>) -> Next {
        let pool = &local.pool;
        let now = search.now;
        loop {
            let eligible = pool.eligible(search.lists());
            let ready =
                |b: &Arc<Backend>| self.has_idle(b.id) || (b.budget.has_room() && !b.has_waiters());
            match pool.choose(&eligible, search.key, now, || self.random(), ready) {
                Choice::This(place) => {
                    if !search.fresh
                        && let Some(conn) = self.take_idle(local, place, search.caller, now)
                    {
                        return Next::Hit(place, conn);
                    }
                    let permit = Permit::try_take(&pool.backends[place]);
                    let permit = permit.or_else(|| self.shed(local, place));
                    // Where another worker was faster, what was ready is not ready any more: look again.
                    if let Some(permit) = permit {
                        return Next::Open(place, permit);
                    }
                }
                Choice::Wait if pool.balance == Balance::HashRecipient => {
                    let target = pool.hashed(&eligible, search.key, now);
                    return Next::Wait(
                        target
                            .map(|i| Arc::clone(&pool.backends[i]))
                            .into_iter()
                            .collect(),
                    );
                }
                Choice::Wait => return Next::Wait(eligible.all()),
                Choice::None => return Next::Nobody,
            }
        }
    }

    /// What to do with what the queue gave; `None`: choose again.
    fn accept(
        self: &Rc<Self>,
        grant: Grant,
        local: &Rc<Local>,
        search: &Search<'_>,
    ) -> Option<(usize, Accepted)> {
        match grant {
            Grant::Again => None,
            Grant::Permit(permit) => {
                let place = local.pool.place(permit.backend().id)?;
                Some((place, Accepted::Permit(permit)))
            }
            Grant::Parcel(parcel) => {
                let conn = parcel.unpack().ok()?;
                let place = local.pool.place(conn.permit.backend().id)?;
                let fits = fitness(local.pool.identity, &conn, search.caller).is_some();
                if search.fresh || !fits {
                    self.closed(Counter::ClosedShed, local.scopes[place]);
                    return Some((place, Accepted::Permit(conn.into_permit())));
                }
                Some((place, Accepted::Conn(conn)))
            }
        }
    }

    async fn open(
        self: &Rc<Self>,
        local: &Rc<Local>,
        place: usize,
        permit: Permit,
        search: &Search<'_>,
    ) -> Result<(Option<Box<Conn>>, Counter), Trouble> {
        let (since, due) = (search.now, self.due(local, search));
        let scope = local.scopes[place];
        let level = Level::up(&self.recorder, Gauge::BackendOpening, scope);
        let opened = connect(&local.pool, permit, search.caller, due).await;
        drop(level);
        let (mut conn, spoken) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.recorder.count(error.counter, scope, 1);
                if error.trouble == Trouble::Caller {
                    self.recorder.count(Counter::IdentityRefused, scope, 1);
                }
                self.failed(local, place, error.trouble);
                return Err(error.trouble);
            }
        };
        self.recorder.count(Counter::BackendOpened, scope, 1);
        self.recorder.count(spoken, scope, 1);
        if conn.owner.is_some() {
            self.recorder.count(Counter::IdentityTold, scope, 1);
        }
        self.succeeded(local, place);
        if local.pool.identity != PoolIdentity::None {
            let told = self.introduce(&mut conn, local, place, search, due).await;
            if let Err(trouble) = told {
                self.closed(Counter::ClosedFailed, scope);
                self.failed(local, place, trouble);
                return Err(trouble);
            }
        }
        self.recorder
            .record(Stage::LeaseConnect, scope, now().micros_since(since));
        Ok((Some(conn), Counter::LeaseFresh))
    }

    fn lend(
        self: &Rc<Self>,
        conn: Box<Conn>,
        local: Rc<Local>,
        place: usize,
        source: Counter,
        search: &Search<'_>,
    ) -> Lease {
        let scope = local.scopes[place];
        self.recorder.count(source, scope, 1);
        let now = now();
        if source == Counter::LeaseReused {
            let micros = now.micros_since(search.begun);
            self.recorder.record(Stage::LeaseHit, scope, micros);
        }
        let reused = source != Counter::LeaseFresh;
        Lease::new(conn, Rc::clone(self), local, place, reused, now)
    }
}

/// The next step of a search.
enum Next {
    Hit(usize, Box<Conn>),
    Open(usize, Permit),
    Wait(Vec<Arc<Backend>>),
    Nobody,
}

/// What the queue gave.
enum Accepted {
    Permit(Permit),
    Conn(Box<Conn>),
}
