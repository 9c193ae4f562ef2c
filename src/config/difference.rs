//! Which changes a reload can't make, so that it can say so.

use super::{Config, Process};
use std::fmt::Debug;

/// A line for each change between two configurations that takes a restart (or an upgrade in place); empty
/// when a reload does everything.
#[must_use]
pub fn difference(old: &Config, new: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |key: &str, old: String, new: String| {
        if old != new {
            found.push(format!(
                "`{key}` takes a restart: {old} stays, {new} doesn't apply"
            ));
        }
    };
    compare("workers", old.workers.to_string(), new.workers.to_string());
    compare("io", old.io.to_string(), new.io.to_string());
    compare(
        "admin.listen",
        old.admin.listen.to_string(),
        new.admin.listen.to_string(),
    );
    compare(
        "admin.public",
        old.admin.public.to_string(),
        new.admin.public.to_string(),
    );
    compare(
        "maildir.listen",
        old.maildir.listen.to_string(),
        new.maildir.listen.to_string(),
    );
    compare(
        "maildir.directory",
        shown(&old.maildir.directory),
        shown(&new.maildir.directory),
    );
    compare("process", as_whom(&old.process), as_whom(&new.process));
    compare(
        "log.queue",
        old.log.queue.to_string(),
        new.log.queue.to_string(),
    );
    compare("log.to", old.log.to.clone(), new.log.to.clone());
    compare(
        "admin.histogram_log",
        shown(&old.admin.histogram_log),
        shown(&new.admin.histogram_log),
    );
    compare(
        "admin.histogram_interval",
        old.admin.histogram_interval.to_string(),
        new.admin.histogram_interval.to_string(),
    );
    if old.acme.is_on() || new.acme.is_on() {
        compare(
            "acme.listen",
            shown(&old.acme.listen),
            shown(&new.acme.listen),
        );
        compare("acme.store", shown(&old.acme.store), shown(&new.acme.store));
    }
    if old.acme.is_on() != new.acme.is_on() {
        found.push("`[acme]` comes and goes only with a restart".into());
    }
    listeners(old, new, &mut found);
    found
}

/// Sockets are opened once, by the name of their listener.
fn listeners(old: &Config, new: &Config, found: &mut Vec<String>) {
    for before in &old.listener {
        match new
            .listener
            .iter()
            .find(|listener| listener.name == before.name)
        {
            None => found.push(format!(
                "listener \"{}\" goes only with a restart",
                before.name
            )),
            Some(after) => {
                let (mut had, mut has) = (before.address.clone(), after.address.clone());
                had.sort();
                has.sort();
                if had != has {
                    let name = &before.name;
                    found.push(format!(
                        "`address` of listener \"{name}\" takes a restart: {had:?} stays"
                    ));
                }
                if before.backlog != after.backlog {
                    found.push(format!(
                        "`backlog` of listener \"{}\" takes a restart",
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
                "listener \"{}\" comes only with a restart",
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

fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Listener, Workers};

    #[test]
    fn says_what_takes_a_restart() {
        let listener = |name: &str, address: &str| Listener {
            name: name.into(),
            address: vec![address.parse().expect("an address")],
            ..Listener::default()
        };
        let old = Config {
            listener: vec![listener("mx", "127.0.0.1:25")],
            ..Config::default()
        };
        let mut new = old.clone();
        new.limits.errors = 3;
        new.listener[0].banner = "hello".into();
        assert!(difference(&old, &new).is_empty());
        new.workers = Workers::Count(2);
        new.listener = vec![
            listener("mx", "127.0.0.1:26"),
            listener("in", "127.0.0.1:587"),
        ];
        assert_eq!(
            difference(&old, &new),
            [
                "`workers` takes a restart: auto stays, 2 doesn't apply",
                "`address` of listener \"mx\" takes a restart: [127.0.0.1:25] stays",
                "listener \"in\" comes only with a restart",
            ]
        );
    }
}
