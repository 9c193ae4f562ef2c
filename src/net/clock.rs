//! The clocks of the process.
//!
//! Ticks come from a clock that nothing sets. The calendar is the system's, except where that is known to be wrong: a machine
//! without a clock of its own may begin with 1970, until it has learned the time from the network. Before that the calendar
//! goes on from the last time that is known ([`calendar_from`]): nothing that was noted under it is over then, nor lies in the
//! future.
//!
//! Only a time before 2020 is known to be wrong. Many machines without a clock begin with the time at which their system was
//! built or last ran, which no program can tell from the truth; systemd's `time-sync.target` waits for the right one.
//!
//! Rooms that don't know this one take the system's time as it is: `log`, `tls` and `metrics` below it, `admin` in the times of
//! its intervals, and `acme` and `auth`, which hold it against the times that others have written in certificates and tokens. So
//! does what only names a file by it.

use crate::smtp::tick::Tick;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

/// The beginning of 2020, in microseconds since 1970: a clock that says less is certainly not set.
const EARLIEST: u64 = 1_577_836_800_000_000;

/// What the calendar says at tick 0 where the system's clock is not set.
static KNOWN: AtomicU64 = AtomicU64::new(EARLIEST);

/// This moment, in microseconds of `CLOCK_MONOTONIC`: the same scale in every thread of the process.
///
/// Read through the vDSO (some 25 ns, no system call).
#[must_use]
pub fn now() -> Tick {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the call to write to; CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Tick(time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_nsec.cast_unsigned() / 1000)
}

/// The calendar's time of this moment, in microseconds since 1970.
#[must_use]
pub fn calendar(now: Tick) -> u64 {
    told(system(), KNOWN.load(Relaxed), now)
}

/// Whether the calendar is the system's: that is not known to be wrong.
#[must_use]
pub fn calendar_is_set() -> bool {
    is_set(system())
}

/// It was this time already, in microseconds since 1970: the calendar goes on from there while the system's clock is not set.
pub fn calendar_from(time: u64) {
    KNOWN.store(time.max(EARLIEST).saturating_sub(now().0), Relaxed);
}

fn system() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

fn is_set(system: u64) -> bool {
    system >= EARLIEST
}

fn told(system: u64, known: u64, now: Tick) -> u64 {
    match is_set(system) {
        true => system,
        false => known.saturating_add(now.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let mut last = now();
        assert_ne!(last, Tick::default());
        for _ in 0..1000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn a_clock_that_is_not_set_stops_no_calendar() {
        const NOW: u64 = 1_800_000_000_000_000;
        for (system, told_at) in [
            (NOW, [NOW, NOW]),
            (EARLIEST, [EARLIEST, EARLIEST]),
            (0, [NOW + 7, NOW + 1_000_007]),
            (EARLIEST - 1, [NOW + 7, NOW + 1_000_007]),
        ] {
            let ticks = [Tick(7), Tick(1_000_007)];
            assert_eq!(
                ticks.map(|tick| told(system, NOW, tick)),
                told_at,
                "{system}"
            );
        }
    }
}
