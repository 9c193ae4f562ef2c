//! A program that runs beside us: started on its own cores in a process group of its own, its CPU time and memory
//! read from /proc, and stopped with everything that it started.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::BTreeMap,
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
        let table = processes();
        let mut pids = vec![self.child.id()];
        while let Some(pid) = pids.pop() {
            pids.extend(
                table
                    .iter()
                    .filter(|(_, parent)| **parent == pid)
                    .map(|(child, _)| *child),
            );
            usage.cpu_s += cpu_of(pid) + cpu_of_ended_children(pid);
            usage.rss += rss_of(pid);
        }
        usage
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

/// All processes with their parents.
fn processes() -> BTreeMap<u32, u32> {
    let Ok(folder) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    folder
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, stat(pid)?.first()?.parse().ok()?)))
        .collect()
}

/// The fields of /proc/PID/stat from the parent's pid (the fourth) on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().skip(1).map(str::to_owned).collect())
}

/// All threads, to the nanosecond.
fn cpu_of(pid: u32) -> f64 {
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

/// Children that were waited for, in clock ticks.
fn cpu_of_ended_children(pid: u32) -> f64 {
    /// USER_HZ, which is 100 on every architecture that Linux has today.
    const TICKS_A_SECOND: f64 = 100.0;
    let ticks = |field: usize| -> f64 {
        stat(pid)
            .and_then(|fields| fields.get(field)?.parse().ok())
            .unwrap_or(0.0)
    };
    // cutime and cstime are the 16th and 17th field.
    (ticks(12) + ticks(13)) / TICKS_A_SECOND
}

fn rss_of(pid: u32) -> u64 {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return 0;
    };
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
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
            let ended = cpu_of_ended_children(running.child.id());
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
