//! Whether a backend answers each command once.
//!
//! One that answers MAIL twice (a faulty filter does) shifts all replies: its yes to RCPT is then taken for its yes to a
//! message that it refuses. Where a body goes by DATA, 354 in its place shows that nothing has shifted. Where it goes by BDAT,
//! all the replies before the end of the body are alike. So of each backend one yes to the end of a body by BDAT is confirmed
//! before it is believed ([`Lease::audit`]), and again after [`HOLDS`]; and one that was found to say more than it was asked
//! gets its bodies by DATA from then on. While one message is on its way to be confirmed, the others go by DATA. A
//! backend whose yes could not be confirmed gets its bodies by DATA for as long as [`HOLDS`].
//!
//! [`Lease::audit`]: super::lease::Lease::audit

use crate::smtp::{Tick, reply_parse::ReplyHead};
use std::{
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

/// What was confirmed is believed for so long: a backend may get another filter at any time.
const HOLDS: Duration = Duration::from_secs(600);

/// What one backend has shown, over all connections.
#[derive(Debug, Default)]
pub struct InStep {
    /// Until when a yes is believed, in ticks.
    until: AtomicU64,
    /// Until when bodies go by DATA because a yes could not be confirmed, in ticks.
    unconfirmed_until: AtomicU64,
    /// A yes with a status of addresses was confirmed.
    speaks_of_addresses: AtomicBool,
    /// It has said more than it was asked.
    lost: AtomicBool,
    /// A message is under way whose yes will be confirmed.
    confirming: AtomicBool,
}

impl InStep {
    /// Whether a yes to the end of a body by BDAT is believed, of a message that began at this moment.
    #[must_use]
    pub fn trusts(&self, yes: ReplyHead, begun: Tick) -> bool {
        self.is_confirmed(begun)
            && (!is_of_addresses(yes) || self.speaks_of_addresses.load(Relaxed))
    }

    /// Whether a yes was confirmed of late.
    #[must_use]
    pub fn is_confirmed(&self, now: Tick) -> bool {
        // Another worker may have found out meanwhile, and before the other one's question was answered.
        !self.is_lost() && now.0 < self.until.load(Relaxed)
    }

    /// Whether the yes to this message is the one to be confirmed: one at a time, since a backend that can't be asked leaves each
    /// such message in doubt. To be given back with [`InStep::release`].
    #[must_use]
    pub fn claim(&self) -> bool {
        !self.confirming.swap(true, SeqCst)
    }

    /// The message is over.
    pub fn release(&self) {
        self.confirming.store(false, SeqCst);
    }

    /// Such a yes was confirmed.
    pub fn confirmed(&self, yes: ReplyHead, now: Tick) {
        self.until.fetch_max(now.after(HOLDS).0, Relaxed);
        if is_of_addresses(yes) {
            self.speaks_of_addresses.store(true, Relaxed);
        }
    }

    /// A yes could not be confirmed: that proves nothing, and by BDAT the next one might be in doubt for the same reason.
    pub fn unconfirmed(&self, now: Tick) {
        self.unconfirmed_until
            .fetch_max(now.after(HOLDS).0, Relaxed);
    }

    /// Whether bodies are to go by DATA also where it offers CHUNKING.
    #[must_use]
    pub fn wants_data(&self, now: Tick) -> bool {
        self.is_lost() || now.0 < self.unconfirmed_until.load(Relaxed)
    }

    /// It has said more than it was asked. True the first time.
    pub fn lose(&self) -> bool {
        !self.lost.swap(true, SeqCst)
    }

    /// Whether it ever has.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Relaxed)
    }
}

/// Whether a status is one of addresses (RFC 3463 §3.2): 2.1.0 and 2.1.5 are what MAIL and RCPT are answered with. A few
/// servers answer the end of a body so, too.
#[must_use]
pub fn is_of_addresses(yes: ReplyHead) -> bool {
    yes.status.1 == 1
}

/// Whether what a backend says unasked only takes leave: 421 (RFC 5321 §3.8), as far as it has come.
#[must_use]
pub fn is_farewell(octets: &[u8]) -> bool {
    octets.starts_with(&b"421"[..octets.len().min(3)])
}

/// Whether that is less than a code: only the rest tells whether it takes leave, or refuses the message (`451`).
#[must_use]
pub fn is_cut_short(octets: &[u8]) -> bool {
    matches!(octets, b"4" | b"42")
}

