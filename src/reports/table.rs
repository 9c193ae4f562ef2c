//! What has been seen in one interval, added up.
//!
//! Domains, senders and clients are a stranger's choice, so none may take all the room. What belongs together may take a
//! part of what is free: it can grow while there is much, and as it grows there is less, so that something is always left for
//! others. Names in the DNS don't tell whose a domain is (a record says itself where its organization begins), so domains
//! belong together by their last two labels, and within these by their last three.

use super::seen::{Published, Row, Seen};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
};

/// Octets of all that has been seen.
pub const TABLE_OCTETS_MAX: usize = 64 << 20;
/// Domains that get a report.
pub const DOMAINS_MAX: usize = 10_000;
/// Rows of one report: a domain whose mail comes from more clients than that learns of these.
pub const ROWS_MAX: usize = 20_000;
/// The domains with the same last two labels may take one part in this many of what is free.
const FREE_PER_OWNER: usize = 4;
/// Those of them with the same last three labels may take one part in this many of what the others leave of that.
const FREE_PER_PART: usize = 2;
/// The rows of the clients of one network (/24, IPv6 /48) may take one part in this many of what is free in a report.
const FREE_PER_NETWORK: usize = 4;

/// Reports to be.
#[derive(Debug, Default)]
pub struct Table {
    domains: BTreeMap<Box<str>, Report>,
    taken: Room,
    /// What the domains take that end in the same two or three labels.
    taken_by: HashMap<Box<str>, Room>,
}

/// One of them.
#[derive(Debug)]
pub struct Report {
    /// What the domain has published: what was seen last.
    pub published: Published,
    /// Rows, and how many messages each stands for.
    pub rows: HashMap<Row, u64>,
    /// Rows by the network of the client.
    networks: HashMap<IpAddr, usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Room {
    domains: usize,
    octets: usize,
}

impl Room {
    const MAX: Room = Room {
        domains: DOMAINS_MAX,
        octets: TABLE_OCTETS_MAX,
    };

    fn add(&mut self, more: Room) {
        self.domains += more.domains;
        self.octets += more.octets;
    }

    fn without(self, taken: Room) -> Room {
        Room {
            domains: self.domains.saturating_sub(taken.domains),
            octets: self.octets.saturating_sub(taken.octets),
        }
    }

    fn part(self, parts: usize) -> Room {
        Room {
            domains: self.domains / parts,
            octets: self.octets / parts,
        }
    }

    fn holds(self, wanted: Room) -> bool {
        wanted.domains <= self.domains && wanted.octets <= self.octets
    }
}

impl Table {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Octets that it takes, about.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.taken.octets
    }

    /// Adds messages. False: there is no room for another row.
    // INV-LIMIT
    pub fn add(&mut self, seen: Seen, count: u64) -> bool {
        self.insert(seen, count, true)
    }

    /// Adds messages that have been in a table before, where the parts were looked at: in another order they might not fit.
    /// False: there is no room for another row.
    pub fn add_again(&mut self, seen: Seen, count: u64) -> bool {
        self.insert(seen, count, false)
    }

    /// Adds all that another table has. How many messages had no room.
    pub fn merge(&mut self, other: Table) -> u64 {
        let mut lost = 0;
        for report in other.domains.into_values() {
            for (row, count) in report.rows {
                let published = report.published.clone();
                if !self.add_again(Seen { published, row }, count) {
                    lost += count;
                }
            }
        }
        lost
    }

    fn insert(&mut self, seen: Seen, count: u64, in_parts: bool) -> bool {
        let Seen { published, row } = seen;
        let known = self.domains.get(&published.domain);
        let is_new = !known.is_some_and(|report| report.rows.contains_key(&row));
        // RFC 9990 §3.1.6: a report is about the configuration that was seen last.
        let changed = match known {
            Some(report) if report.published == published => 0,
            Some(report) => {
                let octets = published.octets();
                octets.saturating_sub(report.published.octets())
            }
            None => published.octets(),
        };
        let wanted = Room {
            domains: usize::from(known.is_none()),
            octets: changed + if is_new { row.octets() } else { 0 },
        };
        let fits_report = !is_new || known.is_none_or(|report| report.has_room(&row, in_parts));
        if !fits_report || !self.has_room(&published.domain, wanted, in_parts) {
            // What is there is counted, if only under the configuration from before.
            let known = self.domains.get_mut(&published.domain);
            let count_of = known.and_then(|report| report.rows.get_mut(&row));
            return count_of
                .map(|has| *has = has.saturating_add(count))
                .is_some();
        }
        self.taken.add(wanted);
        for suffix in suffixes(&published.domain) {
            self.taken_by.entry(suffix.into()).or_default().add(wanted);
        }
        let domain = published.domain.clone();
        let report = self.domains.entry(domain).or_insert_with(|| Report {
            published: published.clone(),
            rows: HashMap::new(),
            networks: HashMap::new(),
        });
        if report.published != published {
            report.published = published;
        }
        if is_new {
            *report.networks.entry(network(row.source)).or_default() += 1;
        }
        let has = report.rows.entry(row).or_default();
        *has = has.saturating_add(count);
        true
    }

    fn has_room(&self, domain: &str, wanted: Room, in_parts: bool) -> bool {
        let mut free = Room::MAX.without(self.taken);
        if wanted.domains == 0 && wanted.octets == 0 {
            return true;
        }
        if !in_parts {
            return free.holds(wanted);
        }
        for (suffix, parts) in suffixes(domain).zip([FREE_PER_OWNER, FREE_PER_PART]) {
            let has = self.taken_by.get(suffix).copied().unwrap_or_default();
            free = free.part(parts).without(has);
            if !free.holds(wanted) {
                return false;
            }
        }
        true
    }

    /// The reports, in the order of their domains.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.domains.values()
    }

    /// The report of a domain.
    #[must_use]
    pub fn report(&self, domain: &str) -> Option<&Report> {
        self.domains.get(domain)
    }

    /// The domains, in their order.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(|domain| &**domain)
    }
}

impl Report {
    fn has_room(&self, row: &Row, in_parts: bool) -> bool {
        let free = ROWS_MAX.saturating_sub(self.rows.len());
        let has = self.networks.get(&network(row.source)).copied();
        free > 0 && (!in_parts || has.unwrap_or(0) < free.div_ceil(FREE_PER_NETWORK))
    }
}

/// The network of a client: /24, IPv6 /48.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(address) => IpAddr::from((u32::from(address) & 0xffff_ff00).to_be_bytes()),
        IpAddr::V6(address) => {
            let kept = u128::from(address) >> 80 << 80;
            IpAddr::V6(Ipv6Addr::from(kept))
        }
    }
}

/// The last labels of a domain, as many as that, or all.
fn last_labels(domain: &str, labels: usize) -> &str {
    let dot = domain.rmatch_indices('.').nth(labels - 1);
    dot.map_or(domain, |(at, _)| &domain[at + 1..])
}

/// What domains that seem to have one owner end in.
#[must_use]
pub fn owner(domain: &str) -> &str {
    last_labels(domain, 2)
}

/// What a domain is counted by: its last two labels, and its last three if it has them.
fn suffixes(domain: &str) -> impl Iterator<Item = &str> {
    let (two, three) = (owner(domain), last_labels(domain, 3));
    std::iter::once(two).chain((three != two).then_some(three))
}
