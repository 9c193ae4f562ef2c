//! What stands behind the peers: our own sink, in this process, or Postfix's smtp-sink.

use super::{
    greeting::{free_address, wait_for_greeting},
    peer::program,
    process::Running,
    source::Sent,
    works::{Ends, Work},
};
use crate::{
    ledger::reconcile,
    sink::{self, Behaviour},
    tls::Mode,
};
use std::{
    fs, io,
    net::SocketAddr,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// A running backend.
pub enum Backend {
    /// Ours: it knows each message.
    Own(sink::Handle),
    /// smtp-sink: it takes what comes.
    Postfix {
        /// Its process.
        running: Running,
        /// Where it listens.
        address: SocketAddr,
    },
}

impl Backend {
    /// Starts the one that the work asks for.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(work: &Work, cores: &[usize]) -> io::Result<Backend> {
        match work.ends {
            Ends::Own => own(work, cores),
            Ends::Postfix => smtp_sink(cores),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self {
            Backend::Own(handle) => handle.addresses()[0],
            Backend::Postfix { address, .. } => *address,
        }
    }

    /// CPU that it has used; 0 for ours, whose time is the source's.
    #[must_use]
    pub fn cpu_s(&self) -> f64 {
        match self {
            Backend::Own(_) => 0.0,
            Backend::Postfix { running, .. } => running.usage().cpu_s,
        }
    }

    /// Waits until everything acknowledged has arrived, a queue in the middle being emptied, and returns how many
    /// messages are still missing after `wait`.
    ///
    /// # Errors
    /// A message came damaged.
    pub fn settle(&self, sent: &Sent, wait: Duration) -> io::Result<u64> {
        let (Backend::Own(handle), Some(ledger)) = (self, &sent.ledger) else {
            return Ok(0);
        };
        let end = Instant::now() + wait;
        loop {
            let found = handle
                .tally(ledger.run)
                .map(|tally| reconcile(ledger, &tally));
            let lost = found.as_ref().map_or(sent.acknowledged, |found| found.lost);
            if let Some(found) = found.filter(|found| found.damaged > 0) {
                return Err(io::Error::other(format!(
                    "{} messages came damaged",
                    found.damaged
                )));
            }
            if lost == 0 || Instant::now() >= end {
                return Ok(lost);
            }
            sleep(Duration::from_millis(20));
        }
    }
}

fn smtp_sink(cores: &[usize]) -> io::Result<Backend> {
    let address = free_address()?;
    let mut command = Command::new(program("smtp-sink").unwrap_or_else(|| "smtp-sink".into()));
    if rustix::process::getuid().is_root() {
        // It refuses to run as root.
        command.args(["-u", "nobody"]);
    }
    command.arg(address.to_string()).arg("1024");
    let log = fs::File::create("/dev/null")?;
    let mut running = Running::start("smtp-sink", &command, cores, log)?;
    wait_for_greeting(address, Mode::None, || running.check())?;
    Ok(Backend::Postfix { running, address })
}

fn own(work: &Work, cores: &[usize]) -> io::Result<Backend> {
    let offered = match work.chunking {
        true => "pipelining,8bitmime,size,enhancedstatuscodes,chunking",
        false => "pipelining,8bitmime,size,enhancedstatuscodes",
    };
    let changes = serde_json::from_value(serde_json::json!({ "capabilities": offered }))
        .map_err(io::Error::other)?;
    let handle = sink::start(sink::Options {
        workers: cores.len(),
        cores: cores.to_vec(),
        behaviour: Behaviour::of(changes),
        tls: match work.tls.behind {
            true => Mode::Implicit,
            false => Mode::None,
        },
        ..sink::Options::default()
    })?;
    Ok(Backend::Own(handle))
}
