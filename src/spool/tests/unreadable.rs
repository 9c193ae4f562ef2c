//! Sectors that can't be read: what lies in them is set aside, and the rest is served.

use super::{
    super::{
        disk::SECTOR,
        log::Log,
        options::Options,
        read::ReadError,
        reclaim::Progress,
        recover,
        report::Report,
        segment::{self, SEGMENT_MIN},
    },
    invariants::{self, end, put},
};

fn open(disk: &Simulated) -> (Log<Simulated>, Report) {
    invariants::open(disk)
}

/// A disk with messages in three segments: their sequences, and where each lies.
fn filled() -> (Simulated, Vec<(u64, u64, u32)>) {
    let disk = Simulated::new(30);
    let (mut log, _) = open(&disk);
    let sequences: Vec<u64> = (0..14)
        .map(|_| put(&mut log, 2_000).expect("room"))
        .collect();
    let placed = sequences.into_iter().map(|sequence| {
        let place = log.shared().index().get(sequence).expect("there").accept;
        (sequence, place.epoch, place.offset)
    });
    (disk.clone(), placed.collect())
}

fn live(log: &Log<Simulated>) -> Vec<u64> {
    let page = log.shared().index().page(0, usize::MAX);
    page.into_iter().map(|(sequence, _)| sequence).collect()
}

fn without(placed: &[(u64, u64, u32)], sequence: u64) -> Vec<u64> {
    let all = placed.iter().map(|(sequence, ..)| *sequence);
    all.filter(|found| *found != sequence).collect()
}

use super::simulator::Simulated;

#[test]
fn a_head_that_cant_be_read_costs_its_message_alone() {
    let (disk, placed) = filled();
    let (sequence, epoch, offset) = placed[1];
    let disk = disk.again();
    disk.world().make_unreadable(&segment::name(epoch), offset);
    drop_lock(&disk);
    let (mut log, report) = open(&disk);
    assert_eq!((report.damaged, report.unreadable), (1, 1), "{report:?}");
    let damage = &report.damage[0];
    assert!(damage.file == segment::name(epoch) && damage.from <= offset && offset < damage.to);
    assert_eq!(live(&log), without(&placed, sequence));
    for sequence in live(&log) {
        assert!(log.shared().fetch(sequence).is_ok());
    }
    // Its file is kept when nothing else is in it, also after another start.
    for sequence in live(&log) {
        end(&mut log, sequence).expect("ended");
    }
    while log.reclaim(0) == Progress::More {}
    let kept = format!("damaged-{}", segment::name(epoch));
    let names = super::super::disk::Disk::list(&disk).expect("listed");
    assert!(names.contains(&kept), "{names:?}");
}

#[test]
fn a_body_that_cant_be_read_is_never_delivered() {
    let (disk, placed) = filled();
    let (sequence, epoch, offset) = placed[1];
    let name = segment::name(epoch);
    disk.world().make_unreadable(&name, offset + 3 * SECTOR);
    drop_lock(&disk);
    let (log, report) = open(&disk.again());
    assert_eq!((report.messages, report.damaged), (14, 0));
    // The disk may well give it another time: it is not set aside for good.
    assert!(matches!(
        log.shared().fetch(sequence),
        Err(ReadError::Io(_))
    ));
    assert!(log.shared().fetch(placed[0].0).is_ok());
    drop(log);
    // Where all is looked at, it is.
    let options = Options {
        segment_octets: SEGMENT_MIN,
        verify_bodies: true,
        ..Options::default()
    };
    let (log, report) = recover::open(disk.again(), options, 0).expect("opens");
    assert_eq!((report.set_aside, report.damaged), (1, 1));
    assert!(matches!(
        log.shared().fetch(sequence),
        Err(ReadError::Damaged)
    ));
}

#[test]
fn a_header_is_read_from_its_copy_and_a_segment_without_one_set_aside() {
    let (disk, placed) = filled();
    let name = segment::name(placed[0].1);
    disk.world().make_unreadable(&name, 0);
    drop_lock(&disk);
    let (log, report) = open(&disk.again());
    assert_eq!((report.messages, report.damaged), (14, 0));
    drop(log);
    disk.world()
        .make_unreadable(&name, u32::try_from(segment::COPY_AT).expect("small"));
    let (log, report) = open(&disk.again());
    assert_eq!(report.damaged, 1);
    let rest: Vec<u64> = placed
        .iter()
        .filter(|(_, epoch, _)| *epoch != placed[0].1)
        .map(|(sequence, ..)| *sequence)
        .collect();
    assert_eq!(live(&log), rest);
}

#[test]
fn an_unreadable_tail_is_told_as_damage() {
    let (disk, placed) = filled();
    let (sequence, epoch, offset) = *placed.last().expect("some");
    disk.world().make_unreadable(&segment::name(epoch), offset);
    drop_lock(&disk);
    let (log, report) = open(&disk.again());
    // It was promised, and no crash makes a sector unreadable.
    assert!(report.damaged == 1 && report.unreadable > 0, "{report:?}");
    assert_eq!(live(&log), without(&placed, sequence));
    drop(log);
    assert_eq!(
        live(&open(&disk.again()).0),
        without(&placed, sequence),
        "and the next start has the others as well"
    );
}

/// The log that filled the disk is gone; its lock was dropped with it.
fn drop_lock(disk: &Simulated) {
    assert!(super::super::disk::Disk::lock(disk).is_ok());
}
