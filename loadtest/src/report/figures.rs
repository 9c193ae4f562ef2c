//! The figures that two runs are compared by.

use super::{plots::Unit, text::per_second};
use crate::result::RunResult;

/// A number, and which way is better.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// What it is counted in.
    pub unit: Unit,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// The number.
    pub value: f64,
}

/// Numbers that differ by less than this are said to be the same.
const SAME: f64 = 0.03;

/// All figures of a run. Percentiles that the samples don't reach are left out: with 500 messages there is no p99.9.
#[must_use]
pub fn figures(result: &RunResult) -> Vec<Figure> {
    let mut found = Vec::new();
    let mut add = |name: &str, unit, more_is_better, value: f64| {
        found.push(Figure {
            name: name.to_owned(),
            unit,
            more_is_better,
            value,
        });
    };
    let totals = &result.totals;
    let reached = per_second(totals.acknowledged, result.took_s);
    add("acknowledged", Unit::PerSecond, true, reached);
    let wanted = totals.intended.max(totals.begun);
    if wanted > 0 {
        let missed = wanted.saturating_sub(totals.acknowledged) as f64;
        let missed = missed * 100.0 / wanted as f64;
        add("not acknowledged", Unit::Percent, false, missed);
    }
    if let Some(found) = &result.reconciliation {
        add("lost", Unit::Count, false, found.lost as f64);
        add("twice", Unit::Count, false, found.twice as f64);
    }
    let latency = &result.latency;
    for (name, value, samples) in [
        ("latency mean", latency.mean_us, 1),
        ("latency p50", latency.p50_us as f64, 1),
        ("latency p90", latency.p90_us as f64, 10),
        ("latency p99", latency.p99_us as f64, 100),
        ("latency p99.9", latency.p999_us as f64, 1_000),
        ("latency p99.99", latency.p9999_us as f64, 10_000),
        ("latency max", latency.max_us as f64, 1),
    ] {
        if latency.count >= samples {
            add(name, Unit::Micros, false, value);
        }
    }
    for process in &result.processes {
        let (cpu, memory) = (
            format!("CPU a message, {}", process.name),
            format!("memory, {}", process.name),
        );
        add(&cpu, Unit::Micros, false, process.cpu_us_per_message);
        add(&memory, Unit::Octets, false, process.rss_max as f64);
    }
    found
}

/// The same figure of two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// That of the first.
    pub first: Figure,
    /// The second's number.
    pub second: f64,
}

/// Which of two is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The first.
    First,
    /// The second.
    Second,
    /// Neither, by less than 3 %.
    Neither,
}

impl Pair {
    /// The second divided by the first; `None` where the first is 0.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.first.value > 0.0).then(|| self.second / self.first.value)
    }

    /// Which is better.
    #[must_use]
    pub fn better(&self) -> Better {
        let (first, second) = (self.first.value, self.second);
        if (first - second).abs() <= SAME * first.abs().max(second.abs()) {
            Better::Neither
        } else if (second > first) == self.first.more_is_better {
            Better::Second
        } else {
            Better::First
        }
    }
}

/// The figures that both runs have.
#[must_use]
pub fn pairs(first: &RunResult, second: &RunResult) -> Vec<Pair> {
    let others = figures(second);
    figures(first)
        .into_iter()
        .filter_map(|first| {
            let second = others.iter().find(|other| other.name == first.name)?.value;
            Some(Pair { first, second })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(more_is_better: bool, first: f64, second: f64) -> Pair {
        let (name, unit) = (String::new(), Unit::Micros);
        Pair {
            first: Figure {
                name,
                unit,
                more_is_better,
                value: first,
            },
            second,
        }
    }

    #[test]
    fn better_is_less_or_more_as_it_should() {
        assert_eq!(pair(false, 100.0, 80.0).better(), Better::Second);
        assert_eq!(pair(true, 100.0, 80.0).better(), Better::First);
        assert_eq!(pair(true, 100.0, 101.0).better(), Better::Neither);
        assert_eq!(pair(false, 0.0, 0.0).better(), Better::Neither);
        assert_eq!(pair(false, 0.0, 3.0).better(), Better::First);
        assert_eq!(pair(false, 0.0, 3.0).ratio(), None);
    }

    #[test]
    fn percentiles_need_samples() {
        let mut result = RunResult::default();
        result.latency.count = 500;
        let names: Vec<_> = figures(&result).into_iter().map(|f| f.name).collect();
        assert!(names.iter().any(|name| name == "latency p99"));
        assert!(!names.iter().any(|name| name == "latency p99.9"));
    }
}
