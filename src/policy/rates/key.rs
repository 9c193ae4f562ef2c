//! What is counted under which key: [`crate::client_key`], hashed.

use crate::{
    client_key::{address, prefix},
    state::Secret,
};
use std::{
    hash::{BuildHasher, Hash, Hasher},
    net::IpAddr,
};

/// A key with its hash under a secret of ours: a keyed hash is dear, and one serves all accounts of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateKey {
    bits: u128,
    hash: u64,
}

/// Both keys of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    pub(in crate::policy) client: RateKey,
    pub(in crate::policy) prefix: RateKey,
}

impl RateKey {
    fn new(bits: u128, group: u8, secret: &Secret) -> RateKey {
        let hash = secret.hash_one((bits, group));
        RateKey { bits, hash }
    }

    /// Its hash.
    pub fn hash(self) -> u64 {
        self.hash
    }

    /// The hash of one of its accounts. No other account of the key has the same; spread as evenly as the hash, and
    /// as unknown to strangers.
    pub fn account(self, of: u8) -> u64 {
        // Steps that can each be undone: an odd factor, and a half folded onto the other.
        let apart = self.hash ^ (u64::from(of) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (apart ^ apart >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ mixed >> 32
    }
}

impl Hash for RateKey {
    /// For a map that takes the hash as it is: [`Taken`].
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Keys {
    /// Those of an address among the listeners that count together.
    pub fn of(ip: IpAddr, group: u8, secret: &Secret) -> Keys {
        Keys {
            client: RateKey::new(address(ip), group, secret),
            prefix: RateKey::new(prefix(ip), group, secret),
        }
    }

    /// Whether they are this address's.
    pub fn are_of(&self, ip: IpAddr) -> bool {
        self.client.bits == address(ip)
    }
}

/// A hasher for what has been hashed.
#[derive(Default)]
pub struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Nothing but a key's hash is ever written; anything else would still be told apart.
    fn write(&mut self, bytes: &[u8]) {
        for octet in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_key::prefix_of;

    #[test]
    fn neighbours_share_a_key() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_ne!(address(ip("192.0.2.1")), address(ip("192.0.2.2")));
        assert_eq!(prefix(ip("192.0.2.1")), prefix(ip("192.0.2.255")));
        assert_ne!(prefix(ip("192.0.2.1")), prefix(ip("192.0.3.1")));
        assert_eq!(address(ip("192.0.2.1")), address(ip("::ffff:192.0.2.1")));
        assert_eq!(address(ip("2001:db8::1")), address(ip("2001:db8::ffff:1")));
        assert_ne!(
            address(ip("2001:db8:0:1::1")),
            address(ip("2001:db8:0:2::1"))
        );
        assert_eq!(prefix(ip("2001:db8:0:1::1")), prefix(ip("2001:db8:0:2::1")));
        assert_ne!(prefix(ip("2001:db8:1::1")), prefix(ip("2001:db8:2::1")));
        for text in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1:2::3", "::1"] {
            assert_eq!(prefix_of(address(ip(text))), prefix(ip(text)), "{text}");
        }
    }

    #[test]
    fn accounts_of_all_keys_are_apart() {
        let secret = Secret::random();
        let mut seen = std::collections::HashSet::new();
        for text in [
            "192.0.2.1",
            "255.255.255.255",
            "2001:db8:1::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let ip = text.parse::<IpAddr>().expect("an address");
            let keys = Keys::of(ip, 0, &secret);
            assert!(keys.are_of(ip) && keys == Keys::of(ip, 0, &secret));
            assert_ne!(keys, Keys::of(ip, 1, &secret));
            for (kind, key) in [keys.client, keys.prefix].into_iter().enumerate() {
                for of in [0, 1, 2, 255] {
                    assert!(seen.insert((kind, key.account(of))), "{text} {of}");
                }
            }
        }
    }

    #[test]
    fn accounts_of_one_key_lie_apart() {
        // Tables take the upper bits for the line: four accounts of a client must not fight for one.
        let secret = Secret::random();
        let mut shared = 0;
        for client in 0..1_000u32 {
            let key = Keys::of(IpAddr::from(client.to_be_bytes()), 0, &secret).client;
            let mut lines = [0, 1, 2, 3].map(|of| key.account(of) >> 52);
            lines.sort_unstable();
            shared += lines.windows(2).filter(|two| two[0] == two[1]).count();
        }
        assert!(shared < 20, "{shared} of some 1.5 that chance would give");
    }
}
