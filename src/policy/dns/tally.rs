//! The weights of several lists, added up, with a line that says where they come from.

use super::{
    listing::Listing,
    zone::{Kind, Proven, Role, Roles, Zone},
};
use std::fmt::Write;

/// Octets of [`Tally::detail`].
pub const DETAIL_MAX: usize = 160;
/// Stands for what found no room.
const MORE: &str = " ...";

/// What lists say together. Thresholds are the caller's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// The sum of the weights.
    pub score: f64,
    /// `zen 127.0.0.2,127.0.0.4; dbl 127.0.1.2(sender,helo)`; empty, without an allocation, where nothing is listed.
    pub detail: String,
}

impl Tally {
    /// Adds what one list says.
    pub fn add(&mut self, zone: &Zone, listing: &Listing, proven: &Proven) {
        self.score += weight(zone, listing, proven);
        if listing.is_listed() && !self.detail.ends_with(MORE) {
            let part = detail(zone, listing);
            let gap = if self.detail.is_empty() { "" } else { "; " };
            if self.detail.len() + gap.len() + part.len() + MORE.len() <= DETAIL_MAX {
                self.detail.push_str(gap);
                self.detail.push_str(&part);
            } else {
                self.detail.push_str(MORE);
            }
        }
    }
}

/// What a listing adds to the score: each entry once. A negative weight counts where all that the list requires is proven
/// for one of the names that the entry matches.
#[must_use]
pub fn weight(zone: &Zone, listing: &Listing, proven: &Proven) -> f64 {
    let mut sum = 0.0;
    for (place, roles) in &listing.entries {
        let Some(entry) = zone.entries.get(usize::from(*place)) else {
            continue;
        };
        let is_proven = || {
            roles
                .iter()
                .any(|role| proven.of(role).contains(zone.requires))
        };
        if entry.weight >= 0.0 || is_proven() {
            sum += entry.weight;
        }
    }
    sum
}

/// One list's part of [`Tally::detail`], of at most [`DETAIL_MAX`] less the room for [`MORE`].
#[must_use]
pub fn detail(zone: &Zone, listing: &Listing) -> String {
    let mut detail = zone.name.label().to_string();
    let mut roles = String::new();
    if let Kind::Names(_) = zone.kind {
        let all = listing.entries.iter().flat_map(|(_, roles)| roles.iter());
        let all = all.fold(Roles::NONE, Roles::with);
        let words: Vec<&str> = all.iter().map(Role::as_str).collect();
        roles = format!("({})", words.join(","));
    }
    let room = DETAIL_MAX - MORE.len() - roles.len() - ",...".len();
    let mut is_cut = listing.has_more_codes;
    for (place, code) in listing.codes.iter().enumerate() {
        let before = detail.len();
        let _ = write!(detail, "{}{code}", if place == 0 { " " } else { "," });
        if detail.len() > room {
            detail.truncate(before);
            is_cut = true;
            break;
        }
    }
    if is_cut {
        detail.push_str(",...");
    }
    detail + &roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::{
        listing::{CODES_MAX, Lookup},
        testing::*,
        zone::Proofs,
    };
    use proptest::prelude::*;
    use std::{net::Ipv4Addr, sync::Arc};

    fn listing(zone: &Zone, answer: &str) -> Listing {
        let zone = Arc::new(zone.clone());
        let question = format!("A 7.2.0.192.{}", zone.name.label());
        let lookup = Lookup::of_client(zone, ip("192.0.2.7"));
        run(|answers| lookup.step(answers), dns(&[(&question, answer)])).0
    }

    #[test]
    fn entries_count_once_and_add_up() {
        let zone = zone(
            "zen",
            &[
                (&["127.0.0.2-3"], 6.0),
                (&["127.0.0.4", "127.0.0.5-7"], 4.0),
                (&["127.0.0.10-11"], 1.5),
                (&["127.0.0.[2..11]"], 0.5),
            ],
        );
        for (answer, score) in [
            ("127.0.0.2", 6.5),
            ("127.0.0.2|127.0.0.2|127.0.0.3", 6.5),
            ("127.0.0.2|127.0.0.4|127.0.0.6|127.0.0.11", 12.0),
            ("127.0.0.12", 0.0),
            ("127.0.0.2|127.255.255.254", 0.0),
            ("timeout", 0.0),
        ] {
            let listing = listing(&zone, answer);
            assert_eq!(
                weight(&zone, &listing, &Proven::default()),
                score,
                "{answer}"
            );
        }
    }

    #[test]
    fn lists_add_up_and_say_which() {
        let zen = zone("zen", &[(&[], 6.0)]);
        let bl = zone("bl.example", &[(&[], 2.0)]);
        let allow = zone("wl.example", &[(&["127.0.[0..255].2"], -3.0)]);
        let mut tally = Tally::default();
        for (zone, answer) in [
            (&zen, "127.0.0.2|127.0.0.4"),
            (&bl, "nodata"),
            (&allow, "127.0.5.2"),
        ] {
            tally.add(zone, &listing(zone, answer), &Proven::default());
        }
        assert_eq!(tally.score, 3.0);
        assert_eq!(
            tally.detail,
            "zen 127.0.0.2,127.0.0.4; wl.example 127.0.5.2"
        );
    }

    #[test]
    fn an_allow_list_wants_its_proofs() {
        let zone = Zone {
            requires: Proofs::SPF.and(Proofs::DKIM),
            kind: Kind::Names(Roles::NONE.with(Role::Sender).with(Role::Helo)),
            ..zone("wl.example", &[(&[], -3.0)])
        };
        let names: [(Role, &[u8]); 2] = [(Role::Sender, b"a.example"), (Role::Helo, b"b.example")];
        let lookup = Lookup::of_names(Arc::new(zone.clone()), names);
        let lines = [("A a.example.wl.example", "127.0.5.2")];
        let (listing, _) = run(|answers| lookup.step(answers), dns(&lines));
        for (role, proofs, score) in [
            (Role::Sender, Proofs::NONE, 0.0),
            (Role::Sender, Proofs::SPF, 0.0),
            (Role::Sender, Proofs::SPF.and(Proofs::DKIM), -3.0),
            (Role::Helo, Proofs::SPF.and(Proofs::DKIM), 0.0),
        ] {
            let mut proven = Proven::default();
            proven.add(role, proofs);
            assert_eq!(weight(&zone, &listing, &proven), score, "{role:?}");
        }
        assert_eq!(detail(&zone, &listing), "wl.example 127.0.5.2(sender)");
    }

    proptest! {
        #[test]
        fn the_detail_is_bounded(
            zones in prop::collection::vec(("[a-z.]{1,64}", 0..CODES_MAX + 1), 0..12)
        ) {
            let mut tally = Tally::default();
            for (label, codes) in zones {
                let mut zone = zone("bl.example", &[(&[], 1.0)]);
                zone.name = crate::policy::dns::secret::ZoneName::new("bl.example", None, Some(&label)).expect("a zone");
                zone.kind = Kind::Names(Roles::NONE.with(Role::Sender));
                let listing = Listing {
                    codes: (0..codes).map(|_| Ipv4Addr::new(127, 255, 254, 255)).collect(),
                    has_more_codes: codes == CODES_MAX,
                    entries: smallvec::smallvec![(0, Roles::NONE.with(Role::Sender)), (99, Roles::NONE)],
                    ..Listing::default()
                };
                tally.add(&zone, &listing, &Proven::default());
                prop_assert!(tally.detail.len() <= DETAIL_MAX, "{}", tally.detail);
            }
        }
    }
}
