//! The turns: which peers there are, how much each of them gets to do, and what came out.

use super::{
    awake::Awake,
    bench::{self, Bench, Cores, Shot},
    peer::{self, Peer},
    table::{self, Series, Table},
    works::{Measure, WORKS, Work},
};
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, fs, io};

/// What is to be compared.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    /// Names of peers; none: all.
    pub peers: &'a [String],
    /// Names of works; none: all.
    pub works: &'a [String],
    /// Turns for each.
    pub rounds: u32,
    /// How long a turn may take, about.
    pub seconds: f64,
    /// The binary.
    pub gatepost: &'a str,
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// When, and on what.
    pub machine: String,
    /// What each peer calls itself.
    pub versions: Vec<String>,
    /// Peers that were not measured, and why.
    pub left_out: Vec<String>,
    /// How many rounds.
    pub rounds: u32,
    /// A table for each work.
    pub tables: Vec<Table>,
}

impl Comparison {
    /// Acknowledged messages that did not arrive, in all runs.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let rows = self.tables.iter().flat_map(|table| &table.rows);
        rows.map(|row| row.lost).sum()
    }

    /// All tables, with what they were measured on below.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            text.push_str(&table.markdown());
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "Medians of {} rounds; {}. {}.",
            self.rounds,
            self.machine,
            self.versions.join("; ")
        );
        for peer in &self.left_out {
            let _ = writeln!(text, "\nLeft out: {peer}.");
        }
        text
    }
}

/// Runs all of it, and says on standard error how far it is.
///
/// # Errors
/// An unknown name; HAProxy is missing; fewer than two cores; a source failed.
pub fn run(wishes: &Wishes<'_>) -> io::Result<Comparison> {
    let cores = cores()?;
    let awake = Awake::ask();
    let mut comparison = Comparison {
        machine: format!("{}, {}", machine(), awake.told()),
        rounds: wishes.rounds,
        ..Comparison::default()
    };
    let peers = chosen(wishes.peers, &mut comparison.left_out)?;
    for work in WORKS {
        if !wishes.works.is_empty() && !wishes.works.iter().any(|name| name == work.name) {
            continue;
        }
        let peers = match bench::missing(work.ends) {
            None => those_for(work, &peers),
            Some(why) => Err(why),
        };
        let peers = match peers {
            Ok(peers) => peers,
            Err(why) => {
                comparison.left_out.push(format!("{}: {why}", work.title));
                continue;
            }
        };
        let mut refused = Vec::new();
        let mut bench = Bench::start(*work, &peers, &cores, wishes.gatepost, &mut refused)?;
        note(&mut comparison.left_out, refused);
        note(&mut comparison.versions, versions(&bench));
        let series = turns(&mut bench, work, wishes)?;
        comparison.tables.push(table::table(work, &series));
    }
    Ok(comparison)
}

/// The peers of a work, the one that the others are held against first; or why it can't be done here.
fn those_for(work: &Work, chosen: &[Peer]) -> Result<Vec<Peer>, String> {
    let known = peer::known();
    let base = known
        .into_iter()
        .find(|peer| peer.name == work.base)
        .ok_or_else(|| format!("there is no peer {}", work.base))?;
    if let Some(why) = base.missing(rustix::process::getuid().is_root()) {
        return Err(why);
    }
    let modes = work.modes();
    let others = chosen.iter().filter(|peer| {
        let wanted = peer.is_gatepost() || work.all_peers;
        wanted && peer.name != work.base && peer.can(&modes)
    });
    Ok([base].iter().chain(others).cloned().collect())
}

/// Adds those that are not there yet.
fn note(known: &mut Vec<String>, more: Vec<String>) {
    for one in more {
        if !known.contains(&one) {
            known.push(one);
        }
    }
}

fn versions(bench: &Bench) -> Vec<String> {
    let versions = bench.peers.iter().map(|started| started.version.clone());
    versions.filter(|version| !version.is_empty()).collect()
}

