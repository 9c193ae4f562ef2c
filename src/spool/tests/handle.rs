//! The spool as a worker uses it, with its threads, on a simulated disk.

use super::simulator::Simulated;
use super::{
    super::{
        committer::Committer,
        disk::Disk,
        handle::{Spool, Told},
        message::Accept,
        options::Options,
        payload::{Ending, State},
        read::{ReadError, StoredBody},
        record::Kind,
        recover,
        refused::{Refused, Watermark},
        segment::SEGMENT_MIN,
        watermarks::Limits,
    },
    threads::envelope,
};
use crossbeam::channel::{Receiver, bounded};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

fn start(disk: &Simulated, limits: Limits) -> (Committer, Spool<Simulated>) {
    let options = Options {
        segment_octets: SEGMENT_MIN,
        limits,
        ..Options::default()
    };
    let (log, _) = recover::open(disk.again(), options, 0).expect("opens");
    // Each look at the clock is a second later: what is tried again after a while is tried again at once.
    let clock = AtomicU64::new(0);
    Spool::start(log, move || clock.fetch_add(1_000, Ordering::Relaxed)).expect("threads")
}

/// A callback, and what it was told.
fn told() -> (Told, Receiver<Result<u64, Refused>>) {
    let (to, from) = bounded(1);
    let told: Told = Box::new(move |result, request| {
        let _ = to.send(result.map(|()| request.sequence()));
    });
    (told, from)
}

fn put(spool: &Spool<Simulated>, octets: usize) -> Result<u64, Refused> {
    let (tell, told) = told();
    let taken = spool.accept(envelope(), vec![vec![b'x'; octets]], tell);
    assert!(taken.is_ok(), "the queue has room");
    told.recv().expect("an answer")
}

/// Asks until the answer is yes: the spool finds out by itself that the disk works again.
fn until_it_takes(spool: &Spool<Simulated>) -> u64 {
    while spool.watermarks().may_accept(100).is_err() {
        thread::sleep(Duration::from_millis(1));
    }
    put(spool, 100).expect("it works again")
}

fn fetch(
    spool: &Spool<Simulated>,
    sequence: u64,
) -> Result<(Accept, Option<State>, Vec<u8>), ReadError> {
    let (to, from) = bounded(1);
    let asked = spool.fetch(sequence, move |found| drop(to.send(found)));
    asked.expect("few jobs");
    let found = from.recv().expect("an answer")?;
    let body = match found.body {
        StoredBody::Inline(body) => body,
        StoredBody::File(mut reader) => {
            let mut all = Vec::new();
            loop {
                let (to, from) = bounded(1);
                let asked = spool.read_body(reader, move |octets, reader| {
                    drop(to.send((octets, reader)))
                });
                asked.expect("few jobs");
                let (octets, again) = from.recv().expect("an answer");
                reader = again;
                match octets.map_err(ReadError::Io)? {
                    Some(octets) => all.extend(octets),
                    None => break all,
                }
            }
        }
    };
    Ok((found.accept, found.state, body))
}

/// A body of so many pieces of 10,000 octets.
fn put_in_pieces(spool: &Spool<Simulated>, pieces: u8) -> Result<u64, Refused> {
    let (to, from) = bounded(1);
    spool
        .begin_body(move |begun| drop(to.send(begun)))
        .expect("few jobs");
    let mut writer = from.recv().expect("an answer")?;
    for piece in 0..pieces {
        let (to, from) = bounded(1);
        let asked = spool.write_body(writer, vec![piece; 10_000], move |written, piece| {
            assert_eq!(piece.len(), 10_000, "the piece comes back");
            drop(to.send(written));
        });
        asked.expect("few jobs");
        writer = from.recv().expect("an answer")?;
    }
    let (to, from) = bounded(1);
    let asked = spool.finish_body(writer, envelope(), move |told| {
        let _ = to.send(told);
    });
    asked.expect("few jobs");
    from.recv().expect("an answer")
}

