//! Where a host is: its addresses from `/etc/hosts`, else from the DNS; and which hosts serve (SRV records).
//!
//! The questions are those of the checks ([`Dns`]): the same servers, and the answers fill the same cache. They are asked
//! whatever the cache says, for the caller knows when an answer is due: an [`Answer`] says how long it holds. A look-up takes
//! `dns.timeout` at most.
//!
//! It must not know who asks and what for.
//!
//! Rejected: `getaddrinfo` on threads. It tells no TTL, can't be given a time limit, and a thread of it that hangs delays
//! the end of the process.

use super::{dns::Dns, records::by_rank, system::Made};
use crate::dns::{Answer as Told, Question, Record, RecordType, Unknown};
use hickory_resolver::{
    Hosts,
    proto::{
        op::Query,
        rr::{self, Name},
    },
};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::time::timeout_at;

/// An answer holds this long at least, whatever its TTL says.
pub const TTL_MIN: Duration = Duration::from_secs(5);
/// And this long at most.
pub const TTL_MAX: Duration = Duration::from_secs(3600);
/// Addresses of one name that are used, and hosts of one service; a name with more is no list of servers.
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

/// A host that serves, by an SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Those of the lowest priority are used first.
    pub priority: u16,
    /// Its name, in lower case, with the dot at its end that makes it absolute: the list of search domains is for names that
    /// are written by hand, not for those in records.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// Its share among those of the same priority.
    pub weight: u16,
}

/// The hosts that serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// By priority, those of the greatest weight first; none where the service is said not to be offered (a target of `.`).
    pub targets: Vec<Target>,
    /// Hosts whose records have port 0, which leads nowhere: these are left out.
    pub unusable: Vec<String>,
    /// How long it holds, between [`TTL_MIN`] and [`TTL_MAX`].
    pub ttl: Duration,
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

impl Dns {
    /// The addresses of a host. A host that is in `/etc/hosts` has those of the file alone, and no server is asked.
    ///
    /// # Errors
    /// In words: there is no such name, it has no address, or no server answers.
    pub async fn addresses(self: &Arc<Dns>, host: &str) -> Result<Answer, String> {
        let made = self.current()?;
        let in_file = in_file(&made.hosts, host);
        if !in_file.is_empty() {
            return Ok(answer(in_file, TTL_MAX, None));
        }
        let patience = self.settings().timeout;
        let due = tokio::time::Instant::now() + patience.0;
        let late = || format!("no DNS server answered within {patience}");
        let mut why = None;
        for name in made.candidates(host) {
            let Ok([v4, v6]) = timeout_at(due, self.both(&name)).await else {
                return Err(late());
            };
            match joined(v4, v6) {
                Ok(answer) => return Ok(answer),
                // What no server knows may be there.
                Err(Missing::Late) => return Err(late()),
                Err(Missing::Broken) => return Err("the DNS servers fail".into()),
                Err(Missing::Bogus) => return Err(Unknown::Bogus.as_str().into()),
                Err(missing) => why = why.max(Some(missing)),
            }
        }
        Err(match why {
            Some(Missing::Address) => "it has no address".into(),
            _ => "there is no such name".into(),
        })
    }

    /// The hosts of a service: `_smtp._tcp.example.net`.
    ///
    /// # Errors
    /// In words: there is no such record, none names a host that can be used, or no server answers.
    pub async fn service(self: &Arc<Dns>, name: &str) -> Result<Service, String> {
        let question = Question {
            name: name.to_ascii_lowercase().into(),
            record_type: RecordType::Srv,
        };
        match self.learn(&question).await {
            (Told::Found(records), ttl) => service(&records, ttl),
            (Told::NoName | Told::NoRecords, _) => Err("there is no such SRV record".into()),
            (Told::Unknown(Unknown::Timeout), _) => {
                let patience = self.settings().timeout;
                Err(format!("no DNS server answered within {patience}"))
            }
            (Told::Unknown(Unknown::Bogus), _) => Err(Unknown::Bogus.as_str().into()),
            (Told::Unknown(_), _) => Err("the DNS servers fail".into()),
        }
    }

