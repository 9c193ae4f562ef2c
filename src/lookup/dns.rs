//! What the checks of a policy ask of the DNS.
//!
//! [`Dns::ask`] is called on a worker: it looks into the cache, joins a question of the same kind that is on its way, or
//! sends one to the thread that asks ([`super::Thread`]). The answer goes to all sessions that wait for it, and into the cache.

use super::{
    breaker::{Breaker, Change},
    cache::{Cache, Kept},
    flights::Flights,
    records::{failure, library_name, library_type, octets_of, octets_of_failure, records},
    system::{Made, System},
    validation,
    waiter::{Arrived, Waiter},
};
use crate::{
    config::{self, Dnssec},
    dns::{Answer, Question, Unknown},
    log::say,
};
use hickory_resolver::proto::rr::{self, Name};
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{timeout, timeout_at},
};

/// Something to be done on the thread that asks.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Has it done there.
pub type Spawn = Box<dyn Fn(Task) + Send + Sync>;

/// What became of a question at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The cache has the answer.
    Cached(Answer),
    /// Another waits for the same answer; it will come to both.
    Joined,
    /// It is on its way.
    Sent,
    /// It can't be asked now.
    Refused(Unknown),
}

/// The DNS, for the whole process.
pub struct Dns {
    system: System,
    cache: Cache,
    breaker: Breaker,
    flights: Mutex<Flights>,
    spawn: Arc<OnceLock<Spawn>>,
    /// Answers that were bogus, counted on over reloads.
    bogus: Arc<AtomicU64>,
    /// Places of those that ask whether a failure was one of validation.
    repeats: Semaphore,
}

/// What came of a question.
struct Found {
    answer: Answer,
    /// How long it holds, where a server told it.
    ttl: Option<Duration>,
    /// What decoding it took, in octets.
    decoded: usize,
}

impl Found {
    /// Nothing was decoded for it.
    fn at_once(answer: Answer) -> Found {
        Found {
            answer,
            ttl: None,
            decoded: 0,
        }
    }
}

/// The end of a flight, whatever becomes of it: one that panics must not keep those that wait, and those that join it.
struct Landing {
    dns: Arc<Dns>,
    question: Question,
    answer: Answer,
    decoded: usize,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let waiters = self
            .dns
            .flights()
            .end(&self.question, self.decoded, Instant::now());
        for waiter in waiters {
            let arrived = Arrived {
                docket: waiter.docket,
                question: self.question.clone(),
                answer: self.answer.clone(),
            };
            waiter.give(arrived);
        }
    }
}

