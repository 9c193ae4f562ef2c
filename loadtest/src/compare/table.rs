//! What came out, as ratios to the first peer, with their spread; and as Markdown.
//!
//! The ratio of a round is taken within that round, so that a machine that changes its speed meets both sides of it;
//! what is shown is the median of the rounds, with the smallest and the largest.

use super::{
    bench::Shot,
    works::{Measure, Work},
};
use crate::report::plots::Spread;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Of these values; zeroes where there are none.
fn spread_of(values: impl IntoIterator<Item = f64>) -> Spread {
    let values: Vec<f64> = values.into_iter().collect();
    Spread::of(&values).unwrap_or_default()
}

/// A peer in one work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Name on the command line.
    pub peer: String,
    /// Name in the table.
    pub title: String,
    /// One of Gatepost's engines.
    pub engine: Option<String>,
    /// CPU µs a message.
    pub cpu_us: Spread,
    /// Messages a second.
    pub rate: Spread,
    /// µs: median, 0.99 and 0.999.
    pub latency_us: [Spread; 3],
    /// Octets.
    pub memory: Spread,
    /// What counts in this work, as a ratio to the first peer.
    pub ratio: Spread,
    /// Acknowledged messages that did not arrive, in all rounds.
    pub lost: u64,
}

/// One work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Name on the command line.
    pub work: String,
    /// Its title.
    pub title: String,
    /// A line for each peer.
    pub rows: Vec<Row>,
    /// What the bars say: one sentence each.
    pub bars: Vec<String>,
}

/// All shots of a peer, one a round.
#[derive(Clone, Debug)]
pub struct Series {
    /// Name on the command line.
    pub peer: String,
    /// Name in the table.
    pub title: String,
    /// One of Gatepost's engines.
    pub engine: Option<String>,
    /// A shot a round.
    pub shots: Vec<Shot>,
}

fn counts(measure: Measure, shot: &Shot) -> f64 {
    match measure {
        Measure::Cpu => shot.cpu_us,
        Measure::CpuWithBackend => shot.cpu_us + shot.backend_cpu_us,
        Measure::Throughput => shot.rate,
        Measure::Latency => shot.latency_us[0] as f64,
        Measure::Idle => shot.memory as f64,
    }
}

/// Makes the table of a work. The first of the series is what the others are held against.
#[must_use]
pub fn table(work: &Work, series: &[Series]) -> Table {
    let base: Vec<f64> = series
        .first()
        .map(|first| {
            first
                .shots
                .iter()
                .map(|s| counts(work.measure, s))
                .collect()
        })
        .unwrap_or_default();
    let rows: Vec<Row> = series
        .iter()
        .map(|one| {
            let spread = |of: &dyn Fn(&Shot) -> f64| spread_of(one.shots.iter().map(of));
            let ratios = one
                .shots
                .iter()
                .zip(&base)
                .filter(|(_, base)| **base > 0.0)
                .map(|(shot, base)| counts(work.measure, shot) / base);
            Row {
                peer: one.peer.clone(),
                title: one.title.clone(),
                engine: one.engine.clone(),
                cpu_us: spread(&|s| match work.measure {
                    Measure::CpuWithBackend => s.cpu_us + s.backend_cpu_us,
                    _ => s.cpu_us,
                }),
                rate: spread(&|s| s.rate),
                latency_us: [0, 1, 2].map(|at| spread(&|s| s.latency_us[at] as f64)),
                memory: spread(&|s| s.memory as f64),
                ratio: spread_of(ratios),
                lost: one.shots.iter().map(|s| s.lost).sum(),
            }
        })
        .collect();
    Table {
        work: work.name.to_owned(),
        title: work.title.to_owned(),
        bars: bars(work, &rows),
        rows,
    }
}

/// Says of one bar whether it holds. More is better for throughput alone.
fn judge(what: &str, value: f64, bar: f64, more: bool, show: impl Fn(f64) -> String) -> String {
    let holds = if more { value >= bar } else { value <= bar };
    let sign = if more { '≥' } else { '≤' };
    let word = if holds { "holds" } else { "**missed**" };
    format!("{what} {sign} {}: {}, {word}", show(bar), show(value))
}

/// The engine with the least (or the most) of something.
fn best(rows: &[Row], more: bool, of: impl Fn(&Row) -> f64) -> Option<(&Row, &str)> {
    let engines = rows
        .iter()
        .filter_map(|row| Some((row, row.engine.as_deref()?)));
    engines.min_by(|(a, _), (b, _)| {
        let order = of(a).total_cmp(&of(b));
        if more { order.reverse() } else { order }
    })
}

/// Says of each bar whether it holds.
fn bars(work: &Work, rows: &[Row]) -> Vec<String> {
    let mut said = Vec::new();
    let more = work.measure == Measure::Throughput;
    let ratio = |value: f64| format!("{value:.2}");
    let bars = &work.bars;
    let uring = rows
        .iter()
        .find(|row| row.engine.as_deref() == Some("uring"));
    if let (Some(bar), Some(row)) = (bars.uring, uring) {
        said.push(judge("tokio-uring", row.ratio.median, bar, more, ratio));
    }
    if let (Some(bar), Some((row, name))) = (bars.best, best(rows, more, |row| row.ratio.median)) {
        let what = format!("the best engine ({name})");
        said.push(judge(&what, row.ratio.median, bar, more, ratio));
    }
    if let (Some(bar), Some((row, name))) =
        (bars.cpu_us, best(rows, false, |row| row.cpu_us.median))
    {
        let what = format!("CPU a message on the best engine ({name})");
        said.push(judge(&what, row.cpu_us.median, bar, false, time));
    }
    if let (Some(bar), Some((row, name))) =
        (bars.memory, best(rows, false, |row| row.memory.median))
    {
        let what = format!("memory a session on the best engine ({name})");
        said.push(judge(&what, row.memory.median, bar, false, size));
    }
    if let (Some(bar), Some((row, name))) = (
        bars.latency_us,
        best(rows, false, |row| row.latency_us[1].median),
    ) {
        for (at, quantile) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
            let what = format!("{quantile} added by the best engine ({name})");
            said.push(judge(
                &what,
                row.latency_us[at].median,
                bar[at],
                false,
                time,
            ));
        }
    }
    said
}

