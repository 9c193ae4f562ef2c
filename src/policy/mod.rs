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
//! - **Stranger checks** (client lists, early talk, HELO rules and lists, sender lists) are not for clients
//!   that are trusted or have authenticated, nor for the rest of the session of a client that a client list
//!   has accepted.
//! - **Rates and relay control** are not for clients that are trusted or have authenticated. A list's
//!   `accept` never opens the relay and never lifts a rate.
//! - **Message checks** (the proxy's own rules, recipient lists, header rules) apply to every client.
//!
//! A client that authenticates, or that a proxy names with a login, was a stranger until then. What only strangers answer
//! for is taken back: its hits go, and their scores with them. And it must get that far: where AUTH is offered or XCLIENT
//! allowed ([`Facts::may_log_in`]), HELO names are judged at MAIL, and a client list's `reject` or `defer` is told there
//! (as Postfix does with `smtpd_delay_reject`). `close` takes effect at once.
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
//! - *A chain of handlers that pass the message on*: no place would know all that a message met. A check only
//!   reports; [`Policy::ask`] alone decides.
//! - *A lock around the rates*: every worker touches them for every message (see `rates/table.rs`).

mod build;
mod builder;
mod checks;
mod facts;
mod judgement;
mod lists;
mod rates;
pub mod replies;
mod rule;
#[cfg(test)]
mod testing;
mod verdict;

pub use builder::PolicyFault;
pub use facts::{At, Breaches, Facts, Signals};
pub use judgement::{CheckId, HITS_MAX, Hit, HitKind, Judgement};
pub use lists::networks::{Networks, NetworksBuilder};
pub use rates::{Keys, SessionCounts, SessionTicket, Shared, client_key, prefix_of};
pub use rule::CheckInfo;
pub use verdict::{Verdict, What};

use checks::{Check, Whom};
use rule::{Rule, Say};

/// All checks of one configuration. Shared by the workers in an `Arc`.
pub struct Policy {
    infos: Vec<CheckInfo>,
    kinds: Vec<&'static str>,
    profiles: Vec<Profile>,
    /// The profile of each listener that it was built for.
    listeners: Vec<usize>,
    /// Which listeners count the sessions and rates of clients together.
    rate_groups: Vec<u8>,
}

/// The checks that hold on some of the listeners.
struct Profile {
    stages: [Vec<(usize, std::sync::Arc<dyn Check>)>; At::COUNT],
    reject: Option<(f64, Rule)>,
    defer: Option<(f64, Rule)>,
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

    /// The group of listeners with which this one counts a client's sessions and rates: those that have the same limits.
    /// Otherwise what a listener with high limits admits would use up those of the others, for a whole prefix.
    #[must_use]
    pub fn rate_group(&self, listener: usize) -> u8 {
        self.rate_groups.get(listener).copied().unwrap_or(0)
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
        let known = facts.is_known();
        if known {
            judgement.acquit();
        }
        judgement.begin(at);
        let profile = self.listeners.get(facts.profile).copied().unwrap_or(0);
        let profile = &self.profiles[profile];
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
                        judgement.begin(At::Hello);
                        let verdict = profile.look(At::Hello, facts, shared, judgement);
                        if !verdict.is_accept() {
                            return verdict;
                        }
                        judgement.set_hello_is_due(false);
                    }
                }
                At::Connect | At::Greeting | At::Rcpt | At::Header | At::Body => {}
            }
        }
        profile.look(at, facts, shared, judgement)
    }
}

impl Profile {
    fn look(
        &self,
        at: At,
        facts: &Facts<'_>,
        shared: &Shared,
        judgement: &mut Judgement,
    ) -> Verdict {
        let before = judgement.score_at(at);
        let known = facts.is_known();
        let mut waiting = None;
        let mut say = Say::new(at, facts.clock, judgement);
        // The end of one look is the start of the next: one reading of the clock for each.
        let mut since = facts.looked.map_or(facts.now, |_| (facts.clock)());
        for (kind, check) in &self.stages[at as usize] {
            let whom = check.whom();
            let skip = match whom {
                Whom::Strangers => known || say.is_welcome(),
                Whom::Unknown => known,
                Whom::Everybody => false,
            };
            if skip {
                continue;
            }
            say.finds(check.finds());
            say.of_strangers(whom != Whom::Everybody);
            check.look(at, facts, shared, &mut say);
            if let Some(looked) = facts.looked {
                let moment = (facts.clock)();
                looked(*kind, moment.micros_since(since));
                since = moment;
            }
            match say.take_refusal() {
                None => {}
                Some(refusal @ (Verdict::Reject(_) | Verdict::Defer(_)))
                    if at <= At::Greeting && facts.may_log_in && whom == Whom::Strangers =>
                {
                    waiting.get_or_insert((refusal, say.refused_by()));
                }
                Some(verdict) => {
                    if at == At::Rcpt {
                        judgement.set_score_at(at, before);
                    }
                    return verdict;
                }
            }
        }
        let verdict = match at {
            At::Body => self.weigh(&mut say),
            _ => Verdict::Accept,
        };
        if let Some((refusal, by)) = waiting {
            judgement.set_waiting(refusal, by);
        }
        verdict
    }

