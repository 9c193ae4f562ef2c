//! Greylisting: a first message is put off, and a client that comes again after a while gets it through. Programs that send
//! viruses and spam from other people's machines mostly don't come again; mail servers do (RFC 5321, section 4.5.4.1).
//!
//! What is remembered lies in three tables, so that no kind pushes out another:
//!
//! - `waiting`: who has been put off, and when. While one may still come ([`RETRY`]), nothing pushes it out. Where a line of
//!   the table is full of such, a newcomer is let in: it could not be remembered, and would be put off for ever.
//! - `passed`: who has come again, for `lifetime` after its last message.
//! - `allowed`: how often something has come again from a client, once an hour at most. After `allow_after` times all of the
//!   client's mail passes, also from other senders, for `lifetime` after its last message.
//!
//! One network makes [`FRESH_MAX`] entries an hour at most, whatever stands for its clients: a host may send from as many
//! domains as its owner likes, and from each /64 of a site. What it sends beyond is put off without being remembered, so that
//! one network can't fill the table. An address makes half as many at most, and after its first [`FRESH_FEW`] in an hour only
//! while half of its network's are left: so a few addresses that make as many as they can don't keep their neighbours from
//! being remembered.
//!
//! A time that lies in the future was noted while the clock was ahead, and says nothing: the wait begins anew, and such a note
//! gives way to others.
//!
//! Rejected: pushing out the oldest of those that wait (a flood then puts off everybody for ever); one table for all three
//! (a flood of first messages makes those known that are known no more).

use crate::{
    policy::rates::table::{Limit, Table},
    smtp::Tick,
    state::{Note, Notes, Secret},
};
use std::{hash::BuildHasher, time::Duration};

/// Nearly all servers have tried again by then.
const RETRY: u64 = 3_600;
/// Entries of one network in an hour.
const FRESH_MAX: u64 = 1_000;
/// Those of one address in an hour for which all of its network's are there.
const FRESH_FEW: u64 = 50;
/// Those of one address in an hour beyond these, for which half of its network's are there.
const FRESH_MORE: u64 = FRESH_MAX / 2 - FRESH_FEW;
/// Successes of a client count once in so long, in seconds.
const COUNTED_EVERY: u64 = 3_600;

/// What the configuration says, times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long it is put off.
    pub delay: u64,
    /// How long it may take to come again.
    pub window: u64,
    /// How long it is known after its last message.
    pub lifetime: u64,
    /// How many successes let in all of a client's mail; 0: none do.
    pub allow_after: u64,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is put off, and is let in after so many seconds; the first time, or again.
    Wait {
        /// Seconds from now.
        left: u64,
        /// It was not there before.
        first: bool,
    },
    /// It is let in.
    Pass(Pass),
}

/// Why it is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The client has come again often enough.
    Allowed,
    /// This sender and recipient have passed before.
    Known,
    /// It has come again, after so many seconds.
    Again(u64),
    /// It could not be remembered.
    NoRoom,
}

/// The tables.
pub struct Greylist {
    waiting: Notes,
    passed: Notes,
    allowed: Notes,
    /// New entries by network.
    fresh: Table,
    /// New entries by address. A table of its own: of many addresses, none pushes out a network.
    fresh_of_address: Table,
    secret: Secret,
}

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Triple {
    /// Of the client: a domain that answers for it, or its network.
    pub client: u64,
    /// Of the client, the sender and the recipient.
    pub whole: u64,
    /// The client's address, in IPv6 its /64, as its key: only new entries need its hash.
    pub address: u128,
    /// The /24 or /48 that the client's address is in, as its key: its new entries are counted together.
    pub network: u128,
}

fn by_time(_: u64, left: u64) -> u64 {
    left
}

/// Successes in the low half, the time of the last one above.
fn successes(value: u64) -> u64 {
    value & 0xffff_ffff
}

impl Greylist {
    /// Room for about so many entries of each kind.
    pub fn new(slots: usize, secret: Secret) -> Greylist {
        Greylist {
            waiting: Notes::new(slots),
            passed: Notes::new(slots),
            allowed: Notes::new(slots),
            fresh: Table::new(slots / 8, secret),
            fresh_of_address: Table::new(slots / 8, secret),
            secret,
        }
    }

    /// Whether a new one for so many entries would be of the same size.
    pub fn fits(&self, slots: usize) -> bool {
        self.waiting.fits(slots)
    }

