//! The process as the kernel sees it, under the names that Prometheus clients have agreed on.

use std::{fs, time::SystemTime};

/// Name, type and help of a family.
pub(super) struct Meta(pub &'static str, pub &'static str, pub &'static str);

/// What `/proc/self` says. What can't be read is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    cpu_centiseconds: Option<u64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    threads: Option<u64>,
    descriptors: Option<u64>,
    descriptors_max: Option<u64>,
}

impl Process {
    pub(super) const METAS: &[Meta] = &[
        Meta(
            "process_start_time_seconds",
            "gauge",
            "When the process started, in seconds since 1970.",
        ),
        Meta(
            "process_cpu_seconds_total",
            "counter",
            "CPU time spent, user and system.",
        ),
        Meta("process_resident_memory_bytes", "gauge", "Resident memory."),
        Meta("process_virtual_memory_bytes", "gauge", "Virtual memory."),
        Meta("process_threads", "gauge", "Threads."),
        Meta(
            "process_open_fds",
            "gauge",
            "Open descriptors (Linux 6.2 and later).",
        ),
        Meta("process_max_fds", "gauge", "Descriptors that may be open."),
    ];

    /// Reads `/proc/self`.
    #[must_use]
    pub fn read() -> Process {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let (stat, status, limits) = (read("stat"), read("status"), read("limits"));
        // The second field, the name, may hold anything but ends at the last parenthesis. From there on,
        // user and system time are the 12th and 13th, in ticks of 10 ms on every Linux that we build for.
        let times = stat.rsplit_once(')').map(|(_, rest)| {
            let mut fields = rest.split_ascii_whitespace().skip(11);
            let mut next = || fields.next()?.parse::<u64>().ok();
            next().zip(next()).map(|(user, system)| user + system)
        });
        // Since Linux 6.2 the size of this folder is the number of descriptors; before it is 0. Listing it
        // would take milliseconds with 100,000 sessions.
        let descriptors = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
        Process {
            cpu_centiseconds: times.flatten(),
            resident_bytes: number(&status, "VmRSS:").map(|kib| kib * 1024),
            virtual_bytes: number(&status, "VmSize:").map(|kib| kib * 1024),
            threads: number(&status, "Threads:"),
            descriptors: Some(descriptors).filter(|n| *n > 0),
            descriptors_max: number(&limits, "Max open files"),
        }
    }

    /// The families that are known, with their values.
    pub(super) fn lines(&self, started_at: SystemTime) -> Vec<(&'static Meta, String)> {
        let started = started_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .map(|since| format!("{:.3}", since.as_secs_f64()));
        let cpu = self
            .cpu_centiseconds
            .map(|n| format!("{}.{:02}", n / 100, n % 100));
        let whole = |n: Option<u64>| n.map(|n| n.to_string());
        let values = [
            started,
            cpu,
            whole(self.resident_bytes),
            whole(self.virtual_bytes),
            whole(self.threads),
            whole(self.descriptors),
            whole(self.descriptors_max),
        ];
        let known = Self::METAS.iter().zip(values);
        known
            .filter_map(|(meta, value)| Some((meta, value?)))
            .collect()
    }
}

/// The first number of the line that begins with `key`.
fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_threads() {
        let process = Process::read();
        assert!(process.resident_bytes > Some(100_000));
        assert!(process.threads >= Some(1));
        assert!(process.cpu_centiseconds.is_some());
        assert!(process.descriptors_max.is_none_or(|max| max >= 3));
    }
}
