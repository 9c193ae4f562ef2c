//! The bench: a backend, the peers in front of it, and one run of a work through one of them.

use super::{
    backend::Backend,
    greeting::{connect, free_address, wait_for_greeting},
    names::Names,
    peer::{Peer, Words, program},
    process::Running,
    source,
    works::{Ends, Measure, Work},
};
use crate::tls::{self, KeyKind};
use std::{
    fs, io,
    io::{BufReader, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long the backend may take to get the last of what a peer has queued.
const SETTLE: Duration = Duration::from_secs(120);

/// Which cores the peer has, and which the source and the backend share.
#[derive(Clone, Debug)]
pub struct Cores {
    /// The peer's.
    pub peer: Vec<usize>,
    /// The ends'.
    pub ends: Vec<usize>,
}

/// One run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shot {
    /// Messages that were acknowledged.
    pub messages: u64,
    /// CPU of the peer, µs a message.
    pub cpu_us: f64,
    /// CPU of the backend, µs a message; 0 where it runs in this process.
    pub backend_cpu_us: f64,
    /// CPU of the source, µs a message; with the backend's where both run in this process.
    pub source_cpu_us: f64,
    /// Messages a second.
    pub rate: f64,
    /// Latency of a message in µs: median, 0.99, 0.999; zero where the source doesn't tell.
    pub latency_us: [u64; 3],
    /// Largest resident memory seen, octets; in [`Measure::Idle`] the growth for each session.
    pub memory: u64,
    /// Acknowledged, and not arrived at the backend.
    pub lost: u64,
}

/// A peer that runs.
#[derive(Debug)]
pub struct Started {
    /// What it is.
    pub peer: Peer,
    /// As it names itself.
    pub version: String,
    address: SocketAddr,
    running: Running,
    /// Its files; gone with it.
    _folder: TempDir,
}

/// Everything that one work needs, running.
pub struct Bench {
    /// The peers, in the order of the turns.
    pub peers: Vec<Started>,
    // Behind the peers: they are stopped before their backend is.
    backend: Backend,
    _names: Names,
    work: Work,
    cores: Cores,
}

impl Started {
    fn start(
        peer: Peer,
        work: &Work,
        (backend, dns): (SocketAddr, SocketAddr),
        cores: &[usize],
        gatepost: &str,
    ) -> io::Result<Started> {
        let folder = tempfile::tempdir()?;
        // Postfix's processes run as another user.
        fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let address = free_address()?;
        let mut words = words(&folder, address, backend, cores.len(), gatepost)?;
        words.insert("dns".into(), dns.to_string());
        let names = ["edge.bench.example".into(), "127.0.0.1".into()];
        let made = tls::make(&names, KeyKind::Ecdsa).map_err(io::Error::other)?;
        made.write(folder.path())?;
        let command = peer.prepare(&words, &work.modes())?;
        let log = folder.path().join("errors");
        let mut running = Running::start(&peer.name, &command, cores, fs::File::create(&log)?)?;
        wait_for_greeting(address, work.tls.front, || running.check()).map_err(|error| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<&str> = said.lines().rev().take(5).collect();
            io::Error::other(format!(
                "{} does not start: {error}\n{}",
                peer.name,
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            ))
        })?;
        Ok(Started {
            version: peer.version(&words),
            peer,
            address,
            running,
            _folder: folder,
        })
    }
}

fn words(
    folder: &TempDir,
    address: SocketAddr,
    backend: SocketAddr,
    workers: usize,
    gatepost: &str,
) -> io::Result<Words> {
    let user = if rustix::process::getuid().is_root() {
        "root"
    } else {
        "nobody"
    };
    // Two descriptors a session, and some for itself.
    let connections = (descriptors_max() / 2)
        .saturating_sub(200)
        .clamp(500, 12_000);
    Ok([
        ("address", address.to_string()),
        ("sink", backend.to_string()),
        ("sink_host", backend.ip().to_string()),
        ("sink_port", backend.port().to_string()),
        ("spare", free_address()?.to_string()),
        ("folder", folder.path().display().to_string()),
        ("user", user.to_owned()),
        ("workers", workers.to_string()),
        ("connections", connections.to_string()),
        ("gatepost", gatepost.to_owned()),
    ]
    .map(|(word, value)| (word.to_owned(), value))
    .into())
}

fn descriptors_max() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(20_000)
}

