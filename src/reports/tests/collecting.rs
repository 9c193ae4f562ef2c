//! What the collector keeps, writes and loses, by a time that the tests say.

use crate::policy::authentication::dmarc::Consent;
use crate::reports::{
    Answered, Settings, Wanted,
    closing::{ASKED_MAX, ASKED_OF_OWNER_MAX, CONSENT_WAIT_MAX},
    collector::{CLOSING_MAX, Collector, Told, WRITE_EVERY},
    seen::{Published, Row, Seen},
    table::{DOMAINS_MAX, ROWS_MAX, TABLE_OCTETS_MAX, Table},
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
pub fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("UTF-8"))
        .map(|name| match (name.rsplit_once('!'), name.split_once('-')) {
            (Some((begin, end)), _) => format!("{begin}{}", &end[16..]),
            (None, Some((begin, _))) => begin.into(),
            (None, None) => name,
        })
        .collect();
    names.sort_unstable();
    names
}

/// The count of the one row of a report.
pub fn count(folder: &Path, domain: &str) -> String {
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

fn report_of_first_day(domain: &str) -> String {
    let end = BEGIN + DAY - 1;
    format!("mx.example.net!{domain}!{BEGIN}!{end}.xml.gz")
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
    let report = report_of_first_day;
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
            report: wanted.report.clone(),
            domain: wanted.domain.clone(),
            consents: vec![consent],
        });
    };
    let there = vec!["mailto:elsewhere@a.example".into()];
    answer(&mut collector, &wanted[0], Consent::Given(there));
    collector.look(BEGIN + DAY + 1, &mut Vec::new());
    let there = files(folder.path());
    assert!(there.contains(&"closing".into()), "one is still asked");
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
    check_notes(folder.path());
}

/// The notes of a day's two reports: the one that was answered about, and the one that was not.
fn check_notes(folder: &Path) {
    let notes = notes(folder);
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

    // Where it takes nothing for days, the messages of the first are counted as lost.
    fs::remove_dir_all(&inner).expect("there");
    fs::write(&inner, "no folder").expect("written");
    let mut collector = Collector::new(settings(&inner), BEGIN);
    let days = CLOSING_MAX as u64;
    for day in 0..=days {
        collector.take(seen("a.example", "192.0.2.1"), BEGIN + day * DAY);
        let told = collector.look(BEGIN + day * DAY, &mut Vec::new());
        assert_eq!(told.lost, 0);
    }
    let told = collector.look(BEGIN + (days + 1) * DAY, &mut Vec::new());
    assert_eq!(told.lost, 1);
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
fn what_two_processes_saw_around_the_end_of_an_interval_is_all_told() {
    let one = || seen("a.example", "192.0.2.1");
    // The first ends before the end of the interval, the second takes the folder after it: one report.
    let folder = tempfile::tempdir().expect("a folder");
    let mut first = Collector::new(settings(folder.path()), BEGIN);
    let mut second = Collector::new(settings(folder.path()), BEGIN);
    first.take(one(), BEGIN);
    first.write(BEGIN);
    drop(first);
    second.take(one(), BEGIN + DAY - 1);
    let told = second.look(BEGIN + DAY, &mut Vec::new());
    assert_eq!((told.reports, told.lost), (1, 0));
    assert_eq!(count(folder.path(), "a.example"), "2");

    // The first ends after it: a report of each, as of two hosts.
    let folder = tempfile::tempdir().expect("a folder");
    let mut first = Collector::new(settings(folder.path()), BEGIN);
    let mut second = Collector::new(settings(folder.path()), BEGIN);
    first.take(one(), BEGIN);
    second.take(one(), BEGIN);
    first.look(BEGIN + DAY, &mut Vec::new());
    assert_eq!(second.look(BEGIN + DAY, &mut Vec::new()).lost, 0);
    first.take(one(), BEGIN + DAY);
    first.write(BEGIN + DAY);
    drop(first);
    second.take(one(), BEGIN + DAY);
    let told = second.look(BEGIN + DAY + WRITE_EVERY, &mut Vec::new());
    // That of the first is written again.
    assert_eq!((told.reports, told.lost), (2, 0));
    let reports = files(folder.path());
    let reports = reports.iter().filter(|name| name.ends_with(".gz"));
    assert_eq!(reports.count(), 2);
    // Killed now, both are still there, and the day after goes on.
    drop(second);
    let mut third = Collector::new(settings(folder.path()), BEGIN + DAY + WRITE_EVERY);
    let told = third.look(BEGIN + DAY + WRITE_EVERY, &mut Vec::new());
    assert_eq!((told.reports, told.lost), (2, 0));
    third.look(BEGIN + 2 * DAY, &mut Vec::new());
    let begin = BEGIN + DAY;
    fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !path.to_string_lossy().contains(&format!("!{begin}!")))
        .for_each(|path| fs::remove_file(path).expect("there"));
    assert_eq!(count(folder.path(), "a.example"), "2");
}