/// Whether what a backend says after its yes to the end of a body may be what it makes of the message: a refusal, but not one
/// that is about a command (500, 502, 503: RFC 5321 §4.2.1), as far as it has come.
#[must_use]
pub fn may_be_refusal(octets: &[u8]) -> bool {
    let is_refusal = |line: &[u8]| {
        let code = &line[..line.len().min(3)];
        matches!(code.first(), Some(b'4' | b'5'))
            && code.iter().all(u8::is_ascii_digit)
            && !matches!(code, b"500" | b"502" | b"503")
    };
    octets.split(|octet| *octet == b'\n').any(is_refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Status;

    const QUEUED: ReplyHead = ReplyHead {
        code: 250,
        status: Status(2, 0, 0),
    };
    const RECIPIENT: ReplyHead = ReplyHead {
        code: 250,
        status: Status(2, 1, 5),
    };

    #[test]
    fn what_was_confirmed_is_believed_for_some_minutes() {
        let (in_step, start) = (InStep::default(), Tick(1));
        assert!(!in_step.trusts(QUEUED, start));
        in_step.confirmed(QUEUED, start);
        assert!(in_step.trusts(QUEUED, start));
        assert!(!in_step.trusts(QUEUED, start.after(HOLDS)));
    }

    #[test]
    fn a_yes_that_looks_like_the_one_to_rcpt_is_confirmed_once_more() {
        let (in_step, start) = (InStep::default(), Tick(1));
        in_step.confirmed(QUEUED, start);
        assert!(!in_step.trusts(RECIPIENT, start));
        in_step.confirmed(RECIPIENT, start);
        assert!(in_step.trusts(RECIPIENT, start));
    }

    #[test]
    fn one_that_said_too_much_is_not_believed_again() {
        let (in_step, start) = (InStep::default(), Tick(1));
        in_step.confirmed(QUEUED, start);
        assert!(in_step.lose() && !in_step.lose());
        assert!(in_step.is_lost() && !in_step.trusts(QUEUED, start));
        // Another worker had asked before.
        in_step.confirmed(QUEUED, start);
        assert!(!in_step.trusts(QUEUED, start));
        assert!(in_step.wants_data(start.after(2 * HOLDS)));
    }

    #[test]
    fn one_yes_is_confirmed_at_a_time() {
        let in_step = InStep::default();
        assert!(in_step.claim() && !in_step.claim());
        in_step.release();
        assert!(in_step.claim());
    }

    #[test]
    fn one_that_could_not_be_asked_gets_data_for_some_minutes() {
        let (in_step, start) = (InStep::default(), Tick(1));
        assert!(!in_step.wants_data(start));
        in_step.unconfirmed(start);
        assert!(in_step.wants_data(start) && !in_step.is_lost());
        assert!(!in_step.wants_data(start.after(HOLDS)));
    }

    #[test]
    fn only_a_refusal_that_may_be_of_the_message_casts_doubt_on_a_yes() {
        for (octets, doubt) in [
            (&b"554 5.7.1 spam\r\n"[..], true),
            (b"451-4.7.1 later\r\n451 4.7.1 later\r\n", true),
            (b"5", true),
            (b"50", true),
            (b"500 5.5.1 bad command\r\n554 spam\r\n", true),
            (b"\r\n554 spam\r\n", true),
            (b"250 ok\r\n550 no\r\n", true),
            (b"500 5.5.1 bad command\r\n", false),
            (b"502 what\r\n", false),
            (b"503 5.5.1 what\r\n", false),
            (b"\r\n", false),
            (b"250 ok\r\n", false),
            (b"5 messages of yours\r\n", false),
            (b"hello\r\n", false),
        ] {
            assert_eq!(may_be_refusal(octets), doubt, "{octets:?}");
        }
    }

    #[test]
    fn only_a_421_is_a_farewell() {
        for (octets, farewell) in [
            (&b"4"[..], true),
            (b"421 4.3.2 closing\r\n", true),
            (b"42", true),
            (b"422 no\r\n", false),
            (b"5", false),
            (b"250 2.1.5 ok\r\n", false),
        ] {
            assert_eq!(is_farewell(octets), farewell, "{octets:?}");
            assert_eq!(is_cut_short(octets), farewell && octets.len() < 3);
        }
    }
}