impl Bench {
    /// Starts the backend and the peers. A peer that does not start is told in `refused` and left out.
    ///
    /// # Errors
    /// The backend does not start, or the first peer, or Gatepost.
    pub fn start(
        work: Work,
        peers: &[Peer],
        cores: &Cores,
        gatepost: &str,
        refused: &mut Vec<String>,
    ) -> io::Result<Bench> {
        let backend = Backend::start(&work, &cores.ends)?;
        let names = Names::start()?;
        let mut started = Vec::new();
        for peer in peers {
            let address = backend.address();
            let behind = (address, names.address());
            match Started::start(peer.clone(), &work, behind, &cores.peer, gatepost) {
                Ok(peer) => started.push(peer),
                // Without these there is nothing to compare.
                Err(error) if peer.is_gatepost() || started.is_empty() => return Err(error),
                Err(error) => refused.push(format!("{}: {error}", peer.title)),
            }
        }
        Ok(Bench {
            peers: started,
            backend,
            _names: names,
            work,
            cores: cores.clone(),
        })
    }

    /// Runs `messages` through the peer at this place; at `rate` messages a second where one is given, else as fast
    /// as the sessions go.
    ///
    /// # Errors
    /// The source failed, or the peer has died.
    pub fn shoot(&mut self, at: usize, messages: u32, rate: Option<f64>) -> io::Result<Shot> {
        let started = &mut self.peers[at];
        started.running.check()?;
        if self.work.measure == Measure::Idle {
            return idle(started, &self.work);
        }
        let before = started.running.usage();
        let backend_before = self.backend.cpu_s();
        let job = source::Job {
            work: &self.work,
            target: started.address,
            messages,
            rate,
            cores: &self.cores.ends,
        };
        let sent = source::send(&job)?;
        let lost = self.backend.settle(&sent, SETTLE)?;
        let after = started.running.usage();
        let per_message = |seconds: f64| seconds * 1e6 / (sent.acknowledged.max(1) as f64);
        Ok(Shot {
            messages: sent.acknowledged,
            cpu_us: per_message(after.cpu_s - before.cpu_s),
            backend_cpu_us: per_message(self.backend.cpu_s() - backend_before),
            source_cpu_us: per_message(sent.cpu_s),
            rate: sent.acknowledged as f64 / sent.took_s.max(1e-9),
            latency_us: sent.latency_us,
            memory: after.rss.max(before.rss),
            lost,
        })
    }

    /// The same work without a proxy.
    ///
    /// # Errors
    /// The source failed.
    pub fn shoot_past(&mut self, messages: u32, rate: Option<f64>) -> io::Result<Shot> {
        let job = source::Job {
            work: &self.work,
            target: self.backend.address(),
            messages,
            rate,
            cores: &self.cores.ends,
        };
        let sent = source::send(&job)?;
        Ok(Shot {
            messages: sent.acknowledged,
            rate: sent.acknowledged as f64 / sent.took_s.max(1e-9),
            latency_us: sent.latency_us,
            ..Shot::default()
        })
    }
}

/// Opens many sessions, says EHLO in each, and looks at what the peer's memory has grown by.
fn idle(started: &mut Started, work: &Work) -> io::Result<Shot> {
    let sessions = work.sessions;
    let before = started.running.usage();
    let begun = Instant::now();
    let mut held = Vec::new();
    for _ in 0..sessions {
        let stream = connect(started.address, work.tls.front)?;
        let mut stream = BufReader::with_capacity(512, stream);
        read_reply(&mut stream)?;
        stream.get_mut().write_all(b"EHLO idle.example\r\n")?;
        read_reply(&mut stream)?;
        held.push(stream);
    }
    let took = begun.elapsed().as_secs_f64();
    let after = started.running.usage();
    Ok(Shot {
        messages: u64::from(sessions),
        cpu_us: (after.cpu_s - before.cpu_s) * 1e6 / f64::from(sessions),
        rate: f64::from(sessions) / took.max(1e-9),
        memory: after.rss.saturating_sub(before.rss) / u64::from(sessions),
        ..Shot::default()
    })
}

/// Reads a reply to its last line.
fn read_reply(from: &mut impl io::BufRead) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the peer closed an idle session"));
        }
        if !line.starts_with('2') {
            return Err(io::Error::other(format!("refused: {}", line.trim())));
        }
        if line.as_bytes().get(3) == Some(&b' ') {
            return Ok(());
        }
    }
}

/// Is everything there that this end needs?
#[must_use]
pub fn missing(ends: Ends) -> Option<String> {
    let needed: &[&str] = match ends {
        Ends::Own => &["taskset"],
        Ends::Postfix => &["taskset", "smtp-source", "smtp-sink"],
    };
    let absent: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|name| program(name).is_none())
        .collect();
    (!absent.is_empty()).then(|| {
        format!(
            "{} is not installed (apt-get install postfix util-linux)",
            absent.join(" and ")
        )
    })
}
