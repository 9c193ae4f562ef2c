//! Tests of the exports: a small, strict parser of the exposition format, and merging.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::metrics::{Kind, Recorder, Registry, Scope, Snapshot};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

/// Reads the exposition format as strictly as promtool does: HELP and TYPE before the samples of a family,
/// each family once and in one piece, names and labels well-formed, no sample twice, buckets cumulative.
/// Gives the samples by name and labels.
fn parse(text: &str) -> HashMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut closed) = (HashMap::new(), HashSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').unwrap();
            assert!(closed.insert(name.to_owned()), "{name} comes twice");
            let next = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (typed, its) = next.split_once(' ').unwrap();
            assert_eq!(typed, name);
            (family, kind) = (name.to_owned(), its.to_owned());
            assert!(matches!(its, "counter" | "gauge" | "histogram"), "{its}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            continue;
        }
        let (name, labels, value) = sample(line);
        if kind == "histogram" {
            let suffix = name.strip_prefix(&family).unwrap();
            assert!(matches!(suffix, "_bucket" | "_sum" | "_count"), "{line}");
            assert_eq!(
                suffix == "_bucket",
                labels.iter().any(|(key, _)| key == "le")
            );
        } else {
            assert_eq!(name, family, "{line}");
        }
        let keys: HashSet<_> = labels.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), labels.len(), "a label twice: {line}");
        let mut labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        labels.sort();
        let key = format!("{name}{{{}}}", labels.join(","));
        assert!(samples.insert(key, value).is_none(), "twice: {line}");
    }
    samples
}

fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let word = |w: &str| {
        w.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    assert!(word(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (key, after) = rest.split_once("=\"").unwrap();
            assert!(word(key), "{line}");
            let (mut value, mut chars) = (String::new(), after.chars());
            loop {
                match chars.next().unwrap() {
                    '"' => break,
                    '\\' => value.push(match chars.next().unwrap() {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        c => panic!("escape {c} in {line}"),
                    }),
                    c => value.push(c),
                }
            }
            labels.push((key.to_owned(), value));
            rest = chars.as_str();
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',').unwrap();
        }
    }
    let value = rest.strip_prefix(' ').unwrap();
    assert!(!value.contains(' '), "{line}");
    (name.to_owned(), labels, value.parse().unwrap())
}

fn text(registry: &Registry, snapshots: &[Snapshot]) -> String {
    prometheus(&registry.view(snapshots), &Process::read())
}

#[test]
fn everything_written_is_well_formed() {
    let recorder = Recorder::alone();
    let registry = recorder.registry();
    let scopes = [
        registry.listener("mx"),
        registry.pool("cluster"),
        registry.backend("cluster", "10.0.0.1:25"),
        registry.check("helo"),
        Scope::NONE,
    ];
    for scope in scopes {
        for stage in Stage::ALL {
            recorder.record(*stage, scope, 1234);
        }
        for counter in Counter::ALL {
            recorder.count(*counter, scope, 1);
        }
        for gauge in Gauge::ALL {
            recorder.add(*gauge, scope, -1);
        }
    }
    recorder.ended("client", "body");
    recorder.timed_out("body");
    registry.info(
        Info::Engine,
        &[("engine", "uring"), ("why", "asked \"for\"")],
    );
    let mut view = registry.view([&recorder.snapshot()]);
    view.stalled = vec![false, true];
    let samples = parse(&prometheus(&view, &Process::read()));
    assert_eq!(samples["gatepost_worker_stalled{worker=1}"], 1.0);
    assert_eq!(
        samples["gatepost_sessions_ended_total{by=client,phase=body}"],
        1.0
    );
    assert_eq!(
        samples["gatepost_engine_info{engine=uring,why=asked \"for\"}"],
        1.0
    );
    let known: HashSet<_> = families().into_iter().map(|family| family.0).collect();
    for name in samples.keys().map(|key| key.split('{').next().unwrap()) {
        let family = name.strip_suffix("_bucket").or(name.strip_suffix("_count"));
        let family = family.or(name.strip_suffix("_sum")).unwrap_or(name);
        assert!(known.contains(family), "{family} is not in the manual");
    }
}

#[test]
fn labels_are_escaped() {
    let registry = Registry::new();
    let name = "a\"b\\c\nd}e,f=\"";
    registry.count(Counter::Accepted, registry.listener(name), 7);
    let samples = parse(&text(&registry, &[]));
    let key = format!("gatepost_connections_accepted_total{{listener={name}}}");
    assert_eq!(samples[&key], 7.0);
}

