//! Decimal numbers as octets, without the formatting machinery: each reply, command and log line has some.

/// Appends `number`. Most are small: one digit takes the short way.
#[inline]
pub fn push_decimal(number: u64, out: &mut Vec<u8>) {
    if number < 10 {
        out.push(b'0' + number as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
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
        }
    }
}
