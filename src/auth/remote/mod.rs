//! Credential sources that are asked over a wire: Dovecot, an HTTP endpoint, an introspection endpoint, a pool's
//! backends. They run on the control thread's tokio runtime and never on a worker, so that one that is slow costs only
//! those who wait for it.
//!
//! What it must not know: sessions, caches, delays of failed logins. A source is asked with an [`Attempt`] and says an
//! [`Outcome`]; each question has a time and a place, and every reply a size.
//!
//! Rejected: PAM and LDAP of our own. Dovecot speaks both, and its socket is one protocol to get right.

mod backend;
mod dialogue;
mod dovecot;
mod http;
mod introspection;
mod owned;
mod places;
mod sasl;
mod web;

pub(super) use owned::Owned;

use super::{Attempt, Outcome, asker::Asker, throttle::network};
use crate::config::{Config, CredentialSource, Credentials, Time};
use places::Places;
use std::time::Duration;

/// The longest that a source may make us wait with a no (`Auth-Wait`).
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A source that is asked over a wire.
#[derive(Debug)]
pub struct Remote {
    timeout: Duration,
    places: Places,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Dovecot(dovecot::Dovecot),
    Http(http::Http),
    Introspection(introspection::Introspection),
    Backend(backend::Backend),
}

impl Remote {
    /// Makes a source of its configuration: reads secrets and certificates, connects to nothing.
    ///
    /// # Errors
    /// In words for the operator. A `file` source is none of these.
    pub fn build(credentials: &Credentials, config: &Config) -> Result<Remote, String> {
        let owned = Owned::new(credentials, &config.hostname);
        let source = match credentials.source {
            CredentialSource::Dovecot => Source::Dovecot(dovecot::Dovecot::new(credentials, owned)),
            CredentialSource::Http => Source::Http(http::Http::build(credentials, owned)?),
            CredentialSource::Introspection => {
                Source::Introspection(introspection::Introspection::build(credentials, owned)?)
            }
            CredentialSource::Backend => {
                Source::Backend(backend::Backend::build(credentials, config, owned)?)
            }
            CredentialSource::File => return Err("a file is asked on the spot".into()),
        };
        Ok(Remote {
            timeout: credentials.timeout.0,
            places: Places::new(credentials.concurrency),
            source,
        })
    }

    /// Asks; within the source's `timeout`, and a few seconds more where the source wants a no to come late. Takes a
    /// tokio runtime with I/O and time. May be dropped at any moment. Nothing is known of the client.
    ///
    /// With the answer comes how long it holds at most, where the source says.
    pub async fn check(&self, attempt: &Attempt) -> (Outcome, Duration) {
        let stranger = Asker::Stranger(network(attempt.client));
        self.check_as(attempt, stranger).await
    }

    /// Asks, with the share of this asker.
    pub(super) async fn check_as(&self, attempt: &Attempt, asker: Asker) -> (Outcome, Duration) {
        match tokio::time::timeout(self.timeout, self.ask(attempt, asker)).await {
            Err(_) => {
                let why = format!("no answer in {}", Time(self.timeout));
                (Outcome::Unavailable(why), Duration::MAX)
            }
            Ok((outcome, wait, holds)) => {
                if !wait.is_zero() {
                    // A refusal that waits here has given its place to other questions.
                    tokio::time::sleep(wait.min(WAIT_MAX)).await;
                }
                (outcome, holds)
            }
        }
    }

    /// The answer, how long it is to be kept back, and how long it holds.
    async fn ask(&self, attempt: &Attempt, asker: Asker) -> (Outcome, Duration, Duration) {
        // What is asked must have time for its answer: one that is given up at once would look like a source that is silent.
        let waited = tokio::time::timeout(self.timeout / 2, self.places.take(asker)).await;
        let Ok(Some(_place)) = waited else {
            let why = "too many of this client's questions, or of all, wait for a place";
            let outcome = Outcome::Unavailable(why.into());
            return (outcome, Duration::ZERO, Duration::MAX);
        };
        let outcome = match &self.source {
            Source::Dovecot(source) => source.check(attempt).await,
            Source::Introspection(source) => {
                let (outcome, holds) = source.check(attempt).await;
                return (outcome, Duration::ZERO, holds);
            }
            Source::Backend(source) => source.check(attempt).await,
            Source::Http(source) => {
                let (outcome, wait) = source.ask(attempt).await;
                return (outcome, wait, Duration::MAX);
            }
        };
        (outcome, Duration::ZERO, Duration::MAX)
    }
}
