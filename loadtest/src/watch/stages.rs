//! The stages of a Gatepost under test, during the run alone: its `/stages` after the run minus those before it.

use crate::{report::histogram, result::StageResult};
use hdrhistogram::Histogram;
use serde::Deserialize;
use std::{collections::BTreeMap, io, time::Duration};

/// The longest answer that is read.
const ANSWER_MAX: u64 = 64 << 20;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The stages at one moment, since the proxy's start.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// In the order of a session; of each the sum first, with an empty scope.
    stages: Vec<(String, String, Histogram<u64>)>,
}

/// Reads the stages of a Gatepost at its admin address, `127.0.0.1:9025`.
///
/// # Errors
/// Where no Gatepost answers there, with the address and what to do.
pub fn fetch(address: &str) -> io::Result<Snapshot> {
    let page = format!("http://{address}/stages?histograms=1");
    let explained = |error: String| {
        io::Error::other(format!(
            "{page}: {error}; the address should be [admin] listen of the Gatepost under test"
        ))
    };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .proxy(None)
        .build()
        .into();
    let mut answer = agent
        .get(&page)
        .call()
        .map_err(|error| explained(error.to_string()))?;
    let text = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_MAX)
        .read_to_string()
        .map_err(|error| explained(error.to_string()))?;
    read(&text).map_err(explained)
}

/// What came between two moments: stages that had nothing are left out. Where the proxy began anew in between, all
/// that the new one has.
#[must_use]
pub fn difference(before: &Snapshot, after: &Snapshot) -> Vec<StageResult> {
    let earlier: BTreeMap<_, _> = before
        .stages
        .iter()
        .map(|(stage, scope, histogram)| ((stage, scope), histogram))
        .collect();
    let mut found = Vec::new();
    for (stage, scope, histogram) in &after.stages {
        let mut recent = histogram.clone();
        if let Some(earlier) = earlier.get(&(stage, scope))
            && recent.subtract(*earlier).is_err()
        {
            recent = histogram.clone();
        }
        if recent.is_empty() {
            continue;
        }
        found.push(StageResult {
            stage: stage.clone(),
            scope: scope.clone(),
            count: recent.len(),
            p50_us: recent.value_at_quantile(0.5),
            p90_us: recent.value_at_quantile(0.9),
            p99_us: recent.value_at_quantile(0.99),
            p999_us: recent.value_at_quantile(0.999),
            max_us: recent.max(),
        });
    }
    found
}

#[derive(Deserialize)]
struct Answer {
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
struct Stage {
    stage: String,
    histogram: String,
    #[serde(default)]
    scopes: Vec<Scope>,
}

#[derive(Deserialize)]
struct Scope {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    histogram: String,
}

fn read(text: &str) -> Result<Snapshot, String> {
    let answer: Answer = serde_json::from_str(text)
        .map_err(|error| format!("not the answer of a Gatepost: {error}"))?;
    let decode = |text: &str| histogram::decode(text).map_err(|error| error.to_string());
    let mut stages = Vec::new();
    for stage in answer.stages {
        stages.push((
            stage.stage.clone(),
            String::new(),
            decode(&stage.histogram)?,
        ));
        for scope in stage.scopes {
            let labels: Vec<_> = ["listener", "pool", "backend", "check"]
                .into_iter()
                .filter_map(|key| scope.labels.get(key).map(String::as_str))
                .collect();
            // A stage without a scope of its own has one without labels: the sum once more.
            if !labels.is_empty() {
                let histogram = decode(&scope.histogram)?;
                stages.push((stage.stage.clone(), labels.join("/"), histogram));
            }
        }
    }
    Ok(Snapshot { stages })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gatepost::metrics::{Recorder, Stage as Measured, export::stages_json};

    fn snapshot(recorder: &Recorder) -> Snapshot {
        let view = recorder.registry().view([&recorder.snapshot()]);
        read(&stages_json(&view, true).to_string()).unwrap()
    }

    #[test]
    fn only_what_came_in_between_is_told() {
        let recorder = Recorder::alone();
        let backend = recorder.registry().backend("cluster", "10.0.0.1:25");
        for _ in 0..1000 {
            recorder.record(Measured::Commit, backend, 9_000_000);
        }
        recorder.record(Measured::Quit, recorder.registry().listener("mx"), 3);
        let before = snapshot(&recorder);
        for micros in 1..=100 {
            recorder.record(Measured::Commit, backend, micros);
        }
        let found = difference(&before, &snapshot(&recorder));
        let names: Vec<_> = found.iter().map(|s| (&*s.stage, &*s.scope)).collect();
        assert_eq!(names, [("commit", ""), ("commit", "cluster/10.0.0.1:25")]);
        for stage in &found {
            assert_eq!((stage.count, stage.p50_us, stage.p99_us), (100, 50, 99));
            assert!(stage.max_us < 200, "not what was before: {stage:?}");
        }
    }

    #[test]
    fn a_proxy_that_began_anew_is_told_whole() {
        let (old, new) = (Recorder::alone(), Recorder::alone());
        for recorder in [&old, &new] {
            recorder.record(Measured::Quit, recorder.registry().listener("mx"), 3);
        }
        old.record(Measured::Quit, old.registry().listener("mx"), 700);
        let found = difference(&snapshot(&old), &snapshot(&new));
        assert_eq!(found[0].count, 1);
        assert!(difference(&snapshot(&old), &snapshot(&old)).is_empty());
    }

    #[test]
    fn another_server_is_told() {
        assert!(
            read("{}")
                .unwrap_err()
                .contains("not the answer of a Gatepost")
        );
        let error = fetch("127.0.0.1:1").unwrap_err().to_string();
        assert!(
            error.contains("127.0.0.1:1") && error.contains("[admin] listen"),
            "{error}"
        );
    }
}
