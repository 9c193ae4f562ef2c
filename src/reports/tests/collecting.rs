//! What the collector keeps, writes and loses, by a time that the tests say.

use crate::policy::authentication::dmarc::Consent;
use crate::reports::{
    Answered, Settings, Wanted,
    collector::{CONSENT_WAIT_MAX, Collector, Told, WRITE_EVERY},
    seen::{Published, Row, Seen},
    table::{ROWS_MAX, TABLE_OCTETS_MAX, Table},
};
use std::{fs, path::Path};

pub const DAY: u64 = 24 * 60 * 60;
/// A midnight.
pub const BEGIN: u64 = 20_000 * DAY;

pub fn settings(folder: &Path) -> Settings {
    Settings {
        directory: folder.into(),
        receiver: "mx.example.net".into(),
        organization: "Example & Sons".into(),
        email: "postmaster@example.net".into(),
        interval: DAY,
    }
}

pub fn seen(domain: &str, source: &str) -> Seen {
    Seen {
        published: Published {
            domain: domain.into(),
            policies: ["reject".into(), "none".into(), "none".into()],
            dkim_strict: false,
            spf_strict: true,
            testing: false,
            failure_options: "0".into(),
            uris: vec![format!("mailto:dmarc@{domain}").into()],
        },
        row: Row {
            source: source.parse().expect("an address"),
            author: domain.into(),
            sender: "".into(),
            disposition: "none".into(),
            dkim: false,
            spf: false,
            reason: Some("local_policy".into()),
            signatures: Vec::new(),
            spf_result: None,
        },
    }
}

/// The names of the files in a folder, those of reports without their id.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("UTF-8"))
        .map(|name| match name.rsplit_once('!') {
            Some((begin, end)) => format!("{begin}{}", &end[16..]),
            None => name,
        })
        .collect();
    names.sort_unstable();
    names
}

/// The count of the one row of a report.
fn count(folder: &Path, domain: &str) -> String {
    let text = text(folder, domain);
    let begin = text.find("<count>").expect("a row") + 7;
    let end = text.find("</count>").expect("a row");
    text[begin..end].into()
}

fn text(folder: &Path, domain: &str) -> String {
    use std::io::Read;
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    let path = paths
        .find(|path| {
            let name = path.to_string_lossy();
            name.contains(&format!("!{domain}!")) && name.ends_with(".gz")
        })
        .expect("a report");
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(path).expect("there"))
        .read_to_string(&mut text)
        .expect("packed");
    text
}

/// The notes for the sender, that of a.example first.
fn notes(folder: &Path) -> Vec<serde_json::Value> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let notes = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut notes: Vec<String> = notes
        .map(|path| fs::read_to_string(path).expect("there"))
        .collect();
    notes.sort_unstable_by_key(|note| note.contains("b.example"));
    let read = |note: &String| serde_json::from_str(note).expect("JSON");
    notes.iter().map(read).collect()
}

#[test]
fn an_interval_that_is_over_becomes_a_file_a_domain_and_one_for_its_sender() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut collector = Collector::new(settings(folder.path()), BEGIN + 10);
    let mut wanted = Vec::new();
    for _ in 0..3 {
        collector.take(seen("a.example", "192.0.2.1"), BEGIN + 20);
    }
    collector.take(seen("b.example", "2001:db8::1"), BEGIN + DAY - 1);
    assert_eq!(
        collector.look(BEGIN + DAY - 1, &mut wanted),
        Told::default()
    );
    assert!(wanted.is_empty());
    assert_eq!(files(folder.path()), ["collecting", "lock"]);

    // The first message of the next day begins the next report.
    collector.take(seen("a.example", "192.0.2.1"), BEGIN + DAY);
    let told = collector.look(BEGIN + DAY, &mut wanted);
    assert_eq!(told.reports, 2);
    let domains: Vec<&str> = wanted.iter().map(|wanted| &*wanted.domain).collect();
    assert_eq!(domains, ["a.example", "b.example"]);
    let end = BEGIN + DAY - 1;
    let report = |domain: &str| format!("mx.example.net!{domain}!{BEGIN}!{end}.xml.gz");
    assert_eq!(
        files(folder.path()),
        [
            "closing".into(),
            "lock".into(),
            report("a.example"),
            report("b.example")
        ]
    );
    assert_eq!(count(folder.path(), "a.example"), "3");

    let answer = |collector: &mut Collector, wanted: &Wanted, consent: Consent| {
        collector.answered(Answered {
            domain: wanted.domain.clone(),
            consents: vec![consent],
        });
    };
    let there = vec!["mailto:elsewhere@a.example".into()];
    answer(&mut collector, &wanted[0], Consent::Given(there));
    collector.look(BEGIN + DAY + 1, &mut Vec::new());
    assert!(folder.path().join("closing").exists(), "one is still asked");
    // The DNS does not answer about the other.
    collector.look(BEGIN + DAY + CONSENT_WAIT_MAX + 1, &mut Vec::new());
    let note = |domain: &str| format!("{}.json", report(domain));
    assert_eq!(
        files(folder.path()),
        [
            "collecting".into(),
            "lock".into(),
            report("a.example"),
            note("a.example"),
            report("b.example"),
            note("b.example")
        ]
    );
    let notes = notes(folder.path());
    assert_eq!(notes[0]["recipients"][0]["uri"], "mailto:dmarc@a.example");
    assert_eq!(notes[0]["recipients"][0]["consent"], "given");
    assert_eq!(
        notes[0]["recipients"][0]["instead"][0],
        "mailto:elsewhere@a.example"
    );
    assert_eq!(notes[1]["recipients"][0]["consent"], "unknown");
    let subject = notes[1]["subject"].as_str().expect("text");
    assert!(subject.starts_with("Report Domain: b.example Submitter: mx.example.net Report-ID: "));
}

