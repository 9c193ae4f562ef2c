//! The key that keys are hashed with.

use aws_lc_rs::rand;
use siphasher::sip::SipHasher13;
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

/// Makes hashes that are the same after a restart, and that strangers can't foresee.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    /// Octets of one.
    pub const SIZE: usize = 16;

    /// A new one.
    #[must_use]
    pub fn random() -> Secret {
        let mut octets = [0; Secret::SIZE];
        if rand::fill(&mut octets).is_err() {
            // What std seeds its maps with is good enough for tables; no other use is made of it.
            let [one, two] = [0u8, 1].map(|half| RandomState::new().hash_one(half).to_le_bytes());
            octets[..8].copy_from_slice(&one);
            octets[8..].copy_from_slice(&two);
        }
        Secret(octets)
    }

    /// One that was kept.
    #[must_use]
    pub const fn of(octets: [u8; Secret::SIZE]) -> Secret {
        Secret(octets)
    }

    /// Its octets, to be kept where nobody else reads them.
    #[must_use]
    pub const fn octets(&self) -> &[u8; Secret::SIZE] {
        &self.0
    }
}

impl BuildHasher for Secret {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_outlive_the_process_and_differ_by_secret() {
        let one = Secret::random();
        let kept = Secret::of(*one.octets());
        assert_eq!(one.hash_one("key"), kept.hash_one("key"));
        assert_ne!(one.hash_one("key"), Secret::random().hash_one("key"));
        assert_eq!(format!("{one:?}"), "Secret(…)");
    }
}
