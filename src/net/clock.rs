//! The clock: the only place in the house, beside the admin's, that asks what time it is.

use crate::smtp::tick::Tick;

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
}
