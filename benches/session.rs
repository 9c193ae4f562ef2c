//! What a message costs without sockets: the server fed by a client, the client fed by a backend, and both
//! joined as the proxy joins them, with the questions to the policy between. 4 KiB a message, on a session that
//! is open already.
//!
//! `cargo bench --bench session`

mod work;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use work::{
    USUAL,
    judge::RICH,
    session::{Back, Front, TRACE, Way, Whole, envelope, reads},
    text,
};

fn servers(c: &mut Criterion) {
    let mut group = c.benchmark_group("server");
    group.throughput(Throughput::Elements(1));
    for (name, way) in [
        ("DATA", Way::Steps),
        ("DATA, pipelined", Way::Pipelined),
        ("BDAT", Way::Chunk),
    ] {
        let (mut front, reads) = (Front::new(), reads(way, USUAL));
        group.bench_function(name, |b| b.iter(|| front.message(black_box(&reads))));
    }
    group.bench_function("session up to EHLO", |b| b.iter(Front::new));
    group.finish();
}

fn clients(c: &mut Criterion) {
    let mut group = c.benchmark_group("client");
    group.throughput(Throughput::Elements(1));
    let (envelope, body) = (envelope(), text::payload(USUAL));
    for (name, chunking) in [("DATA", false), ("BDAT", true)] {
        let mut back = Back::new(chunking);
        group.bench_function(name, |b| {
            b.iter(|| back.message(black_box(&envelope), TRACE, &body));
        });
    }
    group.finish();
}

fn wholes(c: &mut Criterion) {
    let mut group = c.benchmark_group("whole message");
    group.throughput(Throughput::Elements(1));
    for (name, way, chunking, policy) in [
        ("DATA to DATA", Way::Steps, false, ""),
        ("DATA to DATA, lists and rules", Way::Steps, false, RICH),
        ("DATA to BDAT", Way::Steps, true, ""),
        ("BDAT to BDAT", Way::Chunk, true, ""),
    ] {
        let (mut whole, reads) = (Whole::new(chunking, policy), reads(way, USUAL));
        group.bench_function(name, |b| b.iter(|| whole.message(black_box(&reads))));
    }
    group.finish();
}

criterion_group!(benches, servers, clients, wholes);
criterion_main!(benches);
