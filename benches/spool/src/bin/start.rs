//! How long a start takes, and how much memory, with many messages in the spool: by index files, and by reading everything.
//!
//! `cargo run --release --bin start -- [FOLDER [MESSAGES [OCTETS]]]`. All is read from the page cache.

use gatepost_spool::spool::{
    disk::Directory,
    handle::Spool,
    message::{Accept, Recipient},
    options::Options,
    recover,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::sync_channel,
    time::{Duration, Instant},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many messages are under way at once.
const UNDER_WAY: usize = 1_000;

fn fill(folder: &Path, messages: u64, octets: usize) -> Result<(), Failure> {
    let (log, _) = open(folder, false)?;
    let (committer, spool) = Spool::start(log, || 1)?;
    let (to, durable) = sync_channel(UNDER_WAY);
    let accept = Accept {
        sender: b"someone@example.org".to_vec(),
        recipients: vec![Recipient {
            address: b"other@example.net".to_vec(),
            ..Recipient::default()
        }],
        due_ms: 1_790_000_000_000,
        route: "mailboxes".to_owned(),
        ..Accept::default()
    };
    for number in 0..messages {
        let to = to.clone();
        let told = Box::new(move |result: Result<(), _>, _| {
            result.expect("the disk takes it");
            let _ = to.send(());
        });
        assert!(
            spool
                .accept(accept.clone(), vec![vec![b'x'; octets]], told)
                .is_ok()
        );
        if number >= UNDER_WAY as u64 / 2 {
            durable.recv()?;
        }
    }
    for _ in 0..UNDER_WAY as u64 / 2 {
        durable.recv()?;
    }
    // The index files of the last segments.
    std::thread::sleep(Duration::from_secs(1));
    drop(committer);
    Ok(())
}

type Opened = (
    gatepost_spool::spool::log::Log<Directory>,
    gatepost_spool::spool::report::Report,
);

fn open(folder: &Path, verify_bodies: bool) -> Result<Opened, Failure> {
    let options = Options {
        verify_bodies,
        ..Options::default()
    };
    let opened = recover::open(Directory::open(folder)?, options, 1);
    Ok(opened.map_err(|why| format!("{why:?}"))?)
}

/// Octets that the process has in memory.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * rustix::param::page_size() as u64
}

/// Opens the spool and says what that took: in a process of its own, whose memory nothing else has used.
fn measure(folder: &Path, verify_bodies: bool) -> Result<(), Failure> {
    let (begun, before) = (Instant::now(), resident());
    let (_log, report) = open(folder, verify_bodies)?;
    println!(
        "{} messages in {} segments, {} by index files: {:.2} s, {} MiB of memory",
        report.messages,
        report.segments,
        report.sealed,
        begun.elapsed().as_secs_f64(),
        resident().saturating_sub(before) >> 20,
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    let folder = arguments
        .next()
        .map_or_else(|| PathBuf::from("target/start"), PathBuf::from);
    let messages = arguments.next();
    match messages.as_deref() {
        Some("sealed") => return measure(&folder, false),
        Some("whole") => return measure(&folder, true),
        _ => {}
    }
    let messages = messages.map_or(Ok(1_000_000), |number| number.parse())?;
    let octets = arguments
        .next()
        .map_or(Ok(1_024), |number| number.parse())?;
    drop(fs::remove_dir_all(&folder));
    fill(&folder, messages, octets)?;
    for how in ["sealed", "whole"] {
        let done = Command::new(env::current_exe()?)
            .arg(&folder)
            .arg(how)
            .status()?;
        if !done.success() {
            return Err("a start failed".into());
        }
    }
    Ok(fs::remove_dir_all(&folder)?)
}
