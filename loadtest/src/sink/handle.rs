//! Starting and stopping a sink, from the command line or in process.

use super::{
    behaviour::{Behaviour, Changes},
    control,
    counters::Count,
    plan::{Fixed, Tls},
    save::Saver,
    shared::Shared,
    summary::Summary,
    thread::{self, Running, Start},
};
use crate::{
    ledger::Tally,
    stamp::RunId,
    tls::{self, Identity, KeyKind, Mode},
};
use gatepost::{
    config::Io,
    net::{self, BindOptions, Bound, now},
};
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// Connections that the kernel queues for a listener.
const BACKLOG: u32 = 4096;

/// What a sink is started with. The default listens on a free port of the loopback with one worker.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// LMTP (RFC 2033) instead of SMTP.
    pub lmtp: bool,
    /// Threads; each has its own socket on each address.
    pub workers: usize,
    /// The cores they are pinned to, in turns; empty leaves that to the kernel.
    pub cores: Vec<usize>,
    /// The engine.
    pub io: Io,
    /// Where the control port listens; `None`: there is none.
    pub control: Option<SocketAddr>,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// What the dice are made of: the same seed, connection by connection, throws the same.
    pub seed: u64,
    /// The name in the greeting.
    pub hostname: String,
    /// A Maildir to save messages in, and how many at most.
    pub save: Option<(PathBuf, u64)>,
    /// When TLS begins.
    pub tls: Mode,
    /// The certificate's chain and its key, in PEM; one that signs itself is made where there is none.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            lmtp: false,
            workers: 1,
            cores: Vec::new(),
            io: Io::Auto,
            control: None,
            behaviour: Behaviour::default(),
            seed: 0,
            hostname: "sink.example".into(),
            save: None,
            tls: Mode::None,
            certificate: None,
        }
    }
}

/// A running sink. Dropping it stops it.
pub struct Handle {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    control: Option<control::Server>,
    workers: Vec<Running>,
    /// The certificate that was made, in PEM.
    made: Option<String>,
}

/// Binds, and starts the workers and the control port.
///
/// # Errors
/// An address can't be bound, the folder can't be made, the engine is refused, or no thread can be had; the text says
/// which, and what to do.
pub fn start(options: Options) -> io::Result<Handle> {
    let engine = net::probe(options.io, options.workers)
        .map_err(io::Error::other)?
        .engine;
    let workers = options.workers.max(1);
    let saver = match &options.save {
        Some((folder, max)) => Some(Saver::new(folder, *max)?),
        None => None,
    };
    let (tls, made) = secure(&options).map_err(io::Error::other)?;
    let (addresses, mut sockets) = bind(&options.listen, workers)?;
    let mut listeners = Vec::new();
    for bound in sockets.iter().flatten() {
        listeners.push(bound.try_clone()?);
    }
    let fixed = Fixed {
        hostname: options.hostname,
        lmtp: options.lmtp,
        started: now(),
        tls,
    };
    let shared = Arc::new(Shared::new(
        fixed,
        options.seed,
        options.behaviour,
        workers,
        saver,
        listeners,
    ));
    let mut handle = Handle {
        shared: Arc::clone(&shared),
        addresses,
        control: None,
        workers: Vec::new(),
        made,
    };
    if let Some(address) = options.control {
        handle.control = Some(control::start(address, Arc::clone(&shared))?);
    }
    for (number, listeners) in sockets.drain(..).enumerate() {
        let turn = number.checked_rem(options.cores.len());
        handle.workers.push(thread::start(Start {
            number,
            engine,
            core: turn.map(|turn| options.cores[turn]),
            listeners,
            shared: Arc::clone(&shared),
        })?);
    }
    Ok(handle)
}

