//! A run that looks like a real one, made up and the same each time: a minute at 1,000 messages a second, in which the
//! server stalls for two seconds.

use gatepost_load::{
    ledger::{Arrival, Entry, Fate, Ledger, Tally, reconcile},
    report::{histogram::empty, latency},
    result::{
        Interval, Machine, ProcessResult, ProcessSample, RunResult, StageResult, Totals, VERSION,
    },
    stamp::RunId,
};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Pseudo-random numbers (SplitMix64), so that the sample is the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Log-normal around a median.
    fn around(&mut self, median: f64, spread: f64) -> f64 {
        let normal: f64 = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        median * (normal * spread).exp()
    }
}

const SECONDS: u64 = 60;
const RATE: u64 = 1000;
const STALL: std::ops::Range<f64> = 28.0..30.0;

/// The run. `slower` scales its latencies: 1 is the plain one.
pub fn run(slower: f64) -> RunResult {
    let mut dice = Dice(7);
    let (mut all, mut service) = (empty(), empty());
    let mut intervals: Vec<(Interval, Histogram<u64>)> = (0..SECONDS)
        .map(|at| {
            let interval = Interval {
                at_s: at as f64,
                length_s: 1.0,
                intended: RATE,
                sessions: 32 + dice.next() % 3,
                ..Interval::default()
            };
            (interval, empty())
        })
        .collect();
    let mut errors = BTreeMap::new();
    let mut totals = Totals {
        intended: SECONDS * RATE,
        begun: SECONDS * RATE,
        connections: 32,
        ..Totals::default()
    };
    for number in 0..SECONDS * RATE {
        let intended = number as f64 / RATE as f64;
        let own = dice.around(620.0 * slower, 0.35)
            + if dice.share() < 0.004 {
                dice.around(9e3, 0.5)
            } else {
                0.0
            };
        // Who meant to start in the stall waits for its end, and then for those before.
        let waited = if STALL.contains(&intended) {
            (STALL.end - intended) * 1e6 * 1.02
        } else {
            0.0
        };
        let micros = (own + waited) as u64;
        let second = ((intended + micros as f64 / 1e6) as usize).min(SECONDS as usize - 1);
        let (interval, histogram) = &mut intervals[second];
        let odds = dice.share();
        let key = match odds {
            o if o < 0.0040 => Some("rcpt 550 5.1.1"),
            o if o < 0.0055 => Some("body 451 4.4.2"),
            o if o < 0.0062 => Some("connect refused"),
            o if o < 0.0065 && STALL.contains(&intended) => Some("body connection lost"),
            _ => None,
        };
        match key {
            None => {
                interval.acknowledged += 1;
                interval.octets += 4096;
                totals.acknowledged += 1;
                totals.recipients += 1;
                totals.octets += 4096;
                histogram.record(micros).expect("it grows");
                all.record(micros).expect("it grows");
                service.record(own as u64).expect("it grows");
            }
            Some(key) => {
                *errors.entry(key.to_owned()).or_insert(0) += 1;
                *interval.errors.entry(key.to_owned()).or_insert(0) += 1;
                match key {
                    "rcpt 550 5.1.1" => totals.rejected += 1,
                    "body 451 4.4.2" => totals.deferred += 1,
                    "body connection lost" => totals.uncertain += 1,
                    _ => totals.failed += 1,
                }
                if key.contains("connect") {
                    interval.failed += 1;
                } else {
                    interval.refused += 1;
                }
            }
        }
    }
    let mut steps = BTreeMap::from([("service".to_owned(), latency(&service))]);
    for (name, median) in [
        ("connect", 90.0),
        ("greeting", 140.0),
        ("hello", 70.0),
        ("mail", 60.0),
        ("rcpt", 85.0),
        ("data", 160.0),
        ("body", 230.0),
    ] {
        let mut step = empty();
        for _ in 0..5000 {
            step.record(dice.around(median * slower, 0.4) as u64)
                .expect("it grows");
        }
        steps.insert(name.to_owned(), latency(&step));
    }
    RunResult {
        version: VERSION,
        name: "steady".to_owned(),
        started: "2026-03-04T10:20:30.5Z".to_owned(),
        took_s: 60.02,
        machine: Machine {
            kernel: "Linux 6.18".to_owned(),
            processor: "A processor of 2.5 GHz".to_owned(),
            cores: 2,
        },
        target: "127.0.0.1:2525".to_owned(),
        plan: PLAN.to_owned(),
        totals,
        latency: latency(&all),
        steps,
        intervals: intervals
            .into_iter()
            .map(|(interval, histogram)| Interval {
                latency: latency(&histogram),
                ..interval
            })
            .collect(),
        errors,
        reconciliation: Some(reconcile(&ledger(), &tally())),
        stages: stages(slower),
        processes: processes(&mut dice),
        own_cpu_us_per_message: 31.0,
        knee: None,
    }
}

