//! A run as text for a terminal: what, where, how much, how fast, and what became of it.

use super::{
    units::{count, digits, micros, octets, rate, seconds, share},
    verdict::{Tone, caution, knee, verdict},
};
use crate::result::{Latency, RunResult};
use comfy_table::{CellAlignment, Table, presets};
use console::Style;
use std::fmt::Write as _;

/// The summary, in colour where stdout is a terminal.
#[must_use]
pub fn text(result: &RunResult) -> String {
    in_colour(result, console::colors_enabled())
}

/// The summary without colour, for a file.
#[must_use]
pub fn plain(result: &RunResult) -> String {
    in_colour(result, false)
}

fn in_colour(result: &RunResult, colour: bool) -> String {
    let mut out = Text {
        text: String::new(),
        colour,
    };
    out.head(result);
    out.totals(result);
    out.latencies(result);
    out.errors(result);
    out.stages(result);
    out.processes(result);
    out.text
}

/// Columns under a head, the first to the left, the others to the right, indented by two.
#[must_use]
pub fn columns(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !head.is_empty() {
        table.set_header(head.to_vec());
    }
    table.add_rows(rows);
    for (place, column) in table.column_iter_mut().enumerate() {
        let side = if place == 0 {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        };
        column.set_cell_alignment(side);
        column.set_padding((if place == 0 { 0 } else { 1 }, 1));
    }
    table.lines().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "  {}", line.trim_end());
        out
    })
}

/// A latency as a row: count, mean, percentiles, max.
#[must_use]
pub fn latency_row(name: &str, latency: &Latency) -> Vec<String> {
    let mut row = vec![
        name.to_owned(),
        count(latency.count),
        micros(latency.mean_us),
    ];
    row.extend(
        [
            latency.p50_us,
            latency.p90_us,
            latency.p99_us,
            latency.p999_us,
            latency.p9999_us,
            latency.max_us,
        ]
        .map(|value| micros(value as f64)),
    );
    row
}

/// The heads of [`latency_row`]'s columns, after the first.
pub const LATENCY_HEAD: [&str; 8] = [
    "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max",
];

/// The steps of a message in the order they happen; unknown ones after.
#[must_use]
pub fn steps(result: &RunResult) -> Vec<(&str, &Latency)> {
    const ORDER: [&str; 11] = [
        "connect",
        "tls",
        "tls-resumed",
        "greeting",
        "hello",
        "auth",
        "mail",
        "rcpt",
        "data",
        "body",
        "service",
    ];
    let place = |name: &str| ORDER.iter().position(|one| *one == name);
    let mut steps: Vec<_> = result
        .steps
        .iter()
        .filter(|(_, latency)| latency.count > 0)
        .map(|(name, latency)| (name.as_str(), latency))
        .collect();
    steps.sort_by_key(|(name, _)| place(name).unwrap_or(ORDER.len()));
    steps
}

/// A ratio of a total to the time the run took.
#[must_use]
pub fn per_second(number: u64, took_s: f64) -> f64 {
    if took_s > 0.0 {
        number as f64 / took_s
    } else {
        0.0
    }
}

/// When it began, as people write it: the T and fractions of a second are left out.
#[must_use]
pub fn moment(started: &str) -> String {
    match started.parse::<jiff::Timestamp>() {
        Ok(then) => then.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => started.to_owned(),
    }
}

struct Text {
    text: String,
    colour: bool,
}