#[test]
fn a_known_scope_shows_zeros() {
    let registry = Registry::new();
    registry.listener("mx");
    let samples = parse(&text(&registry, &[]));
    assert_eq!(
        samples["gatepost_messages_total{listener=mx,verdict=accepted}"],
        0.0
    );
    assert_eq!(samples["gatepost_panics_total{}"], 0.0);
}

#[test]
fn buckets_sum_and_count_agree_with_what_was_recorded() {
    let recorder = Recorder::alone();
    let mx = recorder.registry().listener("mx");
    for micros in [10, 50, 51, 900, 2_000_000_000] {
        recorder.record(Stage::Body, mx, micros);
    }
    let samples = parse(&text(recorder.registry(), &[recorder.snapshot()]));
    let bucket = |le: &str| {
        samples[&format!("gatepost_stage_seconds_bucket{{le={le},listener=mx,stage=body}}")]
    };
    assert_eq!(bucket("0.00005"), 2.0);
    assert_eq!(bucket("0.0001"), 3.0);
    assert_eq!(bucket("0.001"), 4.0);
    assert_eq!(bucket("600"), 4.0);
    assert_eq!(bucket("+Inf"), 5.0);
    assert_eq!(
        samples["gatepost_stage_seconds_sum{listener=mx,stage=body}"],
        2_000.001_011
    );
    assert_eq!(
        samples["gatepost_stage_seconds_count{listener=mx,stage=body}"],
        5.0
    );
}

#[test]
fn percentiles_by_stage_and_scope() {
    let recorder = Recorder::alone();
    let registry = recorder.registry();
    let (one, two) = (registry.backend("p", "a:25"), registry.backend("p", "b:25"));
    for micros in 1..=1000 {
        recorder.record(Stage::Commit, one, micros);
    }
    recorder.record(Stage::Commit, two, 5_000_000);
    let json = stages_json(&registry.view([&recorder.snapshot()]), false);
    let commit = &json["stages"][0];
    assert_eq!(
        (&commit["stage"], &commit["count"]),
        (&json!("commit"), &json!(1001))
    );
    assert_eq!(commit["max"], 5_000_000);
    let scope = &commit["scopes"][0];
    assert_eq!(scope["labels"], json!({"pool": "p", "backend": "a:25"}));
    assert_eq!((&scope["min"], &scope["mean"]), (&json!(1), &json!(500.5)));
    assert_eq!((&scope["p50"], &scope["p90"]), (&json!(500), &json!(900)));
    assert_eq!((&scope["p99"], &scope["p99.9"]), (&json!(990), &json!(999)));
    assert_eq!(
        (&scope["p99.99"], &scope["max"]),
        (&json!(1000), &json!(1000))
    );
}

#[test]
fn seconds_are_exact_and_short() {
    for (micros, text) in [
        (0, "0"),
        (50, "0.00005"),
        (1_000_000, "1"),
        (2_500_000, "2.5"),
        (600_000_000, "600"),
    ] {
        assert_eq!(seconds(micros), text);
    }
}

proptest! {
    #[test]
    fn merging_equals_recording_into_one(
        samples in prop::collection::vec((0usize..3, 0u64..8_000_000_000), 0..300)
    ) {
        let registry = Registry::new();
        let scope = registry.scope(Kind::Listener, "mx");
        let workers = [registry.worker(), registry.worker(), registry.worker()];
        let one = registry.worker();
        for (worker, micros) in &samples {
            workers[*worker].record(Stage::Session, scope, *micros);
            one.record(Stage::Session, scope, *micros);
        }
        let mut merged = Snapshot::default();
        for worker in &workers {
            merged.merge(worker.snapshot());
        }
        let merged = merged.distribution(Stage::Session, Some(scope));
        let single = one.snapshot().distribution(Stage::Session, None);
        prop_assert_eq!(merged.count(), samples.len() as u64);
        prop_assert_eq!(merged.since(None), single.since(None));
        prop_assert_eq!((merged.min(), merged.max(), merged.sum()), (single.min(), single.max(), single.sum()));
        for (_, share) in QUANTILES {
            prop_assert_eq!(merged.quantile(*share), single.quantile(*share));
        }
    }
}
