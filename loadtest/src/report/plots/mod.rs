//! Charts for a page: what a run, two runs or many of several servers can be drawn as.
//!
//! Each helper takes plain numbers and gives a [`Chart`] for [`super::page::Page`]. plotly.js draws it; colours,
//! fonts and grid come from the page, so that a chart says only what it shows. Labels under the pointer are made
//! here, with units.
//!
//! | helper | for |
//! |---|---|
//! | [`percentiles`] | distributions of latencies, several on top of each other, out to the rare ones |
//! | [`ladder`] | a few percentiles of many things, one row each |
//! | [`heat_map`] | how a distribution moves with time |
//! | [`lines`] | numbers over time |
//! | [`bars`] | one number for each of many things |
//! | [`spreads`] | medians with their least and greatest, in groups: several servers × several works |

mod bars;
mod curves;
mod heat;
mod lines;

pub use bars::{Bar, Spread, SpreadSeries, bars, spreads};
pub use curves::{Curve, Rungs, ladder, percentiles};
pub use heat::{HeatColumn, heat_map};
pub use lines::{Line, LineKind, lines};

use super::units;
use plotly::{
    Layout, Plot,
    common::{Anchor, Orientation},
    layout::{Axis, AxisRange, AxisType, HoverMode, Legend, Margin},
};

/// A chart that a page can hold.
#[derive(Clone)]
pub struct Chart {
    plot: Plot,
    height_px: usize,
    caption: String,
}

impl Chart {
    fn new(plot: Plot, height_px: usize) -> Chart {
        Chart {
            plot,
            height_px,
            caption: String::new(),
        }
    }

    /// The same with a sentence below it: how to read it.
    #[must_use]
    pub fn caption(mut self, caption: impl Into<String>) -> Chart {
        self.caption = caption.into();
        self
    }

    /// The sentence below it.
    #[must_use]
    pub fn caption_text(&self) -> &str {
        &self.caption
    }

    /// Its height in pixels; the width is that of the page.
    #[must_use]
    pub fn height_px(&self) -> usize {
        self.height_px
    }

    /// What plotly.js is told, as JSON that may stand in a `script` element.
    #[must_use]
    pub fn json(&self) -> String {
        self.plot.to_json().replace('<', "\\u003c")
    }
}

/// What the numbers of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// So many a second.
    PerSecond,
    /// Octets.
    Octets,
    /// Hundredths.
    Percent,
    /// A ratio to something that is 1.
    Ratio,
    /// Whole things.
    Count,
}

impl Unit {
    /// A number with its unit.
    #[must_use]
    pub fn text(self, value: f64) -> String {
        match self {
            Unit::Micros => units::micros(value),
            Unit::PerSecond => units::rate(value),
            Unit::Octets => units::octets(value),
            Unit::Percent => format!("{} %", units::digits(value)),
            Unit::Ratio => format!("{value:.2} ×"),
            Unit::Count => units::count(value.max(0.0).round() as u64),
        }
    }
}

/// Height of a chart that shows a curve.
const TALL_PX: usize = 380;
/// Height of a row of a chart that has rows.
const ROW_PX: usize = 30;
/// Height of what stands around the rows.
const AROUND_PX: usize = 70;

fn layout() -> Layout {
    let legend = Legend::new()
        .orientation(Orientation::Horizontal)
        .x(0.0)
        .x_anchor(Anchor::Left)
        .y(1.02)
        .y_anchor(Anchor::Bottom);
    Layout::new()
        .margin(Margin::new().left(8).right(8).top(8).bottom(8))
        .legend(legend)
        .hover_mode(HoverMode::Closest)
}

fn axis() -> Axis {
    Axis::new().auto_margin(true).zero_line(false)
}

/// An axis of latencies, logarithmic, with ticks that are round and have units.
fn latency_axis(values: impl Iterator<Item = f64>) -> Axis {
    let (low, high) = bounds(values.map(|value| value.max(1.0)));
    let mut ticks = decades(low, high, &[1.0]);
    if ticks.len() < 4 {
        ticks = decades(low, high, &[1.0, 2.0, 5.0]);
    }
    let texts: Vec<_> = ticks.iter().map(|tick| round_latency(*tick)).collect();
    axis()
        .type_(AxisType::Log)
        .range(AxisRange::new((low * 0.85).log10(), (high * 1.2).log10()))
        .tick_values(ticks)
        .tick_text(texts)
}

