//! Which backend gets the next message. Arithmetic over candidates; no clock, no state, no allocation.
//!
//! A candidate is asked for by its place in the pool's list; `None` is one that can't be had now.

use std::cmp::Ordering;

/// A backend that may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its share: the configured weight times what a slow start leaves of it.
    pub weight: u64,
    /// Messages in flight, over all workers, and connections that are being opened for one.
    pub load: u32,
    /// Whether it has an idle connection.
    pub idle: bool,
    /// It is used though it fails: it gets what its weight draws, and nothing for being idle.
    pub held: bool,
    /// What stands for it in a hash: the same in every worker, process and run.
    pub seed: u64,
}

/// The better of two different ones that are picked at random by their weights: the one with less load for its weight. Where
/// they are equally busy, one with an idle connection, and else the first, so that without load the shares are those of the
/// weights.
///
/// A second one of less weight is taken only where it stays the less busy with this message on it: without load it looks less
/// busy than any other, and would get a message whenever the first has one, whatever the weights say. One that fails is
/// without load because it fails at once, so load alone never has it taken.
///
/// Two different ones: a backend that hangs keeps its load, and must be compared with another one each time. `random` gives
/// 64 evenly spread bits. Rejected: the least loaded of all. Every worker would send to the same one until the counters
/// catch up.
pub fn least_loaded(
    count: usize,
    at: impl Fn(usize) -> Option<Candidate>,
    mut random: impl FnMut() -> u64,
) -> Option<usize> {
    let total: u64 = (0..count).filter_map(&at).map(|c| c.weight).sum();
    let mut draw = |total: u64, but: Option<usize>| {
        // The high half of the product spreads evenly over 0..total, without a division.
        let mut left = ((u128::from(random()) * u128::from(total)) >> 64) as u64;
        (0..count)
            .filter(|i| Some(*i) != but)
            .filter_map(|i| at(i).map(|c| (i, c)))
            .find(|(_, c)| match left.checked_sub(c.weight) {
                Some(rest) => {
                    left = rest;
                    false
                }
                None => true,
            })
    };
    let (first, a) = draw(total, None)?;
    let Some((second, b)) = draw(total.saturating_sub(a.weight), Some(first)) else {
        return Some(first);
    };
    Some(if is_better(a, b) { second } else { first })
}

/// Whether the second of two is to be taken.
fn is_better(a: Candidate, b: Candidate) -> bool {
    if b.held && !a.held {
        return false;
    }
    let is_lighter = b.weight < a.weight;
    // a.load / a.weight < b.load / b.weight, without the division.
    let burdens = (
        u128::from(a.load) * u128::from(b.weight),
        (u128::from(b.load) + u128::from(is_lighter)) * u128::from(a.weight),
    );
    match burdens.0.cmp(&burdens.1) {
        Ordering::Less => false,
        Ordering::Equal => !is_lighter && a.load > 0 && b.idle && !a.idle,
        Ordering::Greater => true,
    }
}

