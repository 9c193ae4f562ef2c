//! Answers of the sources, remembered for a moment: a mail program that opens a connection for each message must not
//! cost a hash or a question each time.
//!
//! An answer holds for the very question that it was given to: all that the source judged by is in the key, so that a
//! yes to one address, listener or connection with TLS is never a yes to another. A key is a keyed hash, under a secret
//! that lives as long as the process; no credential is kept.

use super::{Attempt, Credential, Outcome, verifier};
use crate::smtp::Tick;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Answers that are remembered at once.
const ENTRIES_MAX: usize = 8 * 1024;
/// Entries looked at to find one that may go.
const LOOKED_AT: usize = 8;

/// The keyed hash of a source, a credential, and whatever else the source judges by.
pub type Key = [u8; 32];

/// What a source judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgesBy {
    /// The credential alone, as an account file does.
    Credential,
    /// The whole attempt: a remote source is told the client's address, its name, whether TLS is on, the mechanism and
    /// the listener, and may answer each of them otherwise.
    Attempt,
}

struct Known {
    outcome: Outcome,
    until: Tick,
}

/// What was answered lately. One for all workers.
pub struct Cache {
    secret: [u8; 32],
    known: Mutex<HashMap<Key, Known>>,
}

impl Cache {
    /// An empty one. Errors: no random numbers can be had.
    pub fn new() -> Result<Cache, String> {
        Ok(Cache {
            secret: verifier::random()?,
            known: Mutex::default(),
        })
    }

    /// The key of an attempt at a source. `generation` tells the configurations apart: a reload forgets.
    #[must_use]
    pub fn key(
        &self,
        generation: u64,
        source: &str,
        judges_by: JudgesBy,
        attempt: &Attempt,
    ) -> Key {
        let mut text = generation.to_be_bytes().to_vec();
        let mut put = |part: &[u8]| {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        };
        put(source.as_bytes());
        match &attempt.credential {
            Credential::Password { user, password } => {
                put(b"password");
                put(user.as_bytes());
                put(password.octets());
            }
            Credential::Token { user, token } => {
                put(b"token");
                put(user.as_deref().unwrap_or_default().as_bytes());
                put(token.octets());
            }
        }
        if judges_by == JudgesBy::Attempt {
            // Each field by name: a new one that a source is told must not be forgotten here.
            let Attempt {
                listener,
                client,
                helo,
                secured,
                mechanism,
                credential: _,
            } = attempt;
            put(listener.as_bytes());
            put(client.to_canonical().to_string().as_bytes());
            put(helo);
            put(&[u8::from(*secured)]);
            put(mechanism.as_str().as_bytes());
        }
        let key = verifier::keyed(&self.secret, &text);
        text.fill(0);
        std::hint::black_box(&mut text);
        key
    }

    /// What was answered to it, if that still counts.
    #[must_use]
    pub fn get(&self, key: &Key, now: Tick) -> Option<Outcome> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(key)?;
        if found.until <= now {
            known.remove(key);
            return None;
        }
        Some(found.outcome.clone())
    }

    /// Remembers an answer for so long. `Unavailable` is not remembered.
    pub fn put(&self, key: Key, outcome: &Outcome, now: Tick, last: Duration) {
        if last.is_zero() || matches!(outcome, Outcome::Unavailable(_)) {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ENTRIES_MAX && !known.contains_key(&key) {
            // Any will do, and of a few the one that goes first.
            let few = known.iter().take(LOOKED_AT);
            let goes = few
                .min_by_key(|(_, known)| known.until)
                .map(|(key, _)| *key);
            if let Some(goes) = goes {
                known.remove(&goes);
            }
        }
        let known_now = Known {
            outcome: outcome.clone(),
            until: now.after(last),
        };
        known.insert(key, known_now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Mechanism;

    #[test]
    fn an_answer_is_known_for_its_time_and_for_its_credential() {
        let cache = Cache::new().expect("random numbers");
        let key = cache.key(
            1,
            "staff",
            JudgesBy::Credential,
            &Attempt::plain("amy", "secret"),
        );
        cache.put(key, &Outcome::Denied, Tick(0), Duration::from_secs(10));
        assert!(matches!(
            cache.get(&key, Tick(9_999_999)),
            Some(Outcome::Denied)
        ));
        for (generation, source, user, password) in [
            (2, "staff", "amy", "secret"),
            (1, "others", "amy", "secret"),
            (1, "staff", "amys", "ecret"),
            (1, "staff", "amy", "Secret"),
        ] {
            let other = cache.key(
                generation,
                source,
                JudgesBy::Credential,
                &Attempt::plain(user, password),
            );
            assert!(cache.get(&other, Tick(0)).is_none());
        }
        assert!(cache.get(&key, Tick(10_000_000)).is_none());
        cache.put(
            key,
            &Outcome::Unavailable("down".into()),
            Tick(0),
            Duration::from_secs(10),
        );
        assert!(cache.get(&key, Tick(0)).is_none());
    }

    #[test]
    fn a_remote_answer_holds_for_its_question_alone() {
        let cache = Cache::new().expect("random numbers");
        let asked = Attempt::plain("amy", "secret");
        let others = [
            Attempt {
                client: [192, 0, 2, 8].into(),
                ..asked.clone()
            },
            Attempt {
                listener: "internal".into(),
                ..asked.clone()
            },
            Attempt {
                secured: false,
                ..asked.clone()
            },
            Attempt {
                mechanism: Mechanism::Login,
                ..asked.clone()
            },
            Attempt {
                helo: b"laptop".to_vec(),
                ..asked.clone()
            },
        ];
        let key = |by, attempt: &Attempt| cache.key(1, "web", by, attempt);
        for other in &others {
            let by = JudgesBy::Attempt;
            assert_ne!(key(by, &asked), key(by, other), "{other:?}");
            // An account file looks at none of it, and its hashes cost the most.
            let by = JudgesBy::Credential;
            assert_eq!(key(by, &asked), key(by, other), "{other:?}");
        }
        assert_eq!(
            key(JudgesBy::Attempt, &asked),
            key(JudgesBy::Attempt, &asked.clone())
        );
    }

    #[test]
    fn it_does_not_grow() {
        let cache = Cache::new().expect("random numbers");
        for n in 0..ENTRIES_MAX as u64 * 2 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            cache.put(key, &Outcome::Denied, Tick(n), Duration::from_secs(10));
        }
        assert_eq!(cache.known.lock().expect("no panic").len(), ENTRIES_MAX);
    }
}
