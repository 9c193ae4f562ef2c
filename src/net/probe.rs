//! Which engine runs the sockets, found out by asking the kernel.
//!
//! Containers often forbid io_uring, and the runtime would panic or leak descriptors on a refusal, so a small ring is
//! tried first and every refusal gets a reason that an operator can act on.

use super::{
    engine::{Engine, EngineRefusal, Setup, is_memory, patiently},
    ring, uring,
};
use crate::config::Io;
use io_uring::{IoUring, Probe, opcode, types};
use std::io;

/// The engine that will run, and why this one: for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The engine.
    pub engine: Engine,
    /// One phrase, without a full stop.
    pub why: String,
}

/// Chooses the engine for the configuration's `io`, asking the kernel where that matters. The rings of all `workers` are
/// built at once for it, because limits (locked memory, descriptors) hold for all of them together.
///
/// # Errors
/// `ring` or `uring` was insisted on and the kernel refuses it: the reason, and what to do.
pub fn probe(io: Io, workers: usize) -> Result<Choice, String> {
    let is_memory = |refusal: &EngineRefusal| is_memory(&refusal.error);
    choose(
        io,
        || {
            let rings = || ring::try_ring().and_then(|()| ring::try_rings(workers));
            patiently(rings, is_memory)
        },
        |setup| {
            let rings = || try_uring(setup).and_then(|()| uring::try_rings(setup, workers));
            patiently(rings, is_memory)
        },
    )
}

fn choose(
    io: Io,
    try_ring: impl Fn() -> Result<(), EngineRefusal>,
    try_uring: impl Fn(Setup) -> Result<(), EngineRefusal>,
) -> Result<Choice, String> {
    let choice = |engine, why: &str| Choice {
        engine,
        why: why.into(),
    };
    match io {
        Io::Epoll => Ok(choice(Engine::Epoll, "the configuration says so")),
        Io::Auto | Io::Ring => match try_ring() {
            Ok(()) => Ok(choice(Engine::Ring, "io_uring is available")),
            Err(refusal) => {
                let why = explain(&refusal, "6.1");
                match io {
                    Io::Ring => Err(insisted("ring", &why)),
                    // Not tokio-uring: epoll costs less than that, whatever the work.
                    _ => Ok(choice(Engine::Epoll, &why)),
                }
            }
        },
        Io::Uring => climb(try_uring),
    }
}

/// The error where this engine is wanted and no other one.
fn insisted(wanted: &str, why: &str) -> String {
    format!("io = \"{wanted}\", but {why}; or set io = \"auto\"")
}

/// tokio-uring with the best flags that this kernel takes.
fn climb(try_uring: impl Fn(Setup) -> Result<(), EngineRefusal>) -> Result<Choice, String> {
    let mut refusal = None;
    for setup in Setup::LADDER {
        match try_uring(setup) {
            Ok(()) => {
                let why = match setup {
                    Setup::Single => "io_uring is available",
                    Setup::Coop => "io_uring is available, without SINGLE_ISSUER (Linux 6.0)",
                    Setup::Plain => "io_uring is available, without COOP_TASKRUN (Linux 5.19)",
                };
                return Ok(Choice {
                    engine: Engine::Uring(setup),
                    why: why.into(),
                });
            }
            // A flag that the kernel doesn't know: the next rung has fewer.
            Err(found) if found.error.raw_os_error() == Some(libc::EINVAL) => refusal = Some(found),
            Err(found) => {
                refusal = Some(found);
                break;
            }
        }
    }
    let why = refusal.map_or_else(String::new, |refusal| explain(&refusal, "5.19"));
    Err(insisted("uring", &why))
}

/// In words that say what to do. `least` is the kernel that has all that is needed.
fn explain(refusal: &EngineRefusal, least: &str) -> String {
    let EngineRefusal { step, error, given } = refusal;
    let reason = reason(step, error, least);
    match given {
        Some((given, workers)) => {
            format!("the kernel gives io_uring to {given} of {workers} workers: {reason}")
        }
        None => reason,
    }
}

fn reason(step: &str, error: &io::Error, least: &str) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            "this kernel has no io_uring, or a seccomp filter hides it (allow the io_uring_* system calls)".into()
        }
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden: a seccomp filter, or the sysctl kernel.io_uring_disabled".into()
        }
        Some(libc::ENOMEM) => {
            format!(
                "it refuses memory for it; raise the limit of locked memory, which is {} (ulimit -l, LimitMEMLOCK)",
                locked_memory()
            )
        }
        Some(libc::EMFILE | libc::ENFILE) => "no descriptor is left for io_uring (ulimit -n)".into(),
        Some(libc::EINVAL | libc::EOPNOTSUPP) => {
            format!("this kernel's io_uring is too old ({step}; Linux {least} is needed)")
        }
        _ => format!("io_uring failed at {step}: {error}"),
    }
}

