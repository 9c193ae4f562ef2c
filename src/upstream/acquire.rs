//! Acquiring: from a pool's name to a connection that can carry a message.
//!
//! Where an idle connection of this worker is at hand, none of this waits, locks or allocates. Else a
//! connection is opened, or waited for. One call tries one backend: whether another one is tried where that one fails
//! is for the caller's loop, which holds the [`Tried`] of its message.

use super::{
    conn::{Conn, fitness},
    connect::{about_origin, connect, refusal},
    error::LeaseError,
    health::Trouble,
    ids::PoolId,
    lease::{Held, Lease},
    origin::Origin,
    pooling::{
        backend::Backend,
        budget::Permit,
        queue::Grant,
        shares::{Purpose, Share},
    },
    pools::{Level, Local, Pools},
    reply::BackendReply,
    select::{Choice, Needs},
    silence::Trial,
    tried::{TRIES_MAX, Tried},
};
use crate::{
    config::{Balance, PoolIdentity},
    log::say,
    metrics::{Counter, Gauge, Stage},
    net::{now, sleep, waits_are_over},
    smtp::Tick,
};
use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// The pause before a backend that is full for the moment is asked again.
const FULL_PAUSE: Duration = Duration::from_millis(50);
/// So many pauses at most while no connection of ours to it works: a second. A backend that turns all away for longer is
/// not full but unavailable.
const FULL_PAUSES_MAX: u32 = 20;

/// What a connection is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The pool.
    pub pool: PoolId,
    /// The recipient, for `hash-recipient`.
    pub key: &'a [u8],
    /// The client that the message is from: the backend is told of it as the pool wants it, and the connection is one
    /// that may be used for it. `None` for a question of ours.
    pub origin: Option<&'a Origin<'a>>,
    /// The key of a client that has a share of the connections; `None` of one that is trusted, and of a question, which
    /// has seen to that.
    pub client: Option<u128>,
    /// What the backend must be able to take. Backends that are known to lack it are not used.
    pub needs: Needs,
    /// Until when; and no longer than the pool's `lease_wait` where all connections are in use.
    pub deadline: Tick,
}

/// One call of [`Pools::acquire`] under way.
struct Acquisition<'a> {
    request: &'a Request<'a>,
    tried: &'a mut Tried,
    begun: Tick,
    /// The last moment that is known.
    now: Tick,
    /// A backend's refusal of the client, in its own words.
    refusal: OnceCell<BackendReply>,
    /// What its client may have.
    share: Option<Share>,
    /// Times that a backend was full though no connection of ours to it worked.
    full: Cell<u32>,
    /// It is the message that a silent backend gets to show whether it works.
    trial: Option<Trial>,
}

impl Acquisition<'_> {
    /// What it means that the backend is full once more.
    fn full_or_unavailable(&self, backend: &Backend) -> Trouble {
        if backend.idle() + backend.leases() > 0 {
            return Trouble::Full;
        }
        self.full.set(self.full.get() + 1);
        match self.full.get() > FULL_PAUSES_MAX {
            true => Trouble::Unavailable,
            false => Trouble::Full,
        }
    }
}

