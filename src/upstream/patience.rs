//! How long a question about a recipient waits for one backend of a pool, and when one that doesn't answer is silent.
//!
//! A question has the time that a client waits for its reply. One backend may have all of it only where no other one is left
//! to be asked: else the next one would never be asked after one that hangs.

use super::{
    ids::BackendId,
    pool::Pool,
    select::Needs,
    silence::{SILENT_AFTER, USUAL_TIMES},
};
use crate::smtp::Tick;
use std::time::Duration;

/// A question waits so long for one backend while another one is left; longer where the pool's backends are usually slow to
/// answer (a tarpit for guesses).
const PATIENCE: Duration = Duration::from_secs(10);

impl Pool {
    /// What answers usually take at the slowest of its backends, times four.
    fn usual_answer(&self) -> Duration {
        let usual = self.backends.iter().map(|b| b.answers.silence.usual());
        usual.max().unwrap_or_default() * USUAL_TIMES
    }

    /// The least time after which a backend of it may be silent over questions.
    #[must_use]
    pub fn unanswered_after(&self) -> Duration {
        self.silent_after().max(self.usual_answer())
    }

    /// Whether a wait in vain for an answer was so long that it says something of the backend.
    #[must_use]
    pub fn is_hang(&self, waited: Duration) -> bool {
        waited >= SILENT_AFTER.max(self.usual_answer())
    }

    /// Until when a question waits for this backend: half of what is left, and no longer than [`PATIENCE`], where one that is
    /// well and answers is left beside those that were `tried`.
    #[must_use]
    pub fn answer_due(
        &self,
        backend: BackendId,
        tried: &[BackendId],
        needs: Needs,
        now: Tick,
        deadline: Tick,
    ) -> Tick {
        let (patience, after) = (self.silent_after(), self.unanswered_after());
        let is_left = self.backends.iter().any(|other| {
            other.id != backend
                && !tried.contains(&other.id)
                && self.fits(other, needs)
                && !other.health.is_ejected()
                && !other.silence.is_silent(now, patience)
                && !other.answers.silence.is_silent(now, after)
        });
        if !is_left {
            return deadline;
        }
        let half = now.after(deadline.since(now) / 2);
        now.after(PATIENCE.max(self.usual_answer())).min(half)
    }
}
