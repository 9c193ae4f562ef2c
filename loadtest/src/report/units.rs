//! Numbers as people read them: with a unit, and with no more digits than they are good for.

/// A latency in microseconds: `512 µs`, `1.23 ms`, `2.5 s`.
#[must_use]
pub fn micros(value: f64) -> String {
    if value >= 999_500.0 {
        format!("{} s", digits(value / 1e6))
    } else if value >= 999.5 {
        format!("{} ms", digits(value / 1e3))
    } else {
        format!("{} µs", digits(value))
    }
}

/// Three significant digits, without an exponent.
#[must_use]
pub fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 99.95 => grouped(&format!("{value:.0}")),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number with its thousands set apart: `1,234,567`.
#[must_use]
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

fn grouped(number: &str) -> String {
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", number),
    };
    let mut out = String::from(sign);
    for (place, digit) in number.chars().enumerate() {
        if place > 0 && (number.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// So many a second: `998.7/s`, `12,345/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    match per_second {
        v if v >= 9_999.5 => format!("{}/s", grouped(&format!("{v:.0}"))),
        v if v >= 999.95 => {
            let text = format!("{v:.1}");
            let (whole, tenth) = text.split_once('.').unwrap_or((&text, "0"));
            format!("{}.{tenth}/s", grouped(whole))
        }
        v => format!("{v:.1}/s"),
    }
}

/// Octets: `17 B`, `4.00 KiB`, `1.23 GiB`.
#[must_use]
pub fn octets(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (value, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{value:.0} B")
    } else {
        format!("{} {}", digits(value), UNITS[unit])
    }
}

/// A duration in seconds: `0.25 s`, `12.3 s`, `2 min 05 s`, `1 h 02 min`.
#[must_use]
pub fn seconds(value: f64) -> String {
    let whole = value.max(0.0).round() as u64;
    match whole {
        0..100 => format!("{} s", digits(value)),
        100..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Part of a whole: `0.31 %`; 0 of nothing is none.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    format!("{} %", digits(part as f64 * 100.0 / whole as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_magnitude_has_its_unit() {
        let latencies = [0.0, 7.0, 999.4, 999.5, 12_345.0, 999_499.0, 999_500.0, 61e6];
        let texts: Vec<_> = latencies.into_iter().map(micros).collect();
        let wanted = [
            "0 µs", "7.00 µs", "999 µs", "1.00 ms", "12.3 ms", "999 ms", "1.00 s", "61.0 s",
        ];
        assert_eq!(texts, wanted);
        assert_eq!(octets(1023.0), "1023 B");
        assert_eq!(octets(4096.0), "4.00 KiB");
        assert_eq!(octets(3.5 * 1024.0 * 1024.0 * 1024.0), "3.50 GiB");
        assert_eq!(seconds(60.0), "60.0 s");
        assert_eq!(seconds(125.4), "2 min 05 s");
        assert_eq!(seconds(3725.0), "1 h 02 min");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(digits(-1234.5), "-1,234");
        assert_eq!(rate(998.74), "998.7/s");
        assert_eq!(rate(1_234.56), "1,234.6/s");
        assert_eq!(rate(12_345.6), "12,346/s");
        assert_eq!(share(1, 0), "0 %");
        assert_eq!(share(1, 300), "0.33 %");
    }
}