impl Pools {
    /// A connection to a backend of the pool that was not tried yet.
    ///
    /// # Errors
    /// See [`LeaseError`]. After [`LeaseError::Failed`] another call tries another backend; `tried` ends that.
    pub async fn acquire(
        self: &Rc<Self>,
        request: &Request<'_>,
        tried: &mut Tried,
    ) -> Result<Lease, LeaseError> {
        let begun = now();
        let mut acquisition = Acquisition {
            request,
            tried,
            begun,
            now: begun,
            refusal: OnceCell::new(),
            share: None,
            full: Cell::new(0),
            trial: None,
        };
        if let Some(client) = request.client {
            let purpose = Purpose::Message;
            acquisition.share = self.share_at_once(request.pool, client, purpose);
            if acquisition.share.is_none() {
                let share = self.share(request.pool, client, purpose, request.deadline);
                acquisition.share = Some(Box::pin(share).await?);
                acquisition.now = now();
            }
        }
        // Not before: while it waited, a reload may have changed the pool.
        let local = self.local(request.pool).ok_or(LeaseError::NoPool)?;
        let result = self.acquire_from(local, &mut acquisition).await;
        if let Err((local, error)) = &result {
            let counter = match error {
                LeaseError::NoPool | LeaseError::Down(_) => Some(Counter::LeaseDown),
                LeaseError::Timeout => Some(Counter::LeaseTimeout),
                LeaseError::Busy => Some(Counter::LeaseBusy),
                // Counted at the backend.
                LeaseError::Failed(..) | LeaseError::Refused(_) => None,
            };
            if let Some(counter) = counter {
                self.recorder.count(counter, local.scope, 1);
            }
        }
        result.map_err(|(_, error)| error)
    }

    async fn acquire_from(
        self: &Rc<Self>,
        mut local: Rc<Local>,
        acquisition: &mut Acquisition<'_>,
    ) -> Result<Lease, (Rc<Local>, LeaseError)> {
        if acquisition.tried.is_over() || acquisition.now >= acquisition.request.deadline {
            return Err((local, LeaseError::Down(acquisition.tried.last())));
        }
        loop {
            if waits_are_over() {
                return Err((local, LeaseError::Down(acquisition.tried.last())));
            }
            let (place, got) = match self.next_step(&local, acquisition) {
                Next::Hit(place, conn) => {
                    let conn = self.reuse(conn, &local, place, acquisition).await;
                    (place, conn.map(|conn| (conn, Counter::LeaseReused)))
                }
                // Rare, and much larger than all that a connection from the pool needs: boxed, here and below.
                Next::Open(place, permit) => {
                    let opening = self.open(&local, place, permit, acquisition);
                    (place, Box::pin(opening).await)
                }
                Next::None => {
                    let last = acquisition.tried.last();
                    return Err((local, LeaseError::Down(last)));
                }
                Next::Wait(wants) => {
                    let granted = self.wait_for(&local, wants, acquisition).await;
                    let grant = granted.map_err(|error| (Rc::clone(&local), error))?;
                    // Meanwhile another configuration may have come.
                    let renewed = self.local(acquisition.request.pool);
                    local = renewed.ok_or((local, LeaseError::NoPool))?;
                    match self.accept(grant, &local, acquisition) {
                        Some((place, Accepted::Conn(conn))) => {
                            let conn = self.reuse(conn, &local, place, acquisition).await;
                            (place, conn.map(|conn| (conn, Counter::LeaseMoved)))
                        }
                        Some((place, Accepted::Permit(permit))) => {
                            let opening = self.open(&local, place, permit, acquisition);
                            (place, Box::pin(opening).await)
                        }
                        None => continue,
                    }
                }
            };
            match got {
                Ok((Some(conn), source)) => {
                    return Ok(self.lend(conn, local, place, source, acquisition));
                }
                Ok((None, _)) => acquisition.tried.stale(),
                // It has connections of ours that work: take another backend, or wait for one of those.
                Err(Trouble::Full) if !local.pool.backends[place].budget.has_room() => {}
                Err(Trouble::Full) => sleep(FULL_PAUSE).await,
                Err(trouble) => {
                    let id = local.pool.backends[place].id;
                    acquisition.tried.failed(id, trouble);
                    // An answer, as a refusal of a recipient is: no other backend is asked.
                    let error = match acquisition.refusal.take() {
                        Some(said) => LeaseError::Refused(said),
                        None => LeaseError::Failed(id, trouble),
                    };
                    return Err((local, error));
                }
            }
            acquisition.now = now();
            if acquisition.now >= acquisition.request.deadline {
                return Err((local, LeaseError::Down(acquisition.tried.last())));
            }
        }
    }

