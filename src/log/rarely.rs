//! A limit on lines of the service that a client can cause: a source of passwords that is down is worth some lines, not one
//! for each of ten thousand logins.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

/// Lines of one place in a minute.
const LINES_MAX: u64 = 10;

/// The lines of one place in the code; keep it in a `static`.
#[derive(Debug, Default)]
pub struct Rarely {
    /// The minute that is counted, and lines in it. Threads that race count a line too many or too few.
    minute: AtomicU64,
    lines: AtomicU64,
}

impl Rarely {
    /// Nothing was said yet.
    #[must_use]
    pub const fn new() -> Rarely {
        Rarely {
            minute: AtomicU64::new(0),
            lines: AtomicU64::new(0),
        }
    }

    /// Whether one more line may be written, and how many were held back in the last minute that had any: a remark for the
    /// end of the line, mostly empty.
    pub fn admits(&self) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.admits_at(now.map_or(0, |now| now.as_secs() / 60))
    }

    fn admits_at(&self, minute: u64) -> Option<String> {
        if self.minute.swap(minute, Relaxed) != minute {
            let before = self.lines.swap(1, Relaxed);
            return Some(match before.saturating_sub(LINES_MAX) {
                0 => String::new(),
                held => format!(" ({held} lines like this one were held back)"),
            });
        }
        (self.lines.fetch_add(1, Relaxed) < LINES_MAX).then(String::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_a_few_lines_a_minute_and_says_how_many_it_had() {
        let place = Rarely::new();
        let said = (0..1000).filter_map(|_| place.admits_at(7)).count();
        assert_eq!(said as u64, LINES_MAX);
        let next = place.admits_at(8).expect("a new minute");
        assert_eq!(next, " (990 lines like this one were held back)");
        assert_eq!(place.admits_at(8), Some(String::new()));
        assert_eq!(
            place.admits_at(9),
            Some(String::new()),
            "none was held back"
        );
    }
}
