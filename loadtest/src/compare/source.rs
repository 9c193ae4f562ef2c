//! The source: our own, in this process, or Postfix's smtp-source.

use super::{
    peer::program,
    works::{Ends, Work},
};
use crate::{
    ledger::Ledger,
    run::{self, Hooks, Plan, Settings},
    tls::Mode,
};
use std::{
    fs, io,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Instant,
};

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// How.
    pub work: &'a Work,
    /// Where to.
    pub target: SocketAddr,
    /// How many messages.
    pub messages: u32,
    /// How many a second; `None`: as fast as the sessions go.
    pub rate: Option<f64>,
    /// Where the source runs.
    pub cores: &'a [usize],
}

/// What was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Messages with a 250.
    pub acknowledged: u64,
    /// From the first to the last of them.
    pub took_s: f64,
    /// CPU of the source.
    pub cpu_s: f64,
    /// Median, 0.99 and 0.999 in µs; zeroes where the source doesn't tell.
    pub latency_us: [u64; 3],
    /// What became of each, where the source keeps a ledger.
    pub ledger: Option<Ledger>,
}

/// Sends, and waits for the end.
///
/// # Errors
/// The source can't run, or did not get one message through.
pub fn send(job: &Job<'_>) -> io::Result<Sent> {
    match job.work.ends {
        Ends::Own => own(job),
        Ends::Postfix => smtp_source(job),
    }
}

fn own(job: &Job<'_>) -> io::Result<Sent> {
    let plan = Plan::new(settings(job)).map_err(io::Error::other)?;
    let (result, ledger) = run::execute(&plan, &Hooks::default())
        .map_err(|error| io::Error::other(error.to_string()))?;
    let totals = result.totals;
    if totals.acknowledged == 0 {
        return Err(io::Error::other(format!(
            "no message came through {}: {:?}",
            job.target, result.errors
        )));
    }
    if job.work.tls.resumes && totals.resumed < totals.handshakes / 2 {
        return Err(io::Error::other(format!(
            "{} resumed {} of {} sessions: this would measure full handshakes",
            job.target, totals.resumed, totals.handshakes
        )));
    }
    Ok(Sent {
        acknowledged: totals.acknowledged,
        took_s: result.took_s,
        cpu_s: result.own_cpu_us_per_message * totals.acknowledged as f64 / 1e6,
        latency_us: [
            result.latency.p50_us,
            result.latency.p99_us,
            result.latency.p999_us,
        ],
        ledger: Some(ledger),
    })
}

/// The work as the settings of a run.
fn settings(job: &Job<'_>) -> Settings {
    let work = job.work;
    let on = |yes: bool| if yes { "auto" } else { "off" };
    let how = match job.rate {
        Some(rate) => format!("rate = {rate:.1}\nsessions_max = 1000"),
        None => format!("closed = true\nsessions = {}", work.sessions),
    };
    let each = match work.per_session {
        0 => "\"all\"".to_owned(),
        count => count.to_string(),
    };
    let tls = match work.tls.front {
        Mode::None => String::new(),
        mode => format!(
            "tls = \"{mode}\"\ntls_name = \"edge.bench.example\"\ntls_resume = {}.0\n",
            u8::from(work.tls.resumes)
        ),
    };
    let text = format!(
        "{how}\ntargets = [\"{}\"]\nmessages = {}\nmessages_per_session = {each}\nsize = \"{}\"\n\
         pipelining = \"{}\"\nchunking = \"{}\"\nrecipient = [\"user@bench.example\"]\n\
         sender = \"sender@from.example\"\nworkers = {}\ncores = {:?}\n{tls}",
        job.target,
        job.messages,
        work.size,
        on(work.pipelining),
        on(work.bdat),
        job.cores.len(),
        job.cores,
    );
    toml::from_str(&text).expect("a test makes the settings of every work")
}

fn smtp_source(job: &Job<'_>) -> io::Result<Sent> {
    let work = job.work;
    let name = program("smtp-source").unwrap_or_else(|| "smtp-source".into());
    let cores: Vec<String> = job.cores.iter().map(usize::to_string).collect();
    let mut command = Command::new("taskset");
    command
        .args(["-c", &cores.join(",")])
        .arg(name)
        .args(["-s", &work.sessions.to_string()])
        .args(["-m", &job.messages.to_string()])
        .args(["-l", &work.size.to_string()])
        .args(["-f", "sender@from.example", "-t", "user@bench.example"]);
    if work.per_session == 0 {
        command.arg("-d");
    }
    command
        .arg(job.target.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let (begun, cpu) = (Instant::now(), children_cpu_s());
    let status = command.status()?;
    if !status.success() {
        return Err(io::Error::other(format!(
            "smtp-source to {} ended with {status}",
            job.target
        )));
    }
    Ok(Sent {
        acknowledged: u64::from(job.messages),
        took_s: begun.elapsed().as_secs_f64(),
        cpu_s: children_cpu_s() - cpu,
        latency_us: [0; 3],
        ledger: None,
    })
}

/// CPU of children that have ended: the source is the only one that does during a run.
fn children_cpu_s() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = rest.split_whitespace().skip(13).take(2);
    ticks
        .filter_map(|tick| tick.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::works::WORKS, *};

    #[test]
    fn every_work_is_a_plan() {
        for work in WORKS {
            for rate in [None, Some(1234.5)] {
                let job = Job {
                    work,
                    target: "127.0.0.1:2525".parse().unwrap(),
                    messages: 10,
                    rate,
                    cores: &[1],
                };
                let plan = Plan::new(settings(&job)).unwrap();
                assert_eq!(plan.messages, 10);
            }
        }
    }
}
