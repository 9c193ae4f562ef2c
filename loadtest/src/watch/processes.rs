//! What a process takes: processor time, memory, descriptors and threads, with those of its children, from /proc.
//!
//! Processor time is that of the whole process (`utime` and `stime`, which the kernel scales to what the scheduler
//! counted) plus that of children it has waited for, so a worker that ends between two looks is not forgotten. The
//! resolution is a tick, 10 ms. Resident memory is summed: pages that parent and child share count twice.

use super::family::{self, everyone};
use crate::result::{ProcessResult, ProcessSample};
use procfs::process::{Process, Stat};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    str::FromStr,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Time between two looks.
pub const EVERY: Duration = Duration::from_millis(250);

/// The whole of /proc is read for new children only every so many looks: it costs more than looking at known ones.
const SEARCH_EVERY: u32 = 4;

/// The most samples of a process: beyond it every second one is dropped, and looks get rarer by half.
const SAMPLES_MAX: usize = 4096;

/// Whom to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What to call it in the report.
    pub name: String,
    /// The process.
    pub whom: Whom,
}

/// A process or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One process, and its children.
    Pid(i32),
    /// All processes of a command's name, and their children.
    Command(String),
}

impl Target {
    /// A process under a name.
    #[must_use]
    pub fn pid(name: impl Into<String>, pid: u32) -> Target {
        Target {
            name: name.into(),
            whom: Whom::Pid(i32::try_from(pid).unwrap_or(i32::MAX)),
        }
    }
}

/// `NAME=PID`, `NAME=COMMAND`, or a command's name alone.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (name, whom) = text.split_once('=').unwrap_or((text, text));
        if name.is_empty() || whom.is_empty() {
            return Err(format!(
                "\"{text}\" names no process; say NAME=PID, such as proxy=1234, or a command's name, such as haproxy"
            ));
        }
        let whom = match whom.parse() {
            Ok(pid) if pid > 0 => Whom::Pid(pid),
            _ => Whom::Command(whom.to_owned()),
        };
        Ok(Target {
            name: name.to_owned(),
            whom,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whom {
            Whom::Pid(pid) => write!(f, "{}={pid}", self.name),
            Whom::Command(command) if *command == self.name => f.write_str(command),
            Whom::Command(command) => write!(f, "{}={command}", self.name),
        }
    }
}

/// Looks at processes from a thread of its own, until [`Watcher::finish`]; dropped, it stops too.
pub struct Watcher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Vec<ProcessResult>>>,
}

impl Watcher {
    /// Begins to look, at once. Samples' times count from here.
    ///
    /// # Errors
    /// Where a target is not running, or /proc can't be read.
    pub fn start(targets: &[Target]) -> io::Result<Watcher> {
        let mut watched = Vec::new();
        for target in targets {
            let mut one = Watched::new(target.clone());
            one.search(&everyone()?);
            if one.pids.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("no process to watch: {target} is not running"),
                ));
            }
            watched.push(one);
        }
        let start = Instant::now();
        for one in &mut watched {
            one.look(start);
        }
        let (stop, stopped) = channel();
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watch(watched, start, &stopped))?;
        Ok(Watcher {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Looks once more, and gives what was seen. `acknowledged` messages share the processor time.
    #[must_use]
    pub fn finish(mut self, acknowledged: u64) -> Vec<ProcessResult> {
        drop(self.stop.take());
        let mut results = self
            .thread
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        for result in &mut results {
            if acknowledged > 0 {
                result.cpu_us_per_message = result.cpu_s * 1e6 / acknowledged as f64;
            }
        }
        results
    }
}

fn watch(mut watched: Vec<Watched>, start: Instant, stopped: &Receiver<()>) -> Vec<ProcessResult> {
    let (mut every, mut looks) = (EVERY, 0_u32);
    loop {
        let last = stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout);
        looks += 1;
        if (last || looks.is_multiple_of(SEARCH_EVERY))
            && let Ok(everyone) = everyone()
        {
            watched.iter_mut().for_each(|one| one.search(&everyone));
        }
        watched.iter_mut().for_each(|one| one.look(start));
        if last {
            break;
        }
        if watched.iter().any(|one| one.samples.len() >= SAMPLES_MAX) {
            every *= 2;
            watched.iter_mut().for_each(Watched::thin);
        }
    }
    watched.into_iter().map(Watched::result).collect()
}

/// A target, and what was seen of it.
struct Watched {
    target: Target,
    pids: BTreeSet<i32>,
    seen: BTreeSet<i32>,
    samples: Vec<ProcessSample>,
}

impl Watched {
    fn new(target: Target) -> Watched {
        Watched {
            target,
            pids: BTreeSet::new(),
            seen: BTreeSet::new(),
            samples: Vec::new(),
        }
    }

    /// Finds the processes of the target and all that descend from them.
    fn search(&mut self, everyone: &BTreeMap<i32, Stat>) {
        let is_root = |stat: &Stat| match &self.target.whom {
            Whom::Pid(pid) => stat.pid == *pid,
            Whom::Command(command) => is_command(stat, command),
        };
        // Those known stay, also when their parent ended and they were given to another.
        let mut found: BTreeSet<i32> = everyone
            .values()
            .filter(|stat| is_root(stat) || self.pids.contains(&stat.pid))
            .map(|stat| stat.pid)
            .collect();
        family::add_descendants(&mut found, everyone);
        self.seen.extend(&found);
        self.pids = found;
    }

