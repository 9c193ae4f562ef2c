//! Percentiles: whole curves of a few distributions, or a few percentiles of many.

use super::{AROUND_PX, Chart, ROW_PX, TALL_PX, latency_axis, layout};
use crate::report::{
    histogram::Point,
    units::{count, digits, micros},
};
use plotly::{
    Plot, Scatter,
    common::{DashType, HoverInfo, Line as Stroke, Marker, MarkerSymbol, Mode},
    layout::{AxisRange, AxisType},
};

/// A distribution of latencies under a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What it is.
    pub name: String,
    /// As [`crate::report::histogram::curve`] makes them.
    pub points: Vec<Point>,
}

/// Percentile curves, over each other: along the axis each further nine takes the same room, so that what is rare can
/// be read as well as what is common.
#[must_use]
pub fn percentiles(curves: &[Curve]) -> Chart {
    let mut plot = Plot::new();
    let (mut furthest, mut all) = (10.0_f64, Vec::new());
    for (place, curve) in curves.iter().enumerate() {
        let texts = curve.points.iter().map(|point| hover(&curve.name, point));
        let x: Vec<f64> = curve.points.iter().map(Point::one_in).collect();
        let y: Vec<f64> = curve
            .points
            .iter()
            .map(|point| point.micros.max(1) as f64)
            .collect();
        furthest = x.iter().copied().fold(furthest, f64::max);
        all.extend_from_slice(&y);
        let dash = if place % 2 == 0 {
            DashType::Solid
        } else {
            DashType::Dash
        };
        plot.add_trace(
            Scatter::new(x, y)
                .name(&curve.name)
                .mode(Mode::Lines)
                .line(Stroke::new().width(2.5).dash(dash))
                .hover_info(HoverInfo::Text)
                .hover_text_array(texts.collect()),
        );
    }
    let (ticks, texts) = nines(furthest);
    let x_axis = super::axis()
        .type_(AxisType::Log)
        .range(AxisRange::new(-0.02, (furthest * 1.1).log10()))
        .tick_values(ticks)
        .tick_text(texts);
    plot.set_layout(
        layout()
            .x_axis(x_axis)
            .y_axis(latency_axis(all.into_iter())),
    );
    Chart::new(plot, TALL_PX)
}

/// Ticks at 50 % and each nine.
fn nines(furthest: f64) -> (Vec<f64>, Vec<String>) {
    let (mut ticks, mut texts) = (vec![2.0], vec!["p50".to_owned()]);
    let mut one_in = 10.0;
    while one_in <= furthest * 1.1 {
        ticks.push(one_in);
        texts.push(percentile(1.0 - 1.0 / one_in));
        one_in *= 10.0;
    }
    (ticks, texts)
}

/// `p90`, `p99.9`, `p99.99`: as many digits as it takes.
fn percentile(share: f64) -> String {
    let text = format!("{:.7}", share * 100.0);
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn hover(name: &str, point: &Point) -> String {
    let one_in = point.one_in();
    // No more digits than tell this percentile from the next.
    let places = (one_in.log10().ceil() as usize).max(1);
    let share = format!("{:.*}", places.saturating_sub(1), point.share * 100.0);
    format!(
        "<b>{}</b><br>p{share}: <b>{}</b><br>1 in {} is slower",
        escape(name),
        micros(point.micros as f64),
        if one_in < 100.0 {
            digits(one_in)
        } else {
            count(one_in.round() as u64)
        }
    )
}

/// A row of a [`ladder`]: a few percentiles of one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Rungs {
    /// What it is.
    pub name: String,
    /// Microseconds, as many as the ladder has names for, ascending.
    pub micros: Vec<u64>,
    /// How many samples they stand for.
    pub count: u64,
}

/// Percentiles of many things: a row for each, a mark for each percentile.
#[must_use]
pub fn ladder(names: &[&str], rows: &[Rungs]) -> Chart {
    const SYMBOLS: [MarkerSymbol; 5] = [
        MarkerSymbol::Circle,
        MarkerSymbol::Square,
        MarkerSymbol::Diamond,
        MarkerSymbol::TriangleUp,
        MarkerSymbol::LineNSOpen,
    ];
    let mut plot = Plot::new();
    // The span from the first to the last, as one line with gaps.
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for row in rows {
        for end in [row.micros.first(), row.micros.last()] {
            x.push(end.map(|value| (*value).max(1) as f64));
            y.push(Some(row.name.clone()));
        }
        x.push(None);
        y.push(None);
    }
    plot.add_trace(
        Scatter::new(x, y)
            .mode(Mode::Lines)
            .line(Stroke::new().width(2.0).color("rgba(128,136,150,0.45)"))
            .hover_info(HoverInfo::Skip)
            .show_legend(false),
    );
    for (place, name) in names.iter().enumerate() {
        let of = |row: &Rungs| row.micros.get(place).copied().unwrap_or_default();
        let texts = rows.iter().map(|row| {
            let value = micros(of(row) as f64);
            format!(
                "<b>{}</b>, {} samples<br>{name}: <b>{value}</b>",
                escape(&row.name),
                count(row.count)
            )
        });
        plot.add_trace(
            Scatter::new(
                rows.iter().map(|row| of(row).max(1) as f64).collect(),
                rows.iter().map(|row| row.name.clone()).collect(),
            )
            .name(name)
            .mode(Mode::Markers)
            .marker(
                Marker::new()
                    .size(9)
                    .symbol(SYMBOLS[place % SYMBOLS.len()].clone()),
            )
            .hover_info(HoverInfo::Text)
            .hover_text_array(texts.collect()),
        );
    }
    let all = rows.iter().flat_map(|row| row.micros.iter());
    plot.set_layout(
        layout()
            .x_axis(latency_axis(all.map(|value| *value as f64)))
            .y_axis(rows_axis(rows.len())),
    );
    Chart::new(plot, AROUND_PX + ROW_PX * rows.len().max(1))
}

/// The axis of rows, the first on top.
pub(super) fn rows_axis(rows: usize) -> plotly::layout::Axis {
    super::axis()
        .type_(AxisType::Category)
        .range(AxisRange::new(rows as f64 - 0.4, -0.6))
        .show_grid(false)
        .tick_suffix("\u{2002}") // An en space keeps the names off the bars.
}

/// Text for a hover label or a legend, which plotly reads as a little HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_have_their_names() {
        let (ticks, texts) = nines(100_000.0);
        assert_eq!(ticks.len(), texts.len());
        assert_eq!(texts, ["p50", "p90", "p99", "p99.9", "p99.99", "p99.999"]);
    }

    #[test]
    fn labels_have_as_many_digits_as_they_need() {
        let text = |share, micros| hover("a<b", &Point { share, micros });
        assert!(text(0.5, 512).contains("p50: <b>512 µs</b><br>1 in 2.00"));
        assert!(text(0.999, 1234).contains("p99.90: <b>1.23 ms</b><br>1 in 1,000"));
        assert!(text(0.9, 1).contains("a&lt;b"));
    }
}
