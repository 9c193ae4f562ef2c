//! The signals: which ones mean something, and that no other one ends the process.

use super::{RunError, unavailable};
use libc::{SIGPWR, SIGRTMAX, SIGRTMIN, SIGSTKFLT, SIGXCPU};
use signal_hook::{
    consts::{
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM,
        SIGXFSZ,
    },
    flag,
};
use std::sync::{Arc, atomic::AtomicBool};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that end a process which doesn't catch them, and mean nothing here. `SIGXFSZ` comes with a write beyond
/// `ulimit -f`, which then fails as on a full disk; `SIGXCPU` with the soft limit of `ulimit -t`.
const UNUSED: [i32; 7] = [
    SIGXFSZ, SIGXCPU, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT,
];

/// All of those, and the real-time signals, which end a process as well.
fn unused() -> impl Iterator<Item = i32> {
    UNUSED.into_iter().chain(SIGRTMIN()..=SIGRTMAX())
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Load the configuration again.
    Reload,
    /// Drain, then end; the second one ends at once. The signal's name.
    End(&'static str),
    /// Nothing. The signal's name.
    Nothing(&'static str),
}

/// The signals that the control loop obeys, caught from the moment that this is made and kept until the loop asks.
pub struct Signals {
    hangup: Signal,
    unused: [(Signal, &'static str); 3],
    ends: Option<[(Signal, &'static str); 3]>,
}

fn catch(number: i32) -> Result<Signal, RunError> {
    signal(SignalKind::from_raw(number))
        .map_err(|why| unavailable(format!("no signal handler: {why}")))
}

impl Signals {
    /// Catches all but those that ask for the end: until there is something to drain, they may end the process as they
    /// do without a handler. Errors: no handler can be had.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn catch() -> Result<Signals, RunError> {
        for number in unused() {
            // What it sets is never read: the handler is what keeps the process alive. A tool that the process runs under
            // may keep a real-time signal for itself (valgrind does), and then it can't end us.
            let _ = flag::register(number, Arc::new(AtomicBool::new(false)));
        }
        Ok(Signals {
            hangup: catch(SIGHUP)?,
            unused: [
                (catch(SIGUSR1)?, "SIGUSR1"),
                (catch(SIGUSR2)?, "SIGUSR2"),
                (catch(SIGALRM)?, "SIGALRM"),
            ],
            ends: None,
        })
    }

    /// Catches those that ask for the end as well. Call it before anything shows that the process is up.
    ///
    /// # Errors
    /// No handler can be had.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn catch_ends(&mut self) -> Result<(), RunError> {
        self.ends = Some([
            (catch(SIGTERM)?, "SIGTERM"),
            (catch(SIGINT)?, "SIGINT"),
            (catch(SIGQUIT)?, "SIGQUIT"),
        ]);
        Ok(())
    }

    /// The next one. Safe to drop while it waits.
    pub(super) async fn next(&mut self) -> Wanted {
        let [one, two, three] = &mut self.unused;
        let ends = async {
            match &mut self.ends {
                None => std::future::pending().await,
                Some([terminate, interrupt, quit]) => tokio::select! {
                    _ = terminate.0.recv() => terminate.1,
                    _ = interrupt.0.recv() => interrupt.1,
                    _ = quit.0.recv() => quit.1,
                },
            }
        };
        tokio::select! {
            _ = self.hangup.recv() => Wanted::Reload,
            name = ends => Wanted::End(name),
            _ = one.0.recv() => Wanted::Nothing(one.1),
            _ = two.0.recv() => Wanted::Nothing(two.1),
            _ = three.0.recv() => Wanted::Nothing(three.1),
        }
    }
}
