//! How fast a line is read: commands and replies, by us and by `smtp-proto`. What the two do and don't do is
//! in `work/parse.rs`.
//!
//! `cargo bench --bench parse`

mod work;

use criterion::{Criterion, criterion_group, criterion_main};
use smtp_proto::response::parser::ResponseReceiver;
use std::hint::black_box;
use work::parse;

fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("command");
    for (name, line) in [
        ("EHLO", parse::EHLO),
        ("MAIL", parse::MAIL),
        ("RCPT", parse::RCPT),
        ("RCPT with DSN", parse::RCPT_DSN),
    ] {
        group.bench_function(name, |b| b.iter(|| parse::command(black_box(line))));
        group.bench_function(format!("{name}: smtp-proto"), |b| {
            b.iter(|| parse::command_theirs(black_box(line)));
        });
    }
    group.finish();
}

fn replies(c: &mut Criterion) {
    let mut group = c.benchmark_group("reply");
    let mut ours = parse::reader();
    let mut theirs = ResponseReceiver::default();
    group.bench_function("one line", |b| {
        b.iter(|| parse::reply(&mut ours, black_box(parse::REPLY)));
    });
    group.bench_function("one line: smtp-proto", |b| {
        b.iter(|| parse::reply_theirs(&mut theirs, black_box(parse::REPLY)));
    });
    group.bench_function("to EHLO", |b| {
        b.iter(|| parse::offer(&mut ours, black_box(parse::CAPABILITIES)));
    });
    group.bench_function("to EHLO: smtp-proto", |b| {
        b.iter(|| parse::offer_theirs(black_box(parse::CAPABILITIES)));
    });
    group.finish();
}

criterion_group!(benches, commands, replies);
criterion_main!(benches);
