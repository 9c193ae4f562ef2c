//! The addresses of a host: from `/etc/hosts`, else from the DNS by `/etc/resolv.conf` or `[dns] servers`.
//!
//! Both files are read again once they have changed. Nothing is cached here:
//! an [`Answer`] says how long it holds, and the caller looks again in time, or earlier where it has a reason to.
//!
//! It must not know who asks and what for.
//!
//! Rejected: `getaddrinfo` on threads. It tells no TTL, can't be given a time limit, and a thread of it that hangs delays
//! the end of the process.

use super::system::System;
use crate::config;
use hickory_resolver::{
    Hosts, TokioResolver,
    config::{LookupIpStrategy, ResolverOpts},
    net::NetError,
    proto::{
        op::Query,
        rr::{Name, RecordType},
    },
};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::time::timeout_at;

/// An answer holds this long at least, whatever its TTL says.
pub const TTL_MIN: Duration = Duration::from_secs(5);
/// And this long at most.
pub const TTL_MAX: Duration = Duration::from_secs(3600);
/// Addresses of one name that are used; a name with more is no list of servers.
pub const ADDRESSES_MAX: usize = 64;

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Both families, sorted, each once.
    pub addresses: Vec<IpAddr>,
    /// How long it holds, between [`TTL_MIN`] and [`TTL_MAX`].
    pub ttl: Duration,
    /// The family that no server answered about, so that it may have addresses all the same.
    pub unanswered: Option<Family>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    /// Whether an address is of this family.
    #[must_use]
    pub fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Family::V4)
    }
}

/// Asks.
pub struct Resolver(System);

impl Resolver {
    /// One for these settings. Nothing is asked yet.
    #[must_use]
    pub fn new(settings: &config::Dns) -> Resolver {
        Resolver(System::new(settings, tune))
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &config::Dns {
        self.0.settings()
    }

    /// Whether the system's files have changed since the last question.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.0.is_outdated()
    }

    /// The addresses of a host. Takes `dns.timeout` at most. A host that is in `/etc/hosts` has those of the file alone, and
    /// no server is asked.
    ///
    /// # Errors
    /// In words: there is no such name, it has no address, or no server answers.
    pub async fn addresses(&self, host: &str) -> Result<Answer, String> {
        let made = self.0.current()?;
        let in_file = in_file(&made.hosts, host);
        if !in_file.is_empty() {
            return Ok(answer(in_file, TTL_MAX, None));
        }
        let due = tokio::time::Instant::now() + self.settings().timeout.0;
        let found = match timeout_at(due, made.dns.lookup_ip(host)).await {
            Ok(Ok(found)) => found,
            Ok(Err(why)) => return Err(told(&why)),
            Err(_) => {
                let patience = self.settings().timeout;
                return Err(format!("no DNS server answered within {patience}"));
            }
        };
        let mut addresses: Vec<IpAddr> = found.iter().collect();
        let valid = found.valid_until();
        let ttl = valid.saturating_duration_since(Instant::now());
        let unanswered = match missing(&addresses) {
            Missing::None => None,
            Missing::Both => return Err("it has no address".into()),
            Missing::One(family) => {
                // The name that was found, which the list of search domains may have completed.
                let name = found.query().name().clone();
                let more = timeout_at(due, of_family(&made.dns, name, family)).await;
                match more {
                    Ok(Some(more)) => {
                        addresses.extend(more);
                        None
                    }
                    Ok(None) | Err(_) => Some(family),
                }
            }
        };
        Ok(answer(addresses, ttl, unanswered))
    }
}

