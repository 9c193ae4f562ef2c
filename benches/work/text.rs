//! Messages, as they are looked at and as they go over the wire.

use gatepost::smtp::{
    body::{BareNewline, Kind},
    data::DataScan,
    scan::Engine,
    stuff::Stuff,
};
use std::hint::black_box;

/// The header section of a usual message.
pub const HEADER: &[u8] = b"Received: from a.example by b.example with ESMTPS id 1; Mon, 1 Jan 2024 00:00:00 +0000\r\n\
    Received: from c.example\r\n\tby a.example with ESMTPA id 2;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n\
    From: Somebody <a@client.example>\r\nTo: b@ours.example\r\nSubject: A subject of usual length, not long\r\n\
    Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <0123456789abcdef@client.example>\r\n\
    MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";

/// A payload of about `size` octets: the header, then words in lines of the lengths that people and mail
/// programs make, empty lines between paragraphs, now and then a line that begins with a dot.
pub fn payload(size: usize) -> Vec<u8> {
    let words = [
        "the", "message", "of", "a", "backend.", "Lorem", "ipsum", "dolor,", "sit", "amet", "is",
        "well", "known", "for", "nothing.", "We", "shall", "see", "about", "that", "tomorrow",
    ];
    let mut mail = Vec::with_capacity(size + 128);
    mail.extend_from_slice(HEADER);
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
            mail.push(b'.');
        }
        while mail.len() - start < length {
            mail.extend_from_slice(words[random(words.len() as u64) as usize].as_bytes());
            mail.push(b' ');
        }
        mail.extend_from_slice(if random(8) == 0 { b"\r\n\r\n" } else { b"\r\n" });
    }
    mail
}

/// The same as it comes after DATA.
pub fn data(size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    stuff(&payload(size), &mut wire);
    wire
}

/// Puts a payload into a DATA transfer.
pub fn stuff(payload: &[u8], wire: &mut Vec<u8>) {
    let mut stuff = Stuff::new();
    stuff.append(payload, wire);
    stuff.finish(wire);
}

/// Takes the payload out of a DATA transfer, as the proxy's window does.
pub fn unstuff(wire: &[u8], payload: &mut Vec<u8>) {
    let mut scan = DataScan::new(BareNewline::Reject);
    let mut rest = wire;
    loop {
        let piece = scan.scan(rest);
        match piece.kind {
            Kind::Payload(span) => payload.extend_from_slice(span.of(rest)),
            Kind::Insert(octets) => payload.extend_from_slice(octets),
            Kind::More | Kind::End => return,
        }
        rest = &rest[piece.consumed..];
    }
}

/// Finds the end of a DATA transfer and all facts of the body; the size, so that no optimizer leaves one out.
pub fn look(mode: BareNewline, engine: Engine, wire: &[u8]) -> u64 {
    let mut scan = DataScan::with_engine(mode, engine);
    let mut rest = wire;
    loop {
        let piece = scan.scan(rest);
        rest = &rest[piece.consumed..];
        if matches!(piece.kind, Kind::More | Kind::End) {
            return black_box(*scan.facts()).size;
        }
    }
}

/// The facts of the same without a vector and without a table: what a first version would do, one octet after
/// the other.
pub fn look_plainly(wire: &[u8]) -> u64 {
    let (mut size, mut line, mut longest, mut nuls) = (0u64, 0usize, 0usize, 0u64);
    let (mut eight_bit, mut bare, mut before) = (false, false, b'\n');
    for &octet in wire {
        size += 1;
        line += 1;
        nuls += u64::from(octet == 0);
        eight_bit |= octet >= 0x80;
        bare |= (before == b'\r') != (octet == b'\n');
        if octet == b'\n' {
            longest = longest.max(line);
            line = 0;
        }
        before = octet;
    }
    black_box((longest, nuls, eight_bit, bare));
    size
}
