//! `gatepost-load report`: saved results again, two runs against each other, two records against each other.

use super::{folder, histogram::Unreadable, run_page, text::text, verdict, versus};
use crate::{ledger::reconcile, result::RunResult};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What the command line said.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Args {
    /// A folder that `run --out` wrote, or its run.json; with two, the second is compared with the first
    #[arg(value_name = "PATH", num_args = 1..=2)]
    paths: Vec<PathBuf>,

    /// Write an HTML page of it
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Print the summary (what happens without --html and --json)
    #[arg(long)]
    text: bool,

    /// Print the result as JSON, readably; of one run
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Compare the source's ledger with the sink's: what was lost, what came twice. Exits 1 on loss or damage
    Reconcile {
        /// The ledger.json of a run, or its folder
        ledger: PathBuf,
        /// A file with the answer of a sink's `GET /tally?run=...`
        tally: PathBuf,
    },
}

/// Bad data, in sysexits' words.
const DATA: u8 = 65;

/// Runs the command.
#[must_use]
pub fn main(args: &Args) -> ExitCode {
    let outcome = match &args.command {
        Some(Command::Reconcile { ledger, tally }) => reconciled(ledger, tally),
        None => show(args),
    };
    outcome.unwrap_or_else(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return ExitCode::SUCCESS; // The reader had enough.
        }
        eprintln!("gatepost-load: {error}");
        ExitCode::from(DATA)
    })
}

fn show(args: &Args) -> io::Result<ExitCode> {
    let runs: Vec<RunResult> = args
        .paths
        .iter()
        .map(|path| folder::read_result(path))
        .collect::<io::Result<_>>()?;
    let plain = args.text || !(args.json || args.html.is_some());
    let (summary, page): (String, Box<dyn Fn() -> Result<String, Unreadable>>) = match &*runs {
        [one] => (text(one), Box::new(|| run_page::page(one))),
        [first, second] => (
            versus::text(first, second),
            Box::new(|| versus::page(first, second)),
        ),
        _ => return Ok(ExitCode::from(64)), // clap has seen to it that there are one or two.
    };
    let mut out = io::stdout().lock();
    if plain {
        out.write_all(summary.as_bytes())?;
    }
    if args.json {
        for run in &runs {
            serde_json::to_writer_pretty(&mut out, run)?;
            writeln!(out)?;
        }
    }
    if let Some(file) = &args.html {
        let html = page().map_err(io::Error::other)?;
        write(file, &html)?;
        writeln!(out, "wrote {}", file.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    fs::write(file, text)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

fn reconciled(ledger: &Path, tally: &Path) -> io::Result<ExitCode> {
    let (ledger, tally) = (folder::read_ledger(ledger)?, folder::read_tally(tally)?);
    if ledger.run != tally.run {
        let why = format!(
            "the records are of two runs: the ledger of {}, the tally of {}",
            ledger.run, tally.run
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let found = reconcile(&ledger, &tally);
    let verdict = verdict::reconciled(&found);
    let mut out = io::stdout().lock();
    writeln!(out, "{}", verdict.line)?;
    for detail in verdict.details {
        writeln!(out, "  {detail}")?;
    }
    Ok(if found.is_whole() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
