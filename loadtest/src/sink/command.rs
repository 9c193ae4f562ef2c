//! `gatepost-load sink`: flags, the wait for the end, and what is printed and written then.

use super::{
    behaviour::{Behaviour, Changes},
    handle::{Handle, Options, start},
    summary::Summary,
};
use crate::{stamp::RunId, tls::Mode};
use gatepost::config::{Io, Time};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::sleep,
    time::{Duration, Instant},
};

/// How often the end is looked for.
const TICK: Duration = Duration::from_millis(50);
/// Time between two lines of progress.
const TELL: Duration = Duration::from_secs(1);
/// The last replies leave behind their counts: so long is waited after the last message.
const LAST_REPLIES: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  gatepost-load sink
      Take everything on 127.0.0.1:2525 until ctrl-C, then tell what came.
  gatepost-load sink --listen 127.0.0.1:2601,127.0.0.1:2602 --workers 2 --control 127.0.0.1:2699
      Two addresses, two threads, and a control port: curl 127.0.0.1:2699/summary
  gatepost-load sink --delay body=50ms --refuse rcpt=450:5%,body=451:1% --drop before-reply:0.5% --seed 7
      A slow backend in a bad mood, the same one each time.
  curl 127.0.0.1:2699/behaviour -d '{\"refuse\": \"\", \"no\": \"chunking\"}'; curl -X POST '127.0.0.1:2699/stall?ms=1000'
      Change a running one: refuse nothing, hide CHUNKING; stand still for a second.
  gatepost-load sink --tls starttls --cert-out sink.pem --auth plain,login --account me:secret
      STARTTLS with a certificate made for it, and AUTH; with --no starttls it is stripped, with --refuse starttls=454
      refused, with --garble handshake:100% broken, with --delay handshake=1m it hangs
  gatepost-load sink --lmtp --save ./mail --messages 10
      Keep ten messages in a Maildir, then end.";

/// What the command line said.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to listen; repeat it, or separate addresses with commas
    #[arg(
        long,
        short,
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:2525"
    )]
    listen: Vec<SocketAddr>,
    /// Speak LMTP (RFC 2033) instead of SMTP
    #[arg(long)]
    lmtp: bool,
    /// Threads; the kernel spreads connections over them
    #[arg(long, short, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Pin the threads to these cores, in turns
    #[arg(long, value_name = "CORE,…", value_delimiter = ',')]
    cores: Vec<usize>,
    /// How to wait for sockets, as in Gatepost's own configuration
    #[arg(long, value_name = "ENGINE", default_value_t = Io::Auto)]
    io: Io,
    /// Serve the control port (HTTP) here
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
    /// The name in the greeting
    #[arg(long, value_name = "NAME", default_value = "sink.example")]
    hostname: String,
    /// Seed of the random behaviour: the same seed treats the nth connection the same way each time
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Keep messages in this Maildir
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,
    /// Keep at most this many messages
    #[arg(long, value_name = "COUNT", default_value_t = 1000, requires = "save")]
    save_max: u64,
    /// When TLS begins: none, starttls or implicit
    #[arg(long, value_name = "MODE", default_value_t = Mode::None)]
    tls: Mode,
    /// The certificate's chain (PEM) [default: a self-signed one is made]
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Write the self-signed certificate to this file (PEM), for a client that verifies it
    #[arg(long, value_name = "FILE", conflicts_with = "cert")]
    cert_out: Option<PathBuf>,
    /// End after this many messages
    #[arg(long, value_name = "COUNT")]
    messages: Option<u64>,
    /// End when no client has sent anything for this long, counted from the first one on
    #[arg(long, value_name = "TIME")]
    idle_exit: Option<Time>,
    /// Write what arrived of the last run to this file at the end, for `gatepost-load report reconcile`
    #[arg(long, value_name = "FILE")]
    tally: Option<PathBuf>,
    /// Print the summary as JSON, also on a terminal
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    behaviour: Changes,
}

impl Args {
    fn options(&self) -> Options {
        Options {
            listen: self.listen.clone(),
            lmtp: self.lmtp,
            workers: usize::from(self.workers),
            cores: self.cores.clone(),
            io: self.io,
            control: self.control,
            behaviour: Behaviour::of(self.behaviour.clone()),
            seed: self.seed,
            hostname: self.hostname.clone(),
            save: self.save.clone().map(|folder| (folder, self.save_max)),
            tls: self.tls,
            certificate: self.cert.clone().zip(self.key.clone()),
        }
    }
}