    /// Both families at once.
    async fn both(self: &Arc<Dns>, name: &Arc<str>) -> [(Told, Option<Duration>); 2] {
        let question = |record_type| Question {
            name: Arc::clone(name),
            record_type,
        };
        let (a, aaaa) = (question(RecordType::A), question(RecordType::Aaaa));
        let (v4, v6) = tokio::join!(self.learn(&a), self.learn(&aaaa));
        [v4, v6]
    }
}

/// Why there is no address, the better known one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Missing {
    Name,
    Address,
    Broken,
    Bogus,
    Late,
}

fn joined(v4: (Told, Option<Duration>), v6: (Told, Option<Duration>)) -> Result<Answer, Missing> {
    let (mut addresses, mut holds) = (Vec::new(), TTL_MAX);
    let mut unanswered = None;
    let mut missing = Missing::Name;
    for (family, (told, ttl)) in [(Family::V4, v4), (Family::V6, v6)] {
        match told {
            Told::Found(records) => {
                addresses.extend(records.iter().filter_map(address));
                holds = holds.min(ttl.unwrap_or_default());
            }
            Told::NoName => {}
            Told::NoRecords => missing = missing.max(Missing::Address),
            Told::Unknown(why) => {
                unanswered = Some(family);
                missing = missing.max(match why {
                    Unknown::Timeout => Missing::Late,
                    Unknown::Overload | Unknown::Broken | Unknown::TooLarge => Missing::Broken,
                    Unknown::Bogus => Missing::Bogus,
                });
            }
        }
    }
    match addresses.is_empty() {
        true => Err(missing),
        false => Ok(answer(addresses, holds, unanswered)),
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    match record {
        Record::A(v4) => Some((*v4).into()),
        Record::Aaaa(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// The hosts of these records. A port of 0 leads nowhere; that is no word that the service is not offered, which a target of
/// the root is (RFC 2782).
fn service(records: &[Record], ttl: Option<Duration>) -> Result<Service, String> {
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_unstable_by(|a, b| by_rank(a, b));
    records.dedup();
    let (mut targets, mut unusable, mut is_offered) = (Vec::new(), Vec::new(), true);
    for record in records {
        let Record::Srv {
            priority,
            weight,
            port,
            target,
        } = record
        else {
            continue;
        };
        match (&**target, *port) {
            ("", _) => is_offered = false,
            (host, 0) => unusable.push(host.to_string()),
            (host, port) => targets.push(Target {
                priority: *priority,
                host: format!("{host}."),
                port,
                weight: *weight,
            }),
        }
    }
    targets.truncate(ADDRESSES_MAX);
    unusable.truncate(ADDRESSES_MAX);
    if targets.is_empty() && is_offered {
        return Err("its SRV records name no host that can be used: their ports are 0".into());
    }
    Ok(Service {
        targets,
        unusable,
        ttl: ttl.unwrap_or_default().clamp(TTL_MIN, TTL_MAX),
    })
}

/// What `/etc/hosts` says of a host, which is taken as it is written.
fn in_file(hosts: &Hosts, host: &str) -> Vec<IpAddr> {
    let Ok(name) = Name::from_utf8(host) else {
        return Vec::new();
    };
    let kinds = [rr::RecordType::A, rr::RecordType::AAAA].into_iter();
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

impl Made {
    /// The names that a host may stand for, in the order in which they are asked for: the list of search domains completes a
    /// name of few labels (resolv.conf(5)).
    fn candidates(&self, host: &str) -> Vec<Arc<str>> {
        let Some(bare) = host.strip_suffix('.') else {
            let dots = host.bytes().filter(|octet| *octet == b'.').count();
            let completed = self.search.iter().map(|domain| match &**domain {
                "" => host.to_string(),
                domain => format!("{host}.{domain}"),
            });
            let mut all: Vec<String> = match dots >= self.dots_min {
                true => [host.to_string()].into_iter().chain(completed).collect(),
                false => completed.chain([host.to_string()]).collect(),
            };
            let mut seen = Vec::new();
            all.retain(|name| {
                let is_new = !seen.contains(name);
                seen.push(name.clone());
                is_new
            });
            return all.iter().map(|name| plain(name)).collect();
        };
        vec![plain(bare)]
    }
}

fn plain(name: &str) -> Arc<str> {
    name.to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Time};
    use std::net::{SocketAddr, UdpSocket};

    fn resolver(servers: Vec<SocketAddr>, timeout: Time) -> Arc<Dns> {
        let settings = config::Dns {
            servers,
            timeout,
            ..config::Dns::default()
        };
        Dns::new(&settings, None)
    }

    fn ask(resolver: &Arc<Dns>, host: &str) -> Result<Answer, String> {
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
        assert_eq!(told, Err("no DNS server answered within 300ms".into()));
    }

    #[test]
    fn the_hosts_file_comes_first() {
        for name in ["localhost", "localhost."] {
            let told = ask(&resolver(vec![serve(60)], Time::secs(5)), name);
            let addresses = told.expect("it is known").addresses;
            assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        }
    }

    #[test]
    fn half_an_answer_says_which_half() {
        let v4 = || Told::Found([Record::A([192, 0, 2, 1].into())].into());
        let ttl = Some(Duration::from_secs(60));
        let silent = || (Told::Unknown(Unknown::Timeout), None);
        let half = joined((v4(), ttl), silent()).expect("an address");
        assert_eq!(half.unanswered, Some(Family::V6));
        let whole = joined((v4(), ttl), (Told::NoRecords, None)).expect("an address");
        assert_eq!(
            (whole.unanswered, whole.ttl),
            (None, Duration::from_secs(60))
        );
        for (v4, v6, why) in [
            (Told::NoName, Told::NoName, Missing::Name),
            (Told::NoRecords, Told::NoRecords, Missing::Address),
            (Told::NoRecords, silent().0, Missing::Late),
            (
                Told::Unknown(Unknown::Bogus),
                Told::Unknown(Unknown::Broken),
                Missing::Bogus,
            ),
        ] {
            assert_eq!(joined((v4, None), (v6, None)), Err(why));
        }
    }

    #[test]
    fn services_are_read_as_rfc_2782_says() {
        let record = |priority, weight, port, target: &str| Record::Srv {
            priority,
            weight,
            port,
            target: target.into(),
        };
        let told = service(
            &[
                record(20, 0, 25, "backup.example"),
                record(10, 60, 2525, "b.example"),
                record(10, 40, 25, "a.example"),
                record(10, 40, 25, "a.example"),
                record(5, 1, 0, "no.port.example"),
            ],
            Some(Duration::from_secs(1)),
        );
        let told = told.expect("there are hosts");
        let hosts: Vec<&str> = told.targets.iter().map(|t| &*t.host).collect();
        assert_eq!(hosts, ["b.example.", "a.example.", "backup.example."]);
        assert_eq!(told.unusable, ["no.port.example"]);
        assert_eq!(told.ttl, TTL_MIN);
        let not_offered = service(&[record(0, 0, 0, "")], None).expect("a word of the root");
        assert_eq!(not_offered.targets, []);
        let no_port = [record(0, 0, 0, "a.example"), record(1, 0, 0, "b.example")];
        let why = service(&no_port, None).expect_err("that is no word of the root");
        assert_eq!(
            why,
            "its SRV records name no host that can be used: their ports are 0"
        );
    }

    #[test]
    fn no_search_domain_completes_a_host_that_a_record_names() {
        let dns = resolver(vec![serve(60)], Time::secs(5));
        let mut made = dns.current().expect("the system's files can be read");
        (made.search, made.dots_min) = (["cluster.local".into()].into(), 5);
        let record = Record::Srv {
            priority: 0,
            weight: 0,
            port: 25,
            target: "mx.example".into(),
        };
        let named = service(&[record], None).expect("a host");
        let asked = |host: &str| {
            made.candidates(host)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        let asked: [Vec<String>; 2] = [asked(&named.targets[0].host), asked("mx.example")];
        assert_eq!(asked[0], ["mx.example"]);
        assert_eq!(asked[1], ["mx.example.cluster.local", "mx.example"]);
    }
}
