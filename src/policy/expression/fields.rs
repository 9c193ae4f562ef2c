//! The header fields that rules name: on one line each, and as mail programs show them.

use crate::smtp::{fields::words, header::Field};
use std::ops::Range;

/// Fields that are kept of one message; of those beyond a rule sees nothing.
const FIELDS_MAX: usize = 1_000;
/// Octets of a body that are decoded; a longer one is seen as it came. `limits.header` can be larger.
const DECODED_MAX: usize = 64 * 1024;
/// Octets of room that are kept from one message to the next.
const KEPT: usize = 16 * 1024;

/// Fields of one message. Used again for the next, so that a message costs no allocation.
#[derive(Debug, Default)]
pub struct Fields {
    octets: Vec<u8>,
    /// The places of name and body in `octets`.
    places: Vec<(Range<usize>, Range<usize>)>,
    line: Vec<u8>,
}

impl Fields {
    /// Takes the fields that have one of these names, in place of those of the message before.
    pub fn read<'h>(&mut self, fields: impl Iterator<Item = Field<'h>>, names: &[Box<str>]) {
        self.places.clear();
        for room in [&mut self.octets, &mut self.line] {
            room.clear();
            room.shrink_to(KEPT);
        }
        let named = fields.filter(|field| names.iter().any(|name| field.is(name)));
        for field in named.take(FIELDS_MAX) {
            let start = self.octets.len();
            self.octets.extend_from_slice(field.name);
            let body = self.octets.len();
            self.push_body(&field);
            self.places.push((start..body, body..self.octets.len()));
        }
    }

    fn push_body(&mut self, field: &Field<'_>) {
        self.line.clear();
        field.unfold(&mut self.line);
        let start = self.octets.len();
        if self.line.len() > DECODED_MAX || !words::has_any(&self.line) {
            self.octets.extend_from_slice(&self.line);
            return;
        }
        words::decode(&self.line, &mut self.octets);
        // Hidden in an encoded word, a line end would part two words of a pattern.
        for octet in &mut self.octets[start..] {
            if octet.is_ascii_control() {
                *octet = b' ';
            }
        }
    }

    /// The bodies of the fields with this name, in their order.
    pub fn of<'f>(&'f self, name: &str) -> impl Iterator<Item = &'f [u8]> {
        let named = move |place: &&'f (Range<usize>, Range<usize>)| {
            self.octets[place.0.clone()].eq_ignore_ascii_case(name.as_bytes())
        };
        let found = self.places.iter().filter(named);
        found.map(|(_, body)| &self.octets[body.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::header;

    #[test]
    fn fields_are_as_mail_programs_show_them() {
        let mut fields = Fields::default();
        let text = b"Subject: =?utf-8?Q?a=0D=0Ab?=\r\n c\r\nX: y\r\nreceived: 1\r\nReceived:\r\n\t2\r\n\r\n";
        let names = ["Subject".into(), "Received".into()];
        for _ in 0..2 {
            fields.read(header::fields(text), &names);
            assert_eq!(fields.of("subject").collect::<Vec<_>>(), [b"a  b c"]);
            assert_eq!(fields.of("RECEIVED").collect::<Vec<_>>(), [b"1", b"2"]);
            assert_eq!(fields.of("X").count(), 0, "no rule names it");
        }
    }
}