/// The highest score of a weighted rendezvous: each key has its own order of the candidates, one that goes
/// takes only its own keys along, and more weight only draws keys towards it.
pub fn rendezvous(
    count: usize,
    at: impl Fn(usize) -> Option<Candidate>,
    key: u64,
) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for (i, candidate) in (0..count).filter_map(|i| at(i).map(|c| (i, c))) {
        let drawn = mix(key ^ candidate.seed);
        // 53 bits, in the open interval from 0 to 1: the logarithm is finite and below zero.
        let unit = ((drawn >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let score = -(candidate.weight as f64) / unit.ln();
        if best.is_none_or(|(top, _)| score > top) {
            best = Some((score, i));
        }
    }
    best.map(|(_, i)| i)
}

/// The first of the list that can be had.
pub fn first_available(count: usize, at: impl Fn(usize) -> Option<Candidate>) -> Option<usize> {
    (0..count).find(|i| at(*i).is_some())
}

/// A hash of bytes without regard to case: FNV-1a, then mixed. It is part of what operators rely on (the
/// same recipient goes to the same backend over restarts and versions), so it is written out here.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

/// The finalizer of splitmix64: each bit of the input reaches each bit of the output.
#[must_use]
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(weights: &[u64]) -> Vec<Option<Candidate>> {
        let made = weights.iter().enumerate().map(|(i, &weight)| Candidate {
            weight,
            load: 0,
            idle: false,
            held: false,
            seed: hash(format!("192.0.2.{i}:25").as_bytes()),
        });
        made.map(Some).collect()
    }

    fn randoms() -> impl FnMut() -> u64 {
        let mut state = 7u64;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        }
    }

    fn close(share: usize, of: usize, wanted: f64) {
        let share = share as f64 / of as f64;
        assert!((share - wanted).abs() < 0.02, "{share} for {wanted}");
    }

    #[test]
    fn shares_follow_the_weights_where_all_are_idle() {
        let pool = pool(&[1, 2, 5]);
        let mut random = randoms();
        let mut got = [0usize; 3];
        for _ in 0..40_000 {
            got[least_loaded(3, |i| pool[i], &mut random).expect("all can be had")] += 1;
        }
        close(got[0], 40_000, 0.125);
        close(got[1], 40_000, 0.25);
        close(got[2], 40_000, 0.625);
    }

    #[test]
    fn load_settles_in_proportion_to_the_weights() {
        let mut pool = pool(&[1, 3]);
        let mut random = randoms();
        for _ in 0..400 {
            let i = least_loaded(2, |i| pool[i], &mut random).expect("all can be had");
            pool[i].as_mut().expect("made above").load += 1;
        }
        let loads: Vec<u32> = pool.iter().flatten().map(|c| c.load).collect();
        assert!((95..=105).contains(&loads[0]), "{loads:?}");
    }

    #[test]
    fn one_that_hangs_is_always_compared_with_another() {
        // It may have as many as its weight is larger: then it is full.
        for (weights, load) in [
            (&[1, 1][..], 1),
            (&[1, 9], 1),
            (&[9, 1], 10),
            (&[5, 1, 1], 6),
            (&[1, 1, 1, 1], 1),
        ] {
            let mut pool = pool(weights);
            let mut random = randoms();
            pool[0].as_mut().expect("made above").load = load;
            for _ in 0..1000 {
                let picked = least_loaded(pool.len(), |i| pool[i], &mut random);
                assert_ne!(picked, Some(0), "{weights:?}");
            }
        }
    }

    /// The share of the second of two while so many messages are in flight, one of which ends whenever another one comes.
    fn share_under_load(pool: &mut [Option<Candidate>], in_flight: usize, fails: bool) -> f64 {
        let (mut random, mut dice) = (randoms(), 3u64);
        let (mut flying, mut got) = (Vec::new(), 0u32);
        for _ in 0..40_000 {
            if flying.len() > in_flight {
                dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let i: usize = flying.swap_remove((mix(dice) % flying.len() as u64) as usize);
                pool[i].as_mut().expect("made above").load -= 1;
            }
            let i = least_loaded(2, |i| pool[i], &mut random).expect("both can be had");
            got += u32::from(i == 1);
            if i == 0 || !fails {
                pool[i].as_mut().expect("made above").load += 1;
                flying.push(i);
            }
        }
        f64::from(got) / 40_000.0
    }

    #[test]
    fn shares_follow_the_weights_under_load() {
        for in_flight in 1..=5 {
            let share = share_under_load(&mut pool(&[9, 1]), in_flight, false);
            assert!((0.05..0.12).contains(&share), "{share} with {in_flight}");
            let share = share_under_load(&mut pool(&[100, 1]), in_flight, false);
            assert!((0.006..0.014).contains(&share), "{share} with {in_flight}");
        }
    }

    #[test]
    fn one_that_is_held_and_fails_at_once_gets_no_more_than_its_weight() {
        for in_flight in [1, 2, 5, 20] {
            let mut pool = pool(&[1000, 100]);
            pool[1].as_mut().expect("made above").held = true;
            close(
                (share_under_load(&mut pool, in_flight, true) * 1000.0) as usize,
                1000,
                1.0 / 11.0,
            );
        }
    }

    #[test]
    fn of_two_that_are_equally_busy_one_with_an_idle_connection_is_picked() {
        let mut pool = pool(&[1, 1]);
        let mut random = randoms();
        pool[1].as_mut().expect("made above").idle = true;
        let mut shares = |pool: &[Option<Candidate>]| {
            let picked = (0..1000).map(|_| least_loaded(2, |i| pool[i], &mut random));
            picked.filter(|place| *place == Some(0)).count()
        };
        let share = shares(&pool);
        assert!(
            (400..600).contains(&share),
            "weights hold without load: {share}"
        );
        pool.iter_mut().flatten().for_each(|c| c.load = 2);
        assert_eq!(shares(&pool), 0);
    }

    #[test]
    fn one_that_can_not_be_had_is_not_picked() {
        let mut pool = pool(&[1, 1, 1]);
        pool[0] = None;
        let mut random = randoms();
        for key in 0..200 {
            assert_ne!(least_loaded(3, |i| pool[i], &mut random), Some(0));
            assert_ne!(rendezvous(3, |i| pool[i], mix(key)), Some(0));
        }
        assert_eq!(first_available(3, |i| pool[i]), Some(1));
        let nobody = |_| None;
        assert_eq!(least_loaded(3, nobody, &mut random), None);
        assert_eq!(rendezvous(3, nobody, 1), None);
        assert_eq!(first_available(3, nobody), None);
    }

    #[test]
    fn the_hash_has_weights_and_knows_no_case() {
        assert_eq!(hash(b"User@Example.NET"), hash(b"user@example.net"));
        // Written down: a change would move every recipient at an upgrade.
        assert_eq!(hash(b"user@example.net"), 5_974_794_257_338_566_547);
        let pool = pool(&[1, 3]);
        let mut got = [0usize; 2];
        for n in 0..20_000u32 {
            let key = hash(format!("user{n}@example.net").as_bytes());
            got[rendezvous(2, |i| pool[i], key).expect("all can be had")] += 1;
        }
        close(got[0], 20_000, 0.25);
    }

    proptest! {
        #[test]
        fn one_that_goes_takes_only_its_own_keys(
            weights in prop::collection::vec(1u64..1000, 2..9),
            gone in 0usize..9,
            keys in prop::collection::vec(any::<u64>(), 1..60),
        ) {
            let full = pool(&weights);
            let gone = gone % weights.len();
            for key in keys {
                let before = rendezvous(full.len(), |i| full[i], key);
                let after = rendezvous(full.len(), |i| full[i].filter(|_| i != gone), key);
                prop_assert!(before == Some(gone) || after == before);
            }
        }

        #[test]
        fn more_weight_only_draws_keys(
            weights in prop::collection::vec(1u64..100, 2..6),
            more in 1u64..100,
            keys in prop::collection::vec(any::<u64>(), 1..60),
        ) {
            let old = pool(&weights);
            let mut new = old.clone();
            new[0].as_mut().expect("made above").weight += more;
            for key in keys {
                let before = rendezvous(old.len(), |i| old[i], key);
                let after = rendezvous(new.len(), |i| new[i], key);
                prop_assert!(after == before || after == Some(0));
            }
        }
    }
}
