//! The oracle over many seeds, and what it must notice.

use super::simulator::Sabotage;
use super::{
    course::{Course, Tally},
    oracle::run,
};

fn course(seed: u64) -> Course {
    Course {
        seed,
        faults: !seed.is_multiple_of(3),
        rot: seed % 5 == 4,
        ..Course::default()
    }
}

fn sum(into: &mut Tally, of: Tally) {
    into.accepted += of.accepted;
    into.refused += of.refused;
    into.done += of.done;
    into.crashes += of.crashes;
    into.starts += of.starts;
    into.rotted += of.rotted;
    into.set_aside += of.set_aside;
    into.retired += of.retired;
    into.copied += of.copied;
    into.sealed += of.sealed;
    into.surplus += of.surplus;
}

fn all(from: u64, to: u64) -> Tally {
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for seed in from..to {
        match run(course(seed)) {
            Ok(of) => sum(&mut tally, of),
            Err(why) => failed.push(format!("seed {seed}: {why}")),
        }
    }
    failed.truncate(20);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    tally
}

#[test]
fn nothing_that_was_promised_is_lost() {
    let tally = all(0, 200);
    // The seeds go where it matters.
    assert!(
        tally.accepted > 5_000 && tally.refused > 1_000 && tally.done > 1_500,
        "{tally:?}"
    );
    assert!(
        tally.retired > 300 && tally.copied > 500 && tally.sealed > 100 && tally.set_aside > 0,
        "{tally:?}"
    );
}

/// A listing that was not durable at a start; a last segment that was retired; a tail lost with the start that told of it; a
/// record that fits beside a short table of segments and not beside a long one.
#[test]
fn seeds_that_were_red_once_stay_green() {
    for seed in [4831, 11089, 27595, 27851, 38824, 70131] {
        assert_eq!(run(course(seed)).err(), None, "seed {seed}");
    }
}

/// The long proof: seeds from `SPOOL_SEEDS_FROM` to `SPOOL_SEEDS_TO`, as `tests/prove` asks. Without these there is nothing to do.
#[test]
fn many_seeds() {
    let bound = |name: &str| std::env::var(name).ok()?.parse().ok();
    if let (Some(from), Some(to)) = (bound("SPOOL_SEEDS_FROM"), bound("SPOOL_SEEDS_TO")) {
        println!("{:?}", all(from, to));
    }
}

/// How many seeds it takes until the oracle notices.
fn noticed(change: impl Fn(&mut Course)) -> Option<(u64, String)> {
    (0..400).find_map(|seed| {
        let mut course = Course {
            seed,
            faults: true,
            ..Course::default()
        };
        run(course).expect("without sabotage all is well");
        change(&mut course);
        run(course).err().map(|why| (seed, why))
    })
}

#[test]
fn a_sync_of_a_segment_that_does_nothing_is_noticed() {
    let found = noticed(|course| course.sabotage = Some(Sabotage::Segment));
    println!("{found:?}");
    assert!(found.is_some());
}

#[test]
fn a_sync_of_the_directory_that_does_nothing_is_noticed() {
    let found = noticed(|course| course.sabotage = Some(Sabotage::Directory));
    println!("{found:?}");
    assert!(found.is_some());
}

#[test]
fn a_sync_of_a_body_that_does_nothing_is_noticed() {
    let found = noticed(|course| course.sabotage = Some(Sabotage::Body));
    println!("{found:?}");
    assert!(found.is_some());
}

#[test]
fn a_tail_that_is_not_copied_is_noticed() {
    let found = noticed(|course| course.sabotage_tail = true);
    println!("{found:?}");
    assert!(found.is_some());
}
