//! Links that others have put in the folder, under names of ours.

use super::collecting::{BEGIN, DAY, count, files, seen, settings};
use crate::reports::collector::{CLOSING_MAX, Collector};
use std::{fs, os::unix::fs::symlink};

#[test]
fn links_in_the_folder_are_not_written_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let (target, inner) = (folder.path().join("target"), folder.path().join("reports"));
    let whole = || fs::read_to_string(&target).expect("there");
    fs::write(&target, "precious").expect("written");
    fs::create_dir(&inner).expect("made");
    let plant = |name: &str| symlink(&target, inner.join(name)).expect("made");
    plant("collecting.new");
    plant("lock");
    let mut collector = Collector::new(settings(&inner), BEGIN);
    assert_eq!(whole(), "precious");
    fs::remove_file(inner.join("lock")).expect("there");
    collector.take(seen("a.example", "192.0.2.1"), BEGIN);
    collector.write(BEGIN);
    assert_eq!(files(&inner), ["collecting", "lock"]);
    // The id of its reports is known by now.
    let journal = fs::read_to_string(inner.join("collecting")).expect("there");
    let head = journal.lines().next().expect("a line");
    let head: serde_json::Value = serde_json::from_str(head).expect("JSON");
    let (end, id) = (BEGIN + DAY - 1, head["id"].as_str().expect("an id"));
    let report = format!("mx.example.net!a.example!{BEGIN}!{end}!{id}.xml.gz");
    plant(&report);
    plant(&format!("{report}.new"));
    collector.look(BEGIN + DAY, &mut Vec::new());
    assert_eq!(count(&inner, "a.example"), "1");
    assert_eq!(whole(), "precious");

    // Nor does a journal of another's making lead to another folder.
    let forged = journal.replace("a.example", "../../x");
    for forged in [journal.replace(id, "../../x"), forged] {
        fs::write(inner.join("collecting"), forged).expect("written");
        let mut collector = Collector::new(settings(&inner), BEGIN + DAY);
        collector.look(BEGIN + 2 * DAY, &mut Vec::new());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
    }
}

#[test]
fn links_in_the_place_of_journals_stop_no_reports() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let before = |at| Collector::new(settings(folder.path()), at);
    let mut collector = before(BEGIN);
    collector.take(seen("a.example", "192.0.2.1"), BEGIN + 20);
    collector.look(BEGIN + DAY, &mut Vec::new());
    drop(collector);
    // More of them than are read.
    for number in 0..2 * CLOSING_MAX {
        symlink("/dev/zero", at(&format!("closing-{number}"))).expect("made");
    }
    symlink("/dev/zero", at("collecting")).expect("made");
    let mut collector = before(BEGIN + DAY);
    let mut wanted = Vec::new();
    collector.look(BEGIN + DAY, &mut wanted);
    assert_eq!(wanted.len(), 1, "the journal from before is gone on with");
    collector.take(seen("b.example", "192.0.2.1"), BEGIN + DAY);
    collector.write(BEGIN + DAY);
    let facts = fs::symlink_metadata(at("collecting")).expect("there");
    assert!(facts.is_file());
    let told = collector.look(BEGIN + 2 * DAY, &mut Vec::new());
    assert_eq!((told.reports, told.lost), (1, 0));
    assert_eq!(count(folder.path(), "b.example"), "1");
}
