//! What is judged, and how: a question about a client, an envelope or a message goes in, a verdict comes out.
//!
//! [`Policy`] is built once from the configuration, is immutable, and is replaced as a whole at a reload.
//! What must outlive a reload (rates, session counts) lies in [`Shared`]. What one session has earned so
//! far lies in its [`Judgement`]. The shell asks at six points ([`At`]) with the [`Facts`] that it has.
//!
//! Checks are in `checks/`, one file each, and in the table of `checks/mod.rs` in the order in which they
//! are asked. To add one: its file, its line in the table, its keys in `config/schema/policy.rs`.
//!
//! # Which clients a check is for
//!
//! - **Stranger checks** (client lists, early talk, HELO rules and lists, sender lists, what the DNS says of client, sender
//!   and message, the greylist) are not for clients that are trusted or have authenticated, nor for the rest of the session
//!   of a client that a client list has accepted.
//! - **Rates and relay control** are not for clients that are trusted or have authenticated. A list's
//!   `accept` never opens the relay and never lifts a rate.
//! - **Message checks** (the proxy's own rules, recipient lists, header rules, rules with conditions) apply to every client.
//!   What rules can read differs. Nothing is asked elsewhere about a client that is known, and the lists in the DNS are not
//!   asked about one that a client list has accepted: they are the word of others about a client, and the operator's own
//!   list comes before it, as `permit` of Postfix's postscreen comes before its tests. A condition that can't do without is
//!   unknown, and its rule does nothing. What else the DNS says is told of an accepted client (it may be a forwarder), and
//!   rules read it: they may be about the sender or the message.
//!
//! A client that authenticates, or that a proxy names with a login, was a stranger until then. What only strangers answer
//! for is taken back: its hits go, and their scores with them. And it must get that far: where AUTH is offered or XCLIENT
//! allowed ([`Facts::may_log_in`]), HELO names are judged at MAIL, and a client list's `reject` or `defer` is told there
//! (as Postfix does with `smtpd_delay_reject`). `close` takes effect at once.
//!
//! # What `then` does
//! `defer`, `reject` and `close` end the question. `score` adds and goes on; so do the marks (`tag`, `tarpit`, `quarantine`,
//! `discard`), which say what becomes of a message, or of a session's replies, where nothing refuses. What a
//! recipient asks for must be the same for all of a message: [`Judgement::recipient_differs`]. `accept` ends the further
//! rules of the same check: of the client lists for the session (and with them all stranger checks), of
//! the HELO lists and rules for this HELO, of sender lists for this transaction, of recipient lists for
//! this recipient, of header rules for this message. A rule in `shadow` mode only leaves its hit. Scores
//! add up for a message from the connection on; they are weighed at [`At::Body`], and what has come by [`At::Header`] of a
//! message that streams as well, for its pool must be known by then.
//!
//! The order of severity at the end of a message: a refusal by a check, `reject_score`, `discard`, `quarantine` (a rule's or
//! `quarantine_score`), `defer_score`, `tag`. Tags are written whatever the rest comes to, and no score discards.
//!
//! # What this room must not know
//! Streams, engines, backends, clocks: time is passed in. It never waits; a check that needs an answer
//! from elsewhere (DNS, Redis) will be handed that answer as a fact.
//!
//! # Rejected
//! - *One expression language for all*: each look-up would be interpreted, and a list of a million networks
//!   is no expression. Rules in CEL's syntax are one check among the others (`expression/`, `checks/rule.rs`).
//! - *A chain of handlers that pass the message on*: no place would know all that a message met. A check only
//!   reports; [`Policy::ask`] alone decides.
//! - *A lock around the rates*: every worker touches them for every message (see `rates/table.rs`).

pub mod authentication;
mod build;
mod builder;
mod checks;
mod condition;
pub mod dns;
pub mod expression;
mod facts;
mod findings;
mod hit;
mod inquiry;
mod judgement;
mod lists;
mod marks;
mod memory;
mod mistakes;
mod profile;
mod rates;
pub mod replies;
mod rule;
pub mod spf;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod unfed;
mod verdict;
mod wants;