/// A linear axis from zero, with ticks in the unit.
fn linear_axis(unit: Unit, values: impl Iterator<Item = f64>) -> Axis {
    let high = values
        .filter(|value| value.is_finite())
        .fold(0.0, f64::max)
        .max(f64::MIN_POSITIVE);
    // Memory is counted in powers of two, and its ticks should be round in them.
    let base: f64 = if unit == Unit::Octets { 2.0 } else { 10.0 };
    let steps: &[f64] = if unit == Unit::Octets {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let magnitude = base.powf((high / 5.0).log(base).floor());
    let step = steps
        .iter()
        .map(|step| step * magnitude)
        .chain([base * magnitude])
        .find(|step| high / step <= 5.0)
        .unwrap_or(base * magnitude);
    let ticks: Vec<f64> = (0..=6)
        .map(|place| f64::from(place) * step)
        .filter(|tick| *tick <= high * 1.08)
        .collect();
    let texts: Vec<_> = ticks.iter().map(|tick| short(unit, *tick)).collect();
    axis()
        .range(AxisRange::new(0.0, high * 1.08))
        .tick_values(ticks)
        .tick_text(texts)
}

/// An axis of seconds since the start, to the end.
fn time_axis(end: f64) -> Axis {
    // A little room on the left, so that the first tick's text does not run into that of the other axis.
    axis()
        .range(AxisRange::new(end * -0.02, end))
        .tick_suffix(" s")
        .hover_format(".1f")
}

/// A tick's text: its unit without needless digits.
fn short(unit: Unit, value: f64) -> String {
    let text = match unit {
        Unit::PerSecond => format!("{}/s", units::digits(value)),
        unit => unit.text(value),
    };
    let (number, rest) = text
        .find([' ', '/'])
        .map_or((&*text, ""), |at| text.split_at(at));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number}{rest}")
}

/// `200 µs`, `5 ms`, `1 s`.
fn round_latency(micros: f64) -> String {
    short(Unit::Micros, micros)
}

/// The least and the greatest; 1 and 10 where there are none.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low <= high {
        (low, high)
    } else {
        (1.0, 10.0)
    }
}

/// These multiples of the powers of ten from `low` to `high`.
fn decades(low: f64, high: f64, multiples: &[f64]) -> Vec<f64> {
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (from..=to)
        .flat_map(|power| multiples.iter().map(move |m| m * 10f64.powi(power)))
        .filter(|tick| *tick >= low * 0.85 && *tick <= high * 1.2)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_have_units() {
        assert_eq!(decades(90.0, 1.5e6, &[1.0]), [100.0, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!(decades(3.0, 9.0, &[1.0, 2.0, 5.0]), [5.0, 10.0]);
        let texts = [1.0, 200.0, 1e3, 5e4, 1e6, 2e7].map(round_latency);
        assert_eq!(texts, ["1 µs", "200 µs", "1 ms", "50 ms", "1 s", "20 s"]);
        assert_eq!(short(Unit::PerSecond, 2000.0), "2,000/s");
        assert_eq!(short(Unit::Ratio, 0.5), "0.5 ×");
        assert_eq!(short(Unit::Percent, 100.0), "100 %");
    }

    #[test]
    fn odd_numbers_make_no_odd_axis() {
        for values in [vec![], vec![0.0], vec![f64::NAN], vec![1e300], vec![-3.0]] {
            for unit in [Unit::Octets, Unit::PerSecond] {
                let text = format!("{:?}", linear_axis(unit, values.iter().copied()));
                assert!(!text.contains("NaN"), "{text}");
            }
            let text = format!("{:?}", latency_axis(values.iter().copied()));
            assert!(!text.contains("NaN"), "{text}");
        }
    }
}
