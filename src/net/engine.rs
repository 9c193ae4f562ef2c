//! The engines by name, what stands in the way of one, and the patience with a kernel that is short of memory.

use std::{fmt, io, thread, time::Duration};

/// How often memory that is refused is asked for again, and how long after: two seconds in all.
const MEMORY_TRIES: u32 = 40;
const MEMORY_PAUSE: Duration = Duration::from_millis(50);

/// An I/O engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// INV-ENGINE
pub enum Engine {
    /// tokio's current-thread runtime.
    Epoll,
    /// tokio-uring, with what the kernel offers.
    Uring(Setup),
    /// The bare ring: our own loop on io_uring.
    Ring,
}

/// How a ring is set up: the best that this kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// `COOP_TASKRUN` and `SINGLE_ISSUER` (Linux 6.0).
    Single,
    /// `COOP_TASKRUN` alone (Linux 5.19).
    Coop,
    /// No flags.
    Plain,
}

impl Setup {
    /// From the best to the plainest.
    pub const LADDER: [Setup; 3] = [Setup::Single, Setup::Coop, Setup::Plain];

    /// Sets the flags.
    pub(super) fn apply(self, builder: &mut io_uring::Builder) {
        if self != Setup::Plain {
            builder.setup_coop_taskrun();
        }
        if self == Setup::Single {
            builder.setup_single_issuer();
        }
    }
}

impl Engine {
    /// `"ring"`, `"uring"` or `"epoll"`, as in the configuration and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Epoll => "epoll",
            Engine::Uring(_) => "uring",
            Engine::Ring => "ring",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Tries again for a while where memory is refused: the kernel takes its time to give back that of rings which were let go,
/// by an attempt before this one or by a process that has just ended.
pub(super) fn patiently<T, E>(
    attempt: impl Fn() -> Result<T, E>,
    is_memory: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 0..MEMORY_TRIES {
        match attempt() {
            Err(why) if is_memory(&why) => thread::sleep(MEMORY_PAUSE),
            outcome => return outcome,
        }
    }
    attempt()
}

/// Whether the kernel refused memory.
pub(super) fn is_memory(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOMEM)
}

/// What stands in the way of io_uring.
#[derive(Debug)]
pub(super) struct EngineRefusal {
    /// What was asked of the kernel.
    pub(super) step: &'static str,
    pub(super) error: io::Error,
    /// How many of the workers' rings the kernel gave, and how many were wanted: where one works, but not all do.
    pub(super) given: Option<(usize, usize)>,
}

impl EngineRefusal {
    /// What a single ring met.
    pub(super) fn new(step: &'static str, error: io::Error) -> EngineRefusal {
        EngineRefusal {
            step,
            error,
            given: None,
        }
    }
}

/// Builds the rings of all workers with `build`, and lets them go again: the first that the kernel refuses.
pub(super) fn try_all<T>(
    workers: usize,
    build: impl Fn() -> io::Result<T>,
) -> Result<(), EngineRefusal> {
    let mut held = Vec::new();
    for given in 0..workers {
        held.push(build().map_err(|error| EngineRefusal {
            step: "setup",
            error,
            given: Some((given, workers)),
        })?);
    }
    Ok(())
}
