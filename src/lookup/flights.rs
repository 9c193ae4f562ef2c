//! The questions that are on their way, with those that wait for them.

use super::{
    shares::{ASKED_MAX, Shares},
    waiter::Waiter,
};
use crate::dns::Question;
use rustc_hash::FxHashMap;
use std::time::Instant;

/// Answers that are asked for again before they are stale, on their way at once: nothing waits for them.
pub const REFRESHED_MAX: usize = 64;
/// Of these, so many of one client.
const REFRESHED_OF_ONE_MAX: usize = REFRESHED_MAX / 8;
/// While so many questions are on their way, no answer is asked for again.
const BUSY: usize = ASKED_MAX / 2;

/// All of them.
#[derive(Default)]
pub(super) struct Flights {
    asked: FxHashMap<Question, Flight>,
    shares: Shares,
    /// Whose answers are being asked for again.
    refreshed: Vec<u128>,
}

/// One of them.
struct Flight {
    /// Whose share it is taken from.
    client: u128,
    /// An answer is asked for again; those that want it have the old one.
    is_refresh: bool,
    waiters: Vec<Waiter>,
}

impl Flights {
    /// The flight of this question takes another that waits. `Err`: it is not on its way.
    pub fn join(
        &mut self,
        question: &Question,
        waiter: Option<Waiter>,
    ) -> Result<(), Option<Waiter>> {
        match self.asked.get_mut(question) {
            Some(flight) => {
                flight.waiters.extend(waiter);
                Ok(())
            }
            None => Err(waiter),
        }
    }

    /// Whether a client may ask one more, or have an answer asked for again.
    pub fn has_room(&self, client: u128, is_refresh: bool, now: Instant) -> bool {
        let most = if is_refresh { BUSY } else { ASKED_MAX };
        let of_it = self.refreshed.iter().filter(|one| **one == client);
        self.asked.len() < most
            && (!is_refresh
                || self.refreshed.len() < REFRESHED_MAX && of_it.count() < REFRESHED_OF_ONE_MAX)
            && self.shares.has_room(client, now)
    }

    /// A question is on its way. Without a `waiter`, an answer is asked for again.
    pub fn begin(
        &mut self,
        question: Question,
        client: u128,
        waiter: Option<Waiter>,
        now: Instant,
    ) {
        let is_refresh = waiter.is_none();
        if is_refresh {
            self.refreshed.push(client);
        }
        self.shares.begin(client, now);
        let flight = Flight {
            client,
            is_refresh,
            waiters: waiter.into_iter().collect(),
        };
        self.asked.insert(question, flight);
    }

    /// Its answer is there, and took so many octets to decode. Returns those that wait for it.
    pub fn end(&mut self, question: &Question, decoded: usize, now: Instant) -> Vec<Waiter> {
        let Some(flight) = self.asked.remove(question) else {
            return Vec::new();
        };
        if flight.is_refresh
            && let Some(at) = self.refreshed.iter().position(|one| *one == flight.client)
        {
            self.refreshed.swap_remove(at);
        }
        self.shares.end(flight.client, decoded, now);
        flight.waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dns::RecordType,
        net::mailbox::{Sender, mailbox},
    };

    fn question(number: usize) -> Question {
        Question {
            name: format!("{number}.example").into(),
            record_type: RecordType::A,
        }
    }

    fn waiter(client: u128, to: &Sender<super::super::waiter::Arrived>) -> Option<Waiter> {
        Some(Waiter {
            docket: 1,
            client,
            to: to.clone(),
        })
    }

    /// Networks of their own.
    fn client(number: usize) -> u128 {
        (number as u128 + 1) << 80
    }

    #[test]
    fn answers_that_are_asked_for_again_have_a_small_limit_of_their_own() {
        let (mut flights, now) = (Flights::default(), Instant::now());
        let mut begun = 0;
        while flights.has_room(client(1), true, now) {
            flights.begin(question(begun), client(1), None, now);
            begun += 1;
        }
        assert_eq!(begun, REFRESHED_OF_ONE_MAX);
        assert!(flights.has_room(client(1), false, now), "it may still ask");
        for number in 2..ASKED_MAX {
            while flights.has_room(client(number), true, now) {
                flights.begin(question(begun), client(number), None, now);
                begun += 1;
            }
        }
        assert_eq!(begun, REFRESHED_MAX);
        assert!(flights.has_room(client(0), false, now));
        flights.end(&question(0), 100, now);
        assert!(flights.has_room(client(1), true, now), "given back");
    }

    #[test]
    fn they_give_way_to_questions() {
        let (to, _inbox) = mailbox(1);
        let (mut flights, now) = (Flights::default(), Instant::now());
        for number in 0..BUSY {
            let client = client(number / 100);
            assert!(flights.has_room(client, false, now));
            flights.begin(question(number), client, waiter(client, &to), now);
        }
        assert!(!flights.has_room(client(9999), true, now));
        assert!(flights.has_room(client(9999), false, now));
    }

    #[test]
    fn what_is_asked_for_again_counts_for_its_client() {
        let (to, _inbox) = mailbox(1);
        let (mut flights, now) = (Flights::default(), Instant::now());
        flights.begin(question(0), client(1), None, now);
        let mut asked = 1;
        while flights.has_room(client(1), false, now) {
            flights.begin(question(asked), client(1), waiter(client(1), &to), now);
            asked += 1;
        }
        assert_eq!(asked, super::super::shares::SHARE_MAX as usize);
    }
}
