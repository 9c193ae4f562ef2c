//! Distributions of latencies: the saved form and the living one, and what is read off them.

use crate::result::Latency;
use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer, V2DeflateSerializer},
};
use std::{fmt, io::Cursor};

/// Significant digits: a value is known to a thousandth.
pub const DIGITS: u8 = 3;

/// The longest text of a histogram that is read: many times what an hour's range with 5 digits takes.
const TEXT_MAX: usize = 16 << 20;

/// A saved histogram that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a histogram (HdrHistogram V2 in base64 is expected): {}",
            self.0
        )
    }
}

impl std::error::Error for Unreadable {}

/// An empty histogram that grows as it must.
#[must_use]
pub fn empty() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("3 significant digits are within 0..=5")
}

/// The saved form of a histogram of microseconds.
#[must_use]
pub fn latency(histogram: &Histogram<u64>) -> Latency {
    let quantile = |share| histogram.value_at_quantile(share);
    Latency {
        count: histogram.len(),
        mean_us: histogram.mean(),
        min_us: histogram.min(),
        max_us: histogram.max(),
        p50_us: quantile(0.5),
        p90_us: quantile(0.9),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        p9999_us: quantile(0.9999),
        histogram: encode(histogram),
    }
}

/// The histogram that a saved latency was made of. One without any is empty.
///
/// # Errors
/// Where the text is no histogram.
pub fn histogram(latency: &Latency) -> Result<Histogram<u64>, Unreadable> {
    if latency.histogram.is_empty() {
        return Ok(empty());
    }
    decode(&latency.histogram)
}

/// The sum of several.
///
/// # Errors
/// Where the text of one of them is no histogram.
pub fn merge<'a>(parts: impl IntoIterator<Item = &'a Latency>) -> Result<Latency, Unreadable> {
    let mut all = empty();
    for part in parts {
        let part = histogram(part)?;
        all.add(&part).expect("it resizes itself");
    }
    Ok(latency(&all))
}

/// HdrHistogram V2, deflated, in base64: what HdrHistogram logs hold.
#[must_use]
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut octets = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut octets)
        .expect("a Vec takes all that is written to it");
    STANDARD.encode(octets)
}

/// The opposite of [`encode`]; takes the plain V2 form too.
///
/// # Errors
/// Where the text is none of these.
pub fn decode(text: &str) -> Result<Histogram<u64>, Unreadable> {
    if text.len() > TEXT_MAX {
        return Err(Unreadable("too long".to_owned()));
    }
    let octets = STANDARD
        .decode(text)
        .map_err(|error| Unreadable(error.to_string()))?;
    let mut histogram: Histogram<u64> = Deserializer::new()
        .deserialize(&mut Cursor::new(octets))
        .map_err(|error| Unreadable(error.to_string()))?;
    histogram.auto(true);
    Ok(histogram)
}

/// A point of a percentile curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The share of the samples that are not slower, 0 up to, not including, 1.
    pub share: f64,
    /// Microseconds.
    pub micros: u64,
}

impl Point {
    /// `1 / (1 - share)`: 1, 10 at p90, 100 at p99. The axis of a percentile plot is its logarithm.
    #[must_use]
    pub fn one_in(&self) -> f64 {
        1.0 / (1.0 - self.share)
    }
}

/// The percentile curve of a histogram: ten points for each nine, up to the last sample.
#[must_use]
pub fn curve(histogram: &Histogram<u64>) -> Vec<Point> {
    const A_NINE: f64 = 10.0;
    let samples = histogram.len() as f64;
    let mut points = Vec::new();
    if histogram.is_empty() {
        return points;
    }
    for step in 0.. {
        let one_in = 10f64.powf(f64::from(step) / A_NINE);
        // One sample in so many is all there is: the greatest stands at the end of the curve.
        let last = one_in >= samples;
        let share = 1.0 - 1.0 / one_in.min(samples.max(1.0));
        let micros = if last {
            histogram.max()
        } else {
            histogram.value_at_quantile(share)
        };
        points.push(Point { share, micros });
        if last {
            break;
        }
    }
    points
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filled(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = empty();
        for value in values {
            histogram.record(value).unwrap();
        }
        histogram
    }

    #[test]
    fn what_is_saved_comes_back() {
        let before = filled(1..=10_000);
        let saved = latency(&before);
        assert_eq!((saved.count, saved.min_us), (10_000, 1));
        assert!(before.equivalent(saved.p99_us, 9_900));
        assert!(before.equivalent(saved.max_us, 10_000));
        assert_eq!(histogram(&saved).unwrap(), before);
        let text = serde_json::to_string(&saved).unwrap();
        let read: Latency = serde_json::from_str(&text).unwrap();
        assert_eq!(histogram(&read).unwrap(), before);
    }

    #[test]
    fn nothing_is_saved_as_zeros() {
        let saved = latency(&empty());
        assert_eq!((saved.count, saved.max_us, saved.p99_us), (0, 0, 0));
        assert!(histogram(&saved).unwrap().is_empty());
        assert!(histogram(&Latency::default()).unwrap().is_empty());
        assert!(curve(&empty()).is_empty());
    }

    #[test]
    fn parts_make_the_whole_also_of_other_ranges() {
        let (slow, fast) = (filled([3_000_000_000, 7]), filled(1..=100));
        let both = merge([&latency(&slow), &latency(&fast), &Latency::default()]).unwrap();
        assert_eq!(both.count, 102);
        assert!(slow.equivalent(both.max_us, 3_000_000_000));
    }

    #[test]
    fn what_is_no_histogram_is_told() {
        for text in ["?", "AAAA", "HISTFAAAAA"] {
            let error = decode(text).unwrap_err().to_string();
            assert!(error.contains("not a histogram"), "{error}");
        }
        let long = "A".repeat(TEXT_MAX + 1);
        assert!(decode(&long).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn a_curve_climbs_to_the_last_sample() {
        let points = curve(&filled(1..=1000));
        assert_eq!(points[0].share, 0.0);
        assert!(points.windows(2).all(|two| two[0].micros <= two[1].micros));
        let last = points[points.len() - 1];
        assert!((last.one_in() - 1000.0).abs() < 1e-6);
        assert!((last.micros as i64 - 1000).abs() <= 1);
        assert_eq!(curve(&filled([5])).len(), 1);
    }
}