/// Runs the command: 0, or 1 where messages were damaged, or 69 where it can't listen.
#[must_use]
pub fn main(args: &Args) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the process at once.
        let caught = signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)));
        if let Err(error) = caught {
            return fail(&format!("cannot catch signals: {error}"));
        }
    }
    let sink = match start(args.options()) {
        Ok(sink) => sink,
        Err(error) => return fail(&error.to_string()),
    };
    if let (Some(path), Some(text)) = (&args.cert_out, sink.certificate())
        && let Err(error) = fs::write(path, text)
    {
        return fail(&format!("cannot write {}: {error}", path.display()));
    }
    introduce(args, &sink);
    let died = wait(args, &sink, &stop);
    let tally = args.tally.as_deref().map(|path| write_tallies(path, &sink));
    let summary = sink.stop();
    if let Err(error) = print(args, &summary) {
        return fail(&format!("cannot print the summary: {error}"));
    }
    if let Some(Err(error)) = tally {
        return fail(&error);
    }
    match (died, summary.damaged) {
        (true, _) => fail("a worker ended by itself"),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::from(1),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("gatepost-load: {why}");
    ExitCode::from(69)
}

fn introduce(args: &Args, sink: &Handle) {
    let addresses: Vec<_> = sink.addresses().iter().map(ToString::to_string).collect();
    let protocol = match (args.lmtp, args.tls) {
        (false, Mode::Implicit) => "SMTPS",
        (false, _) => "SMTP",
        (true, _) => "LMTP",
    };
    eprintln!("gatepost-load: {protocol} sink on {}", addresses.join(", "));
    if let Some(control) = sink.control() {
        eprintln!("gatepost-load: control on http://{control}/");
    }
}

/// Waits for one of the ends; true where it is one that should not be.
fn wait(args: &Args, sink: &Handle, stop: &AtomicBool) -> bool {
    let bar = progress(args);
    let mut told = Instant::now();
    let mut moved = Instant::now();
    let mut before = (0, 0);
    loop {
        sleep(TICK);
        let activity = sink.activity();
        if activity != before {
            (before, moved) = (activity, Instant::now());
        }
        let (messages, moves) = activity;
        let enough = args.messages.is_some_and(|count| messages >= count);
        let idle = args
            .idle_exit
            .is_some_and(|wait| moves > 0 && moved.elapsed() >= wait.0);
        let died = sink.has_died();
        if !bar.is_hidden() && told.elapsed() >= TELL {
            told = Instant::now();
            bar.set_message(sink.summary().line());
            bar.tick();
        }
        if enough || idle || died || stop.load(Relaxed) {
            if enough {
                sleep(LAST_REPLIES);
            }
            bar.finish_and_clear();
            return died;
        }
    }
}

/// The line that is redrawn in place; hidden where stderr is no terminal, or with `--quiet`.
fn progress(args: &Args) -> ProgressBar {
    let target = match args.quiet {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    // A template of nothing but the message can't be malformed; the plain one would do too.
    match ProgressStyle::with_template("{wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Prints the summary: for people on a terminal, as JSON into a pipe or a file.
fn print(args: &Args, summary: &Summary) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !args.json && out.is_terminal() {
        return out.write_all(summary.text().as_bytes());
    }
    serde_json::to_writer_pretty(&mut out, summary)?;
    out.write_all(b"\n")
}

/// Writes the tally of the last run to `path`, and those of others beside it, with the run after the name.
fn write_tallies(path: &Path, sink: &Handle) -> Result<(), String> {
    let runs = sink.runs();
    let Some((last, others)) = runs.split_last() else {
        eprintln!("gatepost-load: no message had a stamp, so there is no tally to write");
        return Ok(());
    };
    for run in others {
        let mut name = path.as_os_str().to_os_string();
        name.push(format!(".{run}"));
        write_tally(Path::new(&name), sink, *run)?;
    }
    write_tally(path, sink, *last)
}

fn write_tally(path: &Path, sink: &Handle, run: RunId) -> Result<(), String> {
    let text = sink.tally(run).map(|tally| serde_json::to_vec(&tally));
    let Some(Ok(text)) = text else {
        return Ok(()); // It made room for others just now.
    };
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