fn bodies(disk: &Simulated) -> usize {
    let names = disk.again().list().expect("listed");
    names
        .iter()
        .filter(|name| name.starts_with("body-"))
        .count()
}

#[test]
fn a_message_is_taken_tried_and_ended_and_what_waits_is_there_after_a_start() {
    let disk = Simulated::new(40);
    let (committer, spool) = start(&disk, Limits::default());
    let small = put(&spool, 500).expect("taken");
    let large = put_in_pieces(&spool, 20).expect("taken");
    let gone = put(&spool, 500).expect("taken");
    let state = State {
        attempts: 1,
        due_ms: 77,
        reason: "421 later".to_owned(),
        ..State::default()
    };
    let (tell, told_update) = told();
    spool
        .update(small, Kind::Attempt, state.clone(), tell)
        .expect("room");
    assert_eq!(told_update.recv().expect("an answer"), Ok(small));
    let (tell, told_end) = told();
    spool.end(gone, Ending::Delivered, tell).expect("room");
    assert_eq!(told_end.recv().expect("an answer"), Ok(gone));
    assert!(matches!(fetch(&spool, gone), Err(ReadError::Gone)));
    let fill = spool.watermarks().fill();
    assert!(
        fill.messages == 2 && fill.octets > 200_500 && fill.coming == 0,
        "{fill:?}"
    );
    let metrics = spool.metrics();
    assert_eq!(
        (metrics.answered, metrics.refused, metrics.failed),
        (5, 0, 0)
    );
    let id = spool.id();
    drop((committer, spool));
    disk.world().cut_power();

    let (_committer, spool) = start(&disk, Limits::default());
    let listed: Vec<_> = spool
        .messages(0, 10)
        .into_iter()
        .map(|(sequence, entry)| (sequence, entry.due_ms))
        .collect();
    assert_eq!(listed, [(small, 77), (large, 0)]);
    assert_eq!(
        (spool.id(), spool.watermarks().fill().octets),
        (id, fill.octets)
    );
    let (accept, found, body) = fetch(&spool, small).expect("stored");
    assert!(accept.sender == envelope().sender && found == Some(state) && body == [b'x'; 500]);
    let (_, _, body) = fetch(&spool, large).expect("stored");
    assert!(
        body.len() == 200_000
            && body
                .chunks(10_000)
                .enumerate()
                .all(|(n, piece)| piece == [n as u8; 10_000])
    );
}

#[test]
fn limits_are_told_before_and_kept_after() {
    let disk = Simulated::new(41);
    let limits = Limits {
        messages_max: 2,
        octets_max: 50_000,
        free_min: 0,
    };
    let (_committer, spool) = start(&disk, limits);
    let full = |watermark| Err(Refused::Watermark(watermark));
    assert_eq!(
        spool.watermarks().may_accept(70_000),
        Err(Refused::Watermark(Watermark::Octets))
    );
    assert_eq!(put_in_pieces(&spool, 7), full(Watermark::Octets));
    let first = put(&spool, 5_000).expect("room");
    put_in_pieces(&spool, 4).expect("room");
    assert_eq!(
        spool.watermarks().may_accept(0),
        Err(Refused::Watermark(Watermark::Messages))
    );
    // One that did not ask is refused all the same, and a body that was given up leaves nothing.
    assert_eq!(put(&spool, 10), full(Watermark::Messages));
    let (tell, told) = told();
    spool.end(first, Ending::Dropped, tell).expect("room");
    assert!(told.recv().expect("an answer").is_ok());
    assert_eq!(put(&spool, 10_000), full(Watermark::Octets));
    spool.watermarks().set_limits(Limits::default());
    assert!(put(&spool, 10_000).is_ok());
    assert_eq!(bodies(&disk), 1);
    assert_eq!(spool.metrics().refused, 2);
}