/// What answers handshakes, and the certificate where one had to be made.
fn secure(options: &Options) -> Result<(Option<Tls>, Option<String>), String> {
    if options.tls == Mode::None {
        return Ok((None, None));
    }
    let (identity, made) = match &options.certificate {
        Some((chain, key)) => (Identity::read(chain, key)?, None),
        None => {
            let names = ["localhost", "127.0.0.1", "::1", &options.hostname];
            let names = names.map(str::to_owned);
            let made = tls::make(&names, KeyKind::Ecdsa)?;
            (Identity::try_from(&made)?, Some(made.chain))
        }
    };
    let tls = Tls {
        implicit: options.tls == Mode::Implicit,
        acceptor: tls::acceptor(identity)?,
    };
    Ok((Some(tls), made))
}

/// The sockets of each worker, and where they listen.
fn bind(listen: &[SocketAddr], workers: usize) -> io::Result<(Vec<SocketAddr>, Vec<Vec<Bound>>)> {
    let mut addresses = Vec::new();
    let mut sockets: Vec<Vec<Bound>> = (0..workers).map(|_| Vec::new()).collect();
    for address in listen {
        let (key, reuse_port) = ("--listen", workers > 1);
        if reuse_port && address.port() != 0 {
            // Sockets that may share a port share it with another sink, too: half of the mail would go there.
            drop(Bound::new(
                *address,
                1,
                BindOptions {
                    reuse_port: false,
                    key,
                },
            )?);
        }
        let first = Bound::new(*address, BACKLOG, BindOptions { reuse_port, key })?;
        let address = first.address();
        addresses.push(address);
        sockets[0].push(first);
        for own in &mut sockets[1..] {
            own.push(Bound::new(
                address,
                BACKLOG,
                BindOptions { reuse_port, key },
            )?);
        }
    }
    Ok((addresses, sockets))
}

impl Handle {
    /// Where it listens, in the order of [`Options::listen`].
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the control port listens.
    #[must_use]
    pub fn control(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(control::Server::address)
    }

    /// The certificate that was made for it, in PEM; it is its own anchor.
    #[must_use]
    pub fn certificate(&self) -> Option<&str> {
        self.made.as_deref()
    }

    /// What arrived of a run; `None` where nothing of it ever did.
    #[must_use]
    pub fn tally(&self, run: RunId) -> Option<Tally> {
        self.shared.tallies().tally(run)
    }

    /// The runs that messages came from, the one that was heard of last stands last.
    #[must_use]
    pub fn runs(&self) -> Vec<RunId> {
        self.shared.tallies().runs()
    }

    /// What it did so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(&self.shared)
    }

    /// How it behaves.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.shared.behaviour()
    }

    /// Changes how it behaves, from the next bytes of each connection on.
    pub fn change(&self, changes: Changes) {
        self.shared.change(changes);
    }

    /// Stops reading and answering for a while.
    pub fn stall(&self, wait: Duration) {
        self.shared.stall(wait);
    }

    /// Counts from zero, and forgets all runs.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Messages taken, and a number that moves with whatever clients do. Cheaper than a summary.
    #[must_use]
    pub fn activity(&self) -> (u64, u64) {
        let (mut messages, mut moves) = (0, 0);
        for counters in &self.shared.counters {
            messages += counters.messages.get();
            moves += counters.connections.get();
            moves += counters.commands.iter().map(Count::get).sum::<u64>();
        }
        (messages, moves)
    }

    /// Whether a worker has ended by itself, which it should not; the error it ended with.
    #[must_use]
    pub fn has_died(&self) -> bool {
        self.workers.iter().any(|one| one.thread.is_finished())
    }

    /// Stops it; what it did. Connections that are open are closed.
    pub fn stop(mut self) -> Summary {
        self.end();
        Summary::of(&self.shared)
    }

    fn end(&mut self) {
        for worker in self.workers.drain(..) {
            // A worker that has ended by itself hears nothing, and has said why.
            let _ = worker.stop.try_send(());
            match worker.thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("gatepost-load: a worker of the sink ended: {error}"),
                Err(_) => eprintln!("gatepost-load: a worker of the sink panicked"),
            }
        }
        self.control = None;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
