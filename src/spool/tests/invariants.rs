//! The invariants of the spool, each a test on a simulated disk.

use super::super::{
    body::{self, BodyWriter},
    disk::{Disk, DiskFile, SECTOR},
    log::Log,
    message::{Accept, Recipient},
    options::Options,
    payload::{Ending, State},
    read::ReadError,
    reclaim::Progress,
    record::Kind,
    recover,
    refused::Refused,
    report::{OpenError, Report},
    request::Request,
    segment::{self, RECORDS_AT, SEGMENT_MIN},
    watermarks::Limits,
};
use super::simulator::Simulated;
use std::io::{self, IoSlice};

const OPTIONS: Options = Options {
    segment_octets: SEGMENT_MIN,
    limits: Limits {
        messages_max: 1_000,
        octets_max: u64::MAX,
        free_min: 0,
    },
    verify_bodies: false,
    sabotage_tail: false,
};

pub(super) fn open(disk: &Simulated) -> (Log<Simulated>, Report) {
    recover::open(disk.again(), OPTIONS, 0).expect("opens")
}

fn accept(log: &Log<Simulated>, octets: usize) -> Request {
    let accept = Accept {
        recipients: vec![Recipient::default()],
        ..Accept::default()
    };
    let body = vec![vec![b'x'; octets]];
    Request::accept(log.shared().next_sequence(), accept, body)
}

pub(super) fn put(log: &mut Log<Simulated>, octets: usize) -> Result<u64, Refused> {
    let request = accept(log, octets);
    log.commit(std::slice::from_ref(&request), 0)
        .pop()
        .expect("an answer")
        .map(|()| request.sequence())
}

pub(super) fn end(log: &mut Log<Simulated>, sequence: u64) -> Result<(), Refused> {
    let ending = Ending::Delivered;
    let done = Request::Done { sequence, ending };
    log.commit(&[done], 0).pop().expect("an answer")
}

fn has(log: &Log<Simulated>, sequence: u64) -> bool {
    log.shared().index().get(sequence).is_some()
}

#[test]
fn success_is_told_after_one_sync_for_the_batch() {
    let disk = Simulated::new(1);
    let (mut log, _) = open(&disk);
    let before = disk.world().syncs;
    let batch: Vec<_> = (0..8).map(|_| accept(&log, 100)).collect();
    assert!(log.commit(&batch, 0).iter().all(Result::is_ok));
    assert_eq!(disk.world().syncs, before + 1);
    disk.world().cut_power();
    let (_, report) = open(&disk);
    assert_eq!(report.messages, 8);
}

#[test]
fn a_segment_counts_after_its_directory_was_synced() {
    let disk = Simulated::new(2);
    let (mut log, _) = open(&disk);
    put(&mut log, 9_000).expect("room");
    disk.world().faults.directory = 1;
    assert_eq!(
        put(&mut log, 9_000),
        Err(Refused::Failed(io::Error::from_raw_os_error(5).kind()))
    );
    disk.world().faults.directory = 0;
    // Its probe has failed: the next comes when it is due.
    assert!(put(&mut log, 9_000).is_err());
    let request = accept(&log, 9_000);
    assert_eq!(log.commit(&[request], 60_000), [Ok(())]);
}

#[test]
fn a_segment_whose_sync_failed_takes_no_more() {
    let disk = Simulated::new(3);
    let (mut log, _) = open(&disk);
    let first = put(&mut log, 100).expect("room");
    let epoch = log.last.0;
    disk.world().faults.sync = 1;
    let failed = log.shared().unused_sequence();
    assert!(matches!(put(&mut log, 100), Err(Refused::Failed(_))));
    assert!(log.active.is_none() && !has(&log, failed));
    // A later sync returns success for what the earlier one has lost: only another file counts.
    assert!(put(&mut log, 100).is_err(), "the probe fails as well");
    disk.world().faults.sync = 0;
    let request = accept(&log, 100);
    assert_eq!(log.commit(std::slice::from_ref(&request), 60_000), [Ok(())]);
    assert!(log.last.0 > epoch);
    // What failed does not come to light later.
    disk.world().kill();
    let (log, _) = open(&disk);
    assert!(has(&log, first) && has(&log, request.sequence()) && !has(&log, failed));
}

