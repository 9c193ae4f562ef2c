//! What the two records of a run say of each other, in words.

use super::units::{count, micros};
use crate::result::{Reconciliation, RunResult};

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should.
    Good,
    /// Nothing is proven, or something is odd that SMTP allows.
    Unsure,
    /// Mail was lost, damaged or made up.
    Bad,
}

/// A verdict: one line to read first, and what else is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it went.
    pub tone: Tone,
    /// The line.
    pub line: String,
    /// A sentence for each number after it that is not zero.
    pub details: Vec<String>,
}

/// The verdict on a run.
#[must_use]
pub fn verdict(result: &RunResult) -> Verdict {
    match &result.reconciliation {
        Some(found) => reconciled(found),
        None => Verdict {
            tone: Tone::Unsure,
            line: format!(
                "Not reconciled: {} messages were acknowledged, and no sink was asked what arrived.",
                count(result.totals.acknowledged)
            ),
            details: vec![
                "Send to a `gatepost-load sink` behind the server, and name its --sink-control."
                    .to_owned(),
            ],
        },
    }
}

/// The verdict on two records.
#[must_use]
pub fn reconciled(found: &Reconciliation) -> Verdict {
    let mut faults = Vec::new();
    for (number, what) in [
        (found.lost, "lost"),
        (found.damaged, "damaged"),
        (found.unsent_arrived, "arrived that were never finished"),
    ] {
        if number > 0 {
            faults.push(format!("{} {what}", count(number)));
        }
    }
    let acknowledged = count(found.acknowledged);
    let (tone, line) = if !faults.is_empty() {
        let faults = faults.join(", ");
        (
            Tone::Bad,
            format!("Not whole: of {acknowledged} acknowledged messages: {faults}."),
        )
    } else if found.twice > 0 {
        let line = format!(
            "Whole: all {acknowledged} acknowledged messages arrived; {} more than once.",
            count(found.twice)
        );
        (Tone::Unsure, line)
    } else if found.acknowledged == 0 {
        (
            Tone::Unsure,
            "Nothing was acknowledged, so nothing could be lost.".to_owned(),
        )
    } else {
        let line = format!("Whole: all {acknowledged} acknowledged messages arrived, once each.");
        (Tone::Good, line)
    };
    Verdict {
        tone,
        line,
        details: details(found),
    }
}

fn details(found: &Reconciliation) -> Vec<String> {
    let mut out = Vec::new();
    let mut tell = |number: u64, text: String| {
        if number > 0 {
            out.push(text);
        }
    };
    let first: Vec<_> = found.lost_numbers.iter().map(u32::to_string).collect();
    tell(
        found.lost,
        format!("The first lost ones have the numbers {}.", first.join(", ")),
    );
    tell(
        found.damaged,
        format!(
            "{} copies had a wrong checksum or length.",
            count(found.damaged)
        ),
    );
    tell(
        found.twice,
        format!(
            "{} messages reached a recipient more than once; SMTP allows it where a reply got lost.",
            count(found.twice)
        ),
    );
    tell(
        found.uncertain,
        format!(
            "{} connections died before the final reply; {} of those messages arrived. A sender would send them again.",
            count(found.uncertain),
            count(found.uncertain_arrived)
        ),
    );
    tell(
        found.refused,
        match found.refused_arrived {
            0 => format!(
                "{} messages were refused, and none of them arrived.",
                count(found.refused)
            ),
            arrived => format!(
                "{} messages were refused; {} of them arrived all the same.",
                count(found.refused),
                count(arrived)
            ),
        },
    );
    tell(
        found.unsent_arrived,
        format!(
            "{} messages arrived whose end was never sent: the server made an end of its own.",
            count(found.unsent_arrived)
        ),
    );
    tell(
        found.copies.saturating_sub(found.arrived),
        format!(
            "The sink took {} copies of {} messages.",
            count(found.copies),
            count(found.arrived)
        ),
    );
    out
}

/// What the latencies of a run are worth: a caution where the generator itself was late.
#[must_use]
pub fn caution(result: &RunResult) -> Option<String> {
    let totals = &result.totals;
    let behind = totals.intended.saturating_sub(totals.begun);
    (behind > 0 && behind * 100 > totals.intended).then(|| {
        format!(
            "{} of {} intended messages were never begun: the server, or this machine, could not keep up. \
             Those begun late count from their intended start (p99 {}).",
            count(behind),
            count(totals.intended),
            micros(result.latency.p99_us as f64)
        )
    })
}

/// The last rate that held, where the run looked for it.
#[must_use]
pub fn knee(result: &RunResult) -> Option<String> {
    let knee = result.knee.as_ref()?;
    Some(if knee.why.is_empty() {
        format!(
            "No knee up to {:.0} messages a second: all limits were kept.",
            knee.rate
        )
    } else {
        format!(
            "Knee: {:.0} messages a second; behind it {}.",
            knee.rate, knee.why
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_run_is_one_line() {
        let found = Reconciliation {
            acknowledged: 60_000,
            arrived: 60_000,
            copies: 60_000,
            ..Reconciliation::default()
        };
        let verdict = reconciled(&found);
        assert_eq!(verdict.tone, Tone::Good);
        assert_eq!(
            verdict.line,
            "Whole: all 60,000 acknowledged messages arrived, once each."
        );
        assert!(verdict.details.is_empty());
    }

    #[test]
    fn each_fault_is_told() {
        let found = Reconciliation {
            acknowledged: 10,
            arrived: 9,
            copies: 11,
            lost: 2,
            lost_numbers: vec![3, 7],
            twice: 1,
            damaged: 1,
            uncertain: 2,
            uncertain_arrived: 1,
            refused: 4,
            refused_arrived: 1,
            unsent_arrived: 1,
        };
        let verdict = reconciled(&found);
        assert_eq!(verdict.tone, Tone::Bad);
        let all = format!("{} {}", verdict.line, verdict.details.join(" "));
        for part in [
            "2 lost",
            "1 damaged",
            "numbers 3, 7.",
            "more than once",
            "2 connections died",
            "4 messages were refused; 1 of",
            "never sent",
            "11 copies of 9",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn what_was_not_asked_is_not_claimed() {
        let verdict = verdict(&RunResult::default());
        assert_eq!(verdict.tone, Tone::Unsure);
        assert!(verdict.line.starts_with("Not reconciled"));
    }
}
