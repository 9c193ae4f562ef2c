//! The search for a backend that takes a message: which to try next, and when to give up.

use super::{
    connection::Session, mapping, message_id::MessageId, relay::Handed, replies,
    transaction::Transaction,
};
use crate::{
    metrics::Counter,
    smtp::{Reply, Tick},
    upstream::{self, BackendId, Lease, LeaseError, PoolId, Wish},
};

/// Backends tried for one message at most. A pool may be larger; a message that four refuse to take has
/// found something else than a broken machine.
const TRIES: usize = 4;

/// One message's search.
pub(super) struct Search {
    pool: Option<PoolId>,
    avoid: Vec<BackendId>,
    fresh: bool,
    tries: usize,
    due: Tick,
    message: MessageId,
}

impl Session {
    /// Begins a search for the pool of this transaction.
    pub fn search(&self, transaction: &Transaction) -> Search {
        Search {
            pool: transaction.pool,
            avoid: Vec::new(),
            fresh: false,
            tries: 0,
            message: transaction.id,
            due: self.now.after(self.current.site.config.timeouts.commit.0),
        }
    }

    /// Remembers recipients that were refused after they had been accepted, and says what the client is told.
    fn refused_recipients(&self, pool: Option<PoolId>, refused: &[(usize, Reply)]) -> Reply {
        let envelope = self.server.envelope();
        let mut first = None;
        for (place, reply) in refused {
            let Some(recipient) = envelope.recipients().get(*place) else {
                continue;
            };
            let path = envelope.path(recipient.path);
            if let Some(pool) = pool {
                let sender = envelope.sender().whole;
                let pools = &self.context.pools;
                pools.note_refused(pool, self.client, sender, path, reply);
            }
            first.get_or_insert_with(|| {
                (
                    String::from_utf8_lossy(path.whole).into_owned(),
                    reply.clone(),
                )
            });
        }
        match first {
            None => upstream::replies::LOST.reply(),
            Some((_, reply)) if refused.len() == envelope.recipients().len() => reply,
            Some((path, reply)) => replies::SOME_REFUSED.with(&format!("<{path}> {reply}")),
        }
    }
}

impl Search {
    /// The search of a message that has no second try: its body is gone.
    pub fn ended(mut self) -> Search {
        self.tries = TRIES;
        self
    }

    /// The next connection to try. An error is the reply that the client gets.
    pub async fn lease(&mut self, session: &Session) -> Result<Lease, Reply> {
        let pools = &session.context.pools;
        let Some(pool) = self.pool else {
            return Err(upstream::replies::DOWN.reply());
        };
        self.tries += 1;
        let envelope = session.server.envelope();
        let first = envelope.recipients().first();
        let key = first.map_or(&b""[..], |first| envelope.path(first.path).whole);
        let arrival = session.arrival(pool, self.message);
        let caller = arrival.as_ref().map(|arrival| session.caller(arrival));
        let wish = Wish {
            fresh: self.fresh,
            caller: caller.as_ref(),
        };
        let lease = pools
            .lease_for(pool, key, &self.avoid, self.due, wish)
            .await;
        lease.map_err(|why| {
            crate::log::say!(Debug, "no lease: {why}");
            match why {
                LeaseError::Refused(said) => mapping::refused(*said),
                why => why.reply(),
            }
        })
    }

    /// What follows from what came of a try: a reply for the client, or `None` to try again.
    pub fn after(
        &mut self,
        session: &Session,
        handed: &Handed,
        lease: &Lease,
        transaction: &Transaction,
    ) -> Option<Reply> {
        let recorder = &session.context.recorder;
        match handed {
            Handed::Accepted => None,
            Handed::Refused(reply) => {
                let counter = if reply.is_transient() {
                    Counter::BackendDeferred
                } else {
                    Counter::BackendRejected
                };
                recorder.count(counter, lease.scope(), 1);
                Some(reply.clone())
            }
            Handed::Recipients(refused) => Some(session.refused_recipients(self.pool, refused)),
            Handed::Unsupported(why) => {
                // Another backend of the pool may be able to.
                self.avoid.push(lease.backend().id);
                (self.tries >= TRIES || self.all_tried(session)).then(|| mapping::unsupported(*why))
            }
            Handed::Uncertain => Some(upstream::replies::UNCERTAIN.reply()),
            Handed::Failed { stale } => {
                let counter = if *stale {
                    Counter::RetryStale
                } else {
                    Counter::RetryOther
                };
                if *stale {
                    // The backend may be well; only its pooled connections are in doubt.
                    self.fresh = true;
                } else {
                    self.avoid.push(lease.backend().id);
                }
                if self.tries >= TRIES || (!stale && self.all_tried(session)) {
                    crate::log::say!(
                        Debug,
                        "{}: gave up after {} tries",
                        transaction.id,
                        self.tries
                    );
                    return Some(upstream::replies::LOST.reply());
                }
                recorder.count(counter, lease.scope(), 1);
                None
            }
        }
    }

    fn all_tried(&self, session: &Session) -> bool {
        let pool = self.pool.and_then(|pool| {
            session
                .current
                .site
                .backends
                .pool(pool)
                .map(|pool| pool.backends.len())
        });
        pool.is_none_or(|backends| self.avoid.len() >= backends)
    }
}