    /// The message's score against the two thresholds.
    fn weigh(&self, say: &mut Say<'_>) -> Verdict {
        let score = say.score();
        say.of_strangers(false);
        for (threshold, rule) in [&self.reject, &self.defer].into_iter().flatten() {
            if score >= *threshold {
                say.finds(HitKind::Finding);
                let _ = say.hit(rule, "score");
                return say.take_refusal().unwrap_or(Verdict::Accept);
            }
        }
        Verdict::Accept
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};
    use crate::config;

    #[test]
    fn the_default_policy_lets_a_decent_message_pass() {
        let mut rig =
            rig("helo.ours.mode = 'on'\nclient_rate.sessions = 100\nprefix_rate.sessions = 500");
        let names: Vec<_> = rig
            .policy
            .checks()
            .iter()
            .map(|check| &*check.name)
            .collect();
        assert_eq!(
            names,
            [
                "identity.sender",
                "header_size",
                "loop",
                "identity.from",
                "early_talk",
                "client_rate",
                "prefix_rate",
                "helo.unqualified",
                "helo.address",
                "helo.ours",
                "relay",
                "reject_score"
            ]
        );
        assert_eq!(rig.connect("192.0.2.7"), "accept");
        assert_eq!(rig.hello("mail.client.example"), "accept");
        assert_eq!(rig.mail("a@client.example"), "accept");
        assert_eq!(rig.rcpt("b@ours.example"), "accept");
        assert_eq!(rig.body("Subject: hello\r\n"), "accept");
        assert_eq!((rig.hits(), rig.judgement.score()), (String::new(), 0.0));
    }