impl Dns {
    /// For these settings: the one `before` where they are the same, so that its answers are kept. Nothing can be asked
    /// before [`Dns::attend`].
    #[must_use]
    pub fn new(settings: &config::Dns, before: Option<&Arc<Dns>>) -> Arc<Dns> {
        if let Some(before) = before
            && before.settings() == settings
        {
            return Arc::clone(before);
        }
        Arc::new(Dns {
            system: System::new(settings),
            cache: Cache::new(settings.cache.0),
            breaker: Breaker::new(),
            flights: Mutex::default(),
            spawn: before.map_or_else(Arc::default, |before| Arc::clone(&before.spawn)),
            bogus: before.map_or_else(Arc::default, |before| Arc::clone(&before.bogus)),
            repeats: Semaphore::new(validation::REPEATS_MAX),
        })
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &config::Dns {
        self.system.settings()
    }

    /// Says how something gets to the thread that asks. The first call holds, for those that come after this one as well.
    pub fn attend(&self, spawn: impl Fn(Task) + Send + Sync + 'static) {
        if self.spawn.set(Box::new(spawn)).is_ok() {
            // Its connections are read by the thread that opened them.
            self.system.forget();
        }
    }

    /// Asks. Where the answer isn't there at once, `waiter` gets it.
    pub(super) fn ask(self: &Arc<Dns>, question: &Question, waiter: Waiter) -> Asked {
        let now = Instant::now();
        match self.cache.get(question, now) {
            Some(Kept::Fresh(answer)) => return Asked::Cached(answer),
            Some(Kept::Ageing(answer)) => {
                // Nothing waits for it: where it can't be asked, the answer serves on.
                let _ = self.send(question, waiter.client, None, now);
                return Asked::Cached(answer);
            }
            Some(Kept::Stale(_)) | None => {}
        }
        let refused = self.send(question, waiter.client, Some(waiter), now);
        match (&refused, self.cache.get(question, now)) {
            (Asked::Refused(_), Some(Kept::Stale(answer)))
                if !matches!(answer, Answer::Unknown(_)) =>
            {
                Asked::Cached(answer)
            }
            _ => refused,
        }
    }

    /// Asks a server, whatever the cache says; the answer goes into the cache.
    pub async fn resolve(self: &Arc<Dns>, question: &Question) -> Answer {
        let found = self.fetch(question).await;
        self.keep(question, found.answer, found.ttl, Instant::now())
    }

    /// The same, with how long the answer holds where a server told it. What was true before a failure is not told.
    pub(super) async fn learn(self: &Arc<Dns>, question: &Question) -> (Answer, Option<Duration>) {
        let Found { answer, ttl, .. } = self.fetch(question).await;
        self.keep(question, answer.clone(), ttl, Instant::now());
        (answer, ttl)
    }

    /// Whether the system's files have changed since the last question.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.system.is_outdated()
    }

    /// How many answers were bogus since the last call.
    pub fn take_bogus(&self) -> u64 {
        self.bogus.swap(0, Relaxed)
    }

    /// Whether this server validates; `None`: it does not answer.
    pub async fn validates(&self, server: SocketAddr) -> Option<bool> {
        let validates = timeout(self.settings().timeout.0, validation::validates(server));
        validates.await.ok()?
    }

    /// The library's resolver, and what the system's files say.
    pub(super) fn current(&self) -> Result<Made, String> {
        self.system.current()
    }

    /// Joins a flight, or begins one. Without a `waiter`, an answer is asked for again.
    fn send(
        self: &Arc<Dns>,
        question: &Question,
        client: u128,
        waiter: Option<Waiter>,
        now: Instant,
    ) -> Asked {
        let Some(spawn) = self.spawn.get() else {
            return Asked::Refused(Unknown::Broken);
        };
        let mut flights = self.flights();
        let Err(waiter) = flights.join(question, waiter) else {
            return Asked::Joined;
        };
        if !flights.has_room(client, waiter.is_none(), now) {
            return Asked::Refused(Unknown::Overload);
        }
        if !self.breaker.admits(now) {
            return Asked::Refused(Unknown::Broken);
        }
        flights.begin(question.clone(), client, waiter, now);
        drop(flights);
        let (dns, question) = (Arc::clone(self), question.clone());
        spawn(Box::pin(async move { dns.fly(question).await }));
        Asked::Sent
    }

    /// Finds an answer on the thread that asks, or here where there is none (`gatepost check` and the like).
    async fn fetch(self: &Arc<Dns>, question: &Question) -> Found {
        let Some(spawn) = self.spawn.get() else {
            return self.find(question).await;
        };
        let (tell, told) = oneshot::channel();
        let (dns, question) = (Arc::clone(self), question.clone());
        spawn(Box::pin(async move {
            // The caller may be gone.
            let _ = tell.send(dns.find(&question).await);
        }));
        let lost = || Found::at_once(Answer::Unknown(Unknown::Broken));
        told.await.unwrap_or_else(|_| lost())
    }

