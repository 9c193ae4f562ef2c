//! The listening sockets: one for each worker and address, all bound before any worker starts, so that a port
//! in use stops the start and not half of it. Where a service manager has bound them for us, all workers share its one
//! socket an address.

use crate::{
    config::Config,
    log::say,
    net::{BindOptions, Bound},
};
use std::{
    io,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long an address that is in use is tried again. A process that was killed gives its sockets up some 20 ms after
/// its end where they belong to an io_uring, which the kernel takes down later.
const IN_USE_WAIT: Duration = Duration::from_secs(2);
/// The pause between two tries.
const IN_USE_PAUSE: Duration = Duration::from_millis(20);
/// A wait that takes longer is spoken of.
const IN_USE_SILENCE: Duration = Duration::from_millis(500);

/// All sockets of the process.
pub(super) struct Sockets {
    /// By worker: number of the listener, socket.
    workers: Vec<Vec<(usize, Bound)>>,
    addresses: Vec<(String, SocketAddr)>,
}

/// Binds every address once a worker. With port 0 the kernel chooses one, the same for all workers.
/// `inherited` are those of a service manager, with their names: a listener takes those that have its own, and those
/// that listen on an address of its.
pub(super) fn bind(
    config: &Config,
    workers: usize,
    inherited: Vec<(String, Bound)>,
) -> io::Result<Sockets> {
    let mut inherited = inherited;
    let mut sockets = Sockets {
        workers: (0..workers).map(|_| Vec::new()).collect(),
        addresses: Vec::new(),
    };
    for (number, listener) in config.listener.iter().enumerate() {
        let mine = |(name, bound): &mut (String, Bound)| {
            *name == listener.name || listener.address.contains(&bound.address())
        };
        let mut given = Vec::new();
        for (name, bound) in inherited.extract_if(.., mine) {
            for worker in &mut sockets.workers {
                worker.push((number, bound.try_clone()?));
            }
            given.push((name, bound.address()));
        }
        let named = given.iter().any(|(name, _)| *name == listener.name);
        sockets.addresses.extend(
            given
                .iter()
                .map(|(_, address)| (listener.name.clone(), *address)),
        );
        for asked in &listener.address {
            // A name stands for all of the listener: what it listens on is the manager's to say then.
            if named || given.iter().any(|(_, address)| address == asked) {
                continue;
            }
            // SO_REUSEPORT would let a second Gatepost share the port by mistake; a plain bind finds out.
            let key = &format!("listener[{number}].address");
            drop(free(key, *asked)?);
            let mut address = *asked;
            for worker in &mut sockets.workers {
                let options = BindOptions {
                    reuse_port: true,
                    key,
                };
                let bound = Bound::new(address, listener.backlog, options)?;
                address = bound.address();
                worker.push((number, bound));
            }
            sockets.addresses.push((listener.name.clone(), address));
        }
    }
    for (name, bound) in inherited {
        let address = bound.address();
        say!(
            Warn,
            "the inherited socket \"{name}\" ({address}) belongs to no listener; closing it"
        );
    }
    Ok(sockets)
}

/// Binds an address for one socket alone. Where it is in use, it is tried again for [`IN_USE_WAIT`].
fn free(key: &str, address: SocketAddr) -> io::Result<Bound> {
    let (begun, mut said) = (Instant::now(), false);
    loop {
        let options = BindOptions {
            reuse_port: false,
            key,
        };
        let bound = Bound::new(address, 1, options);
        match bound {
            Err(why) if why.kind() == io::ErrorKind::AddrInUse => {
                let waited = begun.elapsed();
                if waited > IN_USE_WAIT {
                    return Err(why);
                }
                if waited > IN_USE_SILENCE && !said {
                    said = true;
                    say!(Info, "{address} is in use: waiting for it");
                }
                sleep(IN_USE_PAUSE);
            }
            bound => return bound,
        }
    }
}

impl Sockets {
    /// Where it listens, by listener.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.addresses.clone()
    }

    /// The sockets of each worker.
    pub fn into_workers(self) -> Vec<Vec<(usize, Bound)>> {
        self.workers
    }
}
