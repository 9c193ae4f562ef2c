//! Classes of octets in addresses.

/// Classes of octets: part of an unquoted local part, part of a domain's label, of meaning for the path's end.
pub(super) const LOCAL: u8 = 1;
pub(super) const LABEL: u8 = 2;
pub(super) const ENDING: u8 = 4;

// A table, because each octet of each address is looked at for each of the three.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < classes.len() {
        let octet = at as u8;
        if is_atom(octet) || octet == b'.' {
            classes[at] |= LOCAL;
        }
        if octet.is_ascii_alphanumeric() || octet >= 0x80 || matches!(octet, b'-' | b'_') {
            classes[at] |= LABEL;
        }
        if matches!(octet, b'"' | b'\\' | b'>' | b' ' | b'\t') {
            classes[at] |= ENDING;
        }
        at += 1;
    }
    classes
};

pub(super) fn is(class: u8, octet: u8) -> bool {
    CLASSES[usize::from(octet)] & class != 0
}

/// How many octets of a class the text begins with.
pub(super) fn count(class: u8, text: &[u8]) -> usize {
    let end = text.iter().position(|octet| !is(class, *octet));
    end.unwrap_or(text.len())
}

/// What would mean something in a Received field, an address or a log line (Postfix: `NEUTER_CHARACTERS`).
pub(super) const fn is_odd(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'<' | b'>' | b'(' | b')' | b'\\' | b'"' | b';' | b'@'
    )
}

/// `atext` of RFC 5322, and UTF-8 (RFC 6531 §3.3), whose bytes are checked by the caller.
const fn is_atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte >= 0x80
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        )
}
