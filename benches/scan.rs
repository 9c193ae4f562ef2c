//! How fast a body is looked at: the scan of DATA and BDAT against one search for the terminator, which
//! answers one of the scan's questions. The bar is half the speed of that search.
//!
//! `cargo bench --bench scan`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gatepost::smtp::{
    body::{BareNewline, Kind},
    chunk::ChunkScan,
    data::DataScan,
    scan::Engine,
    stuff::Stuff,
};
use std::hint::black_box;

/// A message of about `size` octets as it comes over the wire: a header, then words in lines of the lengths
/// that people and mail programs make, empty lines between paragraphs, now and then a line with a dot in
/// front, and the end.
fn mail(size: usize) -> Vec<u8> {
    let words = [
        "the", "message", "of", "a", "backend.", "Lorem", "ipsum", "dolor,", "sit", "amet", "is",
        "well", "known", "for", "nothing.", "We", "shall", "see", "about", "that", "tomorrow",
    ];
    let mut mail = Vec::with_capacity(size + 128);
    for at in 0..12 {
        mail.extend_from_slice(
            format!("X-Header-Number-{at}: a value that is of some length; with=parameters\r\n")
                .as_bytes(),
        );
    }
    mail.extend_from_slice(b"\r\n");
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    while mail.len() < size {
        let length = 20 + random(58) as usize;
        let start = mail.len();
        if random(200) == 0 {
            mail.extend_from_slice(b"..");
        }
        while mail.len() - start < length {
            mail.extend_from_slice(words[random(words.len() as u64) as usize].as_bytes());
            mail.push(b' ');
        }
        mail.extend_from_slice(if random(8) == 0 { b"\r\n\r\n" } else { b"\r\n" });
    }
    mail.extend_from_slice(b".\r\n");
    mail
}

/// All facts of the body, so that no optimizer leaves one out.
fn data(mode: BareNewline, engine: Engine, mail: &[u8]) -> u64 {
    let mut scan = DataScan::with_engine(mode, engine);
    let mut rest = mail;
    loop {
        let piece = scan.scan(rest);
        rest = &rest[piece.consumed..];
        if matches!(piece.kind, Kind::More | Kind::End) {
            return black_box(*scan.facts()).size;
        }
    }
}

fn scans(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    for size in [4 << 10, 64 << 10, 1 << 20] {
        let mail = mail(size);
        group.throughput(Throughput::Bytes(mail.len() as u64));
        let mut bench = |name: &str, run: &dyn Fn(&[u8]) -> u64| {
            group.bench_with_input(BenchmarkId::new(name, size), &mail, |b, mail| {
                b.iter(|| run(black_box(mail)));
            });
        };
        bench("memmem", &|mail| {
            memchr::memmem::find(mail, b"\r\n.\r\n").map_or(0, |at| at as u64)
        });
        bench("data", &|mail| {
            data(BareNewline::Reject, Engine::best(), mail)
        });
        bench("data-normalize", &|mail| {
            data(BareNewline::Normalize, Engine::best(), mail)
        });
        bench("chunk", &|mail| {
            let mut scan = ChunkScan::new(BareNewline::Reject);
            scan.scan(mail);
            black_box(*scan.facts()).size
        });
        bench("data-scalar", &|mail| {
            data(BareNewline::Reject, Engine::scalar(), mail)
        });
    }
    group.finish();
}

fn stuffs(c: &mut Criterion) {
    let mut group = c.benchmark_group("stuff");
    for size in [4 << 10, 64 << 10, 1 << 20] {
        let mail = mail(size);
        let mut out = Vec::with_capacity(size * 2);
        group.throughput(Throughput::Bytes(mail.len() as u64));
        group.bench_with_input(BenchmarkId::new("stuff", size), &mail, |b, mail| {
            b.iter(|| {
                out.clear();
                let mut stuff = Stuff::new();
                stuff.append(black_box(mail), &mut out);
                stuff.finish(&mut out)
            });
        });
        group.bench_with_input(BenchmarkId::new("copy", size), &mail, |b, mail| {
            b.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(mail));
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scans, stuffs);
criterion_main!(benches);
