//! What the checks of a policy ask of the DNS.
//!
//! [`Dns::ask`] is called on a worker: it looks into the cache, joins a question of the same kind that is on its way, or
//! sends one to the control thread. The answer goes to everybody who waits for it, and into the cache.

use super::{
    breaker::{Breaker, Change},
    cache::{Cache, Kept},
    system::{Made, System},
    validation,
    waiter::{Arrived, Waiter},
};
use crate::{
    config::{self, Dnssec},
    dns::{Answer, Question, Record, RecordType, Unknown},
    log::say,
};
use hickory_resolver::{
    net::{DnsError, NetError},
    proto::{
        op::ResponseCode,
        rr::{self, Name, RData},
    },
};
use rustc_hash::FxHashMap;
use std::{
    cmp::{Ordering, Reverse},
    collections::hash_map::Entry,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::time::{timeout, timeout_at};

/// Questions on their way at once. One beyond is answered with [`Unknown::Overload`].
pub const ASKED_MAX: usize = 4096;
/// Of these, so many of one client (an address, or a /64), so that one that names domains with silent servers can't take
/// all.
pub const SHARE_MAX: u32 = ASKED_MAX as u32 / 8;
/// Records of one answer that are looked at, the first ones in their order; a name with more is not worth it.
pub(super) const RECORDS_MAX: usize = 128;
/// Octets of one TXT record that are kept.
pub(super) const TXT_MAX: usize = 8192;

/// Something to be done on the control thread.
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
}

/// The questions that are on their way.
#[derive(Default)]
struct Flights {
    asked: FxHashMap<Question, Flight>,
    /// How many of them a client has begun.
    shares: FxHashMap<u128, u32>,
}

/// One of them.
struct Flight {
    /// Whose share it is taken from; `None`: an answer is refreshed.
    client: Option<u128>,
    waiters: Vec<Waiter>,
}

impl Flights {
    fn begin(&mut self, question: Question, waiter: Option<Waiter>) {
        let client = waiter.as_ref().map(|waiter| waiter.client);
        if let Some(client) = client {
            *self.shares.entry(client).or_default() += 1;
        }
        let waiters = waiter.into_iter().collect();
        self.asked.insert(question, Flight { client, waiters });
    }

    fn end(&mut self, question: &Question) -> Vec<Waiter> {
        let Some(flight) = self.asked.remove(question) else {
            return Vec::new();
        };
        if let Some(Entry::Occupied(mut share)) =
            flight.client.map(|client| self.shares.entry(client))
        {
            *share.get_mut() -= 1;
            if *share.get() == 0 {
                share.remove();
            }
        }
        flight.waiters
    }

    fn has_room_for(&self, waiter: Option<&Waiter>) -> bool {
        let share = waiter.and_then(|waiter| self.shares.get(&waiter.client));
        self.asked.len() < ASKED_MAX && share.is_none_or(|share| *share < SHARE_MAX)
    }
}

/// The end of a flight, whatever becomes of it: one that panics must not keep those that wait, and those that join it.
struct Landing {
    dns: Arc<Dns>,
    question: Question,
    answer: Answer,
}

impl Drop for Landing {
    fn drop(&mut self) {
        for waiter in self.dns.flights().end(&self.question) {
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
        })
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &config::Dns {
        self.system.settings()
    }

    /// Says how something gets to the control thread. The first call holds, for those that come after this one as well.
    pub fn attend(&self, spawn: impl Fn(Task) + Send + Sync + 'static) {
        let _ = self.spawn.set(Box::new(spawn));
    }

    /// Asks. Where the answer isn't there at once, `waiter` gets it.
    pub(super) fn ask(self: &Arc<Dns>, question: &Question, waiter: Waiter) -> Asked {
        let now = Instant::now();
        match self.cache.get(question, now) {
            Some(Kept::Fresh(answer)) => return Asked::Cached(answer),
            Some(Kept::Ageing(answer)) => {
                // Nobody waits: where it can't be asked, the answer serves on.
                let _ = self.send(question, None, now);
                return Asked::Cached(answer);
            }
            Some(Kept::Stale(_)) | None => {}
        }
        let refused = self.send(question, Some(waiter), now);
        match (&refused, self.cache.get(question, now)) {
            (Asked::Refused(_), Some(Kept::Stale(answer)))
                if !matches!(answer, Answer::Unknown(_)) =>
            {
                Asked::Cached(answer)
            }
            _ => refused,
        }
    }

