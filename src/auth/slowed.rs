//! Places among the sessions that wait to hear of their failed login. An address and a network have a share of them each, so that one
//! network of guessers doesn't have honest users with a mistyped password sent away.

use super::throttle::count_out;
use crate::client_key;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One part in so many is what an address (IPv6: /64) may have.
const OF_ADDRESS: u32 = 8;
/// One part in so many is what a network (IPv4 /24, IPv6 /48) may have.
const OF_NETWORK: u32 = 4;

/// Whose places are counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Address(u128),
    Network(u128),
}

/// The places that are taken, by whose they are: no more entries than twice the places. There is no entry for zero.
#[derive(Default)]
struct Taken {
    all: u32,
    of: HashMap<Owner, u32>,
}

/// All places. It outlives a reload.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

/// A session among those that are being slowed; counted out when dropped.
pub struct Slowed {
    places: Places,
    owners: [Owner; 2],
}

impl Places {
    /// A place of `most`, unless all are taken, or the share of this client's address or network is. A share is one place at
    /// least.
    // INV-LIMIT
    pub fn take(&self, client: IpAddr, most: u32) -> Option<Slowed> {
        let address = client_key::address(client);
        let owners = [
            Owner::Address(address),
            Owner::Network(client_key::prefix_of(address)),
        ];
        let mut taken = self.locked();
        let has_room = |(owner, part): (&Owner, u32)| {
            taken.of.get(owner).copied().unwrap_or(0) < (most / part).max(1)
        };
        if taken.all >= most || !owners.iter().zip([OF_ADDRESS, OF_NETWORK]).all(has_room) {
            return None;
        }
        taken.all += 1;
        for owner in owners {
            *taken.of.entry(owner).or_insert(0) += 1;
        }
        let places = self.clone();
        Some(Slowed { places, owners })
    }

    fn locked(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        let mut taken = self.places.locked();
        taken.all -= 1;
        for owner in self.owners {
            count_out(&mut taken.of, owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(places: &Places, most: u32, client: &str) -> Vec<Slowed> {
        let client = client.parse().expect("an address");
        std::iter::from_fn(|| places.take(client, most)).collect()
    }

    #[test]
    // INV-LIMIT
    fn an_address_and_a_network_have_a_share_of_the_places() {
        let places = Places::default();
        let first = taken(&places, 16, "192.0.2.1");
        assert_eq!(first.len(), 2);
        assert_eq!(taken(&places, 16, "::ffff:192.0.2.1").len(), 0);
        let second = taken(&places, 16, "192.0.2.2");
        assert_eq!(second.len(), 2);
        assert_eq!(taken(&places, 16, "192.0.2.3").len(), 0);
        let others = [
            taken(&places, 16, "2001:db8:0:1::1"),
            taken(&places, 16, "2001:db8:0:1:ffff::2"),
            taken(&places, 16, "2001:db8:0:2::1"),
            taken(&places, 16, "2001:db8:0:3::1"),
            taken(&places, 16, "2001:db8:1::1"),
        ];
        assert_eq!(others.each_ref().map(Vec::len), [2, 0, 2, 0, 2]);
        drop(first);
        assert_eq!(taken(&places, 16, "192.0.2.3").len(), 2);
        drop((second, others));
        assert!(places.locked().of.is_empty());
        assert_eq!(places.locked().all, 0);
    }

    #[test]
    // INV-LIMIT
    fn all_together_have_no_more_than_there_are() {
        let places = Places::default();
        let clients = (0..100).map(|net| IpAddr::from([192, 0, net, 1]));
        let all: Vec<Slowed> = clients
            .filter_map(|client| places.take(client, 3))
            .collect();
        assert_eq!(all.len(), 3);
    }
}
