//! The page of a run.

use super::{
    histogram::{Unreadable, curve, histogram},
    page::{Figure, Page},
    plots::{
        Bar, Chart, Curve, HeatColumn, Line, LineKind, Rungs, Unit, bars, heat_map, ladder, lines,
        percentiles,
    },
    text::{LATENCY_HEAD, latency_row, moment, per_second, steps},
    units::{count, micros, octets, rate, seconds, share},
    verdict::{caution, knee, verdict},
};
use crate::result::{Interval, Latency, ProcessResult, ProcessSample, RunResult};

/// The percentiles of a [`ladder`] of latencies.
const RUNGS: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];

/// Bars of errors; the rest is summed up.
const ERRORS_MAX: usize = 20;

/// The run as HTML in one file.
///
/// # Errors
/// Where one of its histograms can't be read.
pub fn page(result: &RunResult) -> Result<String, Unreadable> {
    let page = head(result);
    let page = latencies(page, result)?;
    let page = throughput(page, result);
    let page = errors(page, result);
    let page = insides(page, result);
    let page = page.section("The plan").code(result.plan.trim_end());
    Ok(page.render())
}

/// What the run was, as facts below a title.
pub(super) fn facts(page: Page, result: &RunResult) -> Page {
    let machine = &result.machine;
    let cores = match machine.cores {
        0 => String::new(),
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    page.fact(format!("to {}", result.target))
        .fact(moment(&result.started))
        .fact(format!("took {}", seconds(result.took_s)))
        .fact(&machine.kernel)
        .fact(&machine.processor)
        .fact(cores)
}

fn head(result: &RunResult) -> Page {
    let mut verdict = verdict(result);
    verdict.details.extend(caution(result));
    verdict.details.extend(knee(result));
    let (totals, latency) = (&result.totals, &result.latency);
    let wanted = totals.intended.max(totals.begun);
    let missed = wanted.saturating_sub(totals.acknowledged);
    let speed = totals.octets as f64 / result.took_s.max(f64::MIN_POSITIVE);
    let mut page = facts(Page::new(&result.name), result)
        .verdict(verdict)
        .figure(Figure::new(
            "Acknowledged",
            rate(per_second(totals.acknowledged, result.took_s)),
            format!("{} messages", count(totals.acknowledged)),
        ))
        .figure(Figure::new(
            "Not acknowledged",
            share(missed, wanted),
            format!("{} of {}", count(missed), count(wanted)),
        ));
    for (name, value, note) in [
        (
            "Latency, median",
            latency.p50_us,
            "from a message's intended start",
        ),
        ("Latency, p99", latency.p99_us, "1 in 100 is slower"),
        ("Latency, p99.9", latency.p999_us, "1 in 1,000 is slower"),
        ("Latency, slowest", latency.max_us, ""),
    ] {
        page = page.figure(Figure::new(name, micros(value as f64), note));
    }
    page = page.figure(Figure::new(
        "Volume",
        format!("{}/s", octets(speed)),
        format!("{} of payload", octets(totals.octets as f64)),
    ));
    if totals.handshakes > 0 {
        page = page.figure(Figure::new(
            "TLS handshakes",
            rate(per_second(totals.handshakes, result.took_s)),
            format!(
                "{} of {} resumed",
                count(totals.resumed),
                count(totals.handshakes)
            ),
        ));
    }
    if let Some(process) = result.processes.first() {
        page = page.figure(Figure::new(
            format!("CPU a message, {}", process.name),
            micros(process.cpu_us_per_message),
            format!("at most {} of memory", octets(process.rss_max as f64)),
        ));
    }
    page
}

fn latencies(page: Page, result: &RunResult) -> Result<Page, Unreadable> {
    let mut curves = vec![curve_of(
        "message, from its intended start",
        &result.latency,
    )?];
    if let Some(service) = result.steps.get("service") {
        curves.push(curve_of("service, from its first octet", service)?);
    }
    let mut page = page.section("Latency").chart(
        percentiles(&curves)
            .caption("From the typical message on the left to the rarest on the right: each step is ten times rarer."),
    );
    let columns: Result<Vec<_>, _> = result.intervals.iter().map(heat_column).collect();
    let columns = columns?;
    if columns.iter().any(|column| !column.histogram.is_empty()) {
        let chart = heat_map(&columns)
            .caption("Stronger colour: more messages were acknowledged then with that latency.");
        page = page.section("Latency over time").chart(chart);
    }
    let steps = steps(result);
    if !steps.is_empty() {
        let rows: Vec<_> = steps
            .iter()
            .map(|(name, latency)| rungs(name, latency))
            .collect();
        let mut table = vec![latency_row("message", &result.latency)];
        table.extend(
            steps
                .iter()
                .map(|(name, latency)| latency_row(name, latency)),
        );
        let head: Vec<_> = [""].into_iter().chain(LATENCY_HEAD).collect();
        page = page
            .section("Steps of a message")
            .chart(ladder(&RUNGS, &rows).caption("Each step from the write to its reply."))
            .table(&head, table);
    }
    Ok(page)
}

/// The percentile curve of a saved latency.
pub(super) fn curve_of(name: &str, latency: &Latency) -> Result<Curve, Unreadable> {
    Ok(Curve {
        name: name.to_owned(),
        points: curve(&histogram(latency)?),
    })
}

fn heat_column(interval: &Interval) -> Result<HeatColumn, Unreadable> {
    Ok(HeatColumn {
        at_s: interval.at_s,
        length_s: interval.length_s,
        histogram: histogram(&interval.latency)?,
    })
}

fn rungs(name: &str, latency: &Latency) -> Rungs {
    Rungs {
        name: name.to_owned(),
        micros: vec![
            latency.p50_us,
            latency.p90_us,
            latency.p99_us,
            latency.p999_us,
            latency.max_us,
        ],
        count: latency.count,
    }
}

fn throughput(page: Page, result: &RunResult) -> Page {
    if result.intervals.is_empty() {
        return page;
    }
    let mut drawn = vec![
        rates(result, "intended", LineKind::Wanted, |i| i.intended),
        rates(result, "acknowledged", LineKind::Reached, |i| {
            i.acknowledged
        }),
        rates(result, "refused", LineKind::Odd, |i| i.refused),
        rates(result, "failed", LineKind::Bad, |i| i.failed),
    ];
    drawn.retain(|line| line.points.iter().any(|(_, value)| *value > 0.0));
    let sessions = Line {
        name: "sessions".to_owned(),
        kind: LineKind::Plain,
        points: over_time(result, |interval| interval.sessions as f64),
    };
    page.section("Throughput").charts(vec![
        (
            "Messages a second".to_owned(),
            lines(Unit::PerSecond, &drawn),
        ),
        ("Open sessions".to_owned(), lines(Unit::Count, &[sessions])),
    ])
}

fn over_time(result: &RunResult, of: impl Fn(&Interval) -> f64) -> Vec<(f64, f64)> {
    // What is left over at the end is often a few milliseconds: a rate of that would be a spike of no meaning.
    let whole = result.intervals.first().map_or(0.0, |first| first.length_s);
    result
        .intervals
        .iter()
        .filter(|interval| interval.length_s >= whole / 2.0)
        .map(|interval| (interval.at_s + interval.length_s / 2.0, of(interval)))
        .collect()
}

/// A count of each interval as a rate over time.
pub(super) fn rates(
    result: &RunResult,
    name: &str,
    kind: LineKind,
    of: impl Fn(&Interval) -> u64,
) -> Line {
    Line {
        name: name.to_owned(),
        kind,
        points: over_time(result, |interval| {
            per_second(of(interval), interval.length_s)
        }),
    }
}

fn errors(page: Page, result: &RunResult) -> Page {
    if result.errors.is_empty() {
        return page;
    }
    let mut errors: Vec<_> = result.errors.iter().collect();
    errors.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
    let rest: u64 = errors.iter().skip(ERRORS_MAX).map(|(_, n)| **n).sum();
    let mut drawn: Vec<_> = errors
        .iter()
        .take(ERRORS_MAX)
        .map(|(key, number)| Bar {
            name: (*key).clone(),
            value: **number as f64,
            bad: !is_refusal(key),
        })
        .collect();
    if rest > 0 {
        drawn.push(Bar {
            name: "all others".to_owned(),
            value: rest as f64,
            bad: false,
        });
    }
    let chart = bars(Unit::Count, &drawn)
        .caption("By step and reply. Amber: a reply that refused; red: no reply came.");
    page.section("Errors").chart(chart)
}

/// `rcpt 550 5.1.1` is one, `connect refused` is not.
fn is_refusal(key: &str) -> bool {
    let code = key.split(' ').nth(1).unwrap_or_default();
    code.len() == 3 && code.bytes().all(|octet| octet.is_ascii_digit())
}

/// What was seen of the server: its stages, its processes.
fn insides(mut page: Page, result: &RunResult) -> Page {
    let stage_row = |stage: &crate::result::StageResult, name: String| Rungs {
        name,
        micros: vec![
            stage.p50_us,
            stage.p90_us,
            stage.p99_us,
            stage.p999_us,
            stage.max_us,
        ],
        count: stage.count,
    };
    let sums: Vec<_> = result
        .stages
        .iter()
        .filter(|stage| stage.scope.is_empty())
        .map(|stage| stage_row(stage, stage.stage.clone()))
        .collect();
    if !sums.is_empty() {
        let rows = result.stages.iter().map(|stage| {
            let name = format!("{} {}", stage.stage, stage.scope);
            let row = stage_row(stage, name);
            let mut cells = vec![row.name.trim_end().to_owned(), count(row.count)];
            cells.extend(row.micros.iter().map(|value| micros(*value as f64)));
            cells
        });
        let head = ["", "count", "p50", "p90", "p99", "p99.9", "max"];
        page = page
            .section("Stages of the proxy")
            .text("What the proxy itself measured, during this run alone.")
            .chart(ladder(&RUNGS, &sums))
            .table(&head, rows.collect());
    }
    if result.processes.iter().any(|one| one.samples.len() > 1) {
        let line = |process: &ProcessResult, points| Line {
            name: process.name.clone(),
            kind: LineKind::Plain,
            points,
        };
        let each = || result.processes.iter();
        let cpu: Vec<_> = each()
            .map(|one| line(one, cpu_share(&one.samples)))
            .collect();
        let memory = each().map(|one| {
            let points = one.samples.iter().map(|s| (s.at_s, s.rss as f64));
            line(one, points.collect())
        });
        let memory: Vec<_> = memory.collect();
        let charts: Vec<(String, Chart)> = vec![
            (
                "CPU, in hundredths of a core".to_owned(),
                lines(Unit::Percent, &cpu),
            ),
            ("Resident memory".to_owned(), lines(Unit::Octets, &memory)),
        ];
        page = page.section("Processes").charts(charts).table(
            &[
                "",
                "pids",
                "CPU",
                "CPU a message",
                "memory",
                "descriptors",
                "threads",
            ],
            each().map(process_row).collect(),
        );
    }
    page
}

fn process_row(process: &ProcessResult) -> Vec<String> {
    let most = |of: fn(&ProcessSample) -> u64| {
        count(process.samples.iter().map(of).max().unwrap_or_default())
    };
    vec![
        process.name.clone(),
        count(process.pids.len() as u64),
        seconds(process.cpu_s),
        micros(process.cpu_us_per_message),
        octets(process.rss_max as f64),
        most(|sample| sample.descriptors),
        most(|sample| sample.threads),
    ]
}

/// How much of a core was used, over time. The kernel counts in ticks of 10 ms, so a point spans a second or more.
fn cpu_share(samples: &[ProcessSample]) -> Vec<(f64, f64)> {
    const POINTS_MAX: f64 = 240.0;
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return Vec::new();
    };
    let span = ((last.at_s - first.at_s) / POINTS_MAX).max(0.99);
    let (mut points, mut from) = (Vec::new(), first);
    for sample in samples {
        let passed = sample.at_s - from.at_s;
        if passed >= span {
            let used = (sample.cpu_s - from.cpu_s).max(0.0) * 100.0 / passed;
            points.push((from.at_s + passed / 2.0, used));
            from = sample;
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_failures() {
        assert!(is_refusal("rcpt 550 5.1.1") && is_refusal("body 451"));
        assert!(!is_refusal("connect refused") && !is_refusal("body connection lost"));
        assert!(!is_refusal("") && !is_refusal("deadline"));
    }

    #[test]
    fn cpu_is_a_share_of_the_time_between() {
        let samples: Vec<_> = (0..=8)
            .map(|step| ProcessSample {
                at_s: f64::from(step) * 0.25,
                cpu_s: f64::from(step) * 0.125,
                ..ProcessSample::default()
            })
            .collect();
        let points = cpu_share(&samples);
        assert_eq!(points.len(), 2);
        assert!(points.iter().all(|(_, used)| (used - 50.0).abs() < 1e-9));
        assert!(cpu_share(&[]).is_empty());
    }
}
