//! The committer on a real directory.

use super::super::{
    committer::{Committer, Submitter},
    disk::Directory,
    message::{Accept, Recipient},
    options::Options,
    payload::Ending,
    read::StoredBody,
    recover,
    refused::Refused,
    request::Request,
    segment::SEGMENT_MIN,
};
use crossbeam::channel::{Sender, unbounded};
use std::{path::Path, thread};

type Told = Box<dyn FnOnce(Result<(), Refused>, Request) + Send>;

pub fn options() -> Options {
    Options {
        segment_octets: 8 * SEGMENT_MIN,
        ..Options::default()
    }
}

pub fn envelope() -> Accept {
    Accept {
        sender: b"a@example.org".to_vec(),
        recipients: vec![Recipient {
            address: b"b@example.net".to_vec(),
            ..Recipient::default()
        }],
        ..Accept::default()
    }
}

pub fn start(path: &Path) -> (Committer, Submitter<Directory, Told>) {
    let disk = Directory::open(path).expect("a directory");
    let (log, report) = recover::open(disk, options(), 1).expect("opens");
    assert_eq!(report.damaged, 0, "{report:?}");
    Committer::start(log, || 1).expect("a thread")
}

fn told(to: &Sender<(u64, Result<(), Refused>)>) -> Told {
    let to = to.clone();
    Box::new(move |result, request| {
        let _ = to.send((request.sequence(), result));
    })
}

#[test]
fn several_threads_submit_and_all_is_there_after_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let (committer, submitter) = start(folder.path());
    let (to, answers) = unbounded();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (submitter, to) = (submitter.clone(), &to);
            scope.spawn(move || {
                for number in 0..100_usize {
                    let sequence = submitter.shared().next_sequence();
                    let body = vec![vec![thread; 100 + number], sequence.to_le_bytes().to_vec()];
                    let request = Request::accept(sequence, envelope(), body);
                    assert!(submitter.submit(request, told(to)).is_ok());
                }
            });
        }
    });
    let sequences: Vec<u64> = (0..400)
        .map(|_| answers.recv().expect("an answer"))
        .map(|(sequence, result)| result.map(|()| sequence).expect("durable"))
        .collect();
    let (kept, ended) = sequences.split_at(30);
    for sequence in ended {
        let ending = Ending::Delivered;
        let sequence = *sequence;
        let request = Request::Done { sequence, ending };
        assert!(submitter.submit(request, told(&to)).is_ok());
    }
    assert!((0..370).all(|_| answers.recv().expect("an answer").1.is_ok()));
    assert!(submitter.metrics().answered == 770 && submitter.metrics().log.batches < 770);
    drop((committer, submitter));
    assert!(matches!(
        recover::open(Directory::open(folder.path()).expect("a directory"), options(), 1),
        Ok((_, report)) if report.messages == 30
    ));
    let (_committer, submitter) = start(folder.path());
    for sequence in kept {
        let stored = submitter.shared().fetch(*sequence).expect("stored");
        let StoredBody::Inline(body) = stored.body else {
            panic!("it was small");
        };
        assert!(
            body.ends_with(&sequence.to_le_bytes()) && stored.accept.sender == envelope().sender
        );
    }
}

#[test]
fn a_spool_has_one_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_committer, _submitter) = start(folder.path());
    let disk = Directory::open(folder.path()).expect("a directory");
    let second = recover::open(disk, options(), 1);
    assert!(matches!(
        second,
        Err(super::super::report::OpenError::Owned)
    ));
}