/// How the library asks for addresses.
fn tune(options: &mut ResolverOpts, timeout: Duration) {
    // Three tries fit in `dns.timeout` and leave a moment: where one family is not answered about, the answer about the
    // other one must still come in time.
    options.attempts = 2;
    options.timeout = timeout / 4;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

/// Families without an address.
enum Missing {
    None,
    One(Family),
    Both,
}

fn missing(addresses: &[IpAddr]) -> Missing {
    let has = |family: Family| addresses.iter().any(|address| family.has(address));
    match (has(Family::V4), has(Family::V6)) {
        (true, true) => Missing::None,
        (true, false) => Missing::One(Family::V6),
        (false, true) => Missing::One(Family::V4),
        (false, false) => Missing::Both,
    }
}

/// The addresses of one family; `None` where no server answers. A look-up for both families does not tell this from a
/// family without addresses.
async fn of_family(dns: &TokioResolver, name: Name, family: Family) -> Option<Vec<IpAddr>> {
    let kind = match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    };
    match dns.lookup(name, kind).await {
        Ok(found) => {
            let all = found.answers().iter();
            Some(all.filter_map(|record| record.data.ip_addr()).collect())
        }
        Err(why) if why.is_nx_domain() || why.is_no_records_found() => Some(Vec::new()),
        Err(_) => None,
    }
}

/// What `/etc/hosts` says of a host, which is taken as it is written.
fn in_file(hosts: &Hosts, host: &str) -> Vec<IpAddr> {
    let Ok(name) = Name::from_utf8(host) else {
        return Vec::new();
    };
    let kinds = [RecordType::A, RecordType::AAAA].into_iter();
    let found =
        kinds.filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
    found
        .flat_map(|lookup| {
            let all = lookup.answers().iter();
            all.filter_map(|record| record.data.ip_addr())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn answer(mut addresses: Vec<IpAddr>, ttl: Duration, unanswered: Option<Family>) -> Answer {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    Answer {
        addresses,
        ttl: ttl.clamp(TTL_MIN, TTL_MAX),
        unanswered,
    }
}

fn told(why: &NetError) -> String {
    if why.is_nx_domain() {
        "there is no such name".into()
    } else if why.is_no_records_found() {
        "it has no address".into()
    } else {
        why.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Time;
    use std::net::{SocketAddr, UdpSocket};

    fn resolver(servers: Vec<SocketAddr>, timeout: Time) -> Resolver {
        Resolver::new(&config::Dns {
            servers,
            timeout,
            ..config::Dns::default()
        })
    }

    fn ask(resolver: &Resolver, host: &str) -> Result<Answer, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(resolver.addresses(host))
    }

    /// A server that knows one address of every name, for `ttl` seconds, and no other record.
    fn serve(ttl: u32) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let address = socket.local_addr().expect("bound");
        std::thread::spawn(move || {
            let mut room = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut room) {
                let question = &room[..length];
                // The name ends with a zero; type and class follow.
                let end = 12
                    + question[12..]
                        .iter()
                        .position(|octet| *octet == 0)
                        .expect("a name")
                    + 5;
                let is_a = question[end - 3] == 1;
                let mut answer = Vec::from(&question[..2]);
                answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
                answer.extend(&question[12..end]);
                if is_a {
                    answer.extend([0xc0, 12, 0, 1, 0, 1]);
                    answer.extend(ttl.to_be_bytes());
                    answer.extend([0, 4, 192, 0, 2, 25]);
                }
                let _ = socket.send_to(&answer, peer);
            }
        });
        address
    }

    #[test]
    fn a_name_has_addresses_for_as_long_as_its_ttl_says() {
        for (ttl, least, most) in [(0, 5, 5), (60, 50, 60), (1_000_000, 3600, 3600)] {
            let answer = ask(&resolver(vec![serve(ttl)], Time::secs(5)), "mail.example.");
            let answer = answer.expect("it is known");
            assert_eq!(answer.addresses, [IpAddr::from([192, 0, 2, 25])]);
            let seconds = answer.ttl.as_secs_f64().round() as u64;
            assert!((least..=most).contains(&seconds), "{seconds}");
        }
    }

    #[test]
    fn a_silent_server_ends_in_time() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let server = silent.local_addr().expect("bound");
        let told = ask(&resolver(vec![server], Time::millis(300)), "mail.example.");
        assert!(told.is_err());
    }

    #[test]
    fn the_hosts_file_comes_first() {
        let told = ask(&resolver(vec![serve(60)], Time::secs(5)), "localhost");
        let addresses = told.expect("it is known").addresses;
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
