//! A set of networks, for millions of them: sorted ranges that don't overlap, with an index of every 32nd
//! that stays in the cache. A look-up is one search in the index and one in two to eight cache lines.
//!
//! Why ranges and no trie is in `docs/decisions/0004-address-lists.md`.

use crate::config::entry;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const BLOCK: usize = 32;

/// Addresses and networks of both families. IPv4-mapped IPv6 (`::ffff:192.0.2.1`) is IPv4, in entries and in
/// look-ups; `::/0` holds no IPv4 address.
#[derive(Debug, Default)]
pub struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Networks {
    /// The set of these networks: for `trusted` and the like.
    #[must_use]
    pub fn of(nets: &[IpNet]) -> Networks {
        let mut builder = NetworksBuilder::default();
        nets.iter().for_each(|net| builder.add_net(*net));
        builder.build()
    }

    /// An empty set to be filled.
    #[must_use]
    pub fn builder() -> NetworksBuilder {
        NetworksBuilder::default()
    }

    /// Whether a network of the set holds the address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.contains(ip.into()),
            IpAddr::V6(ip) => self.v6.contains(ip.into()),
        }
    }

    /// Ranges after merging what overlaps or adjoins: what it costs is 8 octets for each of IPv4, 32 of IPv6.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.v4.starts.len() + self.v6.starts.len()
    }
}

/// Collects networks in any order.
#[derive(Debug, Default)]
pub struct NetworksBuilder {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl NetworksBuilder {
    /// Adds an address or a network.
    ///
    /// # Errors
    /// A sentence about a text that is neither, or a network with bits set after its prefix.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        match entry::network(text) {
            Ok(net) => self.add_net(net),
            Err(hint) if text.parse::<IpNet>().is_ok() => return Err(format!("{text:?}: {hint}")),
            Err(_) => return Err(format!("{text:?} is neither an address nor a network")),
        }
        Ok(())
    }

    fn add_net(&mut self, net: IpNet) {
        match (net.network(), net.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => self.v4.push((first.into(), last.into())),
            (IpAddr::V6(first), IpAddr::V6(last)) => self.add_v6(first, last),
            _ => {} // an IpNet is of one family
        }
    }

    fn add_v6(&mut self, first: Ipv6Addr, last: Ipv6Addr) {
        let mapped = |ip: Ipv6Addr| ip.to_ipv4_mapped().map(Ipv4Addr::into);
        match (mapped(first), mapped(last)) {
            (Some(first), Some(last)) => self.v4.push((first, last)),
            _ => self.v6.push((first.into(), last.into())),
        }
    }

    /// The set.
    #[must_use]
    pub fn build(self) -> Networks {
        Networks {
            v4: Ranges::new(self.v4, |end| end.checked_add(1)),
            v6: Ranges::new(self.v6, |end| end.checked_add(1)),
        }
    }
}

/// Disjoint inclusive ranges in order.
#[derive(Debug, Default)]
struct Ranges<T> {
    /// The start of every 32nd range.
    index: Vec<T>,
    starts: Vec<T>,
    ends: Vec<T>,
}

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut all: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Ranges<T> {
        all.sort_unstable();
        all.dedup_by(|later, kept| {
            let joins = next(kept.1).is_none_or(|next| later.0 <= next);
            if joins {
                kept.1 = kept.1.max(later.1);
            }
            joins
        });
        let starts: Vec<T> = all.iter().map(|range| range.0).collect();
        Ranges {
            index: starts.iter().step_by(BLOCK).copied().collect(),
            ends: all.iter().map(|range| range.1).collect(),
            starts,
        }
    }

    fn contains(&self, x: T) -> bool {
        let Some(block) = self
            .index
            .partition_point(|start| *start <= x)
            .checked_sub(1)
        else {
            return false;
        };
        let from = block * BLOCK;
        let to = (from + BLOCK).min(self.starts.len());
        // The block's first start is not above x, so there is one at least.
        let at = from + self.starts[from..to].partition_point(|start| *start <= x) - 1;
        x <= self.ends[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(entries: &[&str]) -> Networks {
        let mut builder = Networks::builder();
        for entry in entries {
            builder.add(entry).expect("an address or a network");
        }
        builder.build()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn both_families_and_their_borders() {
        let set = set(&[
            "192.0.2.7",
            "10.0.0.0/8",
            "2001:db8::/32",
            "::ffff:198.51.100.0/120",
            "10.9.0.0/16",
        ]);
        for inside in [
            "192.0.2.7",
            "10.0.0.0",
            "10.255.255.255",
            "2001:db8:ffff::1",
            "::ffff:10.1.1.1",
            "198.51.100.9",
        ] {
            assert!(set.contains(ip(inside)), "{inside}");
        }
        for outside in [
            "192.0.2.6",
            "192.0.2.8",
            "11.0.0.0",
            "9.255.255.255",
            "2001:db9::",
            "::a01:101",
            "198.51.101.0",
        ] {
            assert!(!set.contains(ip(outside)), "{outside}");
        }
        assert_eq!(set.ranges(), 4);
        let trusted = Networks::of(&["127.0.0.0/8".parse().expect("a network")]);
        assert!(trusted.contains(ip("127.0.0.1")) && !trusted.contains(ip("::1")));
    }

    #[test]
    fn everything_and_nothing() {
        let all = set(&["0.0.0.0/0", "::/0", "255.255.255.255"]);
        assert!(all.contains(ip("255.255.255.255")) && all.contains(ip("::")) && all.ranges() == 2);
        assert!(!set(&[]).contains(ip("0.0.0.0")));
        assert!(!set(&["::/0"]).contains(ip("192.0.2.1")));
    }

    #[test]
    fn nonsense_is_named() {
        let mut builder = Networks::builder();
        for bad in [
            "300.1.1.1",
            "10.0.0.0/33",
            "example.net",
            "",
            "10.0.0.0/",
            "1.2.3",
        ] {
            let why = builder.add(bad).expect_err("neither");
            assert!(why.contains("neither an address nor a network"), "{why}");
        }
        let why = builder
            .add("10.1.2.3/8")
            .expect_err("an address or a network?");
        assert!(why.contains("write \"10.0.0.0/8\""), "{why}");
    }

    proptest! {
        #[test]
        fn a_look_up_is_a_scan(
            v4 in proptest::collection::vec((any::<u16>(), 16u8..=32), 0..200),
            v6 in proptest::collection::vec((any::<u16>(), 100u8..=128), 0..200),
            asked in proptest::collection::vec(any::<u16>(), 1..300),
        ) {
            // Crowded into 16 bits, so that they overlap, nest and adjoin.
            let nets: Vec<IpNet> = v4.iter()
                .map(|(ip, len)| IpNet::new(IpAddr::from((u32::from(*ip) << 4).to_be_bytes()), *len))
                .chain(v6.iter().map(|(ip, len)| IpNet::new(IpAddr::from((u128::from(*ip) << 4).to_be_bytes()), *len)))
                .collect::<Result<_, _>>().expect("lengths that fit");
            let mut builder = Networks::builder();
            for net in &nets {
                builder.add(&net.trunc().to_string()).expect("a network");
            }
            let set = builder.build();
            for ip in asked {
                for ip in [
                    IpAddr::from((u32::from(ip) << 4 | 3).to_be_bytes()),
                    IpAddr::from((u128::from(ip) << 4 | 3).to_be_bytes()),
                ] {
                    prop_assert_eq!(set.contains(ip), nets.iter().any(|net| net.contains(&ip)), "{}", ip);
                }
            }
        }
    }
}
