//! What senders are told that we take, given what the backends can.
//!
//! EHLO is answered before a recipient is known, so one answer stands for all pools that a route leads to. What it must
//! not do is make a sender give up mail that a backend would take, or send what none will:
//!
//! - SIZE is the most that any backend takes. A message that is too large for the pool of its recipient is refused at
//!   RCPT or at its end.
//! - SMTPUTF8 is offered where any backend has it, or may have it: a sender without the offer bounces the message at
//!   once, and no sender can convert it.
//! - 8BITMIME and DSN are offered where all usable backends have them: a sender without the offer converts the message, or
//!   does the other's work, and loses nothing.
//! - RCPTMAX (RFC 9422) is the least that backends say themselves. What messages have shown of a limit may be about their client or
//!   their sender, and is told at RCPT alone.
//!
//! Of a backend that was not reached yet the usual is assumed: what nearly every server has. The listeners wait briefly
//! for the first answers, and a session's next EHLO tells what is known by then. A message that a backend can't take
//! after all is put off while another one of the pool may be able to, or where the sender was offered more than it finds.

use super::{
    backends::Backends, ids::PoolId, message_source::MessageSource, origin::keeps_apart,
    pool::Pool, pooling::backend::Backend, pools::Pools, select::Needs,
};
use crate::{
    net::now,
    smtp::{Capabilities, Extensions, Tick},
};

/// What the backends must be able to do themselves; the rest of EHLO is ours alone.
const END_TO_END: Extensions =
    Extensions(Extensions::EIGHTBITMIME.0 | Extensions::SMTPUTF8.0 | Extensions::DSN.0);
/// What a backend is taken to offer that was not reached yet.
const USUAL: Extensions = Extensions(Extensions::EIGHTBITMIME.0 | Extensions::SMTPUTF8.0);

/// The lower of two limits, of which 0 is none.
fn lower<N: Copy + Ord + Default>(a: N, b: N) -> N {
    let none = N::default();
    if a == none || b == none {
        a.max(b)
    } else {
        a.min(b)
    }
}

/// The higher of two limits, of which 0 is none.
fn higher(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 { 0 } else { a.max(b) }
}

impl Pool {
    fn usable(&self) -> impl Iterator<Item = &Backend> {
        let any = self.backends.iter().any(|b| !b.health.is_ejected());
        let some = self.backends.iter();
        some.filter(move |b| !(any && b.health.is_ejected()))
            .map(|b| &**b)
    }

    /// The largest message that one of its backends takes; 0: no limit is known.
    #[must_use]
    pub fn size_max(&self) -> u64 {
        if !self.unresolved.is_empty() {
            return 0;
        }
        let sizes = self.backends.iter();
        let sizes = sizes.map(|b| b.seen.get().map_or(0, |offered| offered.size_max));
        sizes.reduce(higher).unwrap_or_default()
    }

    /// Recipients of one message that its backends say they take; 0: no limit is known. An LMTP backend answers for each
    /// recipient at the end of the data, and there is one reply to the client: one.
    #[must_use]
    pub fn recipients_offered(&self) -> u32 {
        if self.session.lmtp {
            return 1;
        }
        let limit = |backend: &Backend| backend.seen.get().map_or(0, |seen| seen.recipients_max);
        self.usable().map(limit).reduce(lower).unwrap_or_default()
    }

    /// Recipients of one message of this source that its backends take, by what they say and what they have shown; `None`:
    /// of any message. 0: no limit is known.
    #[must_use]
    pub fn recipients_max(&self, of: Option<MessageSource>, now: Tick) -> u32 {
        let is_apart = keeps_apart(self.identity);
        let shown = self.usable().map(|backend| match is_apart {
            true => backend.learned.own(of, now),
            false => backend.learned.get(of, now),
        });
        lower(
            self.recipients_offered(),
            shown.reduce(lower).unwrap_or_default(),
        )
    }

    /// Whether a message of this source, which has so many recipients and is at the limit, is let through with one more: see
    /// [`LearnedLimit::tries_one_more`](super::learned::LearnedLimit::tries_one_more).
    #[must_use]
    pub fn tries_one_more(&self, of: Option<MessageSource>, recipients: usize, now: Tick) -> bool {
        let offered = self.recipients_offered() as usize;
        let mut limited = self.usable().filter(|backend| {
            let most = backend.learned.get(of, now) as usize;
            most > 0 && most <= recipients
        });
        (offered == 0 || recipients < offered)
            && !keeps_apart(self.identity)
            && limited.all(|backend| backend.learned.tries_one_more(of, recipients, now))
    }

    /// What may be announced for it.
    fn announced(&self) -> Capabilities {
        let known = self.usable().filter_map(|b| b.seen.get());
        let all = known.map(|seen| seen.extensions).reduce(Extensions::common);
        let utf8 = |b: &Backend| b.seen.get().map_or(USUAL, |seen| seen.extensions);
        let any = self.backends.iter().map(|b| utf8(b));
        // Nor was a backend reached whose name has no address yet.
        let any = any.chain(self.unresolved.iter().map(|_| USUAL));
        let any = any.reduce(|a, b| a | b).unwrap_or(USUAL);
        let all = all.unwrap_or(USUAL).common(END_TO_END);
        Capabilities {
            extensions: all.without(Extensions::SMTPUTF8) | any.common(Extensions::SMTPUTF8),
            size_max: self.size_max(),
            recipients_max: self.recipients_offered(),
            ..Capabilities::default()
        }
    }
}

impl Pools {
    /// Whether none of a pool's backends can take this, and one could of late.
    #[must_use]
    pub fn has_lapsed(&self, pool: PoolId, needs: Needs) -> bool {
        self.local(pool)
            .is_some_and(|local| local.pool.has_lapsed(needs, now()))
    }
}

impl Backends {
    /// What may be announced before a recipient is known: see the head of this file.
    #[must_use]
    pub fn announced(&self) -> Capabilities {
        let routed = self.pools().filter(|pool| self.is_routed(pool.id));
        let all = routed.map(|pool| pool.announced()).reduce(|a, b| {
            let both = a.extensions.common(b.extensions);
            let either = (a.extensions | b.extensions).common(Extensions::SMTPUTF8);
            Capabilities {
                extensions: both | either,
                size_max: higher(a.size_max, b.size_max),
                recipients_max: lower(a.recipients_max, b.recipients_max),
                ..Capabilities::default()
            }
        });
        all.unwrap_or(Capabilities {
            extensions: USUAL,
            ..Capabilities::default()
        })
    }
}