#[test]
fn a_kill_loses_what_was_seen_since_the_last_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wanted = Vec::new();
    let mut collector = Collector::new(settings(folder.path()), BEGIN);
    let one = || seen("a.example", "192.0.2.1");
    collector.take(one(), BEGIN);
    collector.look(BEGIN + WRITE_EVERY, &mut wanted);
    collector.take(one(), BEGIN + WRITE_EVERY + 1);
    collector.look(BEGIN + 2 * WRITE_EVERY, &mut wanted);
    collector.take(one(), BEGIN + 2 * WRITE_EVERY + 1);
    drop(collector);
    // Half a line, as a full disk leaves one.
    let path = folder.path().join("collecting");
    let whole = fs::read(&path).expect("there");
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|octet| *octet == b'\n');
    let torn = [&whole[..], &whole[last.expect("lines")..whole.len() - 9]].concat();
    fs::write(&path, torn).expect("written");

    let mut collector = Collector::new(settings(folder.path()), BEGIN + 3 * WRITE_EVERY);
    collector.take(one(), BEGIN + 3 * WRITE_EVERY);
    collector.write(BEGIN + 3 * WRITE_EVERY);
    drop(collector);
    // It comes back after midnight, and is killed again while its reports are being written.
    for _ in 0..2 {
        let mut collector = Collector::new(settings(folder.path()), BEGIN + DAY + 5);
        collector.look(BEGIN + DAY + 5, &mut wanted);
        assert_eq!(count(folder.path(), "a.example"), "3");
        assert_eq!(files(folder.path()).len(), 3, "the same name each time");
    }
}

#[test]
fn a_folder_that_takes_nothing_stops_nothing_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("reports");
    let mut collector = Collector::new(settings(&inner), BEGIN);
    collector.take(seen("a.example", "192.0.2.1"), BEGIN);
    fs::remove_dir_all(&inner).expect("there");
    fs::write(&inner, "no folder").expect("written");
    collector.look(BEGIN + WRITE_EVERY, &mut Vec::new());
    collector.take(seen("a.example", "192.0.2.1"), BEGIN + WRITE_EVERY);
    let told = collector.look(BEGIN + DAY, &mut Vec::new());
    assert_eq!(told, Told::default());
    fs::remove_file(&inner).expect("there");
    fs::create_dir(&inner).expect("made");
    collector.look(BEGIN + DAY + WRITE_EVERY, &mut Vec::new());
    assert_eq!(count(&inner, "a.example"), "2");

    // Where it takes nothing for a whole day, the messages of the day before are counted as lost.
    fs::remove_dir_all(&inner).expect("there");
    fs::write(&inner, "no folder").expect("written");
    let mut collector = Collector::new(settings(&inner), BEGIN);
    for day in 0..2 {
        collector.take(seen("a.example", "192.0.2.1"), BEGIN + day * DAY);
    }
    collector.look(BEGIN + DAY, &mut Vec::new());
    assert_eq!(collector.look(BEGIN + 2 * DAY, &mut Vec::new()).lost, 1);
}

#[test]
fn a_second_process_waits_for_its_turn() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Collector::new(settings(folder.path()), BEGIN);
    let mut second = Collector::new(settings(folder.path()), BEGIN);
    second.take(seen("c.example", "192.0.2.1"), BEGIN);
    second.write(BEGIN);
    assert_eq!(files(folder.path()), ["lock"]);
    drop(first);
    second.write(BEGIN + WRITE_EVERY);
    assert_eq!(files(folder.path()), ["collecting", "lock"]);
}

#[test]
// INV-LIMIT
fn a_flood_of_sources_fills_one_report_and_no_more_memory() {
    let mut table = Table::default();
    let source = |i: usize| std::net::Ipv4Addr::from(u32::try_from(i).expect("small")).to_string();
    for i in 0..ROWS_MAX {
        assert!(table.add(seen("a.example", &source(i)), 1));
    }
    assert!(!table.add(seen("a.example", "198.51.100.1"), 1));
    assert!(
        table.add(seen("a.example", &source(7)), 1),
        "a row that is there"
    );
    assert!(table.add(seen("b.example", "198.51.100.1"), 1));
    assert!(table.octets() < TABLE_OCTETS_MAX);
}
