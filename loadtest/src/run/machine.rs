//! This machine, and what this process takes of it.

use crate::result::Machine;
use gatepost::net;
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};
use std::{fs, time::Duration};

/// Kernel, processor, cores.
#[must_use]
pub fn machine() -> Machine {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(':'));
    Machine {
        kernel: format!("{} {}", text(name.sysname()), text(name.release())),
        processor: model.map_or_else(
            || text(name.machine()),
            |(_, model)| model.trim().to_owned(),
        ),
        cores: net::allowed_cores().len(),
    }
}

/// User and system time of this process so far, all threads.
#[must_use]
pub fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Allows this process as many descriptors as it may have: each session is one.
pub fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // Where that is refused, sessions that can't be had are told as errors.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