    async fn wait_for(
        self: &Rc<Self>,
        local: &Rc<Local>,
        wants: Vec<Arc<Backend>>,
        acquisition: &mut Acquisition<'_>,
    ) -> Result<Grant, LeaseError> {
        let since = acquisition.now;
        let longest = acquisition.begun.after(local.pool.waits.lease);
        let until = longest.min(acquisition.request.deadline);
        let granted = self.wait(local, wants, until).await;
        acquisition.now = now();
        let waited = acquisition.now.micros_since(since);
        self.recorder.record(Stage::LeaseWait, local.scope, waited);
        granted
    }

    /// Has the backend told whose the message is, over a connection from the pool; `None` where that was stale.
    async fn reuse(
        self: &Rc<Self>,
        mut conn: Box<Conn>,
        local: &Rc<Local>,
        place: usize,
        acquisition: &Acquisition<'_>,
    ) -> Result<Option<Box<Conn>>, Trouble> {
        if local.pool.identity == PoolIdentity::None {
            return Ok(Some(conn));
        }
        let due = self.due(local, acquisition);
        let _opening = local.pool.backends[place].opening(acquisition.now);
        let introduction = self.introduce(&mut conn, local, place, acquisition, due);
        match Box::pin(introduction).await {
            Ok(()) => Ok(Some(conn)),
            Err(Trouble::Lost) => {
                self.closed(Counter::ClosedStale, local.scopes[place]);
                Ok(None)
            }
            Err(trouble) => {
                self.closed(Counter::ClosedFailed, local.scopes[place]);
                self.failed(local, place, trouble, None);
                Err(trouble)
            }
        }
    }