#[test]
// INV-LIMIT
fn a_dns_that_says_nothing_of_one_owner_s_domains_holds_up_no_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut collector = Collector::new(settings(folder.path()), BEGIN);
    for i in 10..10 + 2 * ASKED_MAX {
        collector.take(seen(&format!("a{i}.evil.example"), "192.0.2.1"), BEGIN);
    }
    for i in 0..ASKED_MAX {
        collector.take(seen(&format!("slow.b{i}.example"), "192.0.2.1"), BEGIN);
    }
    collector.take(seen("z.example", "192.0.2.1"), BEGIN);
    let (mut wanted, mut reports) = (Vec::new(), 0);
    for _ in 0..4 {
        reports += collector.look(BEGIN + DAY, &mut wanted).reports;
    }
    assert_eq!(reports, 3 * ASKED_MAX as u64 + 1, "none waits for the DNS");
    assert_eq!(wanted.len(), ASKED_MAX);
    let evil = wanted.iter().filter(|w| w.domain.ends_with("evil.example"));
    assert_eq!(evil.count(), ASKED_OF_OWNER_MAX);
    // Each is waited for by itself, and the next ones are asked in their places.
    wanted.clear();
    for _ in 0..2 {
        collector.look(BEGIN + DAY + CONSENT_WAIT_MAX + 1, &mut wanted);
    }
    assert!(wanted.iter().any(|wanted| &*wanted.domain == "z.example"));
}

#[test]
fn a_journal_says_once_what_a_domain_has_published() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut collector = Collector::new(settings(folder.path()), BEGIN);
    let long = |source: &str| {
        let mut seen = seen("a.example", source);
        let uri = format!("mailto:{}@a.example", "x".repeat(400));
        seen.published.uris = vec![uri.into(); 8];
        seen
    };
    let mut table = Table::default();
    assert!(table.add(long("192.0.2.1"), 1));
    assert!(table.octets() > 8 * 400, "it is counted");
    for minute in 0..4 {
        for i in 0..50 {
            collector.take(long(&format!("192.0.{minute}.{i}")), BEGIN);
        }
        collector.write(BEGIN + minute * WRITE_EVERY);
    }
    let path = folder.path().join("collecting");
    let text = fs::read_to_string(&path).expect("there");
    assert_eq!(text.matches("policies").count(), 1);
    // Another one is told of from now on.
    let mut other = long("192.0.2.1");
    other.published.uris = vec!["mailto:b@a.example".into()];
    collector.take(other, BEGIN);
    collector.write(BEGIN + 5 * WRITE_EVERY);
    drop(collector);
    let mut wanted = Vec::new();
    let mut collector = Collector::new(settings(folder.path()), BEGIN + DAY);
    collector.look(BEGIN + DAY, &mut wanted);
    assert_eq!(*wanted[0].uris, ["mailto:b@a.example".into()]);
    assert_eq!(text_rows(folder.path()), 200);
}

fn text_rows(folder: &Path) -> usize {
    text(folder, "a.example").matches("<record>").count()
}

#[test]
// INV-LIMIT
fn a_flood_of_sources_fills_one_report_and_no_more_memory() {
    let mut table = Table::default();
    let source = |i: usize| std::net::Ipv4Addr::from(u32::try_from(i).expect("small")).to_string();
    let from_there = (0..ROWS_MAX).filter(|i| table.add(seen("a.example", &source(*i)), 1));
    let rows = from_there.count();
    assert!(rows > ROWS_MAX * 9 / 10, "{rows}");
    for i in 0..ROWS_MAX {
        table.add(seen("a.example", &source((i + 1) << 16)), 1);
    }
    assert!(!table.add(seen("a.example", "198.51.100.1"), 1));
    assert!(
        table.add(seen("a.example", &source(7)), 1),
        "a row that is there"
    );
    assert!(table.add(seen("b.example", "198.51.100.1"), 1));
    assert!(table.octets() < TABLE_OCTETS_MAX);
}

#[test]
// INV-LIMIT
fn no_network_takes_more_than_a_part_of_a_report() {
    for [one, other] in [["192.0.2.1", "192.0.3.1"], ["2001:db8::1", "2001:db8:1::1"]] {
        let mut table = Table::default();
        let row = |source: &str, i: usize| {
            let mut seen = seen("a.example", source);
            seen.row.sender = format!("s{i}.example").into();
            seen
        };
        let taken = (0..ROWS_MAX).filter(|i| table.add(row(one, *i), 1));
        let taken = taken.count();
        assert!(
            (ROWS_MAX / 8..ROWS_MAX / 4).contains(&taken),
            "{one}: {taken}"
        );
        assert!((0..1000).all(|i| table.add(row(other, i), 1)));
    }
}

#[test]
// INV-LIMIT
fn no_owner_of_names_takes_more_than_a_part_of_the_table() {
    // By names, with the answers of a wildcard.
    for zone in ["evil.example", "evil.co.example"] {
        let mut table = Table::default();
        let names = (0..DOMAINS_MAX).map(|i| format!("n{i}.{zone}"));
        let taken = names.filter(|name| table.add(seen(name, "192.0.2.1"), 1));
        let taken = taken.count();
        assert!((500..DOMAINS_MAX / 4).contains(&taken), "{zone}: {taken}");
        for i in 0..300 {
            assert!(table.add(seen(&format!("d{i}.co.example"), "192.0.2.1"), 1));
            assert!(table.add(seen(&format!("d{i}.example"), "192.0.2.1"), 1));
        }
    }
    // By octets.
    let mut table = Table::default();
    for i in 0..ROWS_MAX * 4 {
        let mut seen = seen(&format!("n{}.evil.example", i % 64), "192.0.2.1");
        seen.row.source = std::net::Ipv4Addr::from(u32::try_from(i << 8).expect("small")).into();
        seen.published.uris = vec!["x".repeat(500).into(); 8];
        seen.row.sender = format!("{i}{}", "x".repeat(240)).into();
        table.add(seen, 1);
    }
    assert!(table.octets() < TABLE_OCTETS_MAX / 4, "{}", table.octets());
    assert!(table.octets() > TABLE_OCTETS_MAX / 16, "{}", table.octets());
}
