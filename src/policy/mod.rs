//! What is judged, and how: a question about a client, an envelope or a message goes in, a verdict comes out.
//!
//! [`Policy`] is built once from the configuration, is immutable, and is replaced as a whole at a reload.
//! What must outlive a reload (rates, session counts) lies in [`Shared`]. What one session has earned so
//! far lies in its [`Judgement`]. The shell asks at five points ([`At`]) with the [`Facts`] that it has.
//!
//! Checks are in `checks/`, one file each, and in the table of `checks/mod.rs` in the order in which they
//! are asked. To add one: its file, its line in the table, its keys in `config/schema/policy.rs`.
//!
//! # Who is asked what
//! - **Stranger checks** (client lists, early talk, HELO rules and lists, sender lists) are not for clients
//!   that are trusted or have authenticated, nor for the rest of the session of a client that a client list
//!   has accepted.
//! - **Rates and relay control** are not for clients that are trusted or have authenticated. A list's
//!   `accept` never opens the relay and never lifts a rate.
//! - **Message checks** (recipient lists, header rules) are for everybody.
//!
//! # What `then` does
//! `defer`, `reject` and `close` end the question. `score` adds and goes on. `accept` ends the further
//! rules of the same check: of the client lists for the session (and with them all stranger checks), of
//! the HELO lists and rules for this HELO, of sender lists for this transaction, of recipient lists for
//! this recipient, of header rules for this message. A rule in `shadow` mode only leaves its hit. Scores
//! add up for a message from the connection on; they are weighed at [`At::Body`].
//!
//! # What this room must not know
//! Streams, engines, backends, clocks: time is passed in. It never waits; a check that needs an answer
//! from elsewhere (DNS, Redis) will be handed that answer as a fact.
//!
//! # Rejected
//! - *One expression language for all*: each look-up would be interpreted, and a list of a million networks
//!   is no expression. Rules in CEL come as one check among the others.
//! - *A chain of handlers that pass the message on*: nobody could say what a message met. A check only
//!   reports; [`Policy::ask`] alone decides.
//! - *A lock around the rates*: every worker touches them for every message (see `rates/table.rs`).

mod build;
mod checks;
mod facts;
mod judgement;
mod lists;
mod rates;
pub mod replies;
mod rule;
mod verdict;

pub use build::Fault;
pub use facts::{At, Facts, Signals};
pub use judgement::{HITS_MAX, Hit, Judgement};
pub use lists::networks::Networks;
pub use rates::{SessionCounts, SessionTicket, Shared};
pub use rule::{CheckId, CheckInfo};
pub use verdict::{Verdict, What};

use checks::{Check, Whom};
use rule::{Rule, Say};

/// All checks of one configuration. Shared by the workers behind an `Arc`.
pub struct Policy {
    infos: Vec<CheckInfo>,
    stages: [Vec<std::sync::Arc<dyn Check>>; At::COUNT],
    reject: Option<(f64, Rule)>,
    defer: Option<(f64, Rule)>,
}

impl Policy {
    /// Every check that is on or in shadow, in the order of their [`CheckId`]s.
    #[must_use]
    pub fn checks(&self) -> &[CheckInfo] {
        &self.infos
    }

    /// The name and doc of one check.
    #[must_use]
    pub fn check(&self, id: CheckId) -> Option<&CheckInfo> {
        self.infos.get(usize::from(id.0))
    }

    /// Judges what is known at this point of the session, and leaves what it found in `judgement`.
    ///
    /// - [`At::Connect`]: once, with the session's ticket taken, before the greeting.
    /// - [`At::Hello`], [`At::Mail`]: as often as the client says them; the traces of earlier ones go.
    /// - [`At::Rcpt`]: for each recipient; what a refused recipient scored is taken back.
    /// - [`At::Body`]: once a message, when its header is complete and its size known: before a backend
    ///   gets the terminator.
    ///
    /// Takes no lock and, where nothing matches, allocates nothing.
    pub fn ask(
        &self,
        at: At,
        facts: &Facts<'_>,
        shared: &Shared,
        judgement: &mut Judgement,
    ) -> Verdict {
        judgement.begin(at);
        let before = judgement.score_at(at);
        let known = facts.is_known();
        let mut say = Say::new(at, facts.clock, judgement);
        for check in &self.stages[at as usize] {
            let skip = match check.whom() {
                Whom::Strangers => known || say.is_welcome(),
                Whom::Unknown => known,
                Whom::Everybody => false,
            };
            if skip {
                continue;
            }
            check.look(at, facts, shared, &mut say);
            if let Some(verdict) = say.take_refusal() {
                if at == At::Rcpt {
                    judgement.set_score_at(at, before);
                }
                return verdict;
            }
        }
        if at == At::Body {
            self.weigh(&mut say)
        } else {
            Verdict::Accept
        }
    }

    /// The message's score against the two thresholds.
    fn weigh(&self, say: &mut Say<'_>) -> Verdict {
        let score = say.score();
        for (threshold, rule) in [&self.reject, &self.defer].into_iter().flatten() {
            if score >= *threshold {
                let _ = say.hit(rule, "score");
                return say.take_refusal().unwrap_or(Verdict::Accept);
            }
        }
        Verdict::Accept
    }
}