    /// One flight, on the thread that asks.
    async fn fly(self: Arc<Dns>, question: Question) {
        let mut landing = Landing {
            dns: Arc::clone(&self),
            question,
            answer: Answer::Unknown(Unknown::Broken),
            decoded: 0,
        };
        let Found {
            answer,
            ttl,
            decoded,
        } = self.find(&landing.question).await;
        landing.decoded = decoded;
        let is_silent = matches!(answer, Answer::Unknown(Unknown::Timeout));
        landing.answer = self.keep(&landing.question, answer, ttl, Instant::now());
        drop(landing);
        let change = match is_silent {
            false => self.breaker.heard(),
            true if !self.breaker.silent() => None,
            true if self.reaches_a_server().await => self.breaker.heard(),
            true => self.breaker.open(Instant::now()),
        };
        match change {
            Some(Change::Opened(pause)) => say!(
                Warn,
                "dns: no server answers; checks go without for {} s, then one question tries again",
                pause.as_secs()
            ),
            Some(Change::Closed) => say!(Info, "dns: the servers answer again"),
            None => {}
        }
    }

    /// Asks for what every server knows, and no stranger has chosen: the name servers of the root.
    async fn reaches_a_server(&self) -> bool {
        let Ok(made) = self.system.current() else {
            return false;
        };
        let looked = made.dns.lookup(Name::root(), rr::RecordType::NS);
        match timeout(self.settings().timeout.0, looked).await {
            Err(_) => false,
            Ok(Ok(_)) => true,
            Ok(Err(error)) => failure(&error).0 != Answer::Unknown(Unknown::Timeout),
        }
    }

    /// Keeps an answer, and says what is told: a failure gives way to what was true lately.
    fn keep(
        &self,
        question: &Question,
        answer: Answer,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Answer {
        if let Answer::Unknown(_) = answer
            && let Some(kept) = self.cache.still(question, now)
        {
            return kept;
        }
        self.cache.put(question.clone(), answer, ttl, now)
    }

    async fn find(&self, question: &Question) -> Found {
        let Some(name) = library_name(&question.name) else {
            // No such name can exist.
            return Found::at_once(Answer::NoName);
        };
        let resolver = match self.system.current() {
            Ok(made) => made.dns,
            Err(_) => return Found::at_once(Answer::Unknown(Unknown::Broken)),
        };
        let due = tokio::time::Instant::now() + self.settings().timeout.0;
        let looked = timeout_at(
            due,
            resolver.lookup(name, library_type(question.record_type)),
        );
        match looked.await {
            Err(_) => Found::at_once(Answer::Unknown(Unknown::Timeout)),
            Ok(Err(error)) => {
                let (mut answer, ttl) = failure(&error);
                if answer == Answer::Unknown(Unknown::Broken) && self.is_bogus(question, due).await
                {
                    answer = Answer::Unknown(Unknown::Bogus);
                }
                Found {
                    answer,
                    ttl,
                    decoded: octets_of_failure(&error),
                }
            }
            Ok(Ok(found)) => {
                let ttl = found
                    .valid_until()
                    .saturating_duration_since(Instant::now());
                let records = records(found.answers(), question.record_type);
                let (answer, ttl) = match records.is_empty() {
                    true => (Answer::NoRecords, None),
                    false => (Answer::Found(records), Some(ttl)),
                };
                Found {
                    answer,
                    ttl,
                    decoded: octets_of(found.message()),
                }
            }
        }
    }

    /// Whether a failure was one of validation. It changes no verdict, and is asked so that operators see which it was.
    // INV-LIMIT
    async fn is_bogus(&self, question: &Question, due: tokio::time::Instant) -> bool {
        let settings = self.settings();
        if settings.dnssec == Dnssec::Off {
            return false;
        }
        let (Some(name), Ok(_place)) = (library_name(&question.name), self.repeats.try_acquire())
        else {
            return false;
        };
        let record_type = library_type(question.record_type);
        let until = due.min(tokio::time::Instant::now() + validation::REPEAT);
        let is_bogus = validation::is_bogus(&settings.servers, name, record_type, until).await;
        self.bogus.fetch_add(is_bogus.into(), Relaxed);
        is_bogus
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
