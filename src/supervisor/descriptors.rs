//! The limit of open files, and how many clients fit into it.
//!
//! A process out of descriptors can neither reach a backend, nor answer `/health`, nor read its configuration again. So the soft limit
//! is raised to the hard one, and clients get what is left of it after a reserve for all that must always work. What is scarce then
//! are places for sessions, for which there are rules: waits become short, and the slowest end.

use super::cores;
use crate::{
    config::{AdminListen, Config, Draft, Problem, Severity},
    log::say,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files, signals, timers, the log, the state, helpers.
const OWN: u64 = 64;
/// A worker's engine and mailbox.
const OF_A_WORKER: u64 = 16;
/// Connections of each socket of the admin endpoint.
const OF_ADMIN: u64 = 64;
/// Questions to the DNS, and to what knows passwords. In a flood there are more: the rest of the reserve is for them too.
const QUESTIONS: u64 = 256;
/// The limit that is reckoned with where there is none.
const UNLIMITED: u64 = 1 << 20;

/// Raises the soft limit to the hard one, which needs no rights. Programs that a shell starts often have 1,024, for those that use
/// select(2).
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(why) = setrlimit(Resource::Nofile, raised)
    {
        say!(Warn, "the limit of open files can't be raised: {why}");
    }
}

/// Connections of clients that a worker may have.
pub(super) fn connections(config: &Config, workers: usize) -> u32 {
    let limit = getrlimit(Resource::Nofile).current;
    share(config, workers, limit.unwrap_or(UNLIMITED))
}

/// The configuration with as many sessions as the descriptors allow.
pub(super) fn fitted(mut config: Config, workers: usize) -> Config {
    let most = sessions(connections(&config, workers));
    if config.limits.sessions > most {
        say!(
            Warn,
            "limits.sessions = {}: each of {workers} workers takes {most} sessions at most, for the limit of open files, and an \
             address and a network may have fewer of them; raise that limit (LimitNOFILE, ulimit -Hn), or lower limits.sessions",
            config.limits.sessions
        );
        fit(&mut config, workers, most);
    }
    config
}

fn fit(config: &mut Config, workers: usize, most: u32) {
    config.limits.sessions = most;
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    config.places = Some(most.saturating_mul(workers));
}

/// A warning where `limits.sessions` is written, and can't be had with the hard limit of this process. The service's may be another.
pub(super) fn check(draft: &Draft) -> Option<Problem> {
    let config = draft.config();
    let (wanted, workers) = (config.limits.sessions, cores(config.workers).len());
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED);
    let most = sessions(share(config, workers, limit));
    if !draft.is_written("limits.sessions") || wanted <= most {
        return None;
    }
    let problem = format!(
        "{wanted} sessions for each of {workers} workers don't fit into {limit} open files: each takes {most} at most"
    );
    let hint = "raise the limit of the service (LimitNOFILE, ulimit -Hn), which may be another than this shell's";
    let (severity, key) = (Severity::Warning, "limits.sessions");
    Some(draft.problem(severity, key, problem, Some(hint.into())))
}

/// A worker's connections of clients, with so many descriptors in all.
fn share(config: &Config, workers: usize, limit: u64) -> u32 {
    let workers = workers.max(1) as u64;
    let room = limit - reserve(config, workers).min(limit / 2);
    u32::try_from((room / workers).max(2)).unwrap_or(u32::MAX)
}

/// Sessions of so many connections. The others are for clients that hear a 421 and are slow to go.
fn sessions(connections: u32) -> u32 {
    (connections - connections / 8).max(1)
}

/// Descriptors for all but clients.
fn reserve(config: &Config, workers: u64) -> u64 {
    let backends = config.pool.iter();
    let backends = backends.map(|pool| pool.backends.len() as u64 * u64::from(pool.connections));
    let backends: u64 = backends.sum();
    let addresses = config.listener.iter();
    let addresses: usize = addresses.map(|listener| listener.address.len()).sum();
    let doors = [&config.admin.listen, &config.admin.public];
    let doors = doors
        .iter()
        .filter(|door| !matches!(door, AdminListen::Off));
    let admin = doors.count() as u64 * OF_ADMIN;
    OWN + QUESTIONS + backends + admin + workers * (OF_A_WORKER + addresses as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config(connections: u32) -> Config {
        let text = format!(
            "hostname = \"mx.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:25\"]\n\
             [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.2:25\"]\nconnections = {connections}\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n"
        );
        config::parse("test", &text).expect("it is sound").config
    }

    #[test]
    fn clients_leave_a_reserve() {
        for connections in [64, 60_000] {
            let config = config(connections);
            for limit in [0, 1, 64, 1024, 20_000, 65_536, u64::MAX] {
                for workers in [1, 4, 128] {
                    let each = share(&config, workers, limit);
                    assert!(each >= 2 && (1..=each).contains(&sessions(each)));
                    let kept = limit.saturating_sub(u64::from(each) * workers as u64);
                    let wanted = reserve(&config, workers as u64).min(limit / 2);
                    assert!(kept >= wanted || each == 2, "{limit} {workers}: {each}");
                }
            }
        }
        assert!(share(&config(64), 2, 65_536) > 32_000);
        assert_eq!(share(&config(64), 1, 64), 32);
    }

    #[test]
    // INV-LIMIT
    fn where_places_are_few_a_dozen_addresses_do_not_have_them_all() {
        let shares = |limit: u64, workers: usize, written: &str| {
            let text = format!(
                "hostname = \"mx.example\"\n{written}\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:25\"]\n\
                 [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.2:25\"]\n[[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n"
            );
            let mut config = config::parse("test", &text).expect("it is sound").config;
            let most = sessions(share(&config, workers, limit));
            fit(&mut config, workers, most);
            let policies = config.policies();
            let rates = (
                policies[0].client_rate.sessions,
                policies[0].prefix_rate.sessions,
            );
            (most * workers as u32, rates)
        };
        for (limit, workers) in [(1024, 1), (1024, 2), (2048, 4), (4096, 2)] {
            let (places, (address, network)) = shares(limit, workers, "");
            assert!(
                address * 12 < places && network * 3 < places,
                "{limit}: {address} of {places}"
            );
            assert!(address >= 4 && network >= address, "{limit}");
        }
        // What is written stays where it is less, and so does no limit.
        let written = "[policy.client_rate]\nsessions = 2\n[policy.prefix_rate]\nsessions = 0\n";
        assert_eq!(shares(1024, 2, written).1, (2, 0));
        assert_eq!(shares(64, 1, "").1, (4, 8));
        assert_eq!(shares(524_288, 2, "").1, (100, 500));
    }
}