    /// Whether a message may pass, `now` in seconds since 1970; remembers that it came.
    pub fn ask(&self, triple: Triple, terms: &Terms, now: u64, tick: Tick) -> Outcome {
        if self.is_allowed(triple.client, terms, now) {
            return Outcome::Pass(Pass::Allowed);
        }
        if self.is_known(triple.whole, terms, now) {
            return Outcome::Pass(Pass::Known);
        }
        let waits = |since: u64| terms.delay.saturating_sub(now.saturating_sub(since));
        let waiting = self.waiting.get(triple.whole, now);
        match waiting.filter(|note| note.value <= now) {
            Some(note) if waits(note.value) > 0 => Outcome::Wait {
                left: waits(note.value),
                first: false,
            },
            Some(note) => {
                self.succeeded(triple, terms, now);
                Outcome::Pass(Pass::Again(now.saturating_sub(note.value)))
            }
            None => self.begin(triple, terms, now, tick),
        }
    }

    fn begin(&self, triple: Triple, terms: &Terms, now: u64, tick: Tick) -> Outcome {
        let first = Outcome::Wait {
            left: terms.delay,
            first: true,
        };
        if !self.has_share(triple, tick) {
            return first;
        }
        // Another worker may have begun it: the earlier time holds.
        let new = |old: Option<Note>| {
            let is_new = old.is_none_or(|note| note.value > now);
            is_new.then_some(Note {
                value: now,
                until: now.saturating_add(terms.window.max(terms.delay)),
            })
        };
        let worth = |since: u64, left: u64| {
            let may_come = since <= now && now - since < terms.delay.saturating_add(RETRY);
            if may_come { Notes::KEPT } else { left }
        };
        match self.waiting.change(triple.whole, now, &worth, new) {
            Ok(_) => first,
            Err(_) => Outcome::Pass(Pass::NoRoom),
        }
    }

    /// Whether the client's address and network may make another entry.
    fn has_share(&self, triple: Triple, tick: Tick) -> bool {
        let an_hour = |most| Limit::new(most, Duration::from_secs(3_600));
        let (Some(few), Some(more), Some(all)) =
            (an_hour(FRESH_FEW), an_hour(FRESH_MORE), an_hour(FRESH_MAX))
        else {
            return true;
        };
        let [address, network] =
            [triple.address, triple.network].map(|key| self.secret.hash_one(key));
        let addresses = &self.fresh_of_address;
        let most = if addresses.admit_hashed(address, few, 1, tick) {
            FRESH_MAX
        } else if addresses.admit_hashed(!address, more, 1, tick) {
            FRESH_MAX / 2
        } else {
            return false;
        };
        self.fresh.admit_up_to(network, all, most, 1, tick)
    }

    /// It came again in time.
    fn succeeded(&self, triple: Triple, terms: &Terms, now: u64) {
        let until = now.saturating_add(terms.lifetime);
        // Where nothing gives way, it has to wait again the next time.
        let _ = self.passed.change(triple.whole, now, &by_time, |_| {
            Some(Note { value: 1, until })
        });
        // It waits no more.
        let _ = self.waiting.change(triple.whole, now, &by_time, |old| {
            old.map(|note| Note { until: now, ..note })
        });
        if terms.allow_after == 0 {
            return;
        }
        let worth = |value: u64, left: u64| (successes(value) << 32).saturating_add(left);
        let count = |old: Option<Note>| {
            let (count, last) =
                old.map_or((0, 0), |note| (successes(note.value), note.value >> 32));
            let is_due = count == 0 || last > now || now - last >= COUNTED_EVERY;
            is_due.then_some(Note {
                value: now << 32 | (count + 1).min(0xffff_ffff),
                until,
            })
        };
        let _ = self.allowed.change(triple.client, now, &worth, count);
    }

    fn is_allowed(&self, client: u64, terms: &Terms, now: u64) -> bool {
        let known = self.allowed.get(client, now);
        let is_enough =
            |note: &Note| terms.allow_after > 0 && successes(note.value) >= terms.allow_after;
        let Some(note) = known.filter(is_enough) else {
            return false;
        };
        renew(&self.allowed, client, note, terms, now);
        true
    }

    fn is_known(&self, whole: u64, terms: &Terms, now: u64) -> bool {
        let Some(note) = self.passed.get(whole, now) else {
            return false;
        };
        renew(&self.passed, whole, note, terms, now);
        true
    }

