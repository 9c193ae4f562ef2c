//! Processes and all that descend from them, and what their entries in /proc tell.

use procfs::process::{Stat, all_processes};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

/// All processes there are, by pid.
///
/// # Errors
/// /proc can't be read.
pub fn everyone() -> io::Result<BTreeMap<i32, Stat>> {
    let all = all_processes().map_err(io::Error::other)?;
    // One that ended since is no error.
    let stats = all.filter_map(|process| process.ok()?.stat().ok());
    Ok(stats.map(|stat| (stat.pid, stat)).collect())
}

/// Adds the children of all that were found, and theirs.
pub fn add_descendants(found: &mut BTreeSet<i32>, everyone: &BTreeMap<i32, Stat>) {
    loop {
        let before = found.len();
        let children = everyone.values().filter(|stat| found.contains(&stat.ppid));
        let children: Vec<_> = children.map(|stat| stat.pid).collect();
        found.extend(children);
        if found.len() == before {
            break;
        }
    }
}

/// Processor time in ticks of the children that a process has waited for, and theirs.
pub fn waited_for(stat: &Stat) -> u64 {
    (stat.cutime.max(0) + stat.cstime.max(0)) as u64
}

/// Resident memory in octets.
pub fn rss(stat: &Stat) -> u64 {
    stat.rss * procfs::page_size()
}
