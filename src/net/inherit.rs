//! What the process got from its parent: listening sockets (`sd_listen_fds(3)`) and capabilities.

use super::listener::Bound;
use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// The sockets that a service manager listens on for us, each with its name (`FileDescriptorName=`). They are given out
/// once; a second call finds none.
///
/// # Errors
/// What was passed is no listening TCP socket, or the variables that tell of it are nonsense.
pub fn inherited() -> io::Result<Vec<(String, Bound)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Relaxed) {
        return Ok(Vec::new());
    }
    sd_notify::listen_fds_with_names()?
        .map(|(fd, name)| {
            // SAFETY: the descriptor is open (its flags have just been set), and ours alone: the manager passed it to
            // this very process (LISTEN_PID), and this process takes it only once.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            // As for those that we bind ourselves; inherited by what is accepted.
            socket2::SockRef::from(&fd).set_tcp_nodelay(true)?;
            let bound = Bound::from_fd(fd).map_err(|why| {
                io::Error::new(
                    why.kind(),
                    format!("the inherited socket \"{name}\": {why}"),
                )
            })?;
            Ok((name, bound))
        })
        .collect()
}

/// Has this process, and programs that it starts, ignore the signals by which an operator speaks to the service or ends
/// it. SIGKILL stays.
pub fn ignore_signals() {
    use libc::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    for signal in [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        // SAFETY: to ignore a signal installs no handler; the numbers are those of signals that can be ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives up every capability, of this thread and those that it starts.
///
/// # Errors
/// The kernel's.
pub fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    /// Version 3: two sets of 32 bits each (capset(2)).
    const VERSION: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    // Effective, permitted, inheritable, twice.
    let none = [0_u32; 6];
    // SAFETY: prctl takes numbers alone; capset reads a header and, for this version, two sets of three words, which
    // live until it returns.
    let result = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        );
        libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr())
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
