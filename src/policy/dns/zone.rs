//! One list: of client addresses or of names, to refuse by or to let in by.
//!
//! A list has entries, each with filters on return codes and a weight of its own. An entry counts once, however many
//! codes or names match it, and entries that match the same code add up, as postscreen counts several
//! `postscreen_dnsbl_sites` of one zone. A negative weight makes the entry an allow entry; it may require
//! proofs, because names alone can be spoofed.

use super::{
    codes::{Codes, ListError},
    secret::ZoneName,
};
use std::net::Ipv4Addr;

/// Entries of a zone.
pub const ENTRIES_MAX: usize = 32;
/// Filters of an entry.
pub const FILTERS_MAX: usize = 32;
/// The largest weight, and, negated, the smallest.
pub const WEIGHT_MAX: f64 = 1_000.0;

/// A list, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its name.
    pub name: ZoneName,
    /// What it lists.
    pub kind: Kind,
    /// At least one, at most [`ENTRIES_MAX`].
    pub entries: Box<[Entry]>,
    /// Codes that are errors of this list, beside those of [`ListError::of`].
    pub errors: Box<[Codes]>,
    /// All of these must hold before a negative weight counts.
    pub requires: Proofs,
    /// Whether it has the test entries of RFC 5782 section 5; private lists often have none.
    pub has_test_entries: bool,
}

/// What a list lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses of clients (RFC 5782 section 2.1 and 2.4).
    Addresses(Families),
    /// Domain names (RFC 5782 section 3), those of these roles.
    Names(Roles),
}

/// Which addresses a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Both.
    #[cfg(test)]
    pub const BOTH: Families = Families { v4: true, v6: true };
}

/// What counts how much.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Any of these; empty: every code that is no error.
    pub codes: Box<[Codes]>,
    /// Added to the score, finite, within [`WEIGHT_MAX`].
    pub weight: f64,
}

impl Entry {
    /// Whether a code, which is no error, matches.
    #[must_use]
    pub fn matches(&self, code: Ipv4Addr) -> bool {
        self.codes.is_empty() || self.codes.iter().any(|codes| codes.contains(code))
    }
}

impl Zone {
    /// Whether all of it lets in.
    #[must_use]
    pub fn is_allow_list(&self) -> bool {
        self.entries.iter().all(|entry| entry.weight < 0.0)
    }

    /// The error that this code is.
    #[must_use]
    pub fn error(&self, code: Ipv4Addr) -> Option<ListError> {
        let of_kind = || match (code.octets(), self.kind) {
            // Spamhaus DBL.
            ([127, 0, 1, 255], Kind::Names(_)) => Some(ListError::AddressAsked),
            ([127, 0, 0, 255], _) if self.is_allow_list() => Some(ListError::AllowRefused),
            _ => None,
        };
        let declared = || {
            let declared = self.errors.iter().any(|codes| codes.contains(code));
            declared.then_some(ListError::Declared(code))
        };
        ListError::of(code).or_else(of_kind).or_else(declared)
    }
}

/// What is looked up in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The client's address.
    Address,
    /// The domain of the reverse-path.
    Sender,
    /// The name of EHLO or HELO.
    Helo,
    /// A name of the client's address, by its PTR records.
    Rdns,
}

impl Role {
    /// All, in the order of their bits.
    pub const ALL: [Role; 4] = [Role::Address, Role::Sender, Role::Helo, Role::Rdns];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Address => "client",
            Role::Sender => "sender",
            Role::Helo => "helo",
            Role::Rdns => "rdns",
        }
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// None.
    pub const NONE: Roles = Roles(0);

    /// With this one.
    #[must_use]
    pub const fn with(self, role: Role) -> Roles {
        Roles(self.0 | 1 << role as u8)
    }

    /// Whether it is in.
    #[must_use]
    pub const fn contains(self, role: Role) -> bool {
        self.0 >> role as u8 & 1 == 1
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL
            .into_iter()
            .filter(move |role| self.contains(*role))
    }
}

/// A set of things that show that a name or an address is its user's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proofs(u8);

impl Proofs {
    /// None.
    pub const NONE: Proofs = Proofs(0);
    /// DMARC passes for this name.
    pub const DMARC: Proofs = Proofs(1);
    /// A DKIM signature of this name is valid.
    pub const DKIM: Proofs = Proofs(2);
    /// SPF passes for this name.
    pub const SPF: Proofs = Proofs(4);
    /// The client's reverse name is confirmed forwards; in the role `rdns`: it is this name.
    pub const FCRDNS: Proofs = Proofs(8);

    /// The proof that the configuration calls so.
    #[must_use]
    pub fn named(word: &str) -> Option<Proofs> {
        match word {
            "dmarc" => Some(Proofs::DMARC),
            "dkim" => Some(Proofs::DKIM),
            "spf" => Some(Proofs::SPF),
            "fcrdns" => Some(Proofs::FCRDNS),
            _ => None,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Proofs) -> Proofs {
        Proofs(self.0 | other.0)
    }

    /// Whether all of `other` are in.
    #[must_use]
    pub const fn contains(self, other: Proofs) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What is proven, for each role: that SPF passes for the sender's domain proves nothing of the HELO name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proven([Proofs; 4]);

impl Proven {
    /// These hold for what has this role.
    pub fn add(&mut self, role: Role, proofs: Proofs) {
        let of = &mut self.0[role as usize];
        *of = of.and(proofs);
    }

    /// What holds for it.
    #[must_use]
    pub fn of(&self, role: Role) -> Proofs {
        self.0[role as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::testing::zone;

    #[test]
    fn errors_depend_on_the_list() {
        let code = |text: &str| text.parse().expect("an address");
        let mut bl = zone("bl.example", &[(&[], 1.0)]);
        assert_eq!(bl.error(code("127.0.0.255")), None);
        assert_eq!(bl.error(code("127.0.1.255")), None);
        assert_eq!(bl.error(code("127.0.0.1")), Some(ListError::Refused));
        bl.errors = Box::new([Codes::parse("127.0.9.0/24").expect("codes")]);
        assert_eq!(
            bl.error(code("127.0.9.1")),
            Some(ListError::Declared(code("127.0.9.1")))
        );
        let allow = zone("wl.example", &[(&[], -1.0)]);
        assert_eq!(
            allow.error(code("127.0.0.255")),
            Some(ListError::AllowRefused)
        );
        let names = Zone {
            kind: Kind::Names(Roles::NONE.with(Role::Sender)),
            ..bl
        };
        assert_eq!(
            names.error(code("127.0.1.255")),
            Some(ListError::AddressAsked)
        );
    }

    #[test]
    fn sets() {
        let roles = Roles::NONE.with(Role::Helo).with(Role::Rdns);
        assert_eq!(roles.iter().collect::<Vec<_>>(), [Role::Helo, Role::Rdns]);
        assert!(!roles.contains(Role::Address) && Roles::NONE.is_empty());
        let both = Proofs::SPF.and(Proofs::DKIM);
        assert!(both.contains(Proofs::DKIM) && !Proofs::DKIM.contains(both));
        assert!(both.contains(Proofs::NONE));
    }
}
