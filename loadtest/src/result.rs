//! All that is known of a run. What [`crate::report`] shows, and what is saved as JSON, is this.
//!
//! Times are seconds since the run's start, latencies microseconds; names end in their unit.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the saved form; raised when old reports could not be read any more.
pub const VERSION: u32 = 1;

/// A run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunResult {
    /// [`VERSION`].
    pub version: u32,
    /// What the run was called; the scenario's name, where there was one.
    pub name: String,
    /// When it began (RFC 3339, UTC).
    pub started: String,
    /// How long it took, from the first message's intended start to the last reply.
    pub took_s: f64,
    /// Host, kernel, processor, cores.
    pub machine: Machine,
    /// Where the mail went.
    pub target: String,
    /// The plan in force, flags included, as the TOML of a scenario.
    pub plan: String,
    /// Sums over the whole run.
    pub totals: Totals,
    /// From the intended start of a message to its final reply: what a client waits. In a closed loop a message is
    /// intended when its session is free.
    pub latency: Latency,
    /// The steps of a message, each from the write to the reply: `connect`, `tls` and `tls-resumed` (a handshake in
    /// full, and one that resumed a session), `greeting`, `hello`, `auth` (all of the exchange), `mail`, `rcpt`, `data`, `body`, and `service` (from the first octet sent for it to the final reply).
    pub steps: BTreeMap<String, Latency>,
    /// One a second, or one an [`Interval::length_s`].
    pub intervals: Vec<Interval>,
    /// Replies that were not the ones wished for, by step and code: `"rcpt 550 5.1.1"`, `"body 451 4.4.2"`; and what
    /// was no reply: `"connect refused"`, `"body connection lost"`.
    pub errors: BTreeMap<String, u64>,
    /// The last rate that held, where the run looked for it.
    #[serde(default)]
    pub knee: Option<Knee>,
    /// What the two records say of each other, where the sink could be asked.
    pub reconciliation: Option<Reconciliation>,
    /// The proxy's own stages during the run (`/stages` after minus before), where it could be asked.
    pub stages: Vec<StageResult>,
    /// Processes that were watched.
    pub processes: Vec<ProcessResult>,
    /// This generator's own use.
    pub own_cpu_us_per_message: f64,
}

/// Where more load than the target carries begins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Knee {
    /// Messages a second, the last that were carried within the limits.
    pub rate: f64,
    /// What was beyond them then; empty where the load ended before anything was.
    pub why: String,
}

/// The machine that sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel's name and release.
    pub kernel: String,
    /// Model of the processor.
    pub processor: String,
    /// How many the process may use.
    pub cores: usize,
}

/// Sums over a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages that should have been sent by the end, by the plan.
    pub intended: u64,
    /// Messages begun.
    pub begun: u64,
    /// Acknowledged with 250.
    pub acknowledged: u64,
    /// Refused with 4xx, the whole message.
    pub deferred: u64,
    /// Refused with 5xx, the whole message.
    pub rejected: u64,
    /// Connection lost after the end of the message, before its reply.
    pub uncertain: u64,
    /// Ended by us on purpose.
    pub aborted: u64,
    /// Died on the way without a reply: connect failed, connection lost, deadline.
    pub failed: u64,
    /// Recipients accepted and refused.
    pub recipients: u64,
    /// Recipients refused at RCPT.
    pub recipients_refused: u64,
    /// Connections opened.
    pub connections: u64,
    /// TLS handshakes that succeeded.
    #[serde(default)]
    pub handshakes: u64,
    /// Those of them that resumed a session.
    #[serde(default)]
    pub resumed: u64,
    /// Sessions that authenticated.
    #[serde(default)]
    pub authenticated: u64,
    /// Octets of payload of acknowledged messages.
    pub octets: u64,
}