#[test]
fn a_tail_is_copied_before_it_counts() {
    let disk = Simulated::new(4);
    let (mut log, _) = open(&disk);
    put(&mut log, 100).expect("room");
    disk.world().faults.sync = 1;
    assert!(put(&mut log, 3_000).is_err());
    disk.world().faults.sync = 0;
    disk.world().restart_as_killed();
    let (log, report) = open(&disk);
    // The page cache shows the message whose sync failed. From here on it is there, whatever happens.
    assert_eq!((report.messages, report.tail_records), (2, 1));
    drop(log);
    disk.world().cut_power();
    assert_eq!(open(&disk).1.messages, 2);
}

/// Changes an octet of a record's body or head.
fn spoil(disk: &Simulated, epoch: u64, at: u32) {
    let file = disk.again().open(&segment::name(epoch)).expect("there");
    let mut octet = [0];
    file.read_at(&mut octet, at.into()).expect("read");
    octet[0] ^= 1;
    file.write_at(&mut [IoSlice::new(&octet)], at.into())
        .expect("written");
    file.sync().expect("synced");
}

#[test]
fn damage_in_the_tail_is_dropped_and_elsewhere_set_aside() {
    let disk = Simulated::new(5);
    let (mut log, _) = open(&disk);
    let sequences: Vec<u64> = (0..4).map(|_| put(&mut log, 900).expect("room")).collect();
    let places: Vec<_> = sequences
        .iter()
        .map(|sequence| log.shared().index().get(*sequence).expect("there").accept)
        .collect();
    drop(log);
    spoil(&disk, places[0].epoch, places[0].offset + 20);
    spoil(&disk, places[1].epoch, places[1].offset + 500);
    spoil(&disk, places[3].epoch, places[3].offset + 20);
    let (mut log, report) = open(&disk);
    // The first has lost its head, the second a part of its body, the fourth was in the tail. The third was as well,
    // for no record says any more that it was synced.
    assert_eq!((report.damaged, report.messages), (1, 2), "{report:?}");
    assert!(report.tail_dropped > 900);
    let found = log.shared().fetch(sequences[1]);
    assert!(matches!(found, Err(ReadError::Damaged)));
    assert_eq!(log.counters().set_aside, 1);
    // The file is kept, also where nothing needs it any more.
    end(&mut log, sequences[1]).expect("ended");
    while log.reclaim(0) != Progress::Idle {}
    let kept = format!("damaged-{}", segment::name(places[0].epoch));
    assert!(disk.again().list().expect("listed").contains(&kept));
}

#[test]
fn an_end_is_durable_before_its_space_is_used_again() {
    let disk = Simulated::new(6);
    let (mut log, _) = open(&disk);
    let sequence = put(&mut log, 9_000).expect("room");
    let epoch = log.last.0;
    put(&mut log, 9_000).expect("room");
    disk.world().faults.sync = 1;
    assert!(end(&mut log, sequence).is_err());
    while log.reclaim(0) == Progress::More {}
    let there = |disk: &Simulated| disk.again().open(&segment::name(epoch)).is_ok();
    assert!(there(&disk) && has(&log, sequence));
    disk.world().faults.sync = 0;
    let ending = Ending::Delivered;
    let done = Request::Done { sequence, ending };
    assert_eq!(log.commit(&[done], 60_000), [Ok(())]);
    while log.reclaim(60_000) == Progress::More {}
    assert!(!there(&disk));
    disk.world().cut_power();
    assert!(!has(&open(&disk).0, sequence));
}

