//! What measuring costs: a latency into a histogram, an event into a counter, a level into a gauge, against
//! a histogram of its own without stages and scopes.
//!
//! `cargo bench --bench metrics`

use criterion::{Criterion, criterion_group, criterion_main};
use gatepost::metrics::{Counter, Gauge, Recorder, Scope, Stage};
use hdrhistogram::Histogram;
use std::hint::black_box;

/// Latencies as they come: most of some tens of microseconds, some of milliseconds.
fn latencies() -> impl FnMut() -> u64 {
    let mut n = 0u64;
    move || {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = n >> 40;
        if random.is_multiple_of(16) {
            random % 8_000
        } else {
            random % 200
        }
    }
}

fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    let recorder = Recorder::alone();
    let scope = recorder.registry().listener("mx");
    let mut next = latencies();
    group.bench_function("a latency", |b| {
        b.iter(|| recorder.record(Stage::Mail, black_box(scope), next()));
    });
    let mut next = latencies();
    let mut plain = Histogram::<u32>::new(3).expect("3 digits");
    group.bench_function("a latency: hdrhistogram alone", |b| {
        b.iter(|| plain.record(next()).is_ok());
    });
    let mut next = latencies();
    group.bench_function("nothing: the latencies alone", |b| b.iter(&mut next));
    group.bench_function("an event", |b| {
        b.iter(|| recorder.count(Counter::Ended, black_box(scope), 1));
    });
    group.bench_function("a level", |b| {
        b.iter(|| recorder.add(Gauge::BodyMemory, Scope::NONE, black_box(1)));
    });
    group.bench_function("a snapshot of two histograms", |b| {
        recorder.record(Stage::Commit, scope, 8_000);
        b.iter(|| recorder.snapshot());
    });
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