    /// Asks a server, on the control thread, whatever the cache says; the answer goes into the cache.
    pub async fn resolve(self: &Arc<Dns>, question: &Question) -> Answer {
        let (answer, ttl) = self.find(question).await;
        self.keep(question, answer, ttl, Instant::now())
    }

    /// The same, with how long the answer holds where a server told it. What was true before a failure is not told.
    pub(super) async fn learn(self: &Arc<Dns>, question: &Question) -> (Answer, Option<Duration>) {
        let (answer, ttl) = self.find(question).await;
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

    /// Joins a flight, or begins one.
    fn send(self: &Arc<Dns>, question: &Question, waiter: Option<Waiter>, now: Instant) -> Asked {
        let Some(spawn) = self.spawn.get() else {
            return Asked::Refused(Unknown::Broken);
        };
        let mut flights = self.flights();
        if let Some(flight) = flights.asked.get_mut(question) {
            flight.waiters.extend(waiter);
            return Asked::Joined;
        }
        if !flights.has_room_for(waiter.as_ref()) {
            return Asked::Refused(Unknown::Overload);
        }
        if !self.breaker.admits(now) {
            return Asked::Refused(Unknown::Broken);
        }
        flights.begin(question.clone(), waiter);
        drop(flights);
        let (dns, question) = (Arc::clone(self), question.clone());
        spawn(Box::pin(async move { dns.fly(question).await }));
        Asked::Sent
    }

    /// One flight, on the control thread.
    async fn fly(self: Arc<Dns>, question: Question) {
        let mut landing = Landing {
            dns: Arc::clone(&self),
            question,
            answer: Answer::Unknown(Unknown::Broken),
        };
        let (answer, ttl) = self.find(&landing.question).await;
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

    async fn find(&self, question: &Question) -> (Answer, Option<Duration>) {
        let Some(name) = library_name(&question.name) else {
            // No such name can exist.
            return (Answer::NoName, None);
        };
        let resolver = match self.system.current() {
            Ok(made) => made.dns,
            Err(_) => return (Answer::Unknown(Unknown::Broken), None),
        };
        let due = tokio::time::Instant::now() + self.settings().timeout.0;
        let looked = timeout_at(
            due,
            resolver.lookup(name, library_type(question.record_type)),
        );
        match looked.await {
            Err(_) => (Answer::Unknown(Unknown::Timeout), None),
            Ok(Err(error)) => match failure(&error) {
                (Answer::Unknown(Unknown::Broken), _) => {
                    let why = match self.is_bogus(question, due).await {
                        true => Unknown::Bogus,
                        false => Unknown::Broken,
                    };
                    (Answer::Unknown(why), None)
                }
                other => other,
            },
            Ok(Ok(found)) => {
                let ttl = found
                    .valid_until()
                    .saturating_duration_since(Instant::now());
                let wanted = found
                    .answers()
                    .iter()
                    .filter_map(|record| record_of(&record.data, question.record_type));
                let records = cut(wanted.collect());
                match records.is_empty() {
                    true => (Answer::NoRecords, None),
                    false => (Answer::Found(records), Some(ttl)),
                }
            }
        }
    }

    /// Whether a failure was one of validation. It changes no verdict, and is asked so that operators see which it was.
    async fn is_bogus(&self, question: &Question, due: tokio::time::Instant) -> bool {
        let settings = self.settings();
        if settings.dnssec == Dnssec::Off {
            return false;
        }
        let Some(name) = library_name(&question.name) else {
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

/// The order in which records are kept where not all are: those that are used first, then those that are used most. The rest
/// of it has no meaning, and makes it the same order whatever the server's was: many rotate their answers.
pub(super) fn by_rank(a: &Record, b: &Record) -> Ordering {
    let rank = |record: &Record| match record {
        Record::Srv {
            priority, weight, ..
        } => (*priority, Reverse(*weight)),
        Record::Mx { preference, .. } => (*preference, Reverse(0)),
        _ => (0, Reverse(0)),
    };
    rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
}

/// At most [`RECORDS_MAX`] of them.
fn cut(mut records: Vec<Record>) -> Arc<[Record]> {
    if records.len() > RECORDS_MAX {
        records.sort_unstable_by(by_rank);
        records.truncate(RECORDS_MAX);
    }
    records.into()
}

/// Octets as they are, because a macro of SPF may make a name that has a backslash in it; and as it stands, without the list of
/// search domains.
fn library_name(name: &str) -> Option<Name> {
    let mut name = Name::from_labels(name.split('.').map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn library_type(record_type: RecordType) -> rr::RecordType {
    match record_type {
        RecordType::A => rr::RecordType::A,
        RecordType::Aaaa => rr::RecordType::AAAA,
        RecordType::Mx => rr::RecordType::MX,
        RecordType::Ptr => rr::RecordType::PTR,
        RecordType::Txt => rr::RecordType::TXT,
        RecordType::Srv => rr::RecordType::SRV,
    }
}

fn record_of(data: &RData, wanted: RecordType) -> Option<Record> {
    Some(match (data, wanted) {
        (RData::A(address), RecordType::A) => Record::A(address.0),
        (RData::AAAA(address), RecordType::Aaaa) => Record::Aaaa(address.0),
        (RData::MX(mx), RecordType::Mx) => Record::Mx {
            preference: mx.preference,
            exchange: plain(&mx.exchange),
        },
        (RData::PTR(name), RecordType::Ptr) => Record::Ptr(plain(&name.0)),
        (RData::SRV(srv), RecordType::Srv) => Record::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: plain(&srv.target),
        },
        (RData::TXT(text), RecordType::Txt) => {
            let mut octets = text.txt_data.concat();
            octets.truncate(TXT_MAX);
            Record::Txt(octets.into())
        }
        _ => return None,
    })
}

/// A name as [`Question::name`] is written.
fn plain(name: &Name) -> Arc<str> {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).into()
}

/// What an error of the library means.
fn failure(error: &NetError) -> (Answer, Option<Duration>) {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none
                .negative_ttl
                .map(|secs| Duration::from_secs(secs.into()));
            match none.response_code {
                ResponseCode::NXDomain => (Answer::NoName, ttl),
                ResponseCode::NoError => (Answer::NoRecords, ttl),
                _ => (Answer::Unknown(Unknown::Broken), None),
            }
        }
        NetError::Dns(DnsError::ResponseCode(ResponseCode::NXDomain)) => (Answer::NoName, None),
        NetError::Dns(_) | NetError::Proto(_) => (Answer::Unknown(Unknown::Broken), None),
        // No server said a word.
        _ => (Answer::Unknown(Unknown::Timeout), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_huge_answer_the_same_records_are_kept_in_whatever_order_they_come() {
        let number = |number: usize| u16::try_from(number).expect("small");
        let most = number(RECORDS_MAX);
        let record = |priority, weight, host: u16| Record::Srv {
            priority,
            weight,
            port: 25,
            target: format!("mx{host}.example").into(),
        };
        // In the wrong order: what is used last comes first.
        let light = (0..most).map(|host| record(1, 1, host));
        let heavy = (0..most).map(|host| record(1, 9, host));
        let first = [record(0, 0, 0), record(0, 7, 1)];
        let mut records: Vec<Record> = light.chain(heavy.clone()).chain(first.clone()).collect();
        let kept = cut(records.clone());
        assert_eq!(kept.len(), RECORDS_MAX);
        assert_eq!(kept[..2], [first[1].clone(), first[0].clone()]);
        assert!(
            kept[2..]
                .iter()
                .all(|record| heavy.clone().any(|one| one == *record))
        );
        records.rotate_left(RECORDS_MAX / 2);
        assert_eq!(cut(records), kept);
    }
}
