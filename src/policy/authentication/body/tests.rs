//! Both canonical forms against the words of RFC 6376, in any pieces.

use super::*;
use proptest::prelude::*;

/// The RFC's words, one after the other, on a body that is there as a whole.
fn by_the_book(body: &[u8], canonical: Canonical) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = body
        .split(|octet| *octet == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        .collect();
    // A CR at the very end has no LF after it.
    if body.ends_with(b"\r") {
        lines.last_mut().expect("split gives one").push(b'\r');
    }
    if canonical == Canonical::Relaxed {
        for line in &mut lines {
            let mut out: Vec<u8> = Vec::new();
            for octet in line.iter() {
                match octet {
                    b' ' | b'\t' if out.last() == Some(&b' ') => {}
                    b' ' | b'\t' => out.push(b' '),
                    octet => out.push(*octet),
                }
            }
            if out.last() == Some(&b' ') {
                out.pop();
            }
            *line = out;
        }
    }
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    let mut out: Vec<u8> = lines
        .iter()
        .flat_map(|line| [line, &b"\r\n"[..]].concat())
        .collect();
    if out.is_empty() && canonical == Canonical::Simple {
        out = b"\r\n".to_vec();
    }
    out
}

fn digest(body: &[&[u8]], canonical: Canonical, length: Option<u64>) -> (Option<[u8; 32]>, u64) {
    let mut hashes = BodyHashes::new();
    let wanted = hashes.want(canonical, length).expect("one is not too many");
    for piece in body {
        hashes.update(piece);
    }
    let digests = hashes.finish();
    (
        digests.get(wanted),
        digests.length(canonical).expect("asked for"),
    )
}

fn sha(octets: &[u8]) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(octets);
    sha.finish()
}

#[test]
fn white_space_at_the_end_counts_for_nothing_in_a_relaxed_body() {
    for body in ["", "\r\n", "  \r\n", "\t\r\n \r\n\r\n", " "] {
        assert_eq!(
            digest(&[body.as_bytes()], Canonical::Relaxed, None).1,
            0,
            "{body:?}"
        );
    }
    let plain = digest(&[b"a b\r\n"], Canonical::Relaxed, None);
    for body in [
        "a b",
        "a b\r\n \r\n",
        "a \t b\t\r\n\t \r\n\r\n   ",
        "a b\n \n",
    ] {
        assert_eq!(
            digest(&[body.as_bytes()], Canonical::Relaxed, None),
            plain,
            "{body:?}"
        );
    }
    assert_eq!(
        digest(&[b""], Canonical::Simple, None).0,
        Some(sha(b"\r\n"))
    );
    assert_eq!(
        digest(&[b" \r\n\r\n"], Canonical::Simple, None).0,
        Some(sha(b" \r\n"))
    );
}

#[test]
fn one_hash_is_cut_at_many_ends() {
    let mut hashes = BodyHashes::new();
    let ends: Vec<BodyHash> = [0u64, 5, 3, 1024, 1025, 3000, 3001, u64::MAX]
        .iter()
        .map(|end| hashes.want(Canonical::Simple, Some(*end)).expect("few"))
        .collect();
    let body = [b'x'; 2998];
    hashes.update(&body);
    let digests = hashes.finish();
    let whole = by_the_book(&body, Canonical::Simple);
    for end in &ends {
        let length = end.length.expect("all have one");
        let expected = (length <= 3000).then(|| sha(&whole[..length as usize]));
        assert_eq!(digests.get(*end), expected, "{length}");
    }
    let mut hashes = BodyHashes::new();
    for end in 0..CUTS_MAX as u64 {
        assert!(hashes.want(Canonical::Relaxed, Some(end)).is_some());
    }
    assert!(hashes.want(Canonical::Relaxed, Some(3)).is_some());
    assert!(hashes.want(Canonical::Relaxed, Some(99)).is_none());
}

/// Bodies long enough for what is hashed where it lies, and for buffers that fill.
fn long_body() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b" \r\n".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\t".to_vec()),
        (1usize..3000).prop_map(|count| vec![b'x'; count]),
        (1usize..900).prop_map(|count| b" y\t".repeat(count)),
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn canonical() -> impl Strategy<Value = Canonical> {
    prop_oneof![Just(Canonical::Simple), Just(Canonical::Relaxed)]
}

proptest! {
    #[test]
    fn long_pieces_hash_as_the_whole_does(body in long_body(), size in 1usize..5000, canonical in canonical(), length in 0u64..6000) {
        let expected = by_the_book(&body, canonical);
        let pieces: Vec<&[u8]> = body.chunks(size).collect();
        prop_assert_eq!(digest(&pieces, canonical, None), (Some(sha(&expected)), expected.len() as u64));
        let part = (length <= expected.len() as u64).then(|| sha(&expected[..length as usize]));
        prop_assert_eq!(digest(&pieces, canonical, Some(length)).0, part);
    }

    #[test]
    fn pieces_hash_as_the_whole_does(
        body in proptest::collection::vec(proptest::sample::select(&b"ab  \t\r\n\n"[..]), 0..60),
        cuts in proptest::collection::vec(0usize..60, 0..6), canonical in canonical(), length in 0u64..60) {
        let expected = by_the_book(&body, canonical);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
        cuts.sort_unstable();
        cuts.push(body.len());
        let mut from = 0;
        let pieces: Vec<&[u8]> = cuts.iter().map(|cut| { let piece = &body[from..*cut]; from = *cut; piece }).collect();
        let found = digest(&pieces, canonical, None);
        prop_assert_eq!(found, (Some(sha(&expected)), expected.len() as u64));
        let part = (length <= expected.len() as u64).then(|| sha(&expected[..length as usize]));
        prop_assert_eq!(digest(&pieces, canonical, Some(length)).0, part);
    }
}