/// The limit of locked memory, in words.
fn locked_memory() -> String {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    match limit.current {
        Some(octets) => format!("{} KiB", octets / 1024),
        None => "unlimited".into(),
    }
}

/// Builds a small ring and tries what tokio-uring and we on it depend on; the ring is gone when this returns.
fn try_uring(setup: Setup) -> Result<(), EngineRefusal> {
    let refuse = |step| move |error| EngineRefusal::new(step, error);
    let mut builder = IoUring::builder();
    setup.apply(&mut builder);
    let mut ring: IoUring = builder.build(8).map_err(refuse("setup"))?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(refuse("probe"))?;
    let needed = [
        opcode::Accept::CODE,
        opcode::AsyncCancel::CODE,
        opcode::PollAdd::CODE,
        opcode::Send::CODE,
    ];
    if !needed.into_iter().all(|code| probe.is_supported(code)) {
        let error = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
        return Err(EngineRefusal::new("socket operations", error));
    }
    // Stopping a listener cancels by descriptor, which came last (5.19). Nothing is there to be cancelled: ENOENT.
    let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fd(0))).build();
    // SAFETY: the entry refers to no memory.
    let pushed = unsafe { ring.submission().push(&cancel) };
    pushed.expect("a fresh ring of eight has room for one");
    ring.submit_and_wait(1).map_err(refuse("submit"))?;
    match ring.completion().next().map_or(0, |done| done.result()) {
        result if result == -libc::EINVAL => {
            let error = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            Err(EngineRefusal::new("cancel by descriptor", error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::net::engine::try_all;

    fn refusal(errno: i32) -> EngineRefusal {
        EngineRefusal::new("setup", io::Error::from_raw_os_error(errno))
    }

    fn choose_refused(io: Io, errno: i32) -> Result<Choice, String> {
        choose(io, || Err(refusal(errno)), |_| Err(refusal(errno)))
    }

    #[test]
    fn each_refusal_has_a_reason_an_operator_can_act_on() {
        for (errno, word) in [
            (libc::EPERM, "seccomp"),
            (libc::ENOSYS, "no io_uring"),
            (libc::ENOMEM, "LimitMEMLOCK"),
            (libc::EINVAL, "is needed"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EIO, "setup"),
        ] {
            let choice = choose_refused(Io::Auto, errno).unwrap();
            assert_eq!(choice.engine, Engine::Epoll);
            assert!(choice.why.contains(word), "{}", choice.why);
            for io in [Io::Ring, Io::Uring] {
                let error = choose_refused(io, errno).unwrap_err();
                assert!(error.contains(word) && error.contains("auto"), "{error}");
                assert!(error.contains(&format!("\"{io}\"")), "{error}");
            }
        }
        let old = choose_refused(Io::Ring, libc::EINVAL).unwrap_err();
        assert!(old.contains("6.1"), "{old}");
        let old = choose_refused(Io::Uring, libc::EINVAL).unwrap_err();
        assert!(old.contains("5.19"), "{old}");
    }

    #[test]
    fn a_limit_that_holds_for_all_workers_is_told() {
        let room = std::cell::Cell::new(5);
        let build = || match room.replace(room.get() - 1) {
            0 => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
            _ => Ok(()),
        };
        let all = |workers| {
            room.set(5);
            choose(Io::Auto, || try_all(workers, build), |_| unreachable!()).unwrap()
        };
        assert_eq!(all(5).engine, Engine::Ring);
        let less = all(6);
        assert_eq!(less.engine, Engine::Epoll);
        for word in ["5 of 6 workers", "LimitMEMLOCK"] {
            assert!(less.why.contains(word), "{}", less.why);
        }
    }

    #[test]
    fn each_engine_asks_for_what_it_needs_itself() {
        let choice = choose(Io::Epoll, || unreachable!(), |_| unreachable!()).unwrap();
        assert_eq!(choice.engine, Engine::Epoll);
        for io in [Io::Auto, Io::Ring] {
            let choice = choose(io, || Ok(()), |_| unreachable!()).unwrap();
            assert_eq!(choice.engine, Engine::Ring);
        }
    }

    #[test]
    fn an_old_kernel_gets_fewer_flags() {
        for best in Setup::LADDER {
            let try_uring = |setup| match setup == best {
                true => Ok(()),
                false => Err(refusal(libc::EINVAL)),
            };
            let choice = choose(Io::Uring, || unreachable!(), try_uring);
            assert_eq!(choice.unwrap().engine, Engine::Uring(best));
        }
    }

    #[test]
    fn the_real_kernel_gives_an_answer_and_keeps_no_descriptor() {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = count();
        for _ in 0..10 {
            println!("{:?}", probe(Io::Auto, 3).unwrap());
            println!("{:?}", probe(Io::Uring, 3));
        }
        assert!(count() <= before + 1);
    }
}
