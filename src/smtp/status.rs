//! Enhanced status codes (RFC 3463): `class.subject.detail`.

use std::fmt;

/// An enhanced status code, `2.1.5` and the like. `Status(0, 0, 0)` stands for "none": such a reply is
/// written without one (greeting, EHLO, 354).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u8, pub u16, pub u16);

impl Status {
    /// No enhanced code.
    pub const NONE: Status = Status(0, 0, 0);

    /// Reads `d.ddd.ddd` from the start of a reply's text (RFC 2034 §4): the code and how many bytes it
    /// and the blank after it take. `None` where the text does not start with one.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<(Status, usize)> {
        let mut parts = [0u16; 3];
        let mut at = 0;
        for (i, part) in parts.iter_mut().enumerate() {
            let from = at;
            while at < text.len() && at - from < 3 && text[at].is_ascii_digit() {
                *part = *part * 10 + u16::from(text[at] - b'0');
                at += 1;
            }
            if at == from {
                return None;
            }
            if i < 2 {
                if text.get(at) != Some(&b'.') {
                    return None;
                }
                at += 1;
            }
        }
        match text.get(at) {
            None => {}
            Some(b' ') => at += 1,
            Some(_) => return None,
        }
        let class = u8::try_from(parts[0])
            .ok()
            .filter(|c| matches!(c, 2 | 4 | 5))?;
        Some((Status(class, parts[1], parts[2]), at))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_code_and_the_blank_after_it() {
        assert_eq!(
            Status::parse(b"5.1.1 no such user"),
            Some((Status(5, 1, 1), 6))
        );
        assert_eq!(Status::parse(b"2.0.0"), Some((Status(2, 0, 0), 5)));
        for bad in [
            &b"5.1 x"[..],
            b"3.1.1 x",
            b"5.1.1x",
            b"5..1 x",
            b"",
            b"5.1.1234 x",
            b"ok 2.0.0",
        ] {
            assert_eq!(Status::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