    async fn introduce(
        self: &Rc<Self>,
        conn: &mut Box<Conn>,
        local: &Rc<Local>,
        place: usize,
        acquisition: &Acquisition<'_>,
        due: Tick,
    ) -> Result<(), Trouble> {
        conn.now = acquisition.now;
        let told = conn
            .introduce(&local.pool, acquisition.request.origin, due)
            .await;
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
                    trouble => about_origin(conn, trouble),
                };
                if about == Trouble::Origin {
                    self.recorder.count(Counter::IdentityRefused, scope, 1);
                }
                if let Some(said) = refusal(conn) {
                    // There is but one: the acquisition ends with it.
                    let _ = acquisition.refusal.set(said);
                }
                return Err(about);
            }
        }
        Ok(())
    }

    /// Until when a connection must be ready.
    fn due(&self, local: &Local, acquisition: &Acquisition<'_>) -> Tick {
        let since = acquisition.now;
        let due = since
            .after(local.pool.waits.connect)
            .min(acquisition.request.deadline);
        // One that hangs must leave time for another.
        if acquisition.tried.backends().len() + 1 < TRIES_MAX.min(local.pool.backends.len())
            && acquisition.request.deadline != Tick::FAR
        {
            return due.min(since.after(acquisition.request.deadline.since(since) / 2));
        }
        due
    }

    /// Finds an idle connection, or a permit to open one.
    fn next_step(self: &Rc<Self>, local: &Rc<Local>, acquisition: &mut Acquisition<'_>) -> Next {
        let pool = &local.pool;
        let (now, needs) = (acquisition.now, acquisition.request.needs);
        loop {
            acquisition.trial = None;
            let eligible = pool.eligible(acquisition.tried.backends(), needs, now);
            let ready =
                |b: &Arc<Backend>| self.has_idle(b.id) || (b.budget.has_room() && !b.has_waiters());
            match pool.choose(
                &eligible,
                acquisition.request.key,
                now,
                || self.random(),
                ready,
            ) {
                Choice::This(place) => {
                    // Another worker's message was faster.
                    if !eligible.admits(place, &mut acquisition.trial) {
                        continue;
                    }
                    if !acquisition.tried.wants_fresh()
                        && let Some(conn) =
                            self.take_idle(local, place, acquisition.request.origin, now)
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
                    let target = pool.hashed(&eligible, acquisition.request.key, now, ready);
                    return Next::Wait(
                        target
                            .map(|i| Arc::clone(&pool.backends[i]))
                            .into_iter()
                            .collect(),
                    );
                }
                Choice::Wait => return Next::Wait(eligible.all()),
                Choice::None => return Next::None,
            }
        }
    }

    /// What to do with what the queue gave; `None`: choose again.
    fn accept(
        self: &Rc<Self>,
        grant: Grant,
        local: &Rc<Local>,
        acquisition: &mut Acquisition<'_>,
    ) -> Option<(usize, Accepted)> {
        let (avoid, needs) = (acquisition.tried.backends(), acquisition.request.needs);
        let eligible = local.pool.eligible(avoid, needs, acquisition.now);
        match grant {
            Grant::Again => None,
            Grant::Permit(permit) => {
                let place = local.pool.place(permit.backend().id)?;
                // Dropping it offers it to another waiter.
                let may = eligible.admits(place, &mut acquisition.trial);
                may.then_some((place, Accepted::Permit(permit)))
            }
            Grant::Handover(handover) => {
                let place = local.pool.place(handover.permit.backend().id)?;
                if !eligible.admits(place, &mut acquisition.trial) {
                    handover.pass_on();
                    return None;
                }
                let conn = Conn::unpack(*handover).ok()?;
                let fits =
                    fitness(local.pool.identity, &conn, acquisition.request.origin).is_some();
                if acquisition.tried.wants_fresh() || !fits {
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
        acquisition: &Acquisition<'_>,
    ) -> Result<(Option<Box<Conn>>, Counter), Trouble> {
        let (since, due) = (acquisition.now, self.due(local, acquisition));
        let scope = local.scopes[place];
        let level = Level::up(&self.recorder, Gauge::BackendOpening, scope);
        // To the end of the introduction; then the lease counts.
        let mut opening = local.pool.backends[place].opening(since);
        let opened = connect(&local.pool, permit, acquisition.request.origin, due).await;
        if let Err(error) = &opened
            && error.counter == Counter::ConnectTimeout
        {
            opening.give_up(now());
        }
        drop(level);
        let (mut conn, spoken) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.recorder.count(error.counter, scope, 1);
                let trouble = match error.trouble {
                    Trouble::Full => acquisition.full_or_unavailable(&local.pool.backends[place]),
                    trouble => trouble,
                };
                if trouble == Trouble::Origin {
                    self.recorder.count(Counter::IdentityRefused, scope, 1);
                }
                self.failed(local, place, trouble, error.detail);
                return Err(trouble);
            }
        };
        self.recorder.count(Counter::BackendOpened, scope, 1);
        self.recorder.count(spoken, scope, 1);
        if conn.owner.is_some() {
            self.recorder.count(Counter::IdentityTold, scope, 1);
        }
        self.succeeded(local, place);
        if local.pool.identity != PoolIdentity::None {
            let told = self
                .introduce(&mut conn, local, place, acquisition, due)
                .await;
            if let Err(trouble) = told {
                self.closed(Counter::ClosedFailed, scope);
                self.failed(local, place, trouble, None);
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
        acquisition: &mut Acquisition<'_>,
    ) -> Lease {
        let scope = local.scopes[place];
        self.recorder.count(source, scope, 1);
        let now = now();
        if source == Counter::LeaseReused {
            let micros = now.micros_since(acquisition.begun);
            self.recorder.record(Stage::LeaseHit, scope, micros);
        }
        let reused = source != Counter::LeaseFresh;
        let held = Held {
            client: acquisition.request.client,
            _share: acquisition.share.take(),
            trial: acquisition.trial.take(),
        };
        Lease::new(conn, Rc::clone(self), local, place, reused, now, held)
    }
}

/// What comes next.
enum Next {
    Hit(usize, Box<Conn>),
    Open(usize, Permit),
    Wait(Vec<Arc<Backend>>),
    None,
}

/// What the queue gave.
enum Accepted {
    Permit(Permit),
    Conn(Box<Conn>),
}