impl Text {
    fn styled(&self, style: Style, text: &str) -> String {
        style.force_styling(self.colour).apply_to(text).to_string()
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn heading(&mut self, heading: &str) {
        let heading = self.styled(Style::new().bold(), heading);
        self.line("");
        self.line(&heading);
    }

    fn head(&mut self, result: &RunResult) {
        let name = self.styled(Style::new().bold(), &result.name);
        self.line(&format!("{name} to {}", result.target));
        let machine = &result.machine;
        let facts = [
            moment(&result.started),
            format!("took {}", seconds(result.took_s)),
            machine.kernel.clone(),
            machine.processor.clone(),
            match machine.cores {
                0 => String::new(),
                1 => "1 core".to_owned(),
                cores => format!("{cores} cores"),
            },
        ];
        let facts: Vec<_> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        self.line(&facts.join(" · "));
        self.line("");
        let verdict = verdict(result);
        let style = match verdict.tone {
            Tone::Good => Style::new().green().bold(),
            Tone::Unsure => Style::new().yellow().bold(),
            Tone::Bad => Style::new().red().bold(),
        };
        let line = self.styled(style, &verdict.line);
        self.line(&line);
        for detail in verdict.details.into_iter().chain(caution(result)) {
            self.line(&format!("  {detail}"));
        }
        if let Some(knee) = knee(result) {
            self.line(&knee);
        }
    }

    fn totals(&mut self, result: &RunResult) {
        self.heading("Messages");
        let totals = &result.totals;
        let mut rows = Vec::new();
        for (name, number, always) in [
            ("intended", totals.intended, true),
            ("begun", totals.begun, true),
            ("acknowledged", totals.acknowledged, true),
            ("deferred (4xx)", totals.deferred, false),
            ("rejected (5xx)", totals.rejected, false),
            ("uncertain", totals.uncertain, false),
            ("failed", totals.failed, false),
            ("aborted on purpose", totals.aborted, false),
        ] {
            if always || number > 0 {
                rows.push(vec![
                    name.to_owned(),
                    count(number),
                    rate(per_second(number, result.took_s)),
                    share(number, totals.intended.max(totals.begun)),
                ]);
            }
        }
        let table = columns(&["", "count", "rate", "share"], rows);
        self.text.push_str(&table);
        let volume = octets(totals.octets as f64);
        let speed = octets(totals.octets as f64 / result.took_s.max(f64::MIN_POSITIVE));
        self.line(&format!(
            "  {volume} acknowledged, {speed}/s, over {} connections; {} recipients accepted, {} refused",
            count(totals.connections),
            count(totals.recipients),
            count(totals.recipients_refused)
        ));
        if totals.handshakes > 0 {
            self.line(&format!(
                "  {} TLS handshakes ({}), {} of them resumed",
                count(totals.handshakes),
                rate(per_second(totals.handshakes, result.took_s)),
                count(totals.resumed)
            ));
        }
        if totals.authenticated > 0 {
            self.line(&format!(
                "  {} sessions authenticated",
                count(totals.authenticated)
            ));
        }
        if result.own_cpu_us_per_message > 0.0 {
            self.line(&format!(
                "  this generator used {} of CPU a message",
                micros(result.own_cpu_us_per_message)
            ));
        }
    }

    fn latencies(&mut self, result: &RunResult) {
        if result.latency.count == 0 && result.steps.is_empty() {
            return;
        }
        self.heading("Latency");
        let mut rows = vec![latency_row("message", &result.latency)];
        rows.extend(
            steps(result)
                .into_iter()
                .map(|(name, latency)| latency_row(&format!("  {name}"), latency)),
        );
        let head: Vec<_> = [""].into_iter().chain(LATENCY_HEAD).collect();
        let table = columns(&head, rows);
        self.text.push_str(&table);
        self.line(
            "  message: from its intended start to its final reply; steps: from write to reply",
        );
    }

    fn errors(&mut self, result: &RunResult) {
        if result.errors.is_empty() {
            return;
        }
        self.heading("Errors");
        let mut errors: Vec<_> = result.errors.iter().collect();
        errors.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
        let rows = errors
            .into_iter()
            .map(|(key, number)| vec![key.clone(), count(*number)])
            .collect();
        self.text.push_str(&columns(&["", "count"], rows));
    }

    fn stages(&mut self, result: &RunResult) {
        if result.stages.is_empty() {
            return;
        }
        self.heading("Stages of the proxy");
        let rows = result
            .stages
            .iter()
            .filter(|stage| stage.scope.is_empty())
            .map(|stage| {
                let mut row = vec![stage.stage.clone(), count(stage.count)];
                row.extend(
                    [
                        stage.p50_us,
                        stage.p90_us,
                        stage.p99_us,
                        stage.p999_us,
                        stage.max_us,
                    ]
                    .map(|value| micros(value as f64)),
                );
                row
            })
            .collect();
        let head = ["", "count", "p50", "p90", "p99", "p99.9", "max"];
        self.text.push_str(&columns(&head, rows));
    }

    fn processes(&mut self, result: &RunResult) {
        if result.processes.is_empty() {
            return;
        }
        self.heading("Processes");
        let rows = result
            .processes
            .iter()
            .map(|process| {
                let most = |of: fn(&crate::result::ProcessSample) -> u64| {
                    count(process.samples.iter().map(of).max().unwrap_or_default())
                };
                vec![
                    process.name.clone(),
                    count(process.pids.len() as u64),
                    format!("{} s", digits(process.cpu_s)),
                    micros(process.cpu_us_per_message),
                    octets(process.rss_max as f64),
                    most(|sample| sample.descriptors),
                    most(|sample| sample.threads),
                ]
            })
            .collect();
        let head = [
            "",
            "pids",
            "CPU",
            "CPU/message",
            "memory",
            "descriptors",
            "threads",
        ];
        self.text.push_str(&columns(&head, rows));
    }
}
