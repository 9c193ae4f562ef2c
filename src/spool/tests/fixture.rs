//! Every version of the format that was released can be opened. `spool-1` has a spool of version 1.
//!
//! Made by `WRITE_FIXTURE=path cargo test a_fixture_is_written`; never made anew.

use super::{
    super::{
        body::BodyWriter,
        disk::Directory,
        options::Options,
        payload::{Ending, State, Status},
        read::StoredBody,
        record::Kind,
        recover,
        request::Request,
        segment::SEGMENT_MIN,
        watermarks::Limits,
    },
    threads::envelope,
};
use std::{fs, path::Path};

const OPTIONS: Options = Options {
    segment_octets: SEGMENT_MIN,
    limits: Limits {
        messages_max: 100,
        octets_max: u64::MAX,
        free_min: 0,
    },
    verify_bodies: true,
    sabotage_tail: false,
};

/// Writes what the next test reads, where it is told a path.
#[test]
fn a_fixture_is_written() {
    let Some(path) = std::env::var_os("WRITE_FIXTURE") else {
        return;
    };
    let disk = Directory::open(Path::new(&path)).expect("a directory");
    let (mut log, _) = recover::open(disk, OPTIONS, 1).expect("opens");
    let body = || vec![b"Subject: one\r\n\r\n".to_vec(), b"body\r\n".to_vec()];
    let first = log.shared().next_sequence();
    let second = log.shared().next_sequence();
    let mut batch = vec![
        Request::accept(first, envelope(), body()),
        Request::accept(second, envelope(), body()),
    ];
    assert!(log.commit(&batch, 2).iter().all(Result::is_ok));
    let mut writer = BodyWriter::new(log.shared()).expect("a file");
    writer.write(&[b'b'; 1_000]).expect("written");
    let ending = Ending::Bounced;
    let state = State {
        status: Status::Held,
        attempts: 3,
        reason: "held by hand".to_owned(),
        ..State::default()
    };
    batch = vec![
        Request::accept_file(writer.finish().expect("durable"), envelope()),
        Request::update(first, Kind::Hold, state),
        Request::Done {
            sequence: second,
            ending,
        },
    ];
    assert!(log.commit(&batch, 3).iter().all(Result::is_ok));
}

#[test]
fn version_1_can_be_opened() {
    // By this file's place: the crate of the long proofs has another root.
    let root = Path::new(file!()).parent().expect("a folder");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(root)
        .join("../../../tests/data/spool/version-1");
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(fixture).expect("the fixture") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    let disk = Directory::open(folder.path()).expect("a directory");
    let (log, report) = recover::open(disk, OPTIONS, 9).expect("opens");
    assert_eq!(
        (report.messages, report.damaged, report.set_aside),
        (2, 0, 0)
    );
    let first = log.shared().fetch(1).expect("stored");
    assert_eq!(first.accept.sender, envelope().sender);
    assert!(first.entry.held && first.state.is_some_and(|state| state.attempts == 3));
    assert!(
        matches!(first.body, StoredBody::Inline(body) if body == b"Subject: one\r\n\r\nbody\r\n")
    );
    let StoredBody::File(mut body) = log.shared().fetch(3).expect("stored").body else {
        panic!("it had a file");
    };
    assert_eq!(body.read().expect("right"), Some(vec![b'b'; 1_000]));
    assert!(log.shared().next_sequence() > 3);
}
