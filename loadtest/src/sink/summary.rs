//! The sums of all workers, as JSON and as text.

use super::{
    counters::{Count, Counters},
    point::{Cut, Fault, Point},
    shared::Shared,
    tallies::RunCounts,
};
use crate::{
    report::{
        histogram,
        units::{count, micros, octets, rate},
    },
    result::Latency,
};
use gatepost::{net::now, smtp::Verb};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::atomic::Ordering::Relaxed,
};

/// What the sink did since it was started, or reset.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// How long that is.
    pub took_s: f64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// The most that were open at once.
    pub connections_max: u64,
    /// Transactions begun (MAIL accepted).
    pub transactions: u64,
    /// Messages taken.
    pub messages: u64,
    /// Recipients of them.
    pub recipients: u64,
    /// Octets of them, without stuffing and terminators.
    pub octets: u64,
    /// Commands by verb; LHLO counts as EHLO.
    pub commands: BTreeMap<String, u64>,
    /// Replies of 4xx and 5xx that were asked for or due to a limit, by point.
    pub refused: BTreeMap<String, u64>,
    /// Replies that were none, by point.
    pub garbled: BTreeMap<String, u64>,
    /// Connections dropped on purpose, by place.
    pub dropped: BTreeMap<String, u64>,
    /// What clients did that they must not.
    pub faults: BTreeMap<String, u64>,
    /// Messages whose checksum or length was wrong.
    pub damaged: u64,
    /// Messages that had been here before.
    pub duplicates: u64,
    /// Messages without a stamp: not of a run.
    pub unstamped: u64,
    /// Messages saved to the folder.
    pub saved: u64,
    /// Sessions that AUTH let in.
    #[serde(default)]
    pub authenticated: u64,
    /// TLS handshakes that succeeded.
    #[serde(default)]
    pub handshakes: u64,
    /// Those of them that resumed a session.
    #[serde(default)]
    pub handshakes_resumed: u64,
    /// TLS handshakes that failed.
    #[serde(default)]
    pub handshakes_failed: u64,
    /// Messages in the last whole second.
    pub rate_now: u64,
    /// Messages a second, from the first to the last one.
    pub rate: f64,
    /// From the arrival of MAIL to the reply after the message, in microseconds.
    pub latency: Latency,
    /// The runs that messages came from.
    pub runs: Vec<RunCounts>,
}

