//! Which changes a reload can't make, so that it can say so.

use super::{Acme, Config, Io, Process, Workers};
use std::net::SocketAddr;

/// What the process runs with for as long as it lives. A reload is compared with this and not with the file before it:
/// a key that an earlier reload could not change still differs.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The configuration of the start.
    pub config: Config,
    /// Worker threads.
    pub workers: usize,
    /// Worker threads that `workers = "auto"` stands for.
    pub cores: usize,
    /// The engine, by its name in `io`.
    pub engine: &'static str,
    /// Where each listener listens, by its name.
    pub addresses: Vec<(String, SocketAddr)>,
}

/// Reads a key for a comparison.
type Value = fn(&Config) -> String;

/// Keys that are as they were at the start, whatever a reload says.
const FIXED: [(&str, Value); 11] = [
    ("admin.listen", |config| config.admin.listen.to_string()),
    ("admin.public", |config| config.admin.public.to_string()),
    ("maildir.listen", |config| config.maildir.listen.to_string()),
    ("maildir.directory", |config| {
        config.maildir.directory.display().to_string()
    }),
    ("policy.dmarc.reports", |config| {
        config.policy.dmarc.reports.shown()
    }),
    ("process", |config| as_whom(&config.process)),
    ("state.directory", |config| {
        let directory = config.state.directory.as_ref();
        directory.map_or("none".into(), |directory| directory.display().to_string())
    }),
    ("log.queue", |config| config.log.queue.to_string()),
    ("log.to", |config| config.log.to.clone()),
    ("admin.histogram_log", |config| {
        let file = config.admin.histogram_log.as_ref();
        file.map_or("none".into(), |file| file.display().to_string())
    }),
    ("admin.histogram_interval", |config| {
        config.admin.histogram_interval.to_string()
    }),
];

/// A line for each key in which `new` asks for something else than what is in force and that needs a restart (or an
/// upgrade in place); empty when a reload does everything.
#[must_use]
pub fn difference(in_force: &InForce, new: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let old = &in_force.config;
    let mut compare = |key: &str, old: String, new: String| {
        if old != new {
            found.push(format!(
                "`{key}` needs a restart: {old} stays in force, {new} does not apply"
            ));
        }
    };
    let wanted = match new.workers {
        Workers::Auto => in_force.cores,
        Workers::Count(count) => count as usize,
    };
    if wanted != in_force.workers {
        let new = new.workers.to_string();
        compare("workers", in_force.workers.to_string(), new);
    }
    // "auto" takes the bare ring where it can be had; where it ran, it can.
    let same = new.io == old.io
        || new.io.to_string() == in_force.engine
        || (new.io == Io::Auto && in_force.engine == Io::Ring.to_string());
    if !same {
        compare("io", in_force.engine.to_string(), new.io.to_string());
    }
    for (key, value) in FIXED {
        compare(key, value(old), value(new));
    }
    if old.acme.is_on() || new.acme.is_on() {
        let acme = |acme: &Acme| (listed(&acme.listen), acme.store.display().to_string());
        let ((listen, store), (new_listen, new_store)) = (acme(&old.acme), acme(&new.acme));
        compare("acme.listen", listen, new_listen);
        compare("acme.store", store, new_store);
    }
    if old.acme.is_on() != new.acme.is_on() {
        found.push("`[acme]` is switched on and off only by a restart".into());
    }
    listeners(in_force, new, &mut found);
    found
}

/// Sockets are opened once, by the name of their listener.
fn listeners(in_force: &InForce, new: &Config, found: &mut Vec<String>) {
    let old = &in_force.config;
    for before in &old.listener {
        match new
            .listener
            .iter()
            .find(|listener| listener.name == before.name)
        {
            None => found.push(format!(
                "listener \"{}\" is removed only by a restart",
                before.name
            )),
            Some(after) => {
                let (mut had, mut has) = (before.address.clone(), after.address.clone());
                had.sort();
                has.sort();
                let all = in_force.addresses.iter();
                let mine = all.filter(|(name, _)| *name == before.name);
                let mut bound: Vec<SocketAddr> = mine.map(|(_, address)| *address).collect();
                bound.sort();
                if had != has && bound != has {
                    let (name, bound) = (&before.name, listed(&bound));
                    found.push(format!(
                        "`address` of listener \"{name}\" needs a restart: {bound} stays in force"
                    ));
                }
                if before.backlog != after.backlog {
                    found.push(format!(
                        "`backlog` of listener \"{}\" needs a restart",
                        before.name
                    ));
                }
            }
        }
    }
    for after in &new.listener {
        if !old
            .listener
            .iter()
            .any(|listener| listener.name == after.name)
        {
            found.push(format!(
                "listener \"{}\" is added only by a restart",
                after.name
            ));
        }
    }
}

fn as_whom(process: &Process) -> String {
    let Process {
        user,
        group,
        sandbox,
    } = process;
    format!("user \"{user}\", group \"{group}\", sandbox {sandbox}")
}

fn listed(addresses: &[SocketAddr]) -> String {
    let all: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listener;

    #[test]
    fn says_what_takes_a_restart() {
        let listener = |name: &str, address: &str| Listener {
            name: name.into(),
            address: vec![address.parse().expect("an address")],
            ..Listener::default()
        };
        let start = Config {
            listener: vec![listener("mx", "127.0.0.1:25")],
            ..Config::default()
        };
        let in_force = InForce {
            config: start.clone(),
            workers: 4,
            cores: 4,
            engine: "epoll",
            addresses: vec![("mx".into(), "127.0.0.1:25".parse().expect("an address"))],
        };
        let mut new = start.clone();
        new.limits.errors = 3;
        new.listener[0].banner = "hello".into();
        assert!(difference(&in_force, &new).is_empty());
        // Other words for what runs.
        new.workers = Workers::Count(4);
        new.io = Io::Epoll;
        assert!(difference(&in_force, &new).is_empty());
        new.workers = Workers::Count(2);
        new.io = Io::Ring;
        new.listener = vec![
            listener("mx", "127.0.0.1:26"),
            listener("in", "127.0.0.1:587"),
        ];
        assert_eq!(
            difference(&in_force, &new),
            [
                "`workers` needs a restart: 4 stays in force, 2 does not apply",
                "`io` needs a restart: epoll stays in force, ring does not apply",
                "`address` of listener \"mx\" needs a restart: 127.0.0.1:25 stays in force",
                "listener \"in\" is added only by a restart",
            ]
        );
    }
}