pub use builder::PolicyFault;
pub use condition::RuleMistake;
pub use expression::NamedList;
pub use facts::{At, Breaches, Facts, Signals};
pub use findings::Finding;
pub use hit::{CheckId, Hit, HitKind};
pub use inquiry::{Greeting, Inquiry};
pub use judgement::{HITS_MAX, Judgement};
pub use lists::networks::{Networks, NetworksBuilder};
pub use marks::{TAGS_MAX, TagId};
pub use mistakes::{WrongRule, check_mistakes, rule_mistakes};
pub use rates::{Keys, SessionCounts, SessionTicket, Shared, TarpitPlace};
pub use rule::CheckInfo;
pub use verdict::{Verdict, What};

use crate::{
    dns::{Answers, Question},
    smtp::Tick,
};
use authentication::BodyHashes;
use dns::watched::Watched;
use inquiry::Wants;
use profile::Profile;
use std::{net::IpAddr, sync::Arc};

/// All checks of one configuration. Shared by the workers in an `Arc`.
pub struct Policy {
    infos: Vec<CheckInfo>,
    kinds: Vec<&'static str>,
    profiles: Vec<Profile>,
    /// The profile of each listener, class of clients and route that it was built for.
    listeners: Vec<usize>,
    /// What is asked in each of these before the recipient is known: of strangers, and of those that a client list has accepted.
    asks: [Vec<Arc<Wants>>; 2],
    /// The named lists.
    lists: Vec<(String, Arc<dyn NamedList>)>,
    /// Which of these count the sessions and rates of clients together.
    rate_groups: Vec<u8>,
    /// Our own name.
    hostname: Arc<str>,
    /// The words that messages are tagged with.
    tags: Vec<Box<str>>,
    /// The fields that tell of them, in any profile; none where nothing tags.
    tag_fields: Vec<Arc<str>>,
}

/// Which checks of a point are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them, in their order.
    Whole,
    /// Those that need no answer from elsewhere.
    Unasked,
    /// The others.
    Asked,
}

impl Part {
    fn has(self, after_answers: bool) -> bool {
        match self {
            Part::Whole => true,
            Part::Unasked => !after_answers,
            Part::Asked => after_answers,
        }
    }
}

impl Policy {
    /// Every check that is on or in shadow, in the order of their [`CheckId`]s.
    #[must_use]
    pub fn checks(&self) -> &[CheckInfo] {
        &self.infos
    }

    /// The kinds of check whose looks are timed: see [`Facts::looked`].
    #[must_use]
    pub fn kinds(&self) -> &[&'static str] {
        &self.kinds
    }

    /// The name and doc of one check.
    #[must_use]
    pub fn check(&self, id: CheckId) -> Option<&CheckInfo> {
        self.infos.get(usize::from(id.0))
    }

    /// The word of a tag.
    #[must_use]
    pub fn tag(&self, id: TagId) -> &str {
        self.tags.get(usize::from(id.0)).map_or("", |word| word)
    }

    /// The name of the header field that tells of tags ([`Facts::profile`]).
    #[must_use]
    pub fn tag_field(&self, profile: usize) -> &str {
        &self.profile(profile).tag_field
    }

    /// All such names that are in use: fields that a client brings under them are forged. None where nothing tags.
    #[must_use]
    pub fn tag_fields(&self) -> &[Arc<str>] {
        &self.tag_fields
    }

    /// The group of listeners with which this one counts a client's sessions and rates: those that have the same limits.
    /// Otherwise what a listener with high limits admits would use up those of the others, for a whole prefix.
    #[must_use]
    pub fn rate_group(&self, listener: usize) -> u8 {
        self.rate_groups.get(listener).copied().unwrap_or(0)
    }

    fn profile(&self, listener: usize) -> &Profile {
        let place = self.listeners.get(listener).copied().unwrap_or(0);
        &self.profiles[place]
    }

