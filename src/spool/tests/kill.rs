//! A real process that is killed while it commits: what it had told is there afterwards.

use super::{
    super::{payload::Ending, read::StoredBody, request::Request},
    simulator::Random,
    threads,
};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const FOLDER: &str = "SPOOL_OF_A_CHILD";

/// The process that [`kills`] starts: it appends and ends messages, and prints what was told. Started otherwise, it ends.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let (_committer, submitter) = threads::start(Path::new(&folder));
    let out = Arc::new(Mutex::new(std::io::stdout()));
    loop {
        for _ in 0..8 {
            let sequence = submitter.shared().next_sequence();
            let body = vec![vec![sequence as u8; 1 + (sequence * 37 % 5_000) as usize]];
            let (again, to) = (submitter.clone(), Arc::clone(&out));
            let request = Request::accept(sequence, threads::envelope(), body);
            let told = Box::new(move |result: Result<(), _>, _| {
                if result.is_err() {
                    return;
                }
                line(&to, 'a', sequence);
                if sequence % 4 != 0 {
                    let ending = Ending::Delivered;
                    let end = Arc::clone(&to);
                    let told = Box::new(move |result: Result<(), _>, _| {
                        if result.is_ok() {
                            line(&end, 'd', sequence);
                        }
                    });
                    line(&to, 't', sequence);
                    drop(again.submit(Request::Done { sequence, ending }, told));
                }
            });
            drop(submitter.submit(request, told));
        }
        thread::sleep(Duration::from_micros(300));
    }
}

type Out = Arc<Mutex<std::io::Stdout>>;

/// One write a line, so that a line is whole or not there.
fn line(out: &Out, what: char, sequence: u64) {
    let mut out = out.lock().expect("no panic while locked");
    let text = format!("@{what} {sequence}\n");
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[derive(Default)]
struct Told {
    accepted: bool,
    /// Its end was to be asked for: that is told before it is asked.
    tried: bool,
    done: bool,
}

/// Starts again and compares what is there with what was told. Gives how many messages there are.
fn compare(folder: &Path, told: &mut BTreeMap<u64, Told>) -> u64 {
    let (_committer, submitter) = threads::start(folder);
    for (sequence, told) in told {
        let found = submitter.shared().fetch(*sequence);
        assert!(
            !(told.done && found.is_ok()),
            "{sequence} is back from its end"
        );
        match found {
            Ok(stored) => {
                let StoredBody::Inline(body) = stored.body else {
                    panic!("it was small");
                };
                let right = vec![*sequence as u8; 1 + (sequence * 37 % 5_000) as usize];
                assert!(body == right, "{sequence} is not what was sent");
            }
            Err(_) => {
                assert!(
                    !told.accepted || told.done || told.tried,
                    "{sequence} is lost"
                );
                told.done = true;
            }
        }
    }
    submitter.shared().index().messages()
}

fn kills(times: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = Random::new(std::process::id().into());
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    let (mut accepted, mut live_before) = (0, 0);
    for _ in 0..times {
        let exe = std::env::current_exe().expect("this test");
        let mut child = Command::new(exe)
            .args(["--exact", "--nocapture"])
            .arg(format!(
                "{}::child",
                module_path!().split_once("::").expect("a crate").1
            ))
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let out = child.stdout.take().expect("piped");
        let reader = thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.collect::<Vec<String>>()
        });
        thread::sleep(Duration::from_micros(20_000 + random.below(200_000)));
        child.kill().expect("killed");
        child.wait().expect("gone");
        for line in reader.join().expect("read") {
            // The harness writes its own words before the first.
            let Some((_, line)) = line.split_once('@') else {
                continue;
            };
            let Some((what, Ok(sequence))) = line
                .split_once(' ')
                .map(|(what, number)| (what, number.parse::<u64>()))
            else {
                continue;
            };
            let told = told.entry(sequence).or_default();
            match what {
                "a" => told.accepted = true,
                "t" => told.tried = true,
                _ => told.done = true,
            }
        }
        live_before = compare(folder.path(), &mut told);
        accepted = told.values().filter(|told| told.accepted).count();
    }
    println!("{times} kills, {accepted} accepted, {live_before} left");
    assert!(accepted > times as usize);
}

#[test]
fn a_killed_process_loses_nothing() {
    kills(10);
}

/// The long proof: as many kills as `SPOOL_KILLS` says, as `tests/prove` asks. Without it there is nothing to do.
#[test]
fn many_kills() {
    let times = std::env::var("SPOOL_KILLS").ok();
    if let Some(times) = times.and_then(|times| times.parse().ok()) {
        kills(times);
    }
}
