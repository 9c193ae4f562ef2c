//! The command `run`: flags in, a report and an exit code out.

use super::{
    after,
    execute::{Error, Hooks, display, execute},
    plan::Plan,
    scenario,
    settings::Settings,
};
use crate::{
    ledger::Ledger,
    report,
    result::RunResult,
    watch::{self, Watcher, stages},
};
use gatepost::config::Time;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

/// Exit codes of sysexits.h, and 1 for loss.
mod exit {
    pub const LOSS: u8 = 1;
    pub const USAGE: u8 = 64;
    pub const DATA: u8 = 65;
    pub const UNAVAILABLE: u8 = 69;
    pub const OUTPUT: u8 = 74;
    /// As a shell tells of SIGINT.
    pub const KILLED: i32 = 130;
}

const EXAMPLES: &str = "\
Examples:
  gatepost-load run 127.0.0.1:2525 --rate 500 --duration 1m
      500 messages a second; latency counts from the moment at which each should begin
  gatepost-load run 127.0.0.1:2525 --closed --sessions 32 -n 20000
      20,000 messages over 32 sessions, as fast as it goes (as smtp-source -d -s 32 -m 20000)
  gatepost-load run 127.0.0.1:2525 --scenario ramp
      find the rate up to which the target holds
  gatepost-load run 127.0.0.1:2525 --scenario mixed --rate 2000 --out results
      a built-in scenario with another rate, and all results in a folder
  gatepost-load run 127.0.0.1:2525 --rate 500 --sink-control 127.0.0.1:2580
      prove with gatepost-load's sink behind the target that nothing was lost
  gatepost-load run mx.example:465 --tls implicit --tls-resume 50% --closed --messages-per-session 1
      half of the handshakes in full, the other half resumed; each kind has its row of latencies
  gatepost-load run 127.0.0.1:587 --tls starttls --tls-ca ca.pem --tls-name mx.example --auth plain --user me \
        --password secret
      submission: STARTTLS, a certificate that is verified, AUTH
Scenarios: steady, burst, ramp, slowloris, idle, bigmail, spamwave, mixed, handshakes; or a TOML file, whose keys are the flags
with _ for -. --dry-run prints the plan in force as such a file.

Exit codes: 0 all is well, 1 messages were lost or damaged, 64 wrong usage, 65 bad data, 69 the target is not
available.";

/// What the command line said.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A built-in scenario, or a TOML file. Any flag overrides it.
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Print the plan in force as a scenario, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write all results into this folder.
    #[arg(long, value_name = "FOLDER", help_heading = RESULTS)]
    out: Option<PathBuf>,
    /// Print the result as JSON instead of text.
    #[arg(long, help_heading = RESULTS)]
    json: bool,
    /// Ask the sink of gatepost-load at this control address what arrived; exit with 1 if anything was lost.
    #[arg(long, value_name = "HOST:PORT", help_heading = RESULTS)]
    sink_control: Option<String>,
    /// How long to wait for messages that have not arrived yet.
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = RESULTS)]
    settle: Time,
    /// Read the stages of a Gatepost at this admin address, before and after the run.
    #[arg(long, value_name = "HOST:PORT", help_heading = RESULTS)]
    stages: Option<String>,
    /// Watch the CPU and the memory of a process: proxy=1234, or the name of a command.
    #[arg(long, value_name = "NAME=PID", help_heading = RESULTS)]
    watch: Vec<watch::Target>,
    /// Show nothing while it runs.
    #[arg(long, short, help_heading = RESULTS)]
    quiet: bool,
}

const RESULTS: &str = "Results";

/// Runs the command.
#[must_use]
pub fn main(args: &Args) -> ExitCode {
    match run(args) {
        Ok(code) => code,
        Err((code, why)) => {
            eprintln!("gatepost-load: {why}");
            code.into()
        }
    }
}

type Failure = (u8, String);

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let usage = |why| (exit::USAGE, why);
    let mut settings = args.settings.clone();
    if let Some(which) = &args.scenario {
        settings = settings.over(scenario::load(which).map_err(usage)?);
    }
    let plan = Plan::new(settings).map_err(usage)?;
    if args.dry_run {
        return say(&plan.to_toml());
    }
    let unavailable = |why: io::Error| (exit::UNAVAILABLE, why.to_string());
    let before = args.stages.as_deref().map(stages::fetch);
    let before = before.transpose().map_err(unavailable)?;
    let watcher = (!args.watch.is_empty()).then(|| Watcher::start(&args.watch));
    let watcher = watcher.transpose().map_err(unavailable)?;

    let (mut result, ledger) = send(args, &plan)?;

    if let Some(watcher) = watcher {
        result.processes = watcher.finish(result.totals.acknowledged);
    }
    // What was sent is told, whatever can't be asked any more.
    let mut missing = None;
    if let (Some(before), Some(address)) = (before, &args.stages) {
        match stages::fetch(address) {
            Ok(after) => result.stages = stages::difference(&before, &after),
            Err(why) => missing = Some(why.to_string()),
        }
    }
    if let Some(control) = &args.sink_control {
        match after::reconciled(&ledger, control, args.settle.0) {
            Ok(found) => result.reconciliation = Some(found),
            Err(why) => missing = Some(why),
        }
    }
    let code = tell(args, &result, &ledger)?;
    match missing {
        Some(why) => Err((exit::UNAVAILABLE, why)),
        None => Ok(code),
    }
}

/// Executes the plan, with a display, until it is over or ctrl-C ends it.
fn send(args: &Args, plan: &Plan) -> Result<(RunResult, Ledger), Failure> {
    let mut hooks = Hooks::default();
    for signal in [SIGINT, SIGTERM] {
        // The second one finds the flag set and ends the process; the first one sets it.
        let hard = Arc::clone(&hooks.stop);
        signal_hook::flag::register_conditional_shutdown(signal, exit::KILLED, hard)
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&hooks.stop)))
            .map_err(|why| (exit::UNAVAILABLE, format!("no signal handler: {why}")))?;
    }
    let mut shown = None;
    if !args.quiet {
        let target = plan.targets.first().map(ToString::to_string);
        let title = format!("{} to {}", plan.name, target.unwrap_or_default());
        let (sender, thread) = display(title);
        hooks.progress = Some(sender);
        shown = Some(thread);
    }
    let done = execute(plan, &hooks);
    drop(hooks);
    if let Some(thread) = shown {
        // A display that panicked is nobody's loss.
        let _ = thread.join();
    }
    done.map_err(|why| {
        let code = match why {
            Error::Plan(_) => exit::DATA,
            Error::Unreachable(_) | Error::System(_) => exit::UNAVAILABLE,
        };
        (code, why.to_string())
    })
}

fn tell(args: &Args, result: &RunResult, ledger: &Ledger) -> Result<ExitCode, Failure> {
    let output = |why: io::Error| (exit::OUTPUT, why.to_string());
    if let Some(folder) = &args.out {
        report::write_folder(result, ledger, folder).map_err(output)?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(result);
        say(&text.map_err(|why| (exit::OUTPUT, why.to_string()))?)?;
    } else {
        say(&report::text(result))?;
    }
    let whole = result
        .reconciliation
        .as_ref()
        .is_none_or(|found| found.is_whole());
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        exit::LOSS.into()
    })
}

fn say(text: &str) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()) {
        // A closed pipe is not an error.
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err((exit::OUTPUT, why.to_string())),
        _ => Ok(ExitCode::SUCCESS),
    }
}