    /// What is asked of a client and its sender.
    fn asks(&self, listener: usize, welcome: bool) -> &Wants {
        match self.asks[usize::from(welcome)].get(listener) {
            Some(asks) => asks,
            None => self.profiles[0].wants_for(welcome),
        }
    }

    /// The list of this name.
    #[must_use]
    pub fn named_list(&self, name: &str) -> Option<Arc<dyn NamedList>> {
        let found = self.lists.iter().find(|(known, _)| known == name);
        found.map(|(_, list)| Arc::clone(list))
    }

    /// Whether anything is asked elsewhere about a client of a listener ([`Facts::profile`]).
    #[must_use]
    pub fn inquires(&self, listener: usize, client: IpAddr) -> bool {
        let later = &self.profile(listener).wants;
        later.has_any_of(client) || self.asks(listener, false).has_any_of(client)
    }

    /// The lists in the DNS that are used, each once.
    #[must_use]
    pub fn lists(&self) -> Vec<&Arc<Watched>> {
        let mut all: Vec<&Arc<Watched>> = Vec::new();
        for (list, _) in self
            .profiles
            .iter()
            .flat_map(|profile| &profile.wants.lists)
        {
            if !all.iter().any(|known| Arc::ptr_eq(known, list)) {
                all.push(list);
            }
        }
        all
    }

    /// Takes all of them for lists that are in order, without a probe: for trials.
    pub fn take_lists_for_probed(&self) {
        self.lists()
            .into_iter()
            .for_each(|list| list.take_for_probed());
    }

    /// Whether something judges at this point.
    #[must_use]
    pub fn judges(&self, listener: usize, at: At) -> bool {
        !self.profile(listener).stages[at as usize].is_empty()
    }

    /// Whether some of that reads answers from elsewhere, or comes after what does: [`Part::Asked`].
    #[must_use]
    pub fn judges_answers(&self, listener: usize, at: At) -> bool {
        let stage = &self.profile(listener).stages[at as usize];
        stage.iter().any(|looked| looked.after_answers)
    }

    /// Takes over what was found of the lists in the DNS under the configuration before.
    pub fn follow(&self, before: &Policy) {
        for list in self.lists() {
            for known in before.lists() {
                list.follow(known);
            }
        }
    }

    /// Whether something decides at this point by what was asked: the answers are waited for.
    #[must_use]
    pub fn waits(&self, listener: usize, at: At, inquiry: &Inquiry) -> bool {
        let wants = self.profile(listener).wants_of(inquiry);
        wants.waits >> at as u16 & 1 == 1
    }

    /// Begins what can be asked from this point on. Nothing is asked about clients that are known, or that are refused
    /// already and hear of it later. To be called once what needs no answer has been judged at this point.
    pub fn begin_inquiry(
        &self,
        at: At,
        facts: &Facts<'_>,
        judgement: &Judgement,
        inquiry: &mut Inquiry,
    ) {
        if !facts.is_known() && !judgement.is_refused_later() {
            let welcome = match at {
                At::Connect => judgement.is_welcome(),
                _ => inquiry.is_of_welcome(),
            };
            let wants = self.asks(facts.profile, welcome);
            match at {
                At::Connect => inquiry.begin_client(wants, facts.client, judgement.is_welcome()),
                At::Hello => inquiry.begin_hello(wants, facts.client, facts.hello),
                At::Mail => inquiry.begin_sender(
                    wants,
                    &inquiry::Envelope {
                        client: facts.client,
                        sender: facts.sender,
                        receiver: &self.hostname,
                        unix_seconds: facts.unix_seconds,
                    },
                ),
                At::Greeting | At::Answers | At::Rcpt | At::Header | At::Body => {}
            }
        }
    }

    /// Whether what this policy verifies of a stranger's message is what another wants of it as well.
    #[must_use]
    pub fn verifies_for(&self, other: &Policy, listener: usize) -> bool {
        let (own, other) = (self.profile(listener), other.profile(listener));
        own.wants.verifies_as(&other.wants)
    }

