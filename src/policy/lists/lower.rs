//! Lower case without an allocation: names and addresses are compared in any case (ASCII only, as DNS does).

use crate::smtp::domain;

/// Octets of a buffer on the stack: a path has 256 at most (RFC 5321 §4.5.3.1.3).
pub const ROOM: usize = 320;

/// `text` in lower case. Of an over-long text only its end: no entry of a list is that long, and what a domain
/// list looks at is the end.
pub fn text<'a>(text: &[u8], room: &'a mut [u8; ROOM]) -> &'a [u8] {
    let text = &text[text.len().saturating_sub(ROOM)..];
    let room = &mut room[..text.len()];
    room.copy_from_slice(text);
    room.make_ascii_lowercase();
    room
}

/// A host name, or an address, in lower case, its domain in A-labels and without the dot of the root at its end.
pub fn host<'a>(name: &[u8], room: &'a mut [u8; ROOM]) -> &'a [u8] {
    let name = domain::address_to_ascii(name);
    text(name.strip_suffix(b".").unwrap_or(&name), room)
}
