//! `run` and `sink` together: what was acknowledged arrived, what was not is told apart, and latencies are what the
//! sink made them.
#![allow(clippy::unwrap_used)]

use gatepost_load::{
    ledger::{Fate, Ledger, reconcile},
    result::{Reconciliation, RunResult},
    run::{Hooks, Plan, execute},
    sink::{self, Behaviour, Handle, Options},
};
use std::{net::SocketAddr, process::Command, thread, time::Duration};

fn sink_with(changes: &str, change: impl FnOnce(&mut Options)) -> Handle {
    let mut options = Options {
        control: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        behaviour: Behaviour::of(serde_json::from_str(changes).unwrap()),
        ..Options::default()
    };
    change(&mut options);
    sink::start(options).unwrap()
}

fn sink(changes: &str) -> Handle {
    sink_with(changes, |_| {})
}

fn run(sink: &Handle, text: &str) -> (RunResult, Ledger) {
    let text = format!("targets = ['{}']\n{text}", sink.addresses()[0]);
    let plan = Plan::new(toml::from_str(&text).unwrap()).unwrap();
    execute(&plan, &Hooks::default()).unwrap()
}

fn reconciled(sink: &Handle, ledger: &Ledger) -> Reconciliation {
    reconcile(ledger, &sink.tally(ledger.run).unwrap())
}

