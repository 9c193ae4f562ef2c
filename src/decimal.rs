//! Decimal numbers as octets, written and read. Without the formatting machinery: each reply, command and log line has some.

/// Appends `number`. Most are small: one digit takes the short way.
#[inline]
pub fn push_decimal(number: u64, out: &mut Vec<u8>) {
    if number < 10 {
        out.push(b'0' + number as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// A number of nothing but digits (no sign, no blank); `None` where it is something else or overflows.
#[must_use]
pub fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0u64, |n, digit| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        n.checked_mul(10)?.checked_add(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_what_display_writes() {
        for number in [
            0,
            9,
            10,
            99,
            250,
            1_000_000,
            u64::from(u32::MAX) + 1,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            push_decimal(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
            assert_eq!(parse_decimal(&out), Some(number));
        }
    }

    #[test]
    fn it_reads_digits_alone() {
        for wrong in ["", "+1", "-1", " 1", "1 ", "1a", "18446744073709551616"] {
            assert_eq!(parse_decimal(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
