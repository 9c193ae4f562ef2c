//! What a backend has shown of itself without announcing it.

use crate::smtp::Tick;
use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How long a limit that a backend has shown, but doesn't announce, is kept.
const LEARNED_FOR: Duration = Duration::from_secs(3600);

/// How many recipients of one message a backend took before it said 452 4.5.3 (RFC 5321 §4.5.3.1.10). Most servers with
/// such a limit don't announce it, so it is learned from the first message that runs into it.
#[derive(Debug, Default)]
pub struct LearnedLimit {
    recipients: AtomicU32,
    until: AtomicU64,
}

impl LearnedLimit {
    /// It took so many and no more.
    pub fn learn(&self, recipients: u32, now: Tick) {
        self.recipients.store(recipients, Relaxed);
        self.until.store(now.after(LEARNED_FOR).0, Relaxed);
    }

    /// The limit; 0: none is known.
    #[must_use]
    pub fn get(&self, now: Tick) -> u32 {
        match self.until.load(Relaxed) {
            until if now.0 < until => self.recipients.load(Relaxed),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_for_an_hour() {
        let limit = LearnedLimit::default();
        assert_eq!(limit.get(Tick(0)), 0);
        limit.learn(2, Tick(5));
        assert_eq!(limit.get(Tick(6)), 2);
        assert_eq!(limit.get(Tick(6).after(LEARNED_FOR)), 0);
    }
}
