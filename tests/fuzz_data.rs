//! Fuzz target: bodies. A short run with every test run; `cargo bolero test --test fuzz_data bodies` for long.

use gatepost::smtp::{
    body::{BareNewline, BodyFacts, Kind},
    data::DataScan,
    scan::Engine,
    stuff::Stuff,
};

/// What a body came to: its payload, its facts, and how much of the wire it took if it ended.
type Outcome = (Vec<u8>, BodyFacts, Option<usize>);

fn run(mode: BareNewline, engine: Engine, wire: &[u8], size: usize) -> Outcome {
    let mut scan = DataScan::with_engine(mode, engine);
    let mut payload = Vec::new();
    let mut taken = 0;
    for input in wire.chunks(size.max(1)) {
        let mut rest = input;
        loop {
            let piece = scan.scan(rest);
            taken += piece.consumed;
            match piece.kind {
                Kind::Payload(span) => payload.extend_from_slice(span.of(rest)),
                Kind::Insert(octets) => payload.extend_from_slice(octets),
                Kind::More => break,
                Kind::End => return (payload, *scan.facts(), Some(taken)),
            }
            rest = &rest[piece.consumed..];
        }
    }
    assert_eq!(taken, wire.len());
    (payload, *scan.facts(), None)
}

/// Octets that matter, from any octets; runs of text that are longer than a stride of the walk.
fn wire(seed: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for &octet in seed {
        match octet % 16 {
            0..3 => wire.extend_from_slice(b"\r\n"),
            3 => wire.push(b'\r'),
            4 => wire.push(b'\n'),
            5..8 => wire.push(b'.'),
            8 => wire.push(0),
            9 => wire.push(octet | 0x80),
            10 => wire.extend(std::iter::repeat_n(b'x', usize::from(octet) * 5)),
            _ => wire.push(octet),
        }
    }
    wire
}

fn body(seed: &[u8]) {
    let wire = wire(seed);
    let size = 1 + usize::from(seed.first().copied().unwrap_or(0));
    for mode in [BareNewline::Reject, BareNewline::Normalize] {
        let whole = run(mode, Engine::best(), &wire, usize::MAX);
        assert_eq!(run(mode, Engine::scalar(), &wire, usize::MAX), whole);
        assert_eq!(run(mode, Engine::best(), &wire, size), whole);
        assert_eq!(run(mode, Engine::best(), &wire, 1), whole);

        let (payload, facts, end) = whole;
        let expected = if wire.starts_with(b".\r\n") {
            Some(3)
        } else {
            memchr::memmem::find(&wire, b"\r\n.\r\n").map(|at| at + 5)
        };
        assert_eq!(end, expected);
        assert_eq!(facts.size, payload.len() as u64);

        let mut stuffed = Vec::new();
        let mut stuff = Stuff::new();
        stuff.append(&payload, &mut stuffed);
        let added = stuff.finish(&mut stuffed);
        let (again, facts, end) = run(BareNewline::Reject, Engine::best(), &stuffed, size);
        assert_eq!(end, Some(stuffed.len()));
        assert_eq!(again[..payload.len()], payload[..]);
        assert_eq!(again.len() - payload.len(), if added { 2 } else { 0 });
        // A CR at the end of an unfinished body waits for its LF, and gets it here.
        assert!(mode == BareNewline::Reject || !facts.bare_newline || payload.ends_with(b"\r"));
    }
}

#[test]
fn bodies() {
    bolero::check!()
        .with_iterations(4096)
        .with_max_len(200)
        .for_each(body);
}
