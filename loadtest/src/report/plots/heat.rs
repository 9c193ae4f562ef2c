//! A heat map: how the distribution of latencies moves with time.

use super::{Chart, TALL_PX, latency_axis, layout, time_axis};
use crate::report::units::{count, micros};
use hdrhistogram::Histogram;
use plotly::{
    HeatMap, Plot, Scatter,
    common::{HoverInfo, Line as Stroke, Mode},
};

/// The latencies of one stretch of time.
#[derive(Clone, Debug)]
pub struct HeatColumn {
    /// When it begins, in seconds.
    pub at_s: f64,
    /// How long it is.
    pub length_s: f64,
    /// Microseconds.
    pub histogram: Histogram<u64>,
}

/// More columns than this are drawn together: more can't be seen, and the page stays small.
const COLUMNS_MAX: usize = 240;

/// Buckets for each power of ten of latency.
const A_DECADE: f64 = 8.0;

/// The distribution over time: the darker, the more messages; the median and p99 as lines on it. Colours follow the
/// logarithm of the count, so that a few slow messages among thousands of fast ones are seen.
#[must_use]
pub fn heat_map(columns: &[HeatColumn]) -> Chart {
    let columns = thinned(columns);
    let edges = edges(&columns);
    let rows = edges.len() - 1;
    let (mut z, mut texts) = (
        vec![Vec::with_capacity(columns.len()); rows],
        vec![Vec::with_capacity(columns.len()); rows],
    );
    for column in &columns {
        let counts = buckets(&column.histogram, rows, edges[0]);
        for (row, number) in counts.into_iter().enumerate() {
            let seen = number > 0;
            z[row].push(seen.then(|| (number as f64).log10()));
            texts[row].push(if seen {
                format!(
                    "{:.1} s: {} to {}<br><b>{}</b> messages",
                    column.at_s,
                    micros(edges[row]),
                    micros(edges[row + 1]),
                    count(number)
                )
            } else {
                String::new()
            });
        }
    }
    let mut starts: Vec<f64> = columns.iter().map(|column| column.at_s).collect();
    starts.extend(columns.last().map(|column| column.at_s + column.length_s));
    let end = starts.last().copied().unwrap_or(1.0);
    let axis = latency_axis(edges.iter().copied());
    let mut plot = Plot::new();
    plot.add_trace(
        HeatMap::new(starts, edges, z)
            .show_scale(false)
            .hover_on_gaps(false)
            .hover_info(HoverInfo::Text)
            .hover_text_matrix(texts),
    );
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        plot.add_trace(quantile_line(name, share, &columns));
    }
    plot.set_layout(layout().x_axis(time_axis(end)).y_axis(axis));
    Chart::new(plot, TALL_PX)
}

fn quantile_line(name: &str, share: f64, columns: &[HeatColumn]) -> Box<Scatter<f64, Option<f64>>> {
    let middle = |column: &HeatColumn| column.at_s + column.length_s / 2.0;
    // A column cut short by the end of the run has too few messages for a line.
    let whole = columns.first().map_or(0.0, |first| first.length_s);
    let values: Vec<_> = columns
        .iter()
        .map(|column| {
            let value = column.histogram.value_at_quantile(share).max(1) as f64;
            let told = !column.histogram.is_empty() && column.length_s >= whole / 2.0;
            told.then_some(value)
        })
        .collect();
    let texts = columns.iter().zip(&values).map(|(column, value)| {
        let value = value.map_or_else(String::new, micros);
        format!("{:.1} s: {name} <b>{value}</b>", column.at_s)
    });
    let texts: Vec<String> = texts.collect();
    Scatter::new(columns.iter().map(middle).collect(), values)
        .name(name)
        .mode(Mode::Lines)
        .line(Stroke::new().width(2.0))
        .hover_info(HoverInfo::Text)
        .hover_text_array(texts)
}

/// The same columns, neighbours put together where there are too many.
fn thinned(columns: &[HeatColumn]) -> Vec<HeatColumn> {
    let together = columns.len().div_ceil(COLUMNS_MAX).max(1);
    columns
        .chunks(together)
        .map(|chunk| {
            let mut sum = chunk[0].clone();
            for other in &chunk[1..] {
                sum.length_s = other.at_s + other.length_s - sum.at_s;
                sum.histogram
                    .add(&other.histogram)
                    .expect("it resizes itself");
            }
            sum
        })
        .collect()
}

/// The ends of the buckets, from the least latency to the greatest.
fn edges(columns: &[HeatColumn]) -> Vec<f64> {
    let filled = columns.iter().filter(|column| !column.histogram.is_empty());
    let (low, high) = filled.fold((u64::MAX, 1), |(low, high), column| {
        (
            low.min(column.histogram.min()),
            high.max(column.histogram.max()),
        )
    });
    let place = |value: u64| (value.max(1) as f64).log10() * A_DECADE;
    let from = place(low.min(high)).floor() as i32;
    let to = (place(high).floor() as i32).max(from) + 1;
    (from..=to)
        .map(|step| 10f64.powf(f64::from(step) / A_DECADE))
        .collect()
}

fn buckets(histogram: &Histogram<u64>, rows: usize, lowest: f64) -> Vec<u64> {
    let mut counts = vec![0; rows];
    let base = (lowest.log10() * A_DECADE).round();
    for step in histogram.iter_recorded() {
        let value = histogram.median_equivalent(step.value_iterated_to()).max(1) as f64;
        let row = (value.log10() * A_DECADE).floor() - base;
        counts[(row.max(0.0) as usize).min(rows - 1)] += step.count_at_value();
    }
    counts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::histogram::empty;

    fn column(at_s: f64, values: &[u64]) -> HeatColumn {
        let mut histogram = empty();
        for value in values {
            histogram.record(*value).unwrap();
        }
        HeatColumn {
            at_s,
            length_s: 1.0,
            histogram,
        }
    }

    #[test]
    fn every_message_is_in_one_bucket() {
        let columns = [
            column(0.0, &[100, 130, 999, 1000]),
            column(1.0, &[]),
            column(2.0, &[5_000_000, 0]),
        ];
        let edges = edges(&columns);
        let sum = |column: &HeatColumn| {
            let counts = buckets(&column.histogram, edges.len() - 1, edges[0]);
            counts.iter().sum::<u64>()
        };
        assert_eq!(columns.iter().map(sum).collect::<Vec<_>>(), [4, 0, 2]);
        assert!(edges[0] <= 1.0 && edges[edges.len() - 1] >= 5e6);
        let json = heat_map(&columns).json();
        assert!(json.contains("heatmap"), "{json}");
    }

    #[test]
    fn a_long_run_is_drawn_in_fewer_columns() {
        let columns: Vec<_> = (0..1000).map(|at| column(f64::from(at), &[7])).collect();
        let drawn = thinned(&columns);
        assert!(drawn.len() <= COLUMNS_MAX);
        assert_eq!(drawn.iter().map(|c| c.histogram.len()).sum::<u64>(), 1000);
        let last = &drawn[drawn.len() - 1];
        assert!((last.at_s + last.length_s - 1000.0).abs() < 1e-9);
        assert!(thinned(&[]).is_empty());
        assert!(heat_map(&[]).json().contains("heatmap"));
    }
}
