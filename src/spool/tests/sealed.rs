//! Index files: a start that finds them reads no sealed segment, and one that finds something else in their place does.

use super::simulator::Simulated;
use super::{
    super::{
        disk::{Disk, DiskFile},
        log::Log,
        message::{Accept, Recipient},
        options::Options,
        payload::{Ending, State},
        record::Kind,
        recover,
        report::Report,
        request::Request,
        segment::{Named, SEGMENT_MIN},
    },
    invariants,
};
use std::io::IoSlice;

fn open(disk: &Simulated, verify_bodies: bool) -> (Log<Simulated>, Report) {
    let options = Options {
        segment_octets: SEGMENT_MIN,
        verify_bodies,
        ..Options::default()
    };
    recover::open(disk.copy(), options, 0).expect("opens")
}

/// What a start has learned: messages, what each segment is needed for, the next sequence.
fn learned(log: &Log<Simulated>) -> impl PartialEq + std::fmt::Debug + use<> {
    let index = log.shared().index();
    let epochs = index.segments().keys();
    let pinned: Vec<_> = epochs.map(|epoch| index.pinned(*epoch)).collect();
    (
        index.page(0, usize::MAX),
        pinned,
        log.shared().unused_sequence(),
    )
}

/// A disk with some sealed segments: messages that wait, that were tried, and that have ended here or elsewhere.
fn filled() -> (Simulated, Vec<u64>) {
    let disk = Simulated::new(20);
    let (mut log, _) = invariants::open(&disk);
    let mut sequences = Vec::new();
    for number in 0..40_u32 {
        let accept = Accept {
            recipients: vec![Recipient::default(); 3],
            route: format!("pool-{}", number % 3),
            due_ms: 1_000 + u64::from(number),
            ..Accept::default()
        };
        let sequence = log.shared().next_sequence();
        sequences.push(sequence);
        let mut batch = vec![Request::accept(sequence, accept, vec![vec![b'x'; 1_500]])];
        let earlier = sequences[sequences.len() / 2];
        match number % 4 {
            0 => batch.push(Request::Done {
                sequence: earlier,
                ending: Ending::Delivered,
            }),
            1 => batch.push(Request::update(
                earlier,
                Kind::Attempt,
                State {
                    attempts: number,
                    ..State::default()
                },
            )),
            _ => {}
        }
        // Some have ended before.
        let _ = log.commit(&batch, 0);
    }
    log.do_chores(0);
    let epochs = log.shared().index().segments().keys().copied().collect();
    drop(log);
    (disk.again(), epochs)
}

fn octets(disk: &Simulated, name: &str) -> Vec<u8> {
    let file = disk.open(name).expect("there");
    let length = file.octets().expect("a size");
    let mut octets = vec![0; usize::try_from(length).expect("small")];
    file.read_at(&mut octets, 0).expect("read");
    octets
}

/// The disk with something else in a file.
fn with(disk: &Simulated, name: &str, octets: &[u8]) -> Simulated {
    let changed = disk.copy();
    changed.remove(name).expect("removed");
    let file = changed.create(name).expect("made");
    file.write_at(&mut [IoSlice::new(octets)], 0)
        .expect("written");
    changed
}

#[test]
fn a_start_reads_index_files_and_learns_what_the_segments_say() {
    let (disk, epochs) = filled();
    let (log, report) = open(&disk, false);
    let (scanned, whole) = open(&disk, true);
    // The last segment was not sealed when the process ended.
    assert_eq!(report.sealed, epochs.len() as u64 - 1);
    assert_eq!(whole.sealed, 0);
    assert_eq!(learned(&log), learned(&scanned));
    let page = log.shared().index().page(0, 9);
    assert!(
        page.iter()
            .all(|(sequence, _)| log.shared().fetch(*sequence).is_ok())
    );
}

#[test]
fn a_missing_torn_or_foreign_index_file_is_not_believed_and_made_anew() {
    let (disk, epochs) = filled();
    let name = |epoch: u64| Named::Index(epoch).name().expect("a name");
    let right = octets(&disk, &name(epochs[1]));
    let other = octets(&disk, &name(epochs[0]));
    let (log, _) = open(&disk, true);
    let expected = learned(&log);
    let mut changed: Vec<Vec<u8>> = vec![Vec::new(), other, [&right[..], &[0]].concat()];
    changed.extend((0..right.len()).step_by(37).map(|at| right[..at].to_vec()));
    changed.extend((0..right.len()).step_by(11).map(|at| {
        let mut flipped = right.clone();
        flipped[at] ^= 0x20;
        flipped
    }));
    let all = epochs.len() as u64 - 1;
    for octets in changed {
        let changed = with(&disk, &name(epochs[1]), &octets);
        let (log, report) = open(&changed, false);
        assert_eq!((report.sealed, report.damaged), (all - 1, 0));
        assert_eq!(learned(&log), expected);
    }
    // Made anew by the chores of the start that missed it.
    disk.remove(&name(epochs[1])).expect("removed");
    let options = Options {
        segment_octets: SEGMENT_MIN,
        ..Options::default()
    };
    let (mut log, _) = recover::open(disk.again(), options, 0).expect("opens");
    log.do_chores(0);
    drop(log);
    assert_eq!(octets(&disk, &name(epochs[1])), right);
    // One that has no segment is removed.
    let stray = name(999);
    drop(disk.create(&stray).expect("made"));
    let (mut log, _) = recover::open(disk.again(), options, 0).expect("opens");
    log.do_chores(0);
    assert!(!disk.list().expect("listed").contains(&stray));
}

#[test]
fn messages_that_came_and_went_in_a_segment_are_left_out_of_its_index() {
    let disk = Simulated::new(21);
    let (mut log, _) = invariants::open(&disk);
    // Both lie in one segment, for one batch does.
    let epoch = loop {
        let sequence = invariants::put(&mut log, 400).expect("room");
        invariants::end(&mut log, sequence).expect("ended");
        let epochs: Vec<u64> = log.shared().index().segments().keys().copied().collect();
        if let [.., sealed, _, _] = epochs[..] {
            break sealed;
        }
    };
    log.do_chores(0);
    let octets = octets(&disk, &Named::Index(epoch).name().expect("a name"));
    // Its header and its CRC, and at most one message whose end lies in the next.
    assert!(octets.len() < 68 + 60, "{}", octets.len());
}
