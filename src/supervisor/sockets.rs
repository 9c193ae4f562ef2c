//! The listening sockets: one for each worker and address, all bound before any worker starts, so that a port
//! in use stops the start and not half of it.

use crate::{
    config::Config,
    net::{BindOptions, Bound},
};
use std::{io, net::SocketAddr};

/// All sockets of the process.
pub(super) struct Sockets {
    /// By worker: number of the listener, socket.
    workers: Vec<Vec<(usize, Bound)>>,
    addresses: Vec<(String, SocketAddr)>,
}

/// Binds every address once a worker. With port 0 the kernel chooses one, the same for all workers.
pub(super) fn bind(config: &Config, workers: usize) -> io::Result<Sockets> {
    let mut sockets = Sockets {
        workers: (0..workers).map(|_| Vec::new()).collect(),
        addresses: Vec::new(),
    };
    for (number, listener) in config.listener.iter().enumerate() {
        for asked in &listener.address {
            // SO_REUSEPORT would let a second Gatepost share the port by mistake; a plain bind finds out.
            drop(Bound::new(*asked, 1, BindOptions { reuse_port: false })?);
            let mut address = *asked;
            for worker in &mut sockets.workers {
                let bound = Bound::new(address, listener.backlog, BindOptions::default())?;
                address = bound.address();
                worker.push((number, bound));
            }
            sockets.addresses.push((listener.name.clone(), address));
        }
    }
    Ok(sockets)
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
