//! `gatepost-load report` at the shell.

#![allow(clippy::unwrap_used)]

use crate::sample;
use gatepost_load::report::write_folder;
use std::{fs, path::Path, process::Command};

/// Exit code, what was printed, what was complained of.
fn report(arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_gatepost-load"))
        .arg("report")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (
        out.status.code().unwrap(),
        text(out.stdout),
        text(out.stderr),
    )
}

/// A folder with two runs, `a` and `b`.
fn two_runs() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for (name, slower) in [("a", 1.0), ("b", 1.5)] {
        let run = sample::run(slower);
        write_folder(&run, &sample::ledger(), &place.path().join(name)).unwrap();
    }
    place
}

#[test]
fn a_saved_run_is_shown_again() {
    let place = two_runs();
    let (code, out, _) = report(&["a"], place.path());
    assert_eq!(code, 0);
    assert!(!out.contains('\u{1b}'), "no colour in a pipe");
    for part in [
        "steady to 127.0.0.1:2525",
        "2026-03-04 10:20:30 UTC · took 60.0 s",
        "Whole: all 59,600 acknowledged messages arrived, once each.",
        "10 connections died before the final reply; 4 of those messages arrived.",
        "intended",
        "rcpt 550 5.1.1",
        "p99.99",
        "Stages of the proxy",
        "gatepost",
    ] {
        assert!(out.contains(part), "{part} in:\n{out}");
    }
    let (code, out, _) = report(&["a/run.json", "--json"], place.path());
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, value["name"].as_str()), (0, Some("steady")));
    let (code, out, _) = report(&["a", "--html", "x.html"], place.path());
    assert_eq!((code, &*out), (0, "wrote x.html\n"));
    assert!(
        fs::read_to_string(place.path().join("x.html"))
            .unwrap()
            .contains("plotly.js v")
    );
}

#[test]
fn two_runs_are_held_against_each_other() {
    let place = two_runs();
    let (code, out, _) = report(&["a", "b", "--text", "--html", "ab.html"], place.path());
    assert_eq!(code, 0);
    let line = out
        .lines()
        .find(|line| line.contains("latency p50"))
        .unwrap();
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(cells[cells.len() - 1], "A", "less is better: {line}");
    assert!(line.contains("1.50 ×") || line.contains("1.49 ×"), "{line}");
    assert!(out.contains("B is worse in latency p50"), "{out}");
    assert!(out.contains("One run each"), "{out}");
    assert!(place.path().join("ab.html").exists());
}

#[test]
fn two_books_are_reconciled() {
    let place = two_runs();
    let put = |name: &str, tally| {
        let file = place.path().join(name);
        fs::write(file, serde_json::to_vec(&tally).unwrap()).unwrap();
    };
    put("tally.json", sample::tally());
    let (code, out, _) = report(&["reconcile", "a", "tally.json"], place.path());
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("Whole: all 59,600"), "{out}");

    let mut short = sample::tally();
    short.arrivals.drain(..3);
    short
        .arrivals
        .insert(0, gatepost_load::ledger::Arrival::default());
    put("short.json", short);
    let (code, out, _) = report(&["reconcile", "a/ledger.json", "short.json"], place.path());
    assert_eq!(code, 1);
    assert!(
        out.starts_with("Not whole: of 59,600 acknowledged messages: "),
        "{out}"
    );

    let mut other = sample::tally();
    other.run = gatepost_load::stamp::RunId(1);
    put("other.json", other);
    let (code, _, complaint) = report(&["reconcile", "a", "other.json"], place.path());
    assert_eq!(code, 65);
    assert!(complaint.contains("two runs"), "{complaint}");
}

#[test]
fn wrong_files_and_words_are_told() {
    let place = tempfile::tempdir().unwrap();
    let (code, _, complaint) = report(&["none"], place.path());
    assert_eq!(code, 65);
    assert!(
        complaint.contains("none: there is no such file or folder"),
        "{complaint}"
    );
    let (code, ..) = report(&["a", "b", "c"], place.path());
    assert_ne!(code, 0);
}
