//! `run` against our own sink in process, which knows each message: what is told of it, and what became of it.
#![allow(clippy::unwrap_used)]

use gatepost_load::{
    ledger::{Fate, Ledger, reconcile},
    result::{Reconciliation, RunResult},
    run::{Hooks, Plan, execute},
    sink::{self, Behaviour, Changes, Handle, Options},
};
use std::{
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

fn sink(changes: &str) -> Handle {
    let changes: Changes = serde_json::from_str(changes).unwrap();
    sink::start(Options {
        behaviour: Behaviour::of(changes),
        control: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..Options::default()
    })
    .unwrap()
}

fn plan(sink: &Handle, text: &str) -> Plan {
    let text = format!("targets = ['{}']\n{text}", sink.addresses()[0]);
    Plan::new(toml::from_str(&text).unwrap()).unwrap()
}

fn run(sink: &Handle, text: &str) -> (RunResult, Ledger) {
    execute(&plan(sink, text), &Hooks::default()).unwrap()
}

fn reconciled(sink: &Handle, ledger: &Ledger) -> Reconciliation {
    reconcile(ledger, &sink.tally(ledger.run).unwrap())
}

fn fates(ledger: &Ledger, fate: Fate) -> u64 {
    ledger.entries.iter().filter(|e| e.fate == fate).count() as u64
}

#[test]
fn what_is_sent_in_other_ways_arrives_undamaged() {
    let mail = tempfile::tempdir().unwrap();
    let eight_bit = "Subject: b\n\n.dot\n..two\nf\u{fc}r\rbare\n.\nend";
    std::fs::write(mail.path().join("a.eml"), eight_bit).unwrap();
    std::fs::write(mail.path().join("b.eml"), "Subject: empty\n\n").unwrap();
    let from = format!("from = '{}'", mail.path().display());
    for more in [
        "pipelining = 'off'\nchunking = 'off'\nsize = '700KiB'",
        "pipelining = 'off'\nsize = '700KiB'",
        "messages_per_session = 2\nworkers = 2\nio = 'epoll'\nspam = '50%'",
        "source = '127.1.0.0/16'\nmessages_per_session = 1",
        &from,
        &format!("{from}\nchunking = 'off'"),
    ] {
        let sink = sink("{}");
        let text = format!("closed = true\nsessions = 4\nmessages = 100\n{more}");
        let (result, ledger) = run(&sink, &text);
        let found = reconciled(&sink, &ledger);
        let totals = result.totals;
        assert_eq!(totals.acknowledged, 100, "{more}: {:?}", result.errors);
        assert_eq!(
            (found.acknowledged, found.arrived, found.copies),
            (100, 100, 100)
        );
        assert!(found.is_whole() && found.twice == 0, "{more}: {found:?}");
        assert_eq!(totals.octets, sink.stop().octets, "{more}");
    }
}

#[test]
fn refusals_are_told_by_step_and_code_and_the_session_goes_on() {
    let sink = sink(r#"{"refuse": "mail=451:10%,body=554:10%", "unknown": "^bad"}"#);
    let (result, ledger) = run(
        &sink,
        "closed = true\nsessions = 4\nmessages = 500\nrecipients = 2\nbad_recipients = '30%'",
    );
    let totals = result.totals;
    assert!(totals.deferred > 10 && totals.rejected > 10, "{totals:?}");
    assert_eq!(totals.acknowledged + totals.deferred + totals.rejected, 500);
    assert_eq!(totals.connections, 4, "no session was lost");
    for key in ["mail 451 4.3.0", "rcpt 550 5.1.1", "body 554 5.7.1"] {
        assert!(
            result.errors.contains_key(key),
            "{key}: {:?}",
            result.errors
        );
    }
    assert_eq!(
        fates(&ledger, Fate::Refused),
        totals.deferred + totals.rejected
    );
    assert_eq!(result.errors["rcpt 550 5.1.1"], totals.recipients_refused);
    let found = reconciled(&sink, &ledger);
    assert!(found.is_whole() && found.refused_arrived == 0, "{found:?}");
}

#[test]
fn slow_and_idle_sessions_are_beside_the_others() {
    let sink = sink("{}");
    let (result, ledger) = run(
        &sink,
        "rate = 200\nduration = '2s'\nslow = '20%'\nslow_pace = 40\nslow_max = 10\nidle = 50\nsessions_max = 100",
    );
    let totals = result.totals;
    // None of them comes to its end, and none is waited for.
    assert!(
        totals.aborted > 0 && totals.aborted <= 10 + 1,
        "{totals:?} {:?}",
        result.errors
    );
    assert_eq!(totals.acknowledged + totals.aborted, totals.begun);
    assert_eq!(result.latency.count, totals.acknowledged);
    assert!(result.intervals[0].sessions >= 50);
    assert_eq!(result.errors, Default::default());
    let found = reconciled(&sink, &ledger);
    assert!(found.is_whole(), "{found:?}");
}

#[test]
fn a_slow_message_arrives_if_it_is_given_the_time() {
    let sink = sink("{}");
    let (result, ledger) = run(
        &sink,
        "rate = 20\nmessages = 4\nslow = '100%'\nslow_pace = 2000\nsize = 600",
    );
    assert_eq!(result.totals.acknowledged, 4, "{:?}", result.errors);
    assert_eq!((result.latency.count, result.steps["slow"].count), (0, 4));
    assert!(result.steps["slow"].min_us > 100_000);
    assert!(reconciled(&sink, &ledger).is_whole());
}

#[test]
fn messages_that_find_no_session_wait_or_are_told() {
    // Two sessions carry 20 a second at most; 200 are due.
    let sink = sink(r#"{"delay": "body=100ms"}"#);
    let (result, ledger) = run(&sink, "rate = 200\nduration = '2s'\nsessions_max = 2");
    let totals = result.totals;
    assert_eq!(totals.intended, 400);
    assert!(totals.begun <= 50, "{totals:?}");
    let missing = result.errors["start no session was free"];
    assert_eq!(missing, totals.intended - totals.begun);
    // The last of them had been due long before it was begun.
    assert!(
        result.latency.max_us > 1_000_000,
        "{}",
        result.latency.max_us
    );
    assert!(result.steps["service"].p50_us < 1_000_000);
    assert!(reconciled(&sink, &ledger).is_whole());
}

#[test]
fn the_knee_is_found() {
    // Four sessions carry 80 a second.
    let sink = sink(r#"{"delay": "body=50ms"}"#);
    let (result, _) = run(
        &sink,
        "ramp = '10..400:40s'\nsessions_max = 4\nknee_p99 = '1s'\nknee_errors = '5%'",
    );
    let knee = result.knee.unwrap();
    assert!(!knee.why.is_empty() && result.took_s < 38.0, "{knee:?}");
    assert!(knee.rate > 5.0 && knee.rate < 150.0, "{knee:?}");
}

#[test]
fn a_run_that_is_stopped_tells_what_it_did() {
    let sink = sink("{}");
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, shown) = mpsc::channel();
    let hooks = Hooks {
        progress: Some(sender),
        stop: Arc::clone(&stop),
    };
    for text in [
        "rate = 100\nduration = '10m'",
        "closed = true\nduration = '10m'",
    ] {
        stop.store(false, Ordering::Relaxed);
        let plan = plan(&sink, text);
        let begun = Instant::now();
        let (result, ledger) = thread::scope(|scope| {
            let run = scope.spawn(|| execute(&plan, &hooks).unwrap());
            let seen = shown.recv_timeout(Duration::from_secs(60)).unwrap();
            assert!(seen.acknowledged > 0);
            stop.store(true, Ordering::Relaxed);
            run.join().unwrap()
        });
        assert!(begun.elapsed() < Duration::from_secs(300));
        let totals = result.totals;
        assert!(
            totals.acknowledged > 0 && totals.acknowledged == totals.begun,
            "{totals:?}"
        );
        assert!(reconciled(&sink, &ledger).is_whole());
        shown.try_iter().for_each(drop);
    }
}

#[test]
fn the_command_reconciles_and_writes_its_results() {
    let sink = sink("{}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results");
    let target = sink.addresses()[0].to_string();
    let control = sink.control().unwrap().to_string();
    let command = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost-load"));
        command.args([
            "run",
            &target,
            "--closed",
            "-n",
            "50",
            "--sink-control",
            &control,
        ]);
        command.args(more).output().unwrap()
    };
    let done = command(&["--out", &out.to_string_lossy(), "--json"]);
    assert_eq!(
        done.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(done.stderr.is_empty(), "quiet where it is no terminal");
    let result: RunResult = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(result.reconciliation.unwrap().arrived, 50);
    assert!(out.join("run.json").exists() && out.join("ledger.json").exists());
}