impl Summary {
    /// Reads all counters.
    pub(super) fn of(shared: &Shared) -> Summary {
        let all = &shared.counters;
        let sum = |of: fn(&Counters) -> &Count| all.iter().map(|one| of(one).get()).sum::<u64>();
        let named = |of: fn(&Counters) -> &[Count], name: fn(usize) -> &'static str| {
            let mut found = BTreeMap::new();
            for counters in all {
                for (at, count) in of(counters).iter().enumerate() {
                    if count.get() > 0 {
                        *found.entry(name(at).to_string()).or_default() += count.get();
                    }
                }
            }
            found
        };
        let moment = now();
        let messages = sum(|one| &one.messages);
        Summary {
            took_s: moment.since(shared.counting_since()).as_secs_f64(),
            connections: sum(|one| &one.connections),
            connections_open: shared.open.load(Relaxed),
            connections_max: shared.open_max.load(Relaxed),
            transactions: sum(|one| &one.transactions),
            messages,
            recipients: sum(|one| &one.recipients),
            octets: sum(|one| &one.octets),
            commands: named(|one| &one.commands, |at| Verb::ALL[at].as_str()),
            refused: named(|one| &one.refused, |at| Point::ALL[at].as_str()),
            garbled: named(|one| &one.garbled, |at| Point::ALL[at].as_str()),
            dropped: named(|one| &one.dropped, |at| Cut::ALL[at].as_str()),
            faults: named(|one| &one.faults, |at| Fault::ALL[at].as_str()),
            damaged: sum(|one| &one.damaged),
            duplicates: sum(|one| &one.duplicates),
            unstamped: sum(|one| &one.unstamped),
            saved: sum(|one| &one.saved),
            authenticated: sum(|one| &one.authenticated),
            handshakes: sum(|one| &one.handshakes),
            handshakes_resumed: sum(|one| &one.handshakes_resumed),
            handshakes_failed: sum(|one| &one.handshakes_failed),
            rate_now: all
                .iter()
                .map(|one| one.in_second((moment.0 / 1_000_000).saturating_sub(1)))
                .sum(),
            rate: pace(all, messages),
            latency: latency(all),
            runs: shared.tallies().counts(),
        }
    }

    /// The summary as text for people, several lines.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, f: &mut String) -> fmt::Result {
        writeln!(
            f,
            "messages     {} for {} recipients, {}, {}",
            count(self.messages),
            count(self.recipients),
            octets(self.octets as f64),
            rate(self.rate)
        )?;
        writeln!(
            f,
            "connections  {} ({} at once), {} transactions",
            count(self.connections),
            count(self.connections_max),
            count(self.transactions)
        )?;
        if self.handshakes + self.handshakes_failed > 0 {
            writeln!(
                f,
                "handshakes   {}, {} of them resumed; {} failed",
                count(self.handshakes),
                count(self.handshakes_resumed),
                count(self.handshakes_failed)
            )?;
        }
        let of = &self.latency;
        let [p50, p99, max] = [of.p50_us, of.p99_us, of.max_us].map(|value| micros(value as f64));
        writeln!(
            f,
            "latency      p50 {p50}, p99 {p99}, max {max}, from MAIL to the last reply"
        )?;
        for (name, map) in [
            ("commands", &self.commands),
            ("refused", &self.refused),
            ("garbled", &self.garbled),
            ("dropped", &self.dropped),
            ("faults", &self.faults),
        ] {
            if !map.is_empty() {
                let words: Vec<_> = map
                    .iter()
                    .map(|(what, number)| format!("{what} {}", count(*number)))
                    .collect();
                writeln!(f, "{name:<12} {}", words.join(", "))?;
            }
        }
        for run in &self.runs {
            writeln!(
                f,
                "run          {}: {} messages in {} copies",
                run.run,
                count(run.messages),
                count(run.copies)
            )?;
        }
        let odd = [
            ("damaged", self.damaged),
            ("duplicates", self.duplicates),
            ("unstamped", self.unstamped),
            ("saved", self.saved),
            ("logged in", self.authenticated),
        ];
        for (name, number) in odd.into_iter().filter(|(_, number)| *number > 0) {
            writeln!(f, "{name:<12} {}", count(number))?;
        }
        Ok(())
    }

    /// One line of progress.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!(
            "{} messages, {}/s, {} connections, p99 {}",
            count(self.messages),
            count(self.rate_now),
            count(self.connections_open),
            micros(self.latency.p99_us as f64),
        );
        let refused: u64 = self.refused.values().sum();
        let dropped: u64 = self.dropped.values().sum();
        for (name, number) in [
            ("refused", refused),
            ("dropped", dropped),
            ("damaged", self.damaged),
            ("duplicates", self.duplicates),
        ] {
            if number > 0 {
                line += &format!(", {} {name}", count(number));
            }
        }
        line
    }
}

/// Messages a second between the first and the last.
fn pace(all: &[Counters], messages: u64) -> f64 {
    let first = all.iter().filter_map(Counters::first).min();
    let last = all.iter().filter_map(Counters::last).max();
    match (first, last) {
        (Some(first), Some(last)) if last > first => {
            messages as f64 / last.since(first).as_secs_f64()
        }
        _ => 0.0,
    }
}

fn latency(all: &[Counters]) -> Latency {
    let mut sum = histogram::empty();
    for counters in all {
        // It has the same range, or grows.
        let _ = sum.add(&*counters.latency_locked());
    }
    histogram::latency(&sum)
}