    #[test]
    fn scores_of_all_points_decide_at_the_body() {
        let mut rig = rig("
            reject_score = 6.0
            defer_score = 4.0
            client_list = [{ name = 'c', entries = ['192.0.2.7'], then = 'score', score = 1.5 }]
            helo.unqualified = { then = 'score', score = 1.5 }
            sender_list = [{ name = 's', entries = ['s.example'], then = 'score', score = 1.0 }]
            recipient_list = [{ name = 'r', entries = ['r.example'], then = 'score', score = 2.0 }]");
        rig.connect("192.0.2.7");
        rig.hello("me");
        assert_eq!(rig.mail("a@s.example"), "accept");
        assert!(rig.body("").starts_with("defer 451 4.7.1"));
        assert_eq!(rig.mail("a@s.example"), "accept");
        assert_eq!(rig.rcpt("a@r.example"), "accept");
        assert!(rig.body("").starts_with("reject 550 5.7.1"));
        assert_eq!(rig.judgement.score(), 6.0);
        assert_eq!(rig.judgement.fresh().len(), 1);
        assert_eq!(rig.mail("a@b.example"), "accept");
        assert_eq!(rig.body(""), "accept");
        assert_eq!(rig.judgement.score(), 3.0);
    }

    #[test]
    fn what_a_refused_recipient_scored_is_taken_back() {
        let mut rig = rig("
            [[recipient_list]]
            name = 'r'
            entries = ['.example']
            then = 'score'
            score = 2.0
            [[recipient_list]]
            name = 'no'
            entries = ['no.example']");
        assert_eq!(rig.rcpt("a@yes.example"), "accept");
        assert!(rig.rcpt("a@no.example").starts_with("reject"));
        assert_eq!(rig.judgement.score(), 2.0);
        assert_eq!(rig.judgement.hits().len(), 3);
    }

    /// A client at 192.0.2.7 on a listener that offers AUTH.
    fn may_log_in(hello: &'static str) -> Facts<'static> {
        Facts {
            may_log_in: true,
            hello: hello.as_bytes(),
            ..stranger()
        }
    }

    const FOR_STRANGERS: &str = "
        reject_score = 6.0
        client_list = [
            { name = 'grey', entries = ['192.0.2.0/24'], then = 'score', score = 5.0 },
            { name = 'bad', entries = ['192.0.2.7'] },
        ]
        [helo.unqualified]
        then = 'reject'
        [helo.address]
        then = 'score'
        score = 3.0";

    #[test]
    fn a_client_that_logs_in_is_not_refused_as_a_stranger() {
        let mut rig = rig(FOR_STRANGERS);
        for hello in ["DESKTOP-1", "[192.168.1.5]"] {
            let stranger = may_log_in(hello);
            assert_eq!(rig.ask(At::Connect, &stranger), "accept");
            assert_eq!(rig.hits(), "client_list.grey score, client_list.bad reject");
            assert_eq!(rig.ask(At::Hello, &stranger), "accept");
            let known = Facts {
                authenticated: Some("amy"),
                ..stranger
            };
            for at in [At::Mail, At::Rcpt, At::Header, At::Body] {
                assert_eq!(rig.ask(at, &known), "accept", "{hello}");
            }
            assert_eq!((rig.hits(), rig.judgement.score()), (String::new(), 0.0));
        }
    }

    #[test]
    fn one_that_does_not_is_refused_at_mail() {
        let mut rig = rig(FOR_STRANGERS);
        let listed = may_log_in("mail.client.example");
        assert_eq!(rig.ask(At::Connect, &listed), "accept");
        assert_eq!(rig.ask(At::Hello, &listed), "accept");
        for _ in 0..2 {
            assert!(
                rig.ask(At::Mail, &listed)
                    .starts_with("reject 554 5.7.1 Your")
            );
        }
        let elsewhere = Facts {
            client: ip("198.51.100.1"),
            ..may_log_in("DESKTOP-1")
        };
        assert_eq!(rig.ask(At::Connect, &elsewhere), "accept");
        assert_eq!(rig.ask(At::Hello, &elsewhere), "accept");
        for _ in 0..2 {
            assert!(
                rig.ask(At::Mail, &elsewhere)
                    .starts_with("reject 550 5.7.1 The name")
            );
            assert_eq!(rig.hits(), "helo.unqualified reject");
        }
        let literal = Facts {
            hello: b"[192.168.1.5]",
            ..elsewhere
        };
        assert_eq!(rig.ask(At::Hello, &literal), "accept");
        for _ in 0..2 {
            assert_eq!(rig.ask(At::Mail, &literal), "accept");
            assert_eq!(rig.hits(), "helo.address score(literal)");
            assert_eq!(rig.judgement.score(), 3.0);
        }
        let mut closing =
            self::rig("client_list = [{ name = 'c', entries = ['192.0.2.7'], then = 'close' }]");
        assert!(
            closing
                .ask(At::Connect, &may_log_in("x"))
                .starts_with("close")
        );
    }

    #[test]
    fn each_listener_has_its_policy() {
        let plain = config(
            "client_list = [{ name = 'bad', entries = ['192.0.2.7'] }]\nhelo.ours.then = 'reject'",
        );
        let mut other = plain.clone();
        other.helo.ours.mode = config::Mode::Shadow;
        other.client_list.clear();
        let policies = [plain.clone(), other, plain];
        let mut rig = rig("");
        rig.policy =
            Policy::build_all(&policies, "mx.example.net").unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!(rig.policy.profiles.len(), 2);
        let names: Vec<_> = rig
            .policy
            .checks()
            .iter()
            .map(|check| &*check.name)
            .collect();
        let ours = names.iter().filter(|name| **name == "helo.ours").count();
        assert_eq!(ours, 1, "one name has one id: {names:?}");
        let mut asked = |profile, at| {
            let facts = Facts {
                profile,
                hello: b"mx.example.net",
                ..stranger()
            };
            (rig.ask(at, &facts), rig.hits())
        };
        for profile in [0, 2] {
            assert!(asked(profile, At::Connect).0.starts_with("reject 554"));
            assert!(asked(profile, At::Hello).0.starts_with("reject 550"));
        }
        assert_eq!(asked(1, At::Connect), ("accept".into(), String::new()));
        assert_eq!(
            asked(1, At::Hello),
            ("accept".into(), "[helo.ours reject]".into())
        );
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let mut config = config::Policy {
            reject_score: f64::NAN,
            defer_score: -1.0,
            ..Default::default()
        };
        config.early_talk.score = f64::INFINITY;
        let faults = Policy::build(&config, "mx").err().expect("three mistakes");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn a_hit_is_timed_by_the_clock_that_is_given() {
        use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
        static NOW: AtomicU64 = AtomicU64::new(0);
        let mut rig =
            rig("client_list = [{ name = 'c', entries = ['192.0.2.7'], mode = 'shadow' }]");
        let facts = Facts {
            clock: || crate::smtp::Tick(NOW.fetch_add(7, Relaxed)),
            ..stranger()
        };
        assert_eq!(rig.ask(At::Connect, &facts), "accept");
        assert_eq!(rig.judgement.hits()[0].micros, 7);
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_it_panic(
            hello in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            path in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            header in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
        ) {
            let mut rig = rig("
                helo_list = [{ name = 'a', entries = ['.x', 'y', '/z/'], then = 'accept' }]
                sender_list = [{ name = 'b', entries = ['.x', 'y', 'a@z', '/z/', '<>'] }]
                recipient_list = [{ name = 'c', entries = ['.x', 'y', 'a@z', '/z/', '<>'] }]
                header = [{ name = 'd', field = 'S', pattern = '.+' }, { name = 'e', field = 'E', when = 'absent' }]
                helo.ours.mode = 'on'
                sender_rate.messages = 5");
            let path = crate::smtp::envelope::Path::split(&path);
            let facts = Facts {
                hello: &hello, sender: path, recipient: Some(path), recipient_is_ours: true, header: &header, ..stranger()
            };
            for at in [At::Connect, At::Hello, At::Mail, At::Rcpt, At::Body] {
                rig.ask(at, &facts);
            }
        }
    }

    #[test]
    fn replies_fit_their_codes() {
        for known in replies::ALL {
            assert_eq!(
                known.code / 100,
                u16::from(known.status.0),
                "{}",
                known.text
            );
            assert!(!known.cause.is_empty() && !known.advice.is_empty());
        }
    }
}
