//! Keeping house on a worker: probes, idle connections that end, and those that another worker waits for.
//!
//! Every worker looks for backends that are due; claiming one is an atomic step, so each is probed once,
//! by whichever worker came first. No worker is in charge, and none that hangs keeps a backend away.
//!
//! A probe connects, reads the greeting, says EHLO and QUIT. Of a backend that failed over a message it also asks whether
//! it takes mail for `postmaster`, a mailbox that each server must have (RFC 5321 §4.5.1): any answer but 421 shows that it
//! works. A probe needs a permit as any connection does. A backend whose connections are all in use needs no probe, except
//! one that is suspected: messages may hang on all of them. Its probe waits for a connection before all messages.

use super::{
    answers::News,
    conn::Conn,
    connect::connect,
    health::Trouble,
    pooling::{backend::Backend, budget::Permit, queue::Grant},
    pools::{Level, Local, Pools},
};
use crate::{
    log::say,
    metrics::{Counter, Gauge},
    net::{self, now},
    smtp::{Tick, backend_session::Event, envelope::Path},
};
use std::{rc::Rc, sync::Arc, time::Duration};

/// How often a worker looks.
const LOOK: Duration = Duration::from_millis(250);
/// How often it goes through its idle connections.
const REAP: Duration = Duration::from_secs(1);

impl Pools {
    /// Starts the tasks; they end with the pools.
    pub(super) fn keep_house(self: &Rc<Self>) {
        let (weak, waker) = (Rc::downgrade(self), Arc::clone(&self.waker));
        net::spawn_vital("waker", async move {
            loop {
                waker.woken().await;
                match weak.upgrade() {
                    Some(pools) => pools.serve_all(),
                    None => return,
                }
            }
        });
        let weak = Rc::downgrade(self);
        net::spawn_vital("probe", async move {
            let mut reap_at = Tick::default();
            while let Some(pools) = weak.upgrade() {
                pools.probe_all();
                pools.grow_all();
                // What a call at a bad moment has missed.
                pools.serve_all();
                if now() >= reap_at {
                    pools.reap();
                    reap_at = now().after(REAP);
                }
                drop(pools);
                net::sleep(LOOK).await;
            }
        });
    }

    /// Ends what waits for a backend, or for a connection to one: the process ends.
    pub fn end_waits(&self) {
        net::end_waits(now());
        for local in self.all() {
            local.pool.queue.retry_all();
        }
    }

    /// Tries whether backends that have shown a limit of connections take more by now.
    fn grow_all(&self) {
        let now = now();
        for local in self.all() {
            let grown = local.pool.backends.iter().filter(|b| b.budget.grow(now));
            grown.for_each(Permit::offer);
        }
    }

    fn probe_all(self: &Rc<Self>) {
        let now = now();
        for local in self.all() {
            for (place, backend) in local.pool.backends.iter().enumerate() {
                let (health, rules) = (&backend.health, &local.pool.rules);
                // Long before the limits of what is waited for: it is asked whether it works.
                if backend.silence.is_news(now) {
                    health.suspect(now);
                }
                if backend.silence.has_turned(now, local.pool.silent_after()) {
                    local.pool.queue.retry_all();
                }
                tell_of_answers(&local, backend, now);
                if backend.outcomes.held(now).is_some() || !health.is_due(now, rules) {
                    continue;
                }
                // Before the claim, which would be spent for nothing.
                let permit = Permit::try_take(backend);
                let may_wait = health.is_suspected();
                if (permit.is_some() || may_wait) && health.claim_probe(now, rules) {
                    net::spawn(Rc::clone(self).probe(Rc::clone(&local), place, permit));
                }
            }
        }
    }

    async fn probe(self: Rc<Self>, local: Rc<Local>, place: usize, permit: Option<Permit>) {
        let scope = local.scopes[place];
        let backend = &local.pool.backends[place];
        let permit = match permit {
            Some(permit) => Some(permit),
            None => self.next_permit(&local, place).await,
        };
        let Some(permit) = permit else {
            return backend.health.ask_again(now());
        };
        let due = now().after(local.pool.rules.timeout);
        let level = Level::up(&self.recorder, Gauge::BackendOpening, scope);
        let opened = connect(&local.pool, permit, None, due).await;
        drop(level);
        let failed = match opened {
            Ok((mut conn, _)) => {
                let is_asked = backend.health.is_suspected();
                let answered = match is_asked {
                    true => {
                        let due = now().after(local.pool.waits.reply);
                        backend.health.is_asked_until(due);
                        question(&mut conn, due).await
                    }
                    false => Ok(()),
                };
                match answered {
                    Ok(()) => {
                        // A suspicion that came after the look above has a probe of its own.
                        if is_asked {
                            backend.health.acquit();
                        }
                        self.succeeded(&local, place);
                        return conn.quit().await;
                    }
                    Err(trouble) => (trouble, conn.last_words()),
                }
            }
            Err(error) => {
                self.recorder.count(error.counter, scope, 1);
                (error.trouble, error.detail)
            }
        };
        if failed.0.counts() && backend.health.probe_failed(now(), &local.pool.rules) {
            self.changed(&local, place, Some(failed));
        }
    }

    /// The next permit that comes free, before all messages that wait. Not waited for longer than a probe may take:
    /// the claim must hold meanwhile.
    async fn next_permit(self: &Rc<Self>, local: &Rc<Local>, place: usize) -> Option<Permit> {
        let backend = &local.pool.backends[place];
        let until = now().after(local.pool.rules.timeout);
        while now() < until {
            let wait = local.pool.queue.join_first(Arc::clone(backend));
            match self.granted(wait, until).await.ok()? {
                Grant::Permit(permit) => return Some(permit),
                Grant::Handover(handover) => {
                    let conn = Conn::unpack(*handover).ok()?;
                    self.closed(Counter::ClosedShed, local.scopes[place]);
                    return Some(conn.into_permit());
                }
                Grant::Again => {}
            }
        }
        None
    }
}

/// Tells the operator, and those that wait, where a backend has ceased to answer questions about recipients, or answers again.
fn tell_of_answers(local: &Local, backend: &Backend, now: Tick) {
    let (answers, after) = (&backend.answers, local.pool.unanswered_after());
    if answers.silence.is_news(now) {
        backend.health.suspect(now);
    }
    if answers.silence.has_turned(now, after) {
        local.pool.queue.retry_all();
    }
    let label = &backend.label;
    match answers.news(answers.silence.is_silent(now, after), now) {
        Some(News::Silent) => say!(
            Warn,
            "{label}: no answer to RCPT for {} s when recipients are verified; while another backend answers, \
             it is asked one question at a time",
            now.since(answers.silence.since()).as_secs()
        ),
        Some(News::Back) => say!(Info, "{label}: it answers RCPT again"),
        None => {}
    }
}

/// Asks whether the backend takes mail for its postmaster. What it says doesn't matter, as long as it goes on talking.
async fn question(conn: &mut Conn, due: Tick) -> Result<(), Trouble> {
    let postmaster = Path::split(b"postmaster");
    let begun = conn.session.verify(b"", postmaster, false, &mut conn.out);
    if begun.is_err() {
        // It can't be asked; it has greeted.
        return Ok(());
    }
    while conn.next(due).await? != Event::Reset {}
    Ok(())
}
