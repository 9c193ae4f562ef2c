//! The payload on its way into a DATA transfer: dots stuffed (RFC 5321 §4.5.2), the end added.
//!
//! A line begins at the start and behind CRLF, nowhere else: exactly the rule by which [`super::data`] takes
//! the dots off again. A payload with bare newlines is refused or mended before it gets here.

/// Writes one message into a DATA transfer. The payload may come in any pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stuff {
    at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    Text,
    Cr,
}

impl Stuff {
    /// For the first octet of a message.
    #[must_use]
    pub fn new() -> Stuff {
        Stuff::default()
    }

    /// Appends a piece of the payload to `out`, every dot that begins a line doubled.
    pub fn append(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.reserve(payload.len() + 16);
        for &octet in payload {
            if self.at == At::LineStart && octet == b'.' {
                out.push(b'.');
            }
            out.push(octet);
            self.at = match (self.at, octet) {
                (_, b'\r') => At::Cr,
                (At::Cr, b'\n') => At::LineStart,
                _ => At::Text,
            };
        }
    }

    /// Appends the end: `.CRLF` where the payload ended its last line (or is empty), else CRLF first.
    /// Returns whether that CRLF had to be added. The next octet appended belongs to a new message.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let added = self.at != At::LineStart;
        if added {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        self.at = At::LineStart;
        added
    }
}
