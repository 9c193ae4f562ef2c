//! How many instructions the parts of a message take, counted by callgrind: the same on every run of the same
//! build, however busy the machine is. `benches/instructions` runs it and holds the counts against a baseline.
//!
//! Each count is of one call, with warm buffers and tables: the first calls, which allocate and ask the
//! processor what it can do, are made before the counting starts.
#![allow(missing_docs, unused_qualifications)] // of what the macros make

mod work;

use gatepost::{
    metrics::{Counter, Recorder, Scope, Stage},
    policy::At,
    smtp::{
        Envelope, Extensions, body::BareNewline, chunk::ChunkScan, header,
        reply_parse::ReplyReader, scan::Engine,
    },
};
use gungraun::prelude::*;
use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
};
use work::{
    USUAL,
    asked::Asked,
    judge::{ALL, Judge, KEPT, RICH},
    parse,
    session::{Back, Front, TRACE, Way, Whole, envelope, reads},
    text,
};

/// The line, once read before: a search of octets asks the processor on its first use.
fn known(line: &'static [u8]) -> &'static [u8] {
    parse::command(line);
    line
}

#[library_benchmark(setup = known)]
#[bench::ehlo(parse::EHLO)]
#[bench::mail(parse::MAIL)]
#[bench::rcpt(parse::RCPT)]
#[bench::rcpt_dsn(parse::RCPT_DSN)]
fn command(line: &[u8]) -> usize {
    parse::command(black_box(line))
}

#[library_benchmark(setup = parse::reader)]
#[bench::one_line()]
fn reply(mut reader: ReplyReader) -> (u16, ReplyReader) {
    (parse::reply(&mut reader, black_box(parse::REPLY)), reader)
}

#[library_benchmark(setup = parse::reader)]
#[bench::ehlo()]
fn reply_to(mut reader: ReplyReader) -> (Extensions, ReplyReader) {
    let offered = parse::offer(&mut reader, black_box(parse::CAPABILITIES));
    (offered, reader)
}

fn wire() -> Vec<u8> {
    let wire = text::data(USUAL);
    text::look(BareNewline::Reject, Engine::best(), &wire);
    wire
}

#[library_benchmark(setup = wire)]
#[bench::data_4k()]
fn scan(wire: Vec<u8>) -> Vec<u8> {
    text::look(BareNewline::Reject, Engine::best(), black_box(&wire));
    wire
}

#[library_benchmark(setup = wire)]
#[bench::bdat_4k()]
fn scan_chunk(wire: Vec<u8>) -> Vec<u8> {
    let mut scan = ChunkScan::new(BareNewline::Reject);
    scan.scan(black_box(&wire));
    black_box(*scan.facts());
    wire
}

fn copies(wire: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mut room = Vec::with_capacity(2 * USUAL);
    text::stuff(&wire, &mut room); // the search is prepared on its first use
    room.clear();
    (wire, room)
}

#[library_benchmark]
#[bench::body_4k(copies(wire()))]
fn unstuff((wire, mut room): (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    text::unstuff(black_box(&wire), &mut room);
    (wire, room)
}

#[library_benchmark]
#[bench::body_4k(copies(text::payload(USUAL)))]
fn stuff((payload, mut room): (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    text::stuff(black_box(&payload), &mut room);
    (payload, room)
}

/// The section, once walked before.
fn walked(header: &'static [u8]) -> &'static [u8] {
    assert!(
        header::fields(header).any(|field| field.is("Received")) && header::end(header).is_some()
    );
    header
}

#[library_benchmark(setup = walked)]
#[bench::fields(text::HEADER)]
fn header_section(header: &[u8]) -> usize {
    header::fields(black_box(header)).count()
}

#[library_benchmark(setup = walked)]
#[bench::end(text::HEADER)]
fn header_end(header: &[u8]) -> Option<usize> {
    header::end(black_box(header))
}

/// A session that has seen two messages, and the reads of the third.
fn front(way: Way) -> Box<(Front, Vec<Vec<u8>>)> {
    let (mut front, reads) = (Front::new(), reads(way, USUAL));
    front.message(&reads);
    front.message(&reads);
    Box::new((front, reads))
}

#[library_benchmark(setup = front)]
#[bench::data_4k(Way::Steps)]
#[bench::data_4k_pipelined(Way::Pipelined)]
#[bench::bdat_4k(Way::Chunk)]
fn server(mut work: Box<(Front, Vec<Vec<u8>>)>) -> Box<(Front, Vec<Vec<u8>>)> {
    work.0.message(black_box(&work.1));
    work
}

type Delivery = (Back, Envelope, Vec<u8>);

fn back(chunking: bool) -> Box<Delivery> {
    let (mut back, envelope, body) = (Back::new(chunking), envelope(), text::payload(USUAL));
    back.message(&envelope, TRACE, &body);
    back.message(&envelope, TRACE, &body);
    Box::new((back, envelope, body))
}

#[library_benchmark(setup = back)]
#[bench::data_4k(false)]
#[bench::bdat_4k(true)]
fn client(mut work: Box<Delivery>) -> Box<Delivery> {
    let (back, envelope, body) = &mut *work;
    back.message(black_box(envelope), TRACE, body);
    work
}

fn whole(way: Way, chunking: bool, policy: &str) -> Box<(Whole, Vec<Vec<u8>>)> {
    let (mut whole, reads) = (Whole::new(chunking, policy), reads(way, USUAL));
    whole.message(&reads);
    whole.message(&reads);
    Box::new((whole, reads))
}

#[library_benchmark(setup = whole)]
#[bench::data_4k(Way::Steps, false, "")]
#[bench::data_4k_rules(Way::Steps, false, RICH)]
#[bench::bdat_4k(Way::Chunk, true, "")]
fn message(mut work: Box<(Whole, Vec<Vec<u8>>)>) -> Box<(Whole, Vec<Vec<u8>>)> {
    work.0.message(black_box(&work.1));
    work
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn judge(policy: &str, points: &'static [At]) -> Box<(Judge, &'static [At])> {
    let mut judge = Judge::new(policy);
    judge.ask(CLIENT, ALL);
    judge.ask(CLIENT, ALL);
    Box::new((judge, points))
}

#[library_benchmark(setup = judge)]
#[bench::kept("", KEPT)]
#[bench::all("", ALL)]
#[bench::kept_rules(RICH, KEPT)]
#[bench::all_rules(RICH, ALL)]
fn policy(mut work: Box<(Judge, &'static [At])>) -> Box<(Judge, &'static [At])> {
    let (judge, points) = &mut *work;
    judge.ask(black_box(CLIENT), points);
    work
}

fn asked() -> Box<Asked> {
    let mut asked = Asked::new(CLIENT);
    asked.envelope();
    Box::new(asked)
}

#[library_benchmark(setup = asked)]
#[bench::judge_twenty_rules()]
fn policy_known(mut work: Box<Asked>) -> Box<Asked> {
    work.judge();
    work
}

#[library_benchmark(setup = asked)]
#[bench::envelope_twenty_rules()]
fn policy_asked(mut work: Box<Asked>) -> Box<Asked> {
    work.envelope();
    work
}

#[library_benchmark(setup = judge)]
#[bench::count("", ALL)]
fn policy_session(work: Box<(Judge, &'static [At])>) -> Box<(Judge, &'static [At])> {
    drop(work.0.open(black_box(CLIENT)));
    work
}

fn recorder() -> (Recorder, Scope) {
    let recorder = Recorder::alone();
    let scope = recorder.registry().listener("mx");
    recorder.record(Stage::Mail, scope, 7_777);
    recorder.count(Counter::Ended, scope, 1);
    (recorder, scope)
}

#[library_benchmark(setup = recorder)]
#[bench::latency()]
fn record((recorder, scope): (Recorder, Scope)) -> Recorder {
    recorder.record(Stage::Mail, black_box(scope), black_box(777));
    recorder
}

#[library_benchmark(setup = recorder)]
#[bench::event()]
fn record_count((recorder, scope): (Recorder, Scope)) -> Recorder {
    recorder.count(Counter::Ended, black_box(scope), 1);
    recorder
}

library_benchmark_group!(
    name = parts,
    benchmarks = [
        command,
        reply,
        reply_to,
        scan,
        scan_chunk,
        unstuff,
        stuff,
        header_section,
        header_end,
        record,
        record_count,
        policy,
        policy_known,
        policy_asked,
        policy_session
    ]
);
library_benchmark_group!(name = sessions, benchmarks = [server, client, message]);
main!(library_benchmark_groups = [parts, sessions]);
