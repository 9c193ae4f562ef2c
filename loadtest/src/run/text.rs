//! Text for messages: a header and lines of words, to the octet as long as asked.

use jiff::{Timestamp, fmt::rfc2822, tz::TimeZone};
use rand::{RngExt, rngs::SmallRng};
use std::io::Write as _;

/// The longest line, without CRLF.
const LINE_MAX: usize = 76;

const WORDS: &[&str] = &[
    "the", "and", "order", "invoice", "meeting", "please", "find", "attached", "with", "regards",
    "your", "for", "tomorrow", "project", "report", "we", "have", "received", "a", "question",
    "about", "delivery", "of", "last", "week", "could", "you", "send", "it", "again", "thanks",
    "customer", "number", "is", "below", "team", "office", "to", "in", "on", "at", "price",
    "offer", "contract", "before", "Friday", "morning", "all", "best", "hello",
];

/// A message of so many octets (a little more where its header alone is longer), all lines ending in CRLF. `phrase`
/// makes a line of its own. `which` tells messages of one library apart.
#[must_use]
pub fn message(octets: usize, which: usize, phrase: Option<&str>, rng: &mut SmallRng) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets + 2 * LINE_MAX);
    let date = Timestamp::now().to_zoned(TimeZone::UTC);
    let date = rfc2822::to_string(&date).unwrap_or_default();
    let id = rng.random::<u64>();
    write!(
        out,
        "Date: {date}\r\nFrom: Load <load{which}@source.example>\r\nTo: Recipients <users@load.example>\r\n\
         Message-ID: <{id:016x}.{which}@source.example>\r\nSubject: "
    )
    .expect("a Vec takes all that is written to it");
    words(30, rng, &mut out);
    out.extend_from_slice(
        b"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
    );
    if let Some(phrase) = phrase {
        out.extend_from_slice(phrase.replace(['\r', '\n'], " ").as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    fill(octets, rng, &mut out);
    out
}

/// Appends lines up to a length.
fn fill(octets: usize, rng: &mut SmallRng, out: &mut Vec<u8>) {
    while let Some(left) = octets.checked_sub(out.len()).filter(|left| *left > 0) {
        // What is left for the last line must have room for a CRLF, and so for the one before it.
        let room = match left {
            1 | 2 => {
                if left == 1 {
                    out.truncate(out.len() - 2);
                    out.push(b'.');
                }
                out.extend_from_slice(b"\r\n");
                return;
            }
            left if left <= LINE_MAX + 2 => left - 2,
            left => rng.random_range(LINE_MAX / 2..=LINE_MAX).min(left - 4),
        };
        let from = out.len();
        // Each such line has to be stuffed, and unstuffed, on its way.
        if rng.random_ratio(1, 64) {
            out.push(b'.');
        }
        words(room - (out.len() - from), rng, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends words and blanks: so many octets, no blank at the end.
fn words(octets: usize, rng: &mut SmallRng, out: &mut Vec<u8>) {
    let end = out.len() + octets;
    while out.len() < end {
        let word = WORDS[rng.random_range(0..WORDS.len())];
        out.extend_from_slice(word.as_bytes());
        out.push(b' ');
    }
    out.truncate(end);
    if out.last() == Some(&b' ') && octets > 0 {
        out.pop();
        out.push(b'.');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn every_length_is_met_and_every_line_is_one() {
        let mut rng = SmallRng::seed_from_u64(3);
        for octets in (400..1200).chain([100_000]) {
            let message = message(octets, 0, None, &mut rng);
            assert_eq!(message.len(), octets);
            assert!(message.ends_with(b"\r\n"));
            let text = String::from_utf8(message).unwrap_or_default();
            for line in text.split("\r\n") {
                assert!(line.len() <= 78 && !line.contains(['\r', '\n']), "{line:?}");
            }
        }
    }

    #[test]
    fn a_header_that_is_longer_than_the_message_stays_whole() {
        let mut rng = SmallRng::seed_from_u64(3);
        let message = message(10, 0, None, &mut rng);
        assert!(message.ends_with(b"\r\n\r\n"));
    }
}
