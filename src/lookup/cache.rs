//! Answers that are there: one table for the whole process, bounded by the memory that it takes.
//!
//! An answer is fresh for as long as its TTL says, within bounds. Shortly before that ends, the next question for it is told
//! to ask again while the answer still serves, so that what is asked often is never waited for. Once stale it is given out
//! only where the servers don't answer (RFC 8767).

use super::size::{bounded, octets_of};
use crate::dns::{Answer, Question};
use quick_cache::{Weighter, sync::Cache as Table};
use std::time::{Duration, Instant};

/// How long an answer with records holds at least and at most, whatever its TTL says.
const FOUND: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(24 * 3600)];
/// The same of an answer without records, whose TTL is that of the zone's SOA (RFC 2308 section 5).
const NONE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(3600)];
/// How long an answer without records holds where the server told no SOA.
const NONE_UNTOLD: Duration = Duration::from_secs(60);
/// How long a failure holds (RFC 2308 section 7 allows five minutes).
const FAILED: Duration = Duration::from_secs(5);
/// How long a stale answer is kept for a time when no server answers.
const STALE: Duration = Duration::from_secs(3600);
/// The last part of its time in which an answer is asked for again: one part of so many.
const AHEAD: u32 = 10;
/// What an entry takes beside its names and records.
const ENTRY_OCTETS: usize = 200;

/// One answer, and until when it is what.
#[derive(Clone)]
struct Entry {
    answer: Answer,
    /// From here on it is worth asking again.
    ahead: Instant,
    /// From here on it is stale.
    until: Instant,
    /// And from here on it is nothing.
    end: Instant,
}

/// What the table says.
pub(super) enum Kept {
    /// This, and it is fresh.
    Fresh(Answer),
    /// This, but it will not be for long: ask again, without waiting.
    Ageing(Answer),
    /// This was true once.
    Stale(Answer),
}

#[derive(Clone)]
struct ByOctets;

impl Weighter<Question, Entry> for ByOctets {
    fn weight(&self, question: &Question, entry: &Entry) -> u64 {
        let octets = ENTRY_OCTETS + question.name.len() + octets_of(&entry.answer);
        octets as u64
    }
}

/// The table. What is past its end is nothing, and leaves once its place is needed.
pub(super) struct Cache(Table<Question, Entry, ByOctets>);

impl Cache {
    /// For so many octets.
    pub fn new(octets: u64) -> Cache {
        let entries = usize::try_from(octets).unwrap_or(usize::MAX) / (2 * ENTRY_OCTETS);
        Cache(Table::with_weighter(entries, octets, ByOctets))
    }