const PLAN: &str = "[load]\nname = \"steady\"\nrate = 1000\nduration = \"60s\"\nsessions = 32\n\n[mail]\nsize = \"4 KiB\"\nrecipients = 1\n# </script> in a comment must not end anything\n";

/// The source's ledger of it.
pub fn ledger() -> Ledger {
    let mut entries = vec![
        Entry {
            fate: Fate::Acknowledged,
            recipients: 1
        };
        59_600
    ];
    entries.resize(
        59_990,
        Entry {
            fate: Fate::Refused,
            recipients: 0,
        },
    );
    entries.resize(
        60_000,
        Entry {
            fate: Fate::Uncertain,
            recipients: 1,
        },
    );
    Ledger {
        run: RunId(0xfeed),
        entries,
    }
}

/// The sink's tally of it.
pub fn tally() -> Tally {
    let arrived = Arrival {
        recipients: 1,
        copies: 1,
        damaged: 0,
    };
    let mut arrivals = vec![arrived; 59_600];
    arrivals.resize(59_990, Arrival::default());
    arrivals.resize(59_994, arrived);
    Tally {
        run: RunId(0xfeed),
        arrivals,
    }
}

fn stages(slower: f64) -> Vec<StageResult> {
    let stage = |stage: &str, scope: &str, median: f64| {
        let times = |factor: f64| (median * slower * factor) as u64;
        StageResult {
            stage: stage.to_owned(),
            scope: scope.to_owned(),
            count: 59_600,
            p50_us: times(1.0),
            p90_us: times(1.6),
            p99_us: times(2.9),
            p999_us: times(14.0),
            max_us: times(90.0),
        }
    };
    vec![
        stage("banner", "", 9.0),
        stage("banner", "mx", 9.0),
        stage("command_mail", "", 4.0),
        stage("command_rcpt", "", 11.0),
        stage("lease_hit", "", 2.0),
        stage("backend_envelope", "", 150.0),
        stage("commit", "", 240.0),
        stage("commit", "cluster/10.0.0.1:25", 230.0),
        stage("commit", "cluster/10.0.0.2:25", 250.0),
        stage("transaction", "", 560.0),
    ]
}

fn processes(dice: &mut Dice) -> Vec<ProcessResult> {
    let mut process = |name: &str, share: f64, rss: u64| {
        let mut cpu_s = 3.0;
        let samples: Vec<_> = (0..=240)
            .map(|step| {
                let at_s = f64::from(step) * 0.25;
                let busy = if STALL.contains(&at_s) { 0.05 } else { share };
                cpu_s += 0.25 * busy * (0.9 + 0.2 * dice.share());
                ProcessSample {
                    at_s,
                    cpu_s,
                    rss: rss + dice.next() % 200_000,
                    descriptors: 75,
                    threads: 3,
                }
            })
            .collect();
        ProcessResult {
            name: name.to_owned(),
            pids: vec![4711],
            cpu_s: cpu_s - 3.0,
            cpu_us_per_message: (cpu_s - 3.0) * 1e6 / 59_600.0,
            rss_max: samples.iter().map(|s| s.rss).max().unwrap_or_default(),
            samples,
        }
    };
    vec![
        process("gatepost", 0.075, 9 << 20),
        process("smtp-sink", 0.05, 4 << 20),
    ]
}
