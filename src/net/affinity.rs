//! Which cores this process may use, and pinning a worker to one of them.
//!
//! A container or `taskset` gives a mask, and only that counts: on a 64-core host with a mask of two, there are
//! two workers, on those two cores.

use std::io;

/// The cores that the process was allowed when it asked, in ascending order. Never empty: `[0]` where the kernel
/// does not say.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    // SAFETY: all zeroes is the empty set; the size handed over is that of the set.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return vec![0];
        }
        set
    };
    let cores: Vec<usize> = (0..libc::CPU_SETSIZE.cast_unsigned() as usize)
        // SAFETY: `core` is below CPU_SETSIZE, the number of bits in the set.
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Pins the calling thread to `core`.
///
/// # Errors
/// `EINVAL` where the core does not exist or is not in the mask of the process.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE.cast_unsigned() as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `core` is below CPU_SETSIZE; the size handed over is that of the set.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_is_allowed_its_core_alone() {
        let before = allowed_cores();
        let last = *before.last().expect("never empty");
        std::thread::spawn(move || {
            pin(last).expect("a core of the mask");
            assert_eq!(allowed_cores(), [last]);
            assert!(pin(1_000_000).is_err());
        })
        .join()
        .expect("no panic");
        assert_eq!(allowed_cores(), before, "other threads are left alone");
    }
}