#[test]
fn what_was_acknowledged_arrived_by_every_way() {
    let sink = sink_with("{}", |options| options.workers = 2);
    let lmtp = sink_with("{}", |options| options.lmtp = true);
    let none = sink_with(r#"{"capabilities": "none"}"#, |_| {});
    for (sink, more) in [
        (&sink, ""),
        (&sink, "chunking = 'off'"),
        (&sink, "chunking = 'off'\npipelining = 'off'"),
        (&sink, "messages_per_session = 1\nworkers = 2"),
        (
            &sink,
            "recipients = 5\nsize = 'lognormal:median=20KiB,sigma=2'",
        ),
        (&sink, "size = '1MiB'\nmessages = 40"),
        (&lmtp, "lmtp = true\nrecipients = 3"),
        (&lmtp, "lmtp = true\nrecipients = 3\nchunking = 'off'"),
        (&none, ""),
    ] {
        let messages = if more.contains("messages =") {
            ""
        } else {
            "messages = 300\n"
        };
        let (result, ledger) = run(
            sink,
            &format!("closed = true\nsessions = 4\n{messages}{more}"),
        );
        let found = reconciled(sink, &ledger);
        assert_eq!(found.acknowledged, result.totals.acknowledged, "{more}");
        assert!(
            found.acknowledged >= 40 && found.is_whole(),
            "{more}: {found:?}"
        );
        assert_eq!(
            (found.copies, found.twice),
            (found.acknowledged, 0),
            "{more}"
        );
    }
    for sink in [sink, lmtp, none] {
        let summary = sink.stop();
        assert!(
            summary.faults.is_empty() && summary.unstamped == 0,
            "{summary:?}"
        );
    }
}

#[test]
fn a_lost_reply_is_uncertain_and_nothing_is_lost() {
    let sink = sink(r#"{"drop": "before-reply:5%,before-commit:5%,body-middle:2%,data:2%"}"#);
    for more in ["", "chunking = 'off'"] {
        let text = format!("closed = true\nsessions = 4\nmessages = 1000\n{more}");
        let (result, ledger) = run(&sink, &text);
        let found = reconciled(&sink, &ledger);
        assert!(found.is_whole(), "{found:?}");
        assert_eq!(found.twice, 0);
        let summary = sink.summary();
        let (taken, lost) = (
            summary.dropped["before-reply"],
            summary.dropped["before-commit"],
        );
        assert!(taken > 10 && lost > 10, "{summary:?}");
        assert_eq!(found.uncertain, result.totals.uncertain);
        // Those that died in the middle of a body or at its command may be uncertain too: their end may have been sent.
        let at = |place: &str| summary.dropped.get(place).copied().unwrap_or_default();
        let others = at("body-middle") + at("data");
        assert!(
            (taken + lost..=taken + lost + others).contains(&found.uncertain),
            "{found:?} {summary:?}"
        );
        assert_eq!(found.uncertain_arrived, taken);
        sink.reset();
    }
}

#[test]
fn refusals_are_told_and_nothing_of_them_arrives() {
    let refuse = "connect=421:5%,mail=451:5%,rcpt=550:10%,data=451:5%,body=452:10%";
    let sink = sink(&format!(r#"{{"refuse": "{refuse}"}}"#));
    for more in [
        "",
        "chunking = 'off'",
        "pipelining = 'off'\nchunking = 'off'",
    ] {
        let text = format!(
            "closed = true\nsessions = 4\nrecipients = 2\nmessages = 600\nmessages_per_session = 20\n{more}"
        );
        let (result, ledger) = run(&sink, &text);
        let found = reconciled(&sink, &ledger);
        assert!(found.is_whole(), "{more}: {found:?}");
        assert_eq!(
            (found.refused_arrived, found.uncertain_arrived, found.twice),
            (0, 0, 0),
            "{more}"
        );
        assert!(
            found.refused > 50 && found.acknowledged > 200,
            "{more}: {found:?}"
        );
        assert!(result.totals.recipients_refused > 20, "{more}");
        let summary = sink.summary();
        assert_eq!(summary.messages, found.acknowledged, "{more}");
        let entries = ledger.entries.iter();
        let taken = entries.filter(|entry| entry.fate == Fate::Acknowledged);
        let recipients: u64 = taken.map(|entry| u64::from(entry.recipients)).sum();
        assert_eq!(summary.recipients, recipients, "{more}");
        sink.reset();
    }
}

#[test]
fn messages_that_are_left_do_not_arrive() {
    let sink = sink("{}");
    for more in ["", "chunking = 'off'"] {
        let text = format!("closed = true\nsessions = 4\nmessages = 400\nabort = '20%'\n{more}");
        let (result, ledger) = run(&sink, &text);
        let found = reconciled(&sink, &ledger);
        assert!(
            found.is_whole() && result.totals.aborted > 20,
            "{more}: {found:?}"
        );
        assert_eq!(found.acknowledged + result.totals.aborted, 400, "{more}");
    }
}

/// While a run goes on, something happens.
fn during(sink: &Handle, text: &str, happens: impl FnOnce(&Handle) + Send) -> RunResult {
    thread::scope(|scope| {
        scope.spawn(|| happens(sink));
        let (result, ledger) = run(sink, text);
        assert!(reconciled(sink, &ledger).is_whole());
        result
    })
}

#[test]
fn a_stall_of_a_second_shows_in_an_open_loop_as_it_was() {
    let sink = sink("{}");
    let second = Duration::from_secs(1);
    let stall = |sink: &Handle| {
        thread::sleep(second);
        sink.stall(second);
    };
    let open = "rate = 500\nduration = '4s'\nsessions_max = 1000";
    let result = during(&sink, open, stall);
    // A quarter of the messages were due in the stall, and waited for its end: the last hundredth of all for more than
    // 960 ms of it.
    assert!(result.latency.p99_us >= 900_000, "{:?}", result.latency);
    assert!(result.latency.max_us >= 950_000, "{:?}", result.latency);
    assert!(result.latency.p50_us < 500_000, "{:?}", result.latency);
    // A closed loop sees four slow messages, and p99 knows nothing of them: why it is not the default.
    let closed = "closed = true\nsessions = 4\nduration = '4s'";
    sink.change(serde_json::from_str(r#"{"delay": "body=2ms"}"#).unwrap());
    let result = during(&sink, closed, stall);
    assert!(result.latency.max_us >= 900_000, "{:?}", result.latency);
    assert!(result.latency.p99_us < 500_000, "{:?}", result.latency);
}

#[test]
fn a_delay_shows_where_it_is() {
    let sink = sink(r#"{"delay": "body=50ms"}"#);
    let open = "rate = 200\nduration = '2s'\nsessions_max = 400";
    let (result, _) = run(&sink, open);
    assert!(result.latency.p50_us >= 50_000, "{:?}", result.latency);
    assert!(result.latency.min_us >= 50_000, "{:?}", result.latency);
    assert!(
        result.steps["body"].min_us >= 49_900,
        "{:?}",
        result.steps["body"]
    );
    assert!(
        result.steps["connect"].p50_us < 50_000,
        "{:?}",
        result.steps["connect"]
    );
    // For one second of four: not in the median, and in p99.
    let at = |changes: &str| serde_json::from_str(changes).unwrap();
    sink.change(at(r#"{"delay": ""}"#));
    let result = during(
        &sink,
        "rate = 200\nduration = '4s'\nsessions_max = 400",
        |sink| {
            thread::sleep(Duration::from_secs(1));
            sink.change(at(r#"{"delay": "body=50ms"}"#));
            thread::sleep(Duration::from_secs(1));
            sink.change(at(r#"{"delay": ""}"#));
        },
    );
    assert!(result.latency.p99_us >= 50_000, "{:?}", result.latency);
    assert!(
        result.latency.p50_us < result.latency.p99_us,
        "{:?}",
        result.latency
    );
}

#[test]
fn the_exit_code_tells_of_loss() {
    let (taking, other) = (sink("{}"), sink("{}"));
    let run = |control: &Handle| {
        let target = taking.addresses()[0].to_string();
        let control = control.control().unwrap().to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost-load"))
            .args([
                "run",
                &target,
                "--closed",
                "--sessions",
                "2",
                "--messages",
                "100",
            ])
            .args(["--sink-control", &control, "--settle", "500ms", "--json"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let result: RunResult =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
        (output.status.code(), result.reconciliation.unwrap())
    };
    let (code, found) = run(&taking);
    assert_eq!((code, found.acknowledged, found.lost), (Some(0), 100, 0));
    let (code, found) = run(&other);
    assert_eq!((code, found.acknowledged, found.lost), (Some(1), 100, 100));
}
