//! The index: what needs a segment, and where messages may lie.

use super::super::{
    index::{DONE_OCTETS, Entry, Index, Place, Segment},
    record::Seed,
};
use std::sync::Arc;

fn at(epoch: u64, octets: u32) -> Place {
    let offset = 4096;
    Place {
        epoch,
        offset,
        octets,
    }
}

fn index() -> Index<()> {
    let mut index = Index::default();
    for epoch in 1..=3 {
        let seed = Seed { epoch, salt: 0 };
        index.add_segment(epoch, Segment::new(Arc::new(()), seed, 8192));
    }
    index
}

#[test]
fn segments_know_what_needs_them() {
    let mut index = index();
    let accept = at(1, 100);
    for sequence in [5, 6, 40] {
        index.accept(
            sequence,
            Entry {
                accept,
                ..Entry::default()
            },
        );
    }
    index.state(6, at(2, 50), |_| (), 1);
    index.state(6, at(2, 70), |_| (), 0);
    assert_eq!((index.pinned(1), index.pinned(2)), (300, 50));
    assert_eq!(index.page(6, 9).len(), 2);
    assert_eq!(index.epochs_of(6), Some((1, 1)));
    assert!(index.done(6).is_some() && index.done(6).is_none());
    index.holds_done(3, (1, 1));
    assert_eq!((index.pinned(1), index.pinned(2)), (200, 0));
    assert_eq!(index.pinned(3), DONE_OCTETS);
    index.drop_segment(1, false);
    assert_eq!(index.pinned(3), DONE_OCTETS, "it may come back");
    assert!(!index.is_needed((2, 2), 2));
}

#[test]
fn a_copied_message_is_told_with_all_its_epochs() {
    let mut index = index();
    for epoch in [1, 2, 3] {
        let accept = at(epoch, 10);
        index.accept(
            9,
            Entry {
                accept,
                ..Entry::default()
            },
        );
    }
    assert_eq!(index.epochs_of(9), Some((1, 3)));
    assert_eq!(
        (index.messages(), index.pinned(1), index.pinned(3)),
        (1, 0, 10)
    );
    index.drop_segment(1, true);
    assert_eq!(index.epochs_of(9), Some((2, 3)));
    index.drop_segment(2, true);
    assert_eq!(index.epochs_of(9), Some((3, 3)));
}