    fn look(&mut self, start: Instant) {
        let mut sample = ProcessSample {
            at_s: start.elapsed().as_secs_f64(),
            ..ProcessSample::default()
        };
        let tick = procfs::ticks_per_second() as f64;
        let mut gone = Vec::new();
        for pid in &self.pids {
            let Ok((process, stat)) = Process::new(*pid).and_then(|p| {
                let stat = p.stat()?;
                Ok((p, stat))
            }) else {
                gone.push(*pid);
                continue;
            };
            let ticks = stat.utime + stat.stime + family::waited_for(&stat);
            sample.cpu_s += ticks as f64 / tick;
            sample.rss += family::rss(&stat);
            sample.threads += stat.num_threads.max(0) as u64;
            // Those of others are not ours to see, unless we are root.
            sample.descriptors += process.fd_count().unwrap_or_default() as u64;
        }
        for pid in gone {
            self.pids.remove(&pid);
        }
        // A child that nobody waited for takes its time along; time does not run backwards all the same.
        let before = self.samples.last().map_or(0.0, |sample| sample.cpu_s);
        sample.cpu_s = sample.cpu_s.max(before);
        self.samples.push(sample);
    }

    /// Every second sample goes; the first stays.
    fn thin(&mut self) {
        let mut place = 0;
        self.samples.retain(|_| {
            place += 1;
            place % 2 == 1
        });
    }

    fn result(self) -> ProcessResult {
        let cpu = |sample: Option<&ProcessSample>| sample.map_or(0.0, |sample| sample.cpu_s);
        ProcessResult {
            name: self.target.name,
            pids: self.seen.iter().map(|pid| *pid as u32).collect(),
            cpu_s: cpu(self.samples.last()) - cpu(self.samples.first()),
            cpu_us_per_message: 0.0,
            rss_max: self.samples.iter().map(|s| s.rss).max().unwrap_or_default(),
            samples: self.samples,
        }
    }
}

/// The kernel keeps 15 octets of a command's name; the rest is compared with what it was started as.
fn is_command(stat: &Stat, command: &str) -> bool {
    const KEPT: usize = 15;
    if stat.comm == command {
        return true;
    }
    if command.len() <= KEPT || !command.starts_with(&stat.comm) {
        return false;
    }
    let started_as = Process::new(stat.pid).and_then(|process| process.cmdline());
    let started_as = started_as.ok().and_then(|line| line.into_iter().next());
    started_as.is_some_and(|path| path.rsplit('/').next() == Some(command))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn targets_are_named_in_three_ways() {
        let read = |text: &str| text.parse::<Target>().unwrap();
        assert_eq!(read("proxy=12"), Target::pid("proxy", 12));
        assert_eq!(read("haproxy").whom, Whom::Command("haproxy".to_owned()));
        assert_eq!(read("front=nginx").name, "front");
        assert_eq!(read("front=nginx").to_string(), "front=nginx");
        for text in ["", "=3", "x="] {
            assert!(text.parse::<Target>().unwrap_err().contains("NAME=PID"));
        }
    }

    #[test]
    fn a_process_is_seen_with_its_children() {
        // The shell waits for its child's word, so both live while they are looked at; the child burns some time.
        let mut shell = Command::new("sh")
            .args([
                "-c",
                "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo; read x'; true",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let watcher = Watcher::start(&[Target::pid("shell", shell.id())]).unwrap();
        let mut ready = [0];
        io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let results = watcher.finish(10);
        drop(shell.stdin.take());
        shell.wait().unwrap();

        let seen = &results[0];
        assert_eq!(seen.name, "shell");
        assert_eq!(seen.pids.len(), 2, "{seen:?}");
        assert!(seen.cpu_s > 0.0, "{seen:?}");
        assert!((seen.cpu_us_per_message - seen.cpu_s * 1e5).abs() < 1e-6);
        let last = seen.samples.last().unwrap();
        assert_eq!(last.threads, 2);
        assert!(last.descriptors >= 6 && last.rss > 100_000, "{last:?}");
        assert!(seen.rss_max >= last.rss);
    }

    #[test]
    fn who_is_not_there_is_named() {
        let absent: Target = "no-such-command-anywhere".parse().unwrap();
        let error = Watcher::start(&[absent]).err().unwrap().to_string();
        assert!(
            error.contains("no-such-command-anywhere is not running"),
            "{error}"
        );
        assert!(Watcher::start(&[]).unwrap().finish(0).is_empty());
    }

    #[test]
    fn samples_are_thinned_and_the_ends_stay() {
        let mut one = Watched::new(Target::pid("self", std::process::id()));
        one.search(&everyone().unwrap());
        let start = Instant::now();
        for _ in 0..9 {
            one.look(start);
        }
        let (first, last) = (one.samples[0].at_s, one.samples[8].at_s);
        one.thin();
        assert_eq!(one.samples.len(), 5);
        assert_eq!((one.samples[0].at_s, one.samples[4].at_s), (first, last));
    }
}