    /// What is kept for a question.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Kept> {
        let entry = self.0.get(question).filter(|entry| now < entry.end)?;
        Some(match () {
            () if now < entry.ahead => Kept::Fresh(entry.answer),
            () if now < entry.until => Kept::Ageing(entry.answer),
            () => Kept::Stale(entry.answer),
        })
    }

    /// Keeps an answer, and gives it back as it is kept: one that is too large is cut, or can't be used. `ttl`: what the server said;
    /// `None` where it said nothing.
    pub fn put(
        &self,
        question: Question,
        answer: Answer,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Answer {
        let answer = bounded(answer);
        let within = |ttl: Duration, [least, most]: [Duration; 2]| ttl.clamp(least, most);
        let (ttl, stale) = match &answer {
            Answer::Found(_) => (within(ttl.unwrap_or_default(), FOUND), STALE),
            Answer::NoRecords | Answer::NoName => (within(ttl.unwrap_or(NONE_UNTOLD), NONE), STALE),
            Answer::Unknown(_) => (FAILED, Duration::ZERO),
        };
        let known = !matches!(answer, Answer::Unknown(_));
        let entry = Entry {
            answer: answer.clone(),
            ahead: match known {
                true => now + ttl - ttl / AHEAD,
                false => now + ttl,
            },
            until: now + ttl,
            end: now + ttl + stale,
        };
        self.0.insert(question, entry);
        answer
    }

    /// No server answered: what was true lately is what holds, and it is not asked for again at once (RFC 8767 section 5).
    /// `None`: nothing is known.
    pub fn still(&self, question: &Question, now: Instant) -> Option<Answer> {
        let mut entry = self.0.get(question).filter(|entry| now < entry.end)?;
        if matches!(entry.answer, Answer::Unknown(_)) {
            return None;
        }
        if now >= entry.until {
            (entry.ahead, entry.until) = (now + FAILED, now + FAILED);
            self.0.insert(question.clone(), entry.clone());
        }
        Some(entry.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Record, RecordType, Unknown};
    use std::net::Ipv4Addr;

    fn question(name: &str) -> Question {
        Question {
            name: name.into(),
            record_type: RecordType::A,
        }
    }

    fn found() -> Answer {
        Answer::Found([Record::A(Ipv4Addr::LOCALHOST)].into())
    }

    fn look(cache: &Cache, name: &str, at: Instant) -> &'static str {
        match cache.get(&question(name), at) {
            None => "none",
            Some(Kept::Fresh(_)) => "fresh",
            Some(Kept::Ageing(_)) => "ageing",
            Some(Kept::Stale(_)) => "stale",
        }
    }

    #[test]
    fn an_answer_ages() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let secs = Duration::from_secs;
        cache.put(question("a.example"), found(), Some(secs(100)), now);
        cache.put(question("none.example"), Answer::NoName, None, now);
        let failed = Answer::Unknown(Unknown::Broken);
        cache.put(question("failed.example"), failed, None, now);
        for (name, after, expected) in [
            ("a.example", 0, "fresh"),
            ("a.example", 89, "fresh"),
            ("a.example", 90, "ageing"),
            ("a.example", 100, "stale"),
            ("none.example", 50, "fresh"),
            ("none.example", 59, "ageing"),
            ("none.example", 61, "stale"),
            ("failed.example", 4, "fresh"),
            ("failed.example", 5, "none"),
            ("a.example", 3699, "stale"),
            ("a.example", 3700, "none"),
            ("b.example", 0, "none"),
        ] {
            assert_eq!(
                look(&cache, name, now + secs(after)),
                expected,
                "{name} {after}"
            );
        }
    }

    #[test]
    fn a_ttl_is_held_to_its_bounds() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        cache.put(question("a.example"), found(), Some(Duration::ZERO), now);
        assert_eq!(look(&cache, "a.example", now + FOUND[0] / 2), "fresh");
        cache.put(question("b.example"), found(), Some(FOUND[1] * 9), now);
        assert_eq!(look(&cache, "b.example", now + FOUND[1]), "stale");
    }

    #[test]
    fn what_was_true_lately_holds_while_no_server_answers() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let minute = Duration::from_secs(60);
        cache.put(question("a.example"), found(), Some(minute), now);
        cache.put(
            question("b.example"),
            Answer::Unknown(Unknown::Timeout),
            None,
            now,
        );
        let later = now + minute * 2;
        assert_eq!(look(&cache, "a.example", later), "stale");
        assert_eq!(cache.still(&question("a.example"), later), Some(found()));
        assert_eq!(look(&cache, "a.example", later + FAILED / 2), "fresh");
        assert_eq!(look(&cache, "a.example", later + FAILED), "stale");
        assert_eq!(cache.still(&question("b.example"), now), None);
        assert_eq!(cache.still(&question("c.example"), now), None);
    }

    #[test]
    fn it_is_bounded() {
        let (cache, now) = (Cache::new(100_000), Instant::now());
        for number in 0..10_000 {
            let ttl = Some(Duration::from_secs(60));
            cache.put(question(&format!("{number}.example")), found(), ttl, now);
        }
        assert!(cache.0.weight() <= 100_000);
        assert!(cache.0.len() > 100);
    }
}