    /// Its tables, by the names that they are kept under.
    pub fn tables(&self) -> [(&'static str, &Notes); 3] {
        [
            ("greylist.waiting", &self.waiting),
            ("greylist.passed", &self.passed),
            ("greylist.allowed", &self.allowed),
        ]
    }
}

/// Has a note hold for another lifetime; not for each message anew.
fn renew(notes: &Notes, hash: u64, note: Note, terms: &Terms, now: u64) {
    let until = now.saturating_add(terms.lifetime);
    if until.saturating_sub(note.until) > terms.lifetime / 64 {
        let _ = notes.change(hash, now, &by_time, |old| {
            old.map(|note| Note { until, ..note })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;
    const TERMS: Terms = Terms {
        delay: 300,
        window: DAY,
        lifetime: 35 * DAY,
        allow_after: 3,
    };

    struct Rig(Greylist, Secret);

    fn rig(slots: usize) -> Rig {
        let secret = Secret::random();
        Rig(Greylist::new(slots, secret), secret)
    }

    impl Rig {
        /// Each client is in a network of its own.
        fn ask(&self, client: u32, sender: u32, now: u64) -> Outcome {
            self.ask_at([client, client, sender], now, now)
        }

        /// By a clock that need not agree with the ticks, in seconds both.
        fn ask_at(&self, [network, client, sender]: [u32; 3], now: u64, tick: u64) -> Outcome {
            let triple = Triple {
                client: self.1.hash_one(client),
                whole: self.1.hash_one((client, sender)),
                address: client.into(),
                network: network.into(),
            };
            self.0.ask(triple, &TERMS, now, Tick(tick * 1_000_000))
        }
    }

    fn waits(left: u64, first: bool) -> Outcome {
        Outcome::Wait { left, first }
    }

    #[test]
    fn who_comes_again_gets_through() {
        let rig = rig(1_000);
        assert_eq!(rig.ask(1, 1, NOW), waits(300, true));
        assert_eq!(rig.ask(1, 1, NOW + 1), waits(299, false));
        assert_eq!(rig.ask(1, 1, NOW + 299), waits(1, false));
        assert_eq!(rig.ask(1, 1, NOW + 300), Outcome::Pass(Pass::Again(300)));
        let mut now = NOW + 300;
        // Known as long as it comes within the lifetime.
        for _ in 0..3 {
            now += 34 * DAY;
            assert_eq!(rig.ask(1, 1, now), Outcome::Pass(Pass::Known));
        }
        assert_eq!(rig.ask(1, 1, now + 36 * DAY), waits(300, true));
        assert_eq!(rig.ask(1, 2, NOW), waits(300, true), "another sender");
        assert_eq!(rig.ask(2, 1, NOW), waits(300, true), "another client");
    }

    #[test]
    fn who_comes_too_late_begins_anew() {
        let rig = rig(1_000);
        assert_eq!(rig.ask(1, 1, NOW), waits(300, true));
        assert_eq!(rig.ask(1, 1, NOW + DAY + 60), waits(300, true));
    }

    #[test]
    fn a_client_that_comes_again_often_is_let_in_with_everything() {
        let rig = rig(1_000);
        for sender in 0..3 {
            let began = NOW + u64::from(sender) * 3_600;
            assert_eq!(rig.ask(1, sender, began), waits(300, true), "{sender}");
            let again = rig.ask(1, sender, began + 301);
            assert_eq!(again, Outcome::Pass(Pass::Again(301)));
        }
        let later = NOW + 3 * 3_600;
        assert_eq!(rig.ask(1, 99, later), Outcome::Pass(Pass::Allowed));
        assert_eq!(rig.ask(2, 99, later), waits(300, true));
        let late = later + 36 * DAY;
        assert_eq!(rig.ask(1, 98, late), waits(300, true), "forgotten");
    }

    #[test]
    fn many_at_once_count_once() {
        let rig = rig(1_000);
        for sender in 0..10 {
            rig.ask(1, sender, NOW);
        }
        for sender in 0..10 {
            rig.ask(1, sender, NOW + 400);
        }
        assert_eq!(rig.ask(1, 99, NOW + 500), waits(300, true));
    }

    #[test]
    fn a_flood_delays_nobody_for_ever_and_makes_nobody_unknown() {
        let rig = rig(4_096);
        for sender in 0..100 {
            rig.ask(1, sender, NOW);
            rig.ask(1, sender, NOW + 300);
        }
        rig.ask(2, 1, NOW + 300);
        // From more networks than there is room for.
        for client in 10..100_000 {
            rig.ask(client, 1, NOW + 301);
        }
        assert_eq!(rig.ask(2, 1, NOW + 600), Outcome::Pass(Pass::Again(300)));
        for sender in 0..100 {
            assert_eq!(rig.ask(1, sender, NOW + 601), Outcome::Pass(Pass::Known));
        }
        // A newcomer waits, or is let in because it can't be remembered; it does not wait twice.
        let newcomers = (0..500).map(|client| 1_000_000 + client);
        for client in newcomers {
            if let Outcome::Wait { .. } = rig.ask(client, 1, NOW + 700) {
                let again = rig.ask(client, 1, NOW + 1_000);
                assert_eq!(again, Outcome::Pass(Pass::Again(300)), "{client}");
            }
        }
    }

    #[test]
    fn one_network_does_not_fill_the_table() {
        let rig = rig(65_536);
        for client in 0..50_000 {
            rig.ask_at([1, client % 25_000, client], NOW, NOW);
        }
        let mut kept = 0;
        rig.0.waiting.each(NOW, |_| kept += 1);
        assert_eq!(kept, FRESH_MAX);
        assert_eq!(rig.ask(2, 1, NOW), waits(300, true));
    }

    #[test]
    fn busy_addresses_leave_room_for_their_neighbours() {
        let rig = rig(65_536);
        let kept = || {
            let mut kept = 0;
            rig.0.waiting.each(NOW, |_| kept += 1);
            kept
        };
        for sender in 0..2_000 {
            rig.ask_at([1, 1, sender], NOW, NOW);
        }
        assert_eq!(kept(), FRESH_MAX / 2, "one address has half");
        // Six, which go on for hours, each as fast as it is let.
        for later in (0..6 * 3_600).step_by(6) {
            for client in 1..7 {
                rig.ask_at(
                    [1, client, 10_000 + later],
                    NOW + 100,
                    NOW + u64::from(later),
                );
            }
        }
        let tick = NOW + 6 * 3_600;
        for neighbour in 100..110 {
            let ask = |now| rig.ask_at([1, neighbour, 1], now, tick);
            assert_eq!(ask(NOW + 100), waits(300, true));
            assert_eq!(ask(NOW + 101), waits(299, false), "it is remembered");
        }
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_nothing_waiting() {
        let rig = rig(1_000);
        let ahead = NOW + 30 * DAY;
        assert_eq!(rig.ask_at([1, 1, 1], ahead, NOW), waits(300, true));
        assert_eq!(rig.ask_at([1, 1, 1], NOW, NOW), waits(300, true));
        assert_eq!(rig.ask_at([1, 1, 1], NOW + 1, NOW), waits(299, false));
        let again = rig.ask_at([1, 1, 1], NOW + 300, NOW);
        assert_eq!(again, Outcome::Pass(Pass::Again(300)));
    }

    #[test]
    fn a_clock_that_was_ahead_leaves_room() {
        let rig = rig(4_096);
        for client in 1_000..100_000 {
            rig.ask_at([client, client, 1], NOW + 30 * DAY, NOW);
        }
        for client in 0..100 {
            let first = rig.ask_at([client, client, 1], NOW, NOW);
            assert_eq!(first, waits(300, true), "{client}");
        }
    }

    #[test]
    fn successes_count_on_after_a_clock_was_ahead() {
        let rig = rig(1_000);
        let ahead = NOW + 30 * DAY;
        for (sender, began) in [(0, ahead), (1, NOW), (2, NOW + 3_600)] {
            rig.ask_at([1, 1, sender], began, NOW);
            let again = rig.ask_at([1, 1, sender], began + 300, NOW);
            assert_eq!(again, Outcome::Pass(Pass::Again(300)), "{sender}");
        }
        let later = rig.ask_at([1, 1, 99], NOW + 8_000, NOW);
        assert_eq!(later, Outcome::Pass(Pass::Allowed));
    }

    proptest! {
        /// Whatever comes, and in whichever order: nothing passes before its time, and all that comes after it does.
        #[test]
        fn it_passes_when_its_time_has_come(steps in proptest::collection::vec((0u32..5, 0u64..200), 1..100)) {
            let rig = rig(1_000);
            let mut began = [None; 5];
            let mut now = NOW;
            for (sender, wait) in steps {
                now += wait;
                let since = *began[sender as usize].get_or_insert(now);
                let outcome = rig.ask(7, sender, now);
                match outcome {
                    Outcome::Wait { left, .. } => prop_assert_eq!(left, since + 300 - now),
                    Outcome::Pass(Pass::Allowed) => {}
                    Outcome::Pass(_) => prop_assert!(now >= since + 300),
                }
            }
        }
    }
}
