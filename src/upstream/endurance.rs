//! How many messages a backend takes on one connection, as far as it has shown.
//!
//! Some close a connection after each message, or after 20, and show it only at the next MAIL. Where the body went ahead of
//! the reply to that, nobody can know whether the message was taken. So a body waits for the replies where the backend has
//! not shown that it takes so many, which is a send and a receive more.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A backend that has taken so many messages on one connection is taken to set no limit to them. Above what the mail
/// servers have that close at a limit unannounced (Exim's `smtp_accept_max_per_connection` is 1000).
const KEEPS_ALL: u32 = 1024;
/// One that has taken more than this is expected to close only after a round number, for limits are set by people. One that
/// closes elsewhere costs one message in doubt; then it is known.
const KEEPS_ODD: u32 = 100;

/// What it has shown, over all connections.
#[derive(Debug, Default)]
pub struct Endurance {
    /// So many it has taken on one.
    kept: AtomicU32,
    /// It has closed one instead of taking its message of this number; 0: never.
    closed_at: AtomicU32,
}

impl Endurance {
    /// Whether a connection can be relied on to carry its message of this number (the first is 1).
    #[must_use]
    pub fn keeps(&self, message: u32) -> bool {
        let kept = self.kept.load(Relaxed);
        if message <= kept || kept >= KEEPS_ALL {
            return true;
        }
        // A tenth one is the first that a limit below ten refuses, an eleventh the first that a limit of ten does.
        let after_round = matches!(message % 10, 0 | 1);
        // Where it has closed one, that counts until it has taken more than then.
        let closed_at = self.closed_at.load(Relaxed);
        kept >= KEEPS_ODD && !after_round && (closed_at == 0 || kept >= closed_at)
    }

    /// The backend has taken this many on one connection.
    pub fn has_kept(&self, messages: u32) {
        if self.kept.load(Relaxed) < messages {
            self.kept.fetch_max(messages, Relaxed);
        }
    }

    /// It has closed one instead of taking its message of this number.
    pub fn has_closed_at(&self, message: u32) {
        self.kept.fetch_min(message.saturating_sub(1), Relaxed);
        self.closed_at.store(message, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_relied_on_for_what_was_shown() {
        let endurance = Endurance::default();
        assert!(!endurance.keeps(1));
        for taken in 1..=KEEPS_ODD {
            assert!(!endurance.keeps(taken), "{taken}");
            endurance.has_kept(taken);
            assert!(endurance.keeps(taken));
        }
        let careful: Vec<u32> = (101..=130).filter(|n| !endurance.keeps(*n)).collect();
        assert_eq!(careful, [101, 110, 111, 120, 121, 130]);
        endurance.has_kept(KEEPS_ALL);
        assert!(endurance.keeps(KEEPS_ALL + 7));
    }

    #[test]
    fn one_that_has_closed_is_relied_on_for_no_more_than_it_took_since() {
        let endurance = Endurance::default();
        endurance.has_kept(180);
        assert!(endurance.keeps(187));
        endurance.has_closed_at(187);
        assert!(endurance.keeps(180) && !endurance.keeps(187) && !endurance.keeps(188));
        endurance.has_kept(187);
        assert!(
            endurance.keeps(188),
            "it has taken the one that it once didn't"
        );
        endurance.has_closed_at(21);
        assert!(endurance.keeps(20) && !endurance.keeps(21));
        endurance.has_kept(25);
        assert!(endurance.keeps(25) && !endurance.keeps(26));
    }
}