/// Milliseconds where that is readable, else microseconds.
fn time(us: f64) -> String {
    match us {
        us if us <= 0.0 => "–".into(),
        us if us < 1000.0 => format!("{us:.0} µs"),
        us if us < 100_000.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

fn size(octets: f64) -> String {
    match octets {
        octets if octets < f64::from(1 << 20) => format!("{:.1} KiB", octets / 1024.0),
        octets => format!("{:.0} MiB", octets / f64::from(1 << 20)),
    }
}

impl Table {
    /// The line of Gatepost's best engine.
    #[must_use]
    pub fn best(&self) -> Option<&Row> {
        let by_ratio = |a: &&Row, b: &&Row| a.ratio.median.total_cmp(&b.ratio.median);
        let engines = self.rows.iter().filter(|row| row.engine.is_some());
        match self.what() {
            "throughput" => engines.max_by(by_ratio),
            _ => engines.min_by(by_ratio),
        }
    }

    /// What the ratio is of.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self.work.as_str() {
            "large" => "throughput",
            "idle" | "idle-tls" => "memory",
            "latency" => "median latency",
            _ => "CPU",
        }
    }

    /// The name of the peer that the others are compared with.
    #[must_use]
    pub fn base(&self) -> &str {
        let first = self.rows.first().map_or("HAProxy", |row| &row.title);
        first.split(',').next().unwrap_or(first)
    }

    /// The cells of each line, the name first.
    #[must_use]
    pub fn cells(&self) -> Vec<Vec<String>> {
        let cells = |(at, row): (usize, &Row)| {
            let ratio = if at == 0 {
                "1".to_owned()
            } else {
                let Spread { median, min, max } = row.ratio;
                format!("{median:.2} ({min:.2}–{max:.2})")
            };
            let [p50, p99, p999] = row.latency_us.map(|spread| time(spread.median));
            vec![
                row.title.clone(),
                ratio,
                format!("{:.1} µs", row.cpu_us.median),
                format!("{:.0}", row.rate.median),
                p50,
                p99,
                p999,
                size(row.memory.median),
                row.lost.to_string(),
            ]
        };
        self.rows.iter().enumerate().map(cells).collect()
    }

    /// As a Markdown table with its bars below.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}: {}\n\n", self.work, self.title);
        let _ = writeln!(
            text,
            "| proxy | {} to {} (min–max) | CPU a message | messages/s | p50 | p99 | p99.9 | memory | lost |\n\
             |---|---|---|---|---|---|---|---|---|",
            self.what(),
            self.base()
        );
        for cells in self.cells() {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        for bar in &self.bars {
            let _ = write!(text, "\nBar: {bar}.");
        }
        if !self.bars.is_empty() {
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::works::WORKS, *};

    fn series(name: &str, engine: Option<&str>, cpu: &[f64]) -> Series {
        Series {
            peer: name.into(),
            title: name.into(),
            engine: engine.map(str::to_owned),
            shots: cpu
                .iter()
                .map(|&cpu_us| Shot {
                    messages: 10,
                    cpu_us,
                    rate: 1e4,
                    ..Shot::default()
                })
                .collect(),
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_bars_are_judged() {
        let kept = WORKS
            .iter()
            .find(|work| work.name == "kept-postfix")
            .unwrap();
        let table = table(
            kept,
            &[
                // The machine is half as fast in the second round.
                series("haproxy", None, &[100.0, 200.0, 100.0]),
                series("gatepost-ring", Some("ring"), &[70.0, 140.0, 80.0]),
                series("gatepost-uring", Some("uring"), &[90.0, 180.0, 90.0]),
            ],
        );
        assert_eq!(table.rows[1].ratio.median, 0.7);
        assert_eq!(
            (table.rows[1].ratio.min, table.rows[1].ratio.max),
            (0.7, 0.8)
        );
        let text = table.markdown();
        assert!(text.contains("| haproxy | 1 | 100.0 µs |"), "{text}");
        assert!(
            text.contains("the best engine (ring) ≤ 0.75: 0.70, holds"),
            "{text}"
        );
        assert!(
            text.contains("tokio-uring ≤ 0.85: 0.90, **missed**"),
            "{text}"
        );
    }

    #[test]
    fn throughput_is_better_when_it_is_more() {
        let large = WORKS.iter().find(|work| work.name == "large").unwrap();
        let mut slow = series("gatepost-ring", Some("ring"), &[1.0]);
        slow.shots[0].rate = 5e3;
        let table = table(large, &[series("haproxy", None, &[1.0]), slow]);
        assert!(
            table.bars.iter().all(|bar| bar.contains("**missed**")),
            "{:?}",
            table.bars
        );
    }
}
