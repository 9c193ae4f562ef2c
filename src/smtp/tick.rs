//! Time as the core sees it: a number that the shell passes in.
//!
//! The core reads no clock (INV-PURE), so every machine that has a deadline is given the
//! moment with each step and says the moment at which it wants to be called again.

use std::time::Duration;

/// A moment: microseconds of a monotonic clock since a point that is the same for the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
// INV-PURE
pub struct Tick(pub u64);

impl Tick {
    /// A moment that never comes: "no deadline".
    pub const FAR: Tick = Tick(u64::MAX);

    /// The moment `wait` after this one; saturates at [`Tick::FAR`].
    #[must_use]
    pub fn after(self, wait: Duration) -> Tick {
        Tick(
            self.0
                .saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// The time from `earlier` to this moment; zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds from `earlier` to this moment; zero where `earlier` is later.
    #[must_use]
    pub fn micros_since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
