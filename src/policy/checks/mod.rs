//! The table of checks. A check is one kind of question with one or more rules: it looks at the facts and
//! reports which of its rules matched. It decides nothing, keeps nothing, and must not know another check.

mod authentication;
mod client_list;
mod dnsbl;
mod early_talk;
mod greylist;
mod header;
mod helo;
mod own;
mod rate;
mod recipient_list;
mod relay;
mod results;
mod rule;
mod sender_list;

use super::{At, Facts, HitKind, Shared, builder::Builder, inquiry::Wants, rule::Say};
use crate::config::Policy;
use std::sync::Arc;

/// Which clients a check is for; see the policy's own documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Clients that are neither trusted nor authenticated nor accepted by a client list.
    Strangers,
    /// Clients that are neither trusted nor authenticated.
    Unknown,
    /// Every client, also trusted and authenticated ones.
    Everybody,
}

/// One check.
pub trait Check: Send + Sync {
    /// Its name where its looks are timed.
    fn name(&self) -> &'static str;
    /// At which points it is asked.
    fn stages(&self) -> &[At];
    /// Adds what it needs from elsewhere. `welcome`: of a client that a client list has accepted, which stranger checks don't
    /// look at; what is only told is told of it as well.
    fn wants(&self, _: &mut Wants, _welcome: bool) {}
    /// Whether it looks at this point at answers from elsewhere. Such checks come after the others of the point, so that nothing
    /// is asked about a client that those refuse.
    fn reads_answers(&self, _: At) -> bool {
        false
    }
    /// Whether it looks at what the checks before it have scored, and so comes after all of them.
    fn reads_scores(&self) -> bool {
        false
    }
    /// Whether it looks at [`Facts::breaches`] and nothing else, and says nothing where there is none.
    fn reads_breaches_alone(&self) -> bool {
        false
    }
    /// Whom it is for.
    fn whom(&self) -> Whom;
    /// What its hits are.
    fn finds(&self) -> HitKind {
        HitKind::Finding
    }
    /// Looks, and says which rules hit. Returns as soon as [`Say::hit`] says `Break`.
    fn look(&self, at: At, facts: &Facts<'_>, shared: &Shared, say: &mut Say<'_>);
}

/// Makes a check; `None` where the configuration has no use for it.
type Build = fn(&mut Builder<'_>) -> Option<Arc<dyn Check>>;

/// Whether two configurations say the same of a check, so that it need be made only once.
type Same = fn(&Policy, &Policy) -> bool;

/// Every check, in the order in which they are asked at a point they share: the proxy's own rules, which no
/// list lifts, the lists that let in, then what costs the client most.
pub const TABLE: &[(Build, Same)] = &[
    (own::sender, |a, b| a.identity == b.identity),
    (own::header_size, |a, b| a.header_size == b.header_size),
    (own::hops, |a, b| a.r#loop == b.r#loop),
    (own::from, |a, b| a.identity == b.identity),
    (client_list::build, |a, b| {
        a.client_list == b.client_list && a.list == b.list
    }),
    (early_talk::build, |a, b| a.early_talk == b.early_talk),
    (rate::client, |a, b| a.client_rate == b.client_rate),
    (rate::prefix, |a, b| a.prefix_rate == b.prefix_rate),
    (rate::sender, |a, b| a.sender_rate == b.sender_rate),
    (helo::build, |a, b| {
        a.helo == b.helo && a.helo_list == b.helo_list && a.list == b.list
    }),
    (results::rdns, |a, b| a.rdns == b.rdns),
    (results::helo_domain, |a, b| a.helo_domain == b.helo_domain),
    (dnsbl::build, |a, b| a.dnsbl == b.dnsbl),
    (sender_list::build, |a, b| {
        a.sender_list == b.sender_list && a.list == b.list
    }),
    (results::sender_domain, |a, b| {
        a.sender_domain == b.sender_domain
    }),
    (results::spf, |a, b| a.spf == b.spf),
    (authentication::dkim, |a, b| a.dkim == b.dkim),
    (authentication::dmarc, |a, b| a.dmarc == b.dmarc),
    (authentication::arc, |a, b| a.arc == b.arc),
    (relay::build, |a, b| a.relay == b.relay),
    (recipient_list::build, |a, b| {
        a.recipient_list == b.recipient_list && a.list == b.list
    }),
    (header::build, |a, b| a.header == b.header),
    // Late, for they may read the score of all others.
    (rule::build, |a, b| a.rule == b.rule && a.list == b.list),
    // After them: nothing is put off that something refuses, and their scores count.
    (greylist::build, |a, b| a.greylist == b.greylist),
];