/// A distribution of latencies.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Microseconds.
    pub mean_us: f64,
    /// Microseconds.
    pub min_us: u64,
    /// Microseconds.
    pub max_us: u64,
    /// Quantiles in microseconds.
    pub p50_us: u64,
    /// 0.9.
    pub p90_us: u64,
    /// 0.99.
    pub p99_us: u64,
    /// 0.999.
    pub p999_us: u64,
    /// 0.9999.
    pub p9999_us: u64,
    /// The whole histogram: HdrHistogram V2, deflated, in base64 (what HdrHistogram logs hold).
    pub histogram: String,
}

/// A piece of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Interval {
    /// When it begins.
    pub at_s: f64,
    /// How long it is.
    pub length_s: f64,
    /// Messages whose intended start lies in it.
    pub intended: u64,
    /// Messages acknowledged in it.
    pub acknowledged: u64,
    /// Refused in it, 4xx and 5xx.
    pub refused: u64,
    /// Failed, uncertain or aborted in it.
    pub failed: u64,
    /// Octets of payload acknowledged in it.
    pub octets: u64,
    /// Sessions open at its end.
    pub sessions: u64,
    /// Errors by key, as in [`RunResult::errors`].
    pub errors: BTreeMap<String, u64>,
    /// Latencies of the messages that were acknowledged in it.
    pub latency: Latency,
}

/// What the ledger and the tally say of each other, in messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// The source was told 250.
    pub acknowledged: u64,
    /// Seen by the sink at least once.
    pub arrived: u64,
    /// All copies that the sink acknowledged.
    pub copies: u64,
    /// Acknowledged, and missing for one recipient or more.
    pub lost: u64,
    /// Numbers of the first of them.
    pub lost_numbers: Vec<u32>,
    /// Came to a recipient more than once.
    pub twice: u64,
    /// Copies with a wrong checksum or length.
    pub damaged: u64,
    /// The connection died before the final reply.
    pub uncertain: u64,
    /// Those of them that arrived.
    pub uncertain_arrived: u64,
    /// Refused by the server under test.
    pub refused: u64,
    /// Those of them that arrived: a sender would send them again.
    pub refused_arrived: u64,
    /// Arrived though their end was never sent: must not happen.
    pub unsent_arrived: u64,
}

impl Reconciliation {
    /// How many numbers of lost messages are kept.
    pub const NUMBERS_MAX: usize = 20;

    /// Nothing lost, nothing damaged, nothing that should not be there. Second copies are not forbidden by SMTP; they
    /// are told, and the exit code doesn't mind them.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost == 0 && self.damaged == 0 && self.unsent_arrived == 0
    }

    pub(crate) fn note_lost(&mut self, number: usize) {
        if self.lost_numbers.len() < Self::NUMBERS_MAX {
            self.lost_numbers.push(number as u32);
        }
    }
}

/// One stage of the proxy under test.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StageResult {
    /// Its name.
    pub stage: String,
    /// Where: listener, backend, check; empty for the sum.
    pub scope: String,
    /// How many.
    pub count: u64,
    /// Microseconds.
    pub p50_us: u64,
    /// Microseconds.
    pub p90_us: u64,
    /// Microseconds.
    pub p99_us: u64,
    /// Microseconds.
    pub p999_us: u64,
    /// Microseconds.
    pub max_us: u64,
}

/// A process that was watched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProcessResult {
    /// The name it was asked for by.
    pub name: String,
    /// Its pids (a server with children has several).
    pub pids: Vec<u32>,
    /// User and system time between the first and the last sample.
    pub cpu_s: f64,
    /// The same for each acknowledged message.
    pub cpu_us_per_message: f64,
    /// Largest resident memory.
    pub rss_max: u64,
    /// Samples.
    pub samples: Vec<ProcessSample>,
}

/// A look at /proc.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ProcessSample {
    /// When.
    pub at_s: f64,
    /// User and system time since the process began, all threads.
    pub cpu_s: f64,
    /// Resident memory in octets.
    pub rss: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}
