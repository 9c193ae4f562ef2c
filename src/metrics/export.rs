//! A [`View`] as text: Prometheus' exposition format, and exact percentiles as JSON.

use super::{
    counter::{Counter, Gauge, Info},
    process::Process,
    snapshot::{Distribution, View},
    stage::Stage,
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    time::SystemTime,
};

/// Upper bounds of the histogram's buckets, in microseconds: 50 µs to 10 min.
pub const BOUNDS: &[u64] = &[
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
];

/// The percentiles of `/stages`: key and share.
pub const QUANTILES: &[(&str, f64)] = &[
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

/// A family that is neither a counter, a gauge nor an info: name, type, help, labels.
pub(super) struct Other(
    pub &'static str,
    pub &'static str,
    pub &'static str,
    pub &'static [&'static str],
);

pub(super) const STAGES: Other = Other(
    "gatepost_stage_seconds",
    "histogram",
    "Latency of one stage of a session.",
    &["stage", "listener", "pool", "backend", "check"],
);
pub(super) const STALLED: Other = Other(
    "gatepost_worker_stalled",
    "gauge",
    "1 while a worker does not answer within a second, else 0; its histograms are those of its last answer.",
    &["worker"],
);
pub(super) const UPTIME: Other = Other(
    "gatepost_uptime_seconds",
    "gauge",
    "Time since the process started.",
    &[],
);

/// The media type of [`prometheus`].
pub const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything in Prometheus' text format 0.0.4.
#[must_use]
pub fn prometheus(view: &View, process: &Process) -> String {
    let mut out = Text(String::with_capacity(32 * 1024));
    out.infos(view);
    out.open(&UPTIME);
    out.line(
        UPTIME.0,
        "",
        &[],
        format_args!("{:.3}", view.uptime.as_secs_f64()),
    );
    if !view.stalled.is_empty() {
        out.open(&STALLED);
        for (worker, stalled) in view.stalled.iter().enumerate() {
            let labels = [("worker", worker.to_string())];
            out.line(STALLED.0, "", &labels, u8::from(*stalled));
        }
    }
    out.numbers(view);
    out.stages(view);
    out.process(process, view.started_at);
    out.0
}

type Labels<'a> = [(&'a str, String)];

struct Text(String);

impl Text {
    fn head(&mut self, family: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String can't fail, here and below.
        let _ = writeln!(self.0, "# HELP {family} {help}\n# TYPE {family} {kind}");
    }

    fn open(&mut self, other: &Other) {
        self.head(other.0, other.1, other.2);
    }

    fn line(&mut self, family: &str, suffix: &str, labels: &Labels<'_>, value: impl Display) {
        let _ = write!(self.0, "{family}{suffix}");
        for (place, (key, label)) in labels.iter().enumerate() {
            let open = if place == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{key}=\"{}\"", escaped(label));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    fn infos(&mut self, view: &View) {
        for (info, labels) in &view.infos {
            self.head(info.family(), "gauge", info.help());
            let labels: Vec<_> = labels
                .iter()
                .map(|(k, v)| (k.as_str(), v.clone()))
                .collect();
            self.line(info.family(), "", &labels, 1);
        }
    }

    fn numbers(&mut self, view: &View) {
        let mut family = "";
        for (counter, scope, value) in &view.counters {
            let meta = counter.meta();
            if family != meta.family {
                family = meta.family;
                self.head(family, "counter", meta.help);
            }
            self.line(family, "", &labelled(view, *scope, meta.labels), value);
        }
        for (gauge, scope, value) in &view.gauges {
            let meta = gauge.meta();
            if family != meta.family {
                family = meta.family;
                self.head(family, "gauge", meta.help);
            }
            self.line(family, "", &labelled(view, *scope, meta.labels), value);
        }
    }

    fn stages(&mut self, view: &View) {
        if view.distributions.is_empty() {
            return;
        }
        self.open(&STAGES);
        for ((stage, scope), distribution) in &view.distributions {
            let mut labels = labelled(view, *scope, &[("stage", stage.name())]);
            for (bound, count) in BOUNDS.iter().zip(distribution.not_above(BOUNDS)) {
                labels.push(("le", seconds(*bound)));
                self.line(STAGES.0, "_bucket", &labels, count);
                labels.pop();
            }
            labels.push(("le", "+Inf".to_owned()));
            self.line(STAGES.0, "_bucket", &labels, distribution.count());
            labels.pop();
            self.line(STAGES.0, "_sum", &labels, seconds(distribution.sum()));
            self.line(STAGES.0, "_count", &labels, distribution.count());
        }
    }

    fn process(&mut self, process: &Process, started_at: SystemTime) {
        for (meta, value) in process.lines(started_at) {
            self.head(meta.0, meta.1, meta.2);
            self.line(meta.0, "", &[], value);
        }
    }
}

/// Fixed labels and those of a scope.
fn labelled<'a>(
    view: &'a View,
    scope: super::Scope,
    fixed: &[(&'static str, &'static str)],
) -> Vec<(&'a str, String)> {
    let (kind, name) = view.scope(scope);
    let fixed = fixed.iter().map(|(key, value)| (*key, (*value).to_owned()));
    let scoped = kind.labels(name).into_iter();
    fixed
        .chain(scoped.map(|(key, value)| (key, value.to_owned())))
        .collect()
}

