//! How fast a body is looked at: the scan of DATA and BDAT against one search for the terminator, which
//! answers one of the scan's questions, and against a loop over the octets, which answers all of them. The bar
//! is half the speed of that search.
//!
//! `cargo bench --bench scan`

mod work;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gatepost::smtp::{body::BareNewline, chunk::ChunkScan, header, scan::Engine};
use std::hint::black_box;
use work::text;

const SIZES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];

fn scans(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    for size in SIZES {
        let wire = text::data(size);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        let mut bench = |name: &str, run: &dyn Fn(&[u8]) -> u64| {
            group.bench_with_input(BenchmarkId::new(name, size), &wire, |b, wire| {
                b.iter(|| run(black_box(wire)));
            });
        };
        bench("memmem", &|wire| {
            memchr::memmem::find(wire, b"\r\n.\r\n").map_or(0, |at| at as u64)
        });
        bench("loop", &text::look_plainly);
        bench("data", &|wire| {
            text::look(BareNewline::Reject, Engine::best(), wire)
        });
        bench("data-normalize", &|wire| {
            text::look(BareNewline::Normalize, Engine::best(), wire)
        });
        bench("chunk", &|wire| {
            let mut scan = ChunkScan::new(BareNewline::Reject);
            scan.scan(wire);
            black_box(*scan.facts()).size
        });
        bench("data-scalar", &|wire| {
            text::look(BareNewline::Reject, Engine::scalar(), wire)
        });
    }
    group.finish();
}

/// Dots off and on again, against a plain copy of the same octets.
fn copies(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy");
    for size in SIZES {
        let (payload, wire) = (text::payload(size), text::data(size));
        let mut room = Vec::with_capacity(size * 2);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        let mut bench = |name: &str, from: &[u8], run: &dyn Fn(&[u8], &mut Vec<u8>)| {
            group.bench_with_input(BenchmarkId::new(name, size), from, |b, from| {
                b.iter(|| {
                    room.clear();
                    run(black_box(from), &mut room);
                    room.len()
                });
            });
        };
        bench("stuff", &payload, &text::stuff);
        bench("unstuff", &wire, &text::unstuff);
        bench("copy", &wire, &|from, room| room.extend_from_slice(from));
    }
    group.finish();
}

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    group.throughput(Throughput::Bytes(text::HEADER.len() as u64));
    group.bench_function("fields", |b| {
        b.iter(|| header::fields(black_box(text::HEADER)).count());
    });
    group.bench_function("end", |b| b.iter(|| header::end(black_box(text::HEADER))));
    group.finish();
}

criterion_group!(benches, scans, copies, headers);
criterion_main!(benches);
