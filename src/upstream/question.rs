//! Whether a backend can be asked about recipients: whether it takes MAIL from the pool's `verify_sender`.

use super::reply::BackendReply;
use crate::smtp::Tick;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A backend's refusal of our questions, if it has refused them.
#[derive(Debug, Default)]
pub struct QuestionSender {
    /// When it refused MAIL last, in ticks; 0 where it takes it, or has not been asked.
    refused_at: AtomicU64,
    /// In which words. Locked only when that changes, or when an operator asks.
    said: Mutex<Option<BackendReply>>,
}

impl QuestionSender {
    /// It refuses MAIL. True where it did not before.
    pub fn refused(&self, said: &BackendReply, now: Tick) -> bool {
        let before = self.refused_at.swap(now.0.max(1), Relaxed);
        let mut kept = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(said.clone());
        before == 0
    }

    /// It takes MAIL. True where it did not before.
    pub fn accepted(&self) -> bool {
        if self.refused_at.load(Relaxed) == 0 || self.refused_at.swap(0, Relaxed) == 0 {
            return false;
        }
        let mut kept = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().is_some()
    }

    /// Whether it has refused MAIL within this time.
    #[must_use]
    pub fn refused_within(&self, now: Tick, time: Duration) -> bool {
        let at = self.refused_at.load(Relaxed);
        at != 0 && now.since(Tick(at)) < time
    }

    /// What it said where it refuses MAIL.
    #[must_use]
    pub fn refusal(&self) -> Option<BackendReply> {
        let kept = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{Status, reply_parse::ReplyHead};

    #[test]
    fn each_change_is_told_once() {
        let sender = QuestionSender::default();
        let head = ReplyHead {
            code: 554,
            status: Status(5, 7, 1),
        };
        let said = BackendReply::new(head, "no bounces here");
        let minute = Duration::from_secs(60);
        assert!(!sender.accepted());
        assert!(sender.refused(&said, Tick(0)));
        assert!(!sender.refused(&said, Tick(5)));
        assert_eq!(sender.refusal(), Some(said));
        assert!(sender.refused_within(Tick(6), minute));
        assert!(!sender.refused_within(Tick(70_000_000), minute));
        assert!(sender.accepted());
        assert!(!sender.accepted());
        assert_eq!(sender.refusal(), None);
        assert!(!sender.refused_within(Tick(6), minute));
    }
}
