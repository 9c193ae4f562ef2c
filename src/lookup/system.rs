//! The library's resolver as `[dns]` and the system's files want it, made anew when a file has changed.

use super::transport::Transport;
use crate::config;
use hickory_resolver::{
    Hosts, Resolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::NetError,
    system_conf::read_system_conf,
};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// The files that the answers depend on.
const FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// How long the files are taken for unchanged after a look at them: a question must not cost two look-ups in the file system.
const LOOK: Duration = Duration::from_secs(1);

/// When the files were written and how long they are.
type Stamp = [Option<(SystemTime, u64)>; FILES.len()];

/// The library's resolver, and the files that it was made of.
#[derive(Clone)]
pub(super) struct Made {
    stamp: Stamp,
    looked: Instant,
    /// What `/etc/hosts` says.
    pub hosts: Arc<Hosts>,
    /// The domains that complete a name.
    pub search: Arc<[String]>,
    /// A name with so many dots is asked for as it is first.
    pub dots_min: usize,
    /// Asks the servers.
    pub dns: Resolver<Transport>,
}

/// Makes it.
pub(super) struct System {
    settings: config::Dns,
    made: Mutex<Option<Made>>,
}

impl System {
    /// Nothing is made yet.
    pub fn new(settings: &config::Dns) -> System {
        System {
            settings: settings.clone(),
            made: Mutex::default(),
        }
    }

    /// What it was made with.
    pub fn settings(&self) -> &config::Dns {
        &self.settings
    }

    /// Whether the files have changed since the last question.
    pub fn is_outdated(&self) -> bool {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.as_ref().is_some_and(|made| made.stamp != stamp_now())
    }

    /// Has the resolver made anew at the next question, with connections of its own.
    pub fn forget(&self) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The library's resolver, made anew where the files have changed.
    ///
    /// # Errors
    /// The library's, in words.
    pub fn current(&self) -> Result<Made, String> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(made) = &*made
            && now < made.looked + LOOK
        {
            return Ok(made.clone());
        }
        let stamp = stamp_now();
        if let Some(made) = &mut *made
            && made.stamp == stamp
        {
            made.looked = now;
            return Ok(made.clone());
        }
        let fresh = self.make(stamp, now).map_err(|why| why.to_string())?;
        *made = Some(fresh.clone());
        Ok(fresh)
    }

    fn make(&self, stamp: Stamp, looked: Instant) -> Result<Made, NetError> {
        // Without a file the local host is asked, as the C library does.
        let (mut config, mut options) = read_system_conf().unwrap_or_else(|_| {
            let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let config = ResolverConfig::from_parts(
                None,
                Vec::new(),
                vec![server(SocketAddr::new(local, 53))],
            );
            (config, ResolverOpts::default())
        });
        if !self.settings.servers.is_empty() {
            let servers = self.settings.servers.iter().copied().map(server).collect();
            config = ResolverConfig::from_parts(
                config.domain().cloned(),
                config.search().to_vec(),
                servers,
            );
        }
        // The file of hosts is read apart from this, and what is cached is cached where it can be refreshed.
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        // Two tries over the servers in the time of one question.
        options.attempts = 1;
        options.timeout = self.settings.timeout.0 / 3;
        // A forged answer must guess the case of the name as well (draft-vixie-dnsext-dns0x20).
        options.case_randomization = true;
        let search = config.search().iter().chain(config.domain());
        let search =
            search.map(|domain| domain.to_ascii().trim_end_matches('.').to_ascii_lowercase());
        let (search, dots_min) = (search.collect(), options.ndots);
        let dns = Resolver::builder_with_config(config, Transport::default())
            .with_options(options)
            .build()?;
        Ok(Made {
            stamp,
            looked,
            hosts: Arc::new(Hosts::from_system().unwrap_or_default()),
            search,
            dots_min,
            dns,
        })
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = connections.into();
    server
}

fn stamp_now() -> Stamp {
    FILES.map(|file| {
        let facts = fs::metadata(file).ok()?;
        Some((facts.modified().ok()?, facts.len()))
    })
}