#[test]
fn a_disk_that_fills_up_refuses_and_takes_again_when_there_is_room() {
    let disk = Simulated::new(42);
    disk.world().capacity = 6 * u64::from(SEGMENT_MIN);
    let (_committer, spool) = start(&disk, Limits::default());
    let mut taken = Vec::new();
    let refused = loop {
        match put(&spool, 2_000) {
            Ok(sequence) => taken.push(sequence),
            Err(why) => break why,
        }
        assert!(taken.len() < 1_000);
    };
    assert_eq!(refused, Refused::Full);
    assert_eq!(spool.watermarks().may_accept(100), Err(Refused::Full));
    // What was taken can end, though the disk is full.
    for sequence in &taken {
        let (tell, told) = told();
        spool.end(*sequence, Ending::Delivered, tell).expect("room");
        assert_eq!(told.recv().expect("an answer"), Ok(*sequence));
    }
    until_it_takes(&spool);
    drop(spool);
}

#[test]
fn a_disk_that_fails_refuses_and_takes_again_when_it_works() {
    let disk = Simulated::new(43);
    let (_committer, spool) = start(&disk, Limits::default());
    let first = put(&spool, 100).expect("taken");
    for fault in 0..4 {
        {
            let mut world = disk.world();
            match fault {
                0 => world.faults.sync = 1,
                1 => world.faults.write = 1,
                2 => world.faults.read_only = true,
                _ => world.capacity = 0,
            }
        }
        let refused = loop {
            if let Err(why) = put(&spool, 3_000) {
                break why;
            }
        };
        match fault {
            2 => assert_eq!(refused, Refused::Failed(io::ErrorKind::ReadOnlyFilesystem)),
            3 => assert_eq!(refused, Refused::Full),
            _ => assert!(matches!(refused, Refused::Failed(_))),
        }
        assert!(put_in_pieces(&spool, 2).is_err());
        // On a full disk, a file that was emptied meanwhile will do.
        assert!(fault == 3 || spool.watermarks().may_accept(0).is_err());
        // What is there can be read meanwhile.
        assert!(fetch(&spool, first).is_ok());
        {
            let mut world = disk.world();
            (world.faults, world.capacity) = (Default::default(), u64::MAX);
        }
        until_it_takes(&spool);
        assert_eq!(bodies(&disk), 0);
    }
}

#[test]
fn a_growing_spool_is_given_its_files_by_other_threads() {
    let disk = Simulated::new(44);
    let (committer, spool) = start(&disk, Limits::default());
    let sequences: Vec<u64> = (0..200)
        .map(|_| put(&spool, 3_000).expect("taken"))
        .collect();
    let log = spool.metrics().log;
    assert!(log.segments > 40 && log.sealed > 20, "{log:?}");
    assert_eq!(log.late_files, 1, "the first one");
    drop((committer, spool));
    let (_committer, spool) = start(&disk, Limits::default());
    assert_eq!(spool.messages(0, 1_000).len(), sequences.len());
}

#[test]
fn the_directory_is_owned_for_as_long_as_anything_may_write_in_it() {
    let disk = Simulated::new(45);
    let (committer, spool) = start(&disk, Limits::default());
    let (to, from) = bounded(1);
    spool
        .begin_body(move |begun| drop(to.send(begun)))
        .expect("few jobs");
    let writer = from.recv().expect("an answer").expect("room");
    drop((committer, spool));
    let again = || recover::open(disk.again(), Options::default(), 0).map(drop);
    assert!(again().is_err());
    drop(writer);
    assert!(again().is_ok());
}

/// A failure is told once by the kernel, to one of several threads.
#[test]
fn a_sync_of_the_directory_that_failed_elsewhere_counts_for_all_changes_before() {
    let disk = Simulated::new(46);
    let (log, _) = recover::open(disk.again(), Options::default(), 0).expect("opens");
    let shared = Arc::clone(log.shared());
    let since = shared.before_names();
    disk.world().faults.directory = 1;
    assert!(shared.sync_names(since).is_err());
    disk.world().faults.directory = 0;
    assert!(shared.sync_names(since).is_err(), "made before the failure");
    assert!(shared.sync_names(shared.before_names()).is_ok());
}
