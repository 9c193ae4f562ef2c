//! A program that runs beside us: started on its own cores in a process group of its own, its CPU time and memory
//! read from /proc, and stopped with everything that it started.

use crate::watch::family;
use procfs::process::Stat;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a program gets to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A running program. Dropped, it is stopped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
}

/// What /proc says of a process and its children.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all its threads and children, also of those that have ended, in seconds.
    pub cpu_s: f64,
    /// Resident memory of all of them, in octets. What they share is counted for each.
    pub rss: u64,
}

impl Running {
    /// Starts `command` on these cores, silent, with its errors in `log`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(
        name: &str,
        command: &Command,
        cores: &[usize],
        log: fs::File,
    ) -> io::Result<Running> {
        let list: Vec<String> = cores.iter().map(usize::to_string).collect();
        // taskset replaces itself by the command, so the pid is the program's.
        let mut pinned = Command::new("taskset");
        pinned
            .arg("-c")
            .arg(list.join(","))
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0);
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                pinned.env(key, value);
            }
        }
        let child = pinned
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        Ok(Running {
            child,
            name: name.to_owned(),
        })
    }

    /// Fails where it has ended by itself.
    ///
    /// # Errors
    /// It has: with its status.
    pub fn check(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!(
                "{} ended by itself: {status}",
                self.name
            ))),
        }
    }

    /// CPU time and memory up to now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        let everyone = family::everyone().unwrap_or_default();
        let mut pids = BTreeSet::from([self.pid()]);
        family::add_descendants(&mut pids, &everyone);
        for stat in pids.iter().filter_map(|pid| everyone.get(pid)) {
            usage.cpu_s += cpu_of(stat.pid) + cpu_of_ended_children(stat);
            usage.rss += family::rss(stat);
        }
        usage
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        signal_group(group, Signal::TERM);
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            sleep(Duration::from_millis(20));
        }
        // Whatever is left of the group, children that outlived the parent too.
        signal_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A group that is gone is fine.
fn signal_group(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
}

/// All threads, to the nanosecond: what a comparison is about, where /proc/PID/stat counts in ticks of 10 ms.
fn cpu_of(pid: i32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0.0;
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum::<f64>()
        / 1e9
}

/// Children that were waited for.
fn cpu_of_ended_children(stat: &Stat) -> f64 {
    family::waited_for(stat) as f64 / procfs::ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cpu_of_children_counts_whether_they_live_or_have_ended() {
        let mut command = Command::new("sh");
        let spin = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        command.args(["-c", &format!("sh -c '{spin}'; sh -c '{spin}; sleep 60'")]);
        let cores = gatepost::net::allowed_cores();
        let log = fs::File::create("/dev/null").unwrap();
        let mut running = Running::start("spin", &command, &cores[..1], log).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        let mut seen = Usage::default();
        while Instant::now() < end {
            let usage = running.usage();
            let stat = family::everyone().unwrap().remove(&running.pid());
            let ended = stat.map_or(0.0, |stat| cpu_of_ended_children(&stat));
            if ended > 0.01 && usage.cpu_s > ended + 0.01 && usage.rss > 0 {
                seen = usage;
                break;
            }
            sleep(Duration::from_millis(10));
        }
        assert!(seen.cpu_s > 0.02, "{seen:?}");
        running.check().unwrap();
        let pid = running.child.id();
        drop(running);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