    /// Begins to verify a message whose header section is complete. The body must be shown to the hashes that come back.
    #[must_use]
    pub fn begin_message(
        &self,
        facts: &Facts<'_>,
        header: &[u8],
        inquiry: &mut Inquiry,
    ) -> BodyHashes {
        let wants = self.profile(facts.profile).wants_of(inquiry);
        match facts.is_known() {
            true => BodyHashes::new(),
            false => inquiry.begin_message(wants, facts.client, header, facts.unix_seconds),
        }
    }

    /// Goes on with what has been begun, by the answers that are there. `need` gets the questions to be asked now; where it
    /// gets none, all is known that can be.
    pub fn inquire(
        &self,
        listener: usize,
        inquiry: &mut Inquiry,
        answers: &dyn Answers,
        now: Tick,
        need: &mut Vec<Question>,
    ) {
        let now_ms = now.0 / 1000;
        let wants = self.profile(listener).wants_of(inquiry);
        inquiry.step(wants, answers, now_ms, need);
    }

    /// Judges what is known at this point of the session, and leaves what it found in `judgement`.
    ///
    /// - [`At::Connect`]: once, with the session's ticket taken, before the greeting and before implicit TLS.
    /// - [`At::Greeting`]: once, where the client talked before the greeting.
    /// - [`At::Hello`], [`At::Mail`]: as often as the client says them; the traces of earlier ones go.
    /// - [`At::Rcpt`]: for each recipient; what a refused recipient scored is taken back.
    /// - [`At::Header`]: once a message, when its header is complete; of one that streams before a backend is asked.
    /// - [`At::Body`]: once a message, when its header is complete and its size known: before a backend
    ///   gets the terminator.
    ///
    /// Takes no lock and, where nothing matches, allocates nothing.
    // INV-ALLOC
    pub fn ask(
        &self,
        at: At,
        facts: &Facts<'_>,
        shared: &Shared,
        judgement: &mut Judgement,
    ) -> Verdict {
        self.ask_part(Part::Whole, at, facts, shared, judgement)
    }

    /// The same in two parts: what needs no answer from elsewhere, and then, where that refuses nothing, the rest.
    // INV-ALLOC
    pub fn ask_part(
        &self,
        part: Part,
        at: At,
        facts: &Facts<'_>,
        shared: &Shared,
        judgement: &mut Judgement,
    ) -> Verdict {
        let known = facts.is_known();
        if known {
            judgement.acquit();
        }
        match part {
            Part::Whole | Part::Unasked => judgement.begin(at),
            Part::Asked => judgement.go_on(),
        }
        let profile = self.profile(facts.profile);
        if facts.may_log_in && !known {
            match at {
                At::Hello => {
                    judgement.set_hello_is_due(true);
                    return Verdict::Accept;
                }
                At::Mail => {
                    if let Some(refusal) = judgement.refuse_as_waiting() {
                        return refusal;
                    }
                    if judgement.hello_is_due() {
                        if part != Part::Asked {
                            judgement.begin(At::Hello);
                        }
                        let verdict = profile.look(part, At::Hello, facts, shared, judgement);
                        if !verdict.is_accept() {
                            return verdict;
                        }
                        judgement.set_hello_is_due(part == Part::Unasked);
                    }
                }
                At::Connect | At::Greeting | At::Answers | At::Rcpt | At::Header | At::Body => {}
            }
        }
        match profile.look(part, at, facts, shared, judgement) {
            Verdict::Accept if at >= At::Header => judgement.fate(),
            verdict => verdict,
        }
    }

    /// The verdict at [`At::Header`] or [`At::Body`] without facts, where nothing would look at them; `None` where
    /// [`Policy::ask`] must be called. Most messages are such.
    // INV-ALLOC
    pub fn ask_nothing(
        &self,
        at: At,
        profile: usize,
        breaches: Breaches,
        streams: bool,
        judgement: &mut Judgement,
    ) -> Option<Verdict> {
        if at < At::Header || breaches != Breaches::NONE {
            return None;
        }
        self.profile(profile)
            .look_at_nothing(at, streams, judgement)
    }
}
