//! The manual of metrics, made from their definitions: `docs/metrics.md`.

use super::{
    counter::{Counter, Gauge, Meta},
    export::{BOUNDS, families, seconds},
    stage::Stage,
};
use std::fmt::Write as _;

const INTRO: &str = "# Metrics

Made from the code; `UPDATE_DOCS=1 cargo test reference` writes it anew.

The admin endpoint (`[admin] listen`, by default on the loopback only) tells them:

| | |
|---|---|
| `GET /metrics` | everything, in Prometheus' text format |
| `GET /stages` | exact percentiles of every stage, as JSON, in microseconds |
| `GET /health` | 200 while every worker's loop answers within a second, else 503 |
| `GET /ready` | 200 while every pool has a usable backend and the process is not draining, else 503 with the reason |
| `POST /reload` | reads the configuration again |
| `POST /drain` | takes no new session, lets running messages finish, then ends |

With `[admin] histogram_log` every interval of `histogram_interval` is appended to a file in the HdrHistogram
log format, a line for each stage and scope (tags like `commit/cluster/10.0.0.11:25`, values in microseconds). To
rotate it, move it away and reload.

Histograms are kept by each worker with three significant digits from 1 µs to one hour and merged when asked
for. Nothing that a client sends becomes a label.
";

/// The text of `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = INTRO.to_owned();
    // Writing to a String can't fail.
    let _ = stages(&mut out);
    let _ = metrics(&mut out);
    out
}

fn stages(out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n## Stages\n")?;
    writeln!(
        out,
        "`gatepost_stage_seconds{{stage=…}}`, and the names in `/stages` and in the histogram log.\n"
    )?;
    writeln!(out, "| stage | by | from when to when |\n|---|---|---|")?;
    for stage in Stage::ALL {
        let by = stage.kind().label_names().join(", ");
        writeln!(out, "| `{}` | {by} | {} |", stage.name(), stage.doc())?;
    }
    let bounds: Vec<_> = BOUNDS.iter().map(|bound| duration(*bound)).collect();
    writeln!(out, "\nBuckets: {}.", bounds.join(", "))
}

fn duration(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", seconds(micros * 1_000)),
        _ => format!("{} s", seconds(micros)),
    }
}

fn metrics(out: &mut String) -> std::fmt::Result {
    let counters = Counter::ALL.iter().map(|counter| counter.meta());
    let metas: Vec<&Meta> = counters
        .chain(Gauge::ALL.iter().map(|gauge| gauge.meta()))
        .collect();
    writeln!(out, "\n## All metrics\n")?;
    writeln!(
        out,
        "| metric | type | labels | meaning |\n|---|---|---|---|"
    )?;
    for (family, kind, help, labels) in families() {
        writeln!(
            out,
            "| `{family}` | {kind} | {} | {help} |",
            labels.join(", ")
        )?;
        for meta in metas
            .iter()
            .filter(|meta| meta.family == family && !meta.labels.is_empty())
        {
            let labels: Vec<_> = meta
                .labels
                .iter()
                .map(|(key, value)| format!("{key}=\"{value}\""))
                .collect();
            writeln!(out, "| | | `{}` | {} |", labels.join(","), meta.doc)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn the_reference_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
            fs::write(path, reference()).unwrap();
        }
        let found = fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == reference(),
            "docs/metrics.md is stale: UPDATE_DOCS=1 cargo test reference"
        );
    }

    #[test]
    fn every_variant_is_told_apart_or_alone() {
        let counters = Counter::ALL.iter().map(|counter| counter.meta());
        let metas: Vec<_> = counters
            .chain(Gauge::ALL.iter().map(|gauge| gauge.meta()))
            .collect();
        for meta in &metas {
            let family = metas.iter().filter(|other| other.family == meta.family);
            let members = family.clone().count();
            assert!(
                members == 1 || !meta.doc.is_empty(),
                "{} lacks a doc",
                meta.family
            );
            let twins = family.filter(|other| other.labels == meta.labels).count();
            assert_eq!(twins, 1, "{} {:?}", meta.family, meta.labels);
        }
    }
    /// Metric names in the rules, each with its label matchers (`result="refused"`).
    fn named(rules: &str) -> Vec<(&str, &str)> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let starts = rules.match_indices("gatepost_").map(|(at, _)| at);
        let starts = starts.chain(rules.match_indices("process_").map(|(at, _)| at));
        let whole = starts.map(|at| {
            let rest = &rules[at..];
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let matchers = rest
                .strip_prefix('{')
                .and_then(|rest| rest.split('}').next());
            (name, matchers.unwrap_or_default())
        });
        whole.collect()
    }

    #[test]
    fn the_alert_rules_name_what_exists() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/alerts.yml");
        let rules = fs::read_to_string(path).unwrap();
        let families = families();
        let fixed = Counter::ALL.iter().map(|counter| counter.meta());
        let fixed: Vec<_> = fixed
            .flat_map(|meta| meta.labels.iter().map(|label| (meta.family, *label)))
            .collect();
        let named = named(&rules);
        assert!(named.len() > 20, "{named:?}");
        for (name, matchers) in named {
            let base = name.strip_suffix("_bucket").unwrap_or(name);
            let family = families.iter().find(|family| family.0 == base);
            let Some((family, _, _, labels)) = family else {
                panic!("config/alerts.yml: {name} is no metric");
            };
            for matcher in matchers.split(',').filter(|matcher| !matcher.is_empty()) {
                let (label, value) = matcher.split_once('=').unwrap();
                let value = value.trim_matches('"');
                let known = match label {
                    "engine" => true,
                    "stage" => Stage::ALL.iter().any(|stage| stage.name() == value),
                    _ => {
                        fixed.contains(&(*family, (label, value)))
                            || !fixed.iter().any(|f| f.0 == *family) && labels.contains(&label)
                    }
                };
                assert!(known, "config/alerts.yml: {name} has no {matcher}");
            }
        }
    }
}