#[test]
fn a_spool_has_one_owner_and_its_ids_are_used_once() {
    let disk = Simulated::new(7);
    let (mut log, _) = open(&disk);
    let second = recover::open(disk.again(), OPTIONS, 0);
    assert!(matches!(second, Err(OpenError::Owned)));
    let spool = log.shared().id();
    let mut last = 0;
    for _ in 0..20 {
        last = put(&mut log, 2_000).expect("room");
        end(&mut log, last).expect("ended");
        while log.reclaim(0) != Progress::Idle {}
    }
    drop(log);
    let (log, _) = open(&disk);
    assert_eq!(log.shared().id(), spool);
    assert!(log.shared().next_sequence() > last);
}

#[test]
fn a_full_disk_refuses_messages_and_takes_their_ends() {
    let disk = Simulated::new(8);
    disk.world().capacity = 3 * u64::from(SEGMENT_MIN);
    let (mut log, _) = open(&disk);
    log.do_chores(0);
    let mut taken = Vec::new();
    let refused = loop {
        match put(&mut log, 1_000) {
            Ok(sequence) => taken.push(sequence),
            Err(why) => break why,
        }
        assert!(taken.len() < 100);
    };
    assert_eq!(refused, Refused::Full);
    assert!(taken.len() > 8);
    for sequence in taken {
        end(&mut log, sequence).expect("there is room for ends");
        while log.reclaim(0) == Progress::More {}
    }
    let request = accept(&log, 1_000);
    assert_eq!(log.commit(&[request], 60_000), [Ok(())]);
}

#[test]
fn a_state_outlives_the_segments_that_it_was_in() {
    let disk = Simulated::new(9);
    let (mut log, _) = open(&disk);
    let kept = put(&mut log, 500).expect("room");
    for attempts in 1..=30 {
        let state = State {
            attempts,
            ..State::default()
        };
        let update = Request::update(kept, Kind::Attempt, state);
        assert_eq!(log.commit(&[update], 0), [Ok(())]);
        let other = put(&mut log, 4_000).expect("room");
        end(&mut log, other).expect("ended");
        while log.reclaim(0) == Progress::More {}
    }
    assert!(log.counters().retired > 5 && log.counters().copied > 0);
    drop(log);
    let (log, _) = open(&disk);
    let stored = log.shared().fetch(kept).expect("stored");
    assert_eq!(stored.state.map(|state| state.attempts), Some(30));
    assert_eq!(stored.entry.attempts, 30);
}

#[test]
fn a_body_without_a_message_leaves_no_file() {
    let disk = Simulated::new(10);
    let (mut log, _) = open(&disk);
    let mut given_up = BodyWriter::new(log.shared()).expect("a file");
    given_up.write(&[1; 100_000]).expect("written");
    drop(given_up);
    let mut writer = BodyWriter::new(log.shared()).expect("a file");
    writer.write(&[2; 100_000]).expect("written");
    let finished = writer.finish().expect("durable");
    let sequence = finished.sequence();
    let accept = Accept {
        recipients: vec![Recipient::default()],
        ..Accept::default()
    };
    assert_eq!(
        log.commit(&[Request::accept_file(finished, accept)], 0),
        [Ok(())]
    );
    let bodies = |disk: &Simulated| {
        let names = disk.again().list().expect("listed");
        names
            .into_iter()
            .filter(|name| name.starts_with("body-"))
            .collect::<Vec<_>>()
    };
    assert_eq!(bodies(&disk), [body::name(sequence)]);
    end(&mut log, sequence).expect("ended");
    log.do_chores(0);
    assert!(bodies(&disk).is_empty());
}

#[test]
fn a_batch_touches_no_sector_that_was_synced() {
    let disk = Simulated::new(11);
    let (mut log, _) = open(&disk);
    for octets in [1, 300, 470, 512] {
        put(&mut log, octets).expect("room");
        assert!(log.last.1 % SECTOR == 0 && log.last.1 > RECORDS_AT);
    }
}