/// The peers asked for, or all; those that can't run here are told in `left_out`.
fn chosen(names: &[String], left_out: &mut Vec<String>) -> io::Result<Vec<Peer>> {
    let known = peer::known();
    if let Some(name) = names
        .iter()
        .find(|name| !known.iter().any(|peer| peer.name == **name))
    {
        let all: Vec<&str> = known.iter().map(|peer| &*peer.name).collect();
        return Err(io::Error::other(format!(
            "there is no peer {name:?}; known are {}",
            all.join(", ")
        )));
    }
    let is_root = rustix::process::getuid().is_root();
    let mut chosen = Vec::new();
    for (at, peer) in known.into_iter().enumerate() {
        let wanted = at == 0 || names.is_empty() || names.contains(&peer.name);
        match peer.missing(is_root) {
            _ if !wanted => {}
            None => chosen.push(peer),
            Some(why) if at == 0 => {
                return Err(io::Error::other(format!(
                    "{why}: everything is held against it"
                )));
            }
            Some(why) => left_out.push(format!("{}: {why}", peer.title)),
        }
    }
    Ok(chosen)
}

fn cores() -> io::Result<Cores> {
    let all = gatepost::net::allowed_cores();
    match all.split_first() {
        Some((first, rest)) if !rest.is_empty() => Ok(Cores {
            peer: vec![*first],
            ends: rest.to_vec(),
        }),
        _ => Err(io::Error::other(
            "this needs two cores: one for the proxy, one for source and backend",
        )),
    }
}

fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel
        .trim()
        .split('-')
        .next()
        .unwrap_or_default()
        .to_owned();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unnamed processor", |(_, name)| name);
    let today = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    format!("{cpu}, Linux {kernel}, {today}")
}

/// Every peer's turn, round after round.
fn turns(bench: &mut Bench, work: &Work, wishes: &Wishes<'_>) -> io::Result<Vec<Series>> {
    let mut series: Vec<Series> = bench
        .peers
        .iter()
        .map(|started| Series {
            peer: started.peer.name.clone(),
            title: started.peer.title.clone(),
            engine: started.peer.engine().map(str::to_owned),
            shots: Vec::new(),
        })
        .collect();
    if work.measure == Measure::Idle {
        // Once: memory that was used before is not given back, and the next sessions would seem to take none.
        for (at, one) in series.iter_mut().enumerate() {
            one.shots.push(bench.shoot(at, work.messages, None)?);
        }
        return Ok(series);
    }
    // The first turn warms up, and tells how much a turn of the wished length is.
    let mut messages = Vec::new();
    let warm = (work.messages / 20)
        .max(work.sessions)
        .max(20)
        .min(work.messages);
    for at in 0..series.len() {
        let shot = bench.shoot(at, warm, None)?;
        let fits = (shot.rate * wishes.seconds) as u32;
        messages.push(fits.clamp(warm, work.messages));
    }
    if work.measure == Measure::Latency {
        return added_latency(bench, wishes, &messages, series);
    }
    for round in 0..wishes.rounds {
        for at in 0..series.len() {
            series[at].shots.push(bench.shoot(at, messages[at], None)?);
        }
        eprintln!("{}: round {} of {}", work.name, round + 1, wishes.rounds);
    }
    Ok(series)
}

/// Open loop at half of what the first peer can do, past everybody first: what the peers add to that.
fn added_latency(
    bench: &mut Bench,
    wishes: &Wishes<'_>,
    messages: &[u32],
    mut series: Vec<Series>,
) -> io::Result<Vec<Series>> {
    let full = bench.shoot(0, messages[0], None)?.rate;
    let rate = full / 2.0;
    let count = (rate * wishes.seconds) as u32;
    for round in 0..wishes.rounds {
        let bare = bench.shoot_past(count, Some(rate))?;
        for (at, one) in series.iter_mut().enumerate() {
            let shot = bench.shoot(at, count, Some(rate))?;
            one.shots.push(added(shot, bare));
        }
        eprintln!("latency: round {} of {}", round + 1, wishes.rounds);
    }
    Ok(series)
}

fn added(shot: Shot, bare: Shot) -> Shot {
    let mut shot = shot;
    for (with, without) in shot.latency_us.iter_mut().zip(bare.latency_us) {
        *with = with.saturating_sub(without);
    }
    shot
}
