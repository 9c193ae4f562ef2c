//! A run as files, and back.

#![allow(clippy::unwrap_used)]

use crate::sample;
use gatepost_load::report::{
    folder::{self, read_ledger, read_result},
    histogram::{decode, histogram},
    merge, text, write_folder,
};
use gatepost_load::result::RunResult;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use std::{collections::BTreeMap, fs};

#[test]
fn a_run_is_kept_and_read_again() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("deep/run-1");
    let (run, ledger) = (sample::run(1.0), sample::ledger());
    write_folder(&run, &ledger, &folder).unwrap();
    let read = read_result(&folder).unwrap();
    assert_eq!(
        (&read.name, &read.plan, read.totals),
        (&run.name, &run.plan, run.totals)
    );
    assert_eq!(
        (&read.errors, &read.reconciliation),
        (&run.errors, &run.reconciliation)
    );
    assert_eq!(read.latency.histogram, run.latency.histogram);
    let lengths = |run: &RunResult| {
        [
            run.intervals.len(),
            run.steps.len(),
            run.stages.len(),
            run.processes.len(),
        ]
    };
    assert_eq!(lengths(&read), lengths(&run));
    assert_eq!(read_ledger(&folder).unwrap(), ledger);
    assert_eq!(
        text::plain(&read),
        fs::read_to_string(folder.join(folder::SUMMARY)).unwrap()
    );
    let page = fs::read_to_string(folder.join(folder::PAGE)).unwrap();
    assert!(page.contains("once each"));
}

#[test]
fn the_histogram_log_holds_each_interval_and_each_step() {
    let run = sample::run(1.0);
    let log = folder::histogram_log(&run).unwrap();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut moments = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(line) = entry.unwrap() {
            let tag = line.tag().unwrap().as_str().to_owned();
            if tag == "message" {
                moments.push(line.start_timestamp().as_secs_f64());
            }
            *counts.entry(tag).or_default() += decode(line.encoded_histogram()).unwrap().len();
        }
    }
    assert_eq!(counts["message"], run.totals.acknowledged);
    assert_eq!(counts["step/service"], run.steps["service"].count);
    assert_eq!(counts.len(), 1 + run.steps.len());
    assert!(moments.windows(2).all(|two| two[1] > two[0]));
    // 2026-03-04T10:20:30.5Z
    assert!(
        (moments[0] - 1_772_619_630.5).abs() < 0.01,
        "{}",
        moments[0]
    );
}

#[test]
fn intervals_make_the_whole() {
    let run = sample::run(1.0);
    let sum = merge(run.intervals.iter().map(|interval| &interval.latency)).unwrap();
    assert_eq!(histogram(&sum).unwrap(), histogram(&run.latency).unwrap());
    assert_eq!(sum.p999_us, run.latency.p999_us);
}

#[test]
fn what_can_not_be_read_is_told_with_advice() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("run.json");
    let mut run = sample::run(1.0);
    for (text, advice) in [
        ("nonsense".to_owned(), "not the JSON"),
        ("{}".to_owned(), "it has no version"),
        (r#"{"version":99}"#.to_owned(), "use a newer gatepost-load"),
        (
            r#"{"version":0}"#.to_owned(),
            "the gatepost-load that wrote it",
        ),
        (r#"{"version":1}"#.to_owned(), "missing field"),
        {
            run.latency.histogram = "AAAA".to_owned();
            (serde_json::to_string(&run).unwrap(), "not a histogram")
        },
    ] {
        fs::write(&file, text).unwrap();
        let error = read_result(place.path()).unwrap_err().to_string();
        assert!(
            error.contains("run.json") && error.contains(advice),
            "{error}"
        );
    }
    fs::remove_file(&file).unwrap();
    let error = read_result(place.path()).unwrap_err().to_string();
    assert!(error.contains("run --out"), "{error}");
    let error = read_result(&place.path().join("none"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no such file"), "{error}");
}