/// A label's value as it stands between the quotes.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}

/// Microseconds as seconds, exact, in the shortest form.
pub(super) fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The percentiles of every stage, over all scopes and for each of them, in microseconds.
///
/// ```json
/// {"unit": "us", "uptime_seconds": 7, "stalled": [], "stages": [
///   {"stage": "commit", "count": 3, "min": 5, "mean": 6.5, "p50": 6, …, "max": 9,
///    "scopes": [{"labels": {"pool": "cluster", "backend": "10.0.0.1:25"}, "count": 3, …}]}]}
/// ```
///
/// With `histograms` each carries its whole histogram too, under `histogram`: HdrHistogram V2, deflated, in base64. Who
/// reads twice can subtract, and has the exact percentiles of the time between.
#[must_use]
pub fn stages_json(view: &View, histograms: bool) -> Value {
    let mut by_stage: BTreeMap<Stage, (Distribution, Vec<Value>)> = BTreeMap::new();
    for ((stage, scope), distribution) in &view.distributions {
        let (all, scopes) = by_stage.entry(*stage).or_default();
        all.merge(distribution);
        let (kind, name) = view.scope(*scope);
        let labels: Map<_, _> = kind
            .labels(name)
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Value::from(value)))
            .collect();
        let mut fields = Map::from_iter([("labels".to_owned(), labels.into())]);
        summarise(distribution, histograms, &mut fields);
        scopes.push(fields.into());
    }
    let stages: Vec<Value> = by_stage
        .into_iter()
        .map(|(stage, (all, scopes))| {
            let mut fields = Map::from_iter([("stage".to_owned(), stage.name().into())]);
            summarise(&all, histograms, &mut fields);
            fields.insert("scopes".to_owned(), scopes.into());
            fields.into()
        })
        .collect();
    let stalled: Vec<usize> = (0..view.stalled.len())
        .filter(|n| view.stalled[*n])
        .collect();
    json!({
        "unit": "us",
        "uptime_seconds": view.uptime.as_secs(),
        "stalled": stalled,
        "stages": stages,
    })
}

fn summarise(distribution: &Distribution, whole: bool, fields: &mut Map<String, Value>) {
    fields.insert("count".to_owned(), distribution.count().into());
    fields.insert("min".to_owned(), distribution.min().into());
    fields.insert(
        "mean".to_owned(),
        ((distribution.mean() * 1000.0).round() / 1000.0).into(),
    );
    for (key, share) in QUANTILES {
        fields.insert((*key).to_owned(), distribution.quantile(*share).into());
    }
    fields.insert("max".to_owned(), distribution.max().into());
    if whole {
        fields.insert("histogram".to_owned(), distribution.encoded().into());
    }
}

/// Every family that [`prometheus`] may write: name, type, help, labels.
pub(super) fn families() -> Vec<(&'static str, &'static str, &'static str, Vec<&'static str>)> {
    let mut all = Vec::new();
    for info in Info::ALL {
        all.push((info.family(), "gauge", info.help(), vec![]));
    }
    for other in [&UPTIME, &STALLED] {
        all.push((other.0, other.1, other.2, other.3.to_vec()));
    }
    let counters = Counter::ALL
        .iter()
        .map(|counter| (counter.meta(), "counter"));
    let gauges = Gauge::ALL.iter().map(|gauge| (gauge.meta(), "gauge"));
    for (meta, kind) in counters.chain(gauges) {
        if all.last().is_none_or(|last| last.0 != meta.family) {
            let fixed = meta.labels.iter().map(|(key, _)| *key);
            let labels = fixed.chain(meta.kind.label_names()).collect();
            all.push((meta.family, kind, meta.help, labels));
        }
    }
    all.push((STAGES.0, STAGES.1, STAGES.2, STAGES.3.to_vec()));
    for meta in Process::METAS {
        all.push((meta.0, meta.1, meta.2, vec![]));
    }
    all
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
