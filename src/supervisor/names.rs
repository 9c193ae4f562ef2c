//! The backends' host names: looked up at the start, for a reload, when an answer's TTL is over, when `/etc/hosts` or
//! `/etc/resolv.conf` has changed, and while a backend at one of their addresses is left out.
//!
//! A name that isn't found stops nothing: its backend counts as down until it is. The addresses that were found last stay
//! in use while a look-up fails.
//!
//! All of it runs on the control thread. A configuration without names asks nothing and makes no resolver.

use crate::{
    config::Config,
    log::say,
    lookup::{HostAnswer as Answer, Resolver},
    net::now,
    proxy::Site,
    upstream::{Named, Names, name_of},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout_at},
};

/// How often the names that are due are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Look-ups for a start or a reload take this long at most, all together. What has not been answered by then is asked for
/// again while mail flows.
const LEARN_MAX: Duration = Duration::from_secs(5);
/// The same for look-ups while mail flows: nothing waits for these, and a name beyond it is due when the next begin.
const KEEP_MAX: Duration = Duration::from_secs(60);
/// From a look-up that failed, or one for a backend that is left out, to the next one; it doubles up to the maximum.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Look-ups at the same time.
const AT_ONCE: usize = 16;

/// A name.
#[derive(Clone)]
pub(super) struct Known {
    named: Named,
    /// When it is asked for again: the TTL of the answer is over, or the wait after one that failed.
    due: Instant,
    /// When it was asked for last, and the wait until it is asked for again where it leads to a backend that is left out.
    asked: Instant,
    again: Duration,
}

/// What a configuration's names were found to be, before it is in force.
pub(super) struct Learned {
    resolver: Arc<Resolver>,
    known: BTreeMap<String, Known>,
}

impl Learned {
    /// For building with.
    pub fn names(&self) -> Names {
        names(&self.known)
    }
}

/// The names of the configuration in force.
pub(super) struct Directory(Mutex<Learned>);

fn names(known: &BTreeMap<String, Known>) -> Names {
    let all = known.iter();
    all.map(|(host, known)| (host.clone(), known.named.clone()))
        .collect()
}

/// Looks up all names of a configuration, also those that are known from `before`: an operator who has changed a record
/// reloads. Takes [`LEARN_MAX`] at most.
pub(super) async fn learn(config: &Config, before: Option<&Directory>) -> Learned {
    learn_within(config, before, LEARN_MAX).await
}

async fn learn_within(config: &Config, before: Option<&Directory>, limit: Duration) -> Learned {
    let (mut resolver, mut known) = match before {
        Some(directory) => directory.copy(),
        None => (Arc::new(Resolver::new(&config.dns)), BTreeMap::new()),
    };
    if *resolver.settings() != config.dns {
        // Other servers may know other addresses.
        resolver = Arc::new(Resolver::new(&config.dns));
        known.clear();
    }
    let all = config.pool.iter().flat_map(|pool| &pool.backends);
    let mut wanted: Vec<String> = all
        .filter_map(|backend| name_of(backend.address()))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    known.retain(|host, _| wanted.contains(host));
    let deadline = Instant::now() + limit;
    let mut answers: BTreeMap<String, Result<Answer, String>> =
        ask(&resolver, wanted.clone(), deadline)
            .await
            .into_iter()
            .collect();
    for host in wanted {
        let late = || Err("no DNS server answered in time".to_string());
        let answer = answers.remove(&host).unwrap_or_else(late);
        take(known.entry(host.clone()).or_default(), &host, answer);
    }
    Learned { resolver, known }
}

impl Default for Known {
    fn default() -> Known {
        Known {
            named: Named::default(),
            due: Instant::now(),
            asked: Instant::now(),
            again: AGAIN,
        }
    }
}

/// Asks for all of them; gives the answers that came until the deadline.
async fn ask(
    resolver: &Arc<Resolver>,
    hosts: Vec<String>,
    deadline: Instant,
) -> Vec<(String, Result<Answer, String>)> {
    let (mut answers, mut under_way) = (Vec::new(), JoinSet::new());
    let mut hosts = hosts.into_iter();
    loop {
        for host in hosts.by_ref().take(AT_ONCE - under_way.len()) {
            let resolver = Arc::clone(resolver);
            under_way.spawn(async move {
                let answer = resolver.addresses(&host).await;
                (host, answer)
            });
        }
        match timeout_at(deadline.into(), under_way.join_next()).await {
            // One that panicked has no answer.
            Ok(Some(done)) => answers.extend(done.ok()),
            Ok(None) | Err(_) => return answers,
        }
    }
}

/// Takes an answer, and says what it changes. Of a family that no server answered about, the addresses of before stay.
fn take(known: &mut Known, host: &str, answer: Result<Answer, String>) {
    known.asked = Instant::now();
    let named = match answer {
        Ok(mut answer) => {
            known.due = known.asked + answer.ttl;
            if let Some(family) = answer.unanswered {
                known.due = known.asked + known.again;
                let before = known.named.addresses.iter();
                answer.addresses.extend(before.filter(|a| family.has(a)));
                answer.addresses.sort_unstable();
            }
            Named {
                addresses: answer.addresses,
                fault: None,
            }
        }
        Err(why) => {
            known.due = known.asked + known.again;
            Named {
                addresses: known.named.addresses.clone(),
                fault: Some(why),
            }
        }
    };
    if named == known.named {
        return;
    }
    match &named.fault {
        None => {
            let all: Vec<String> = named.addresses.iter().map(ToString::to_string).collect();
            say!(Info, "backend {host} is at {}", all.join(", "));
        }
        Some(why) if named.addresses.is_empty() => {
            say!(
                Warn,
                "backend {host}: {why}; it counts as down until the name is found"
            );
        }
        Some(why) => say!(
            Warn,
            "backend {host}: {why}; the addresses found last stay in use"
        ),
    }
    known.named = named;
}

impl Directory {
    /// Of the configuration of the start.
    pub fn new(learned: Learned) -> Directory {
        Directory(Mutex::new(learned))
    }

    fn copy(&self) -> (Arc<Resolver>, BTreeMap<String, Known>) {
        let learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&learned.resolver), learned.known.clone())
    }

    /// Takes the names of another configuration, which is in force now.
    pub fn replace(&self, learned: Learned) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = learned;
    }

    /// What is known now.
    pub fn names(&self) -> Names {
        names(&self.0.lock().unwrap_or_else(PoisonError::into_inner).known)
    }

    /// Keeps them current, without end. May be dropped at any time.
    pub async fn keep(&self, site: impl Fn() -> Arc<Site>) {
        loop {
            sleep(LOOK).await;
            let (resolver, known) = self.copy();
            let (site, moment) = (site(), Instant::now());
            let outdated = !known.is_empty() && resolver.is_outdated();
            let is_due = |known: &Known| {
                let again = known.asked + known.again <= moment && fails(&site, &known.named);
                outdated || known.due <= moment || again
            };
            let due = known.iter().filter(|(_, known)| is_due(known));
            let due: Vec<String> = due.map(|(host, _)| host.clone()).collect();
            if due.is_empty() {
                continue;
            }
            let answers = ask(&resolver, due, Instant::now() + KEEP_MAX).await;
            let mut learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (host, answer) in answers {
                // A reload may have brought other servers, or taken the name away, meanwhile.
                if Arc::ptr_eq(&learned.resolver, &resolver)
                    && let Some(known) = learned.known.get_mut(&host)
                {
                    let well = answer.as_ref().is_ok_and(|a| a.unanswered.is_none());
                    take(known, &host, answer);
                    known.again = match well && !fails(&site, &known.named) {
                        true => AGAIN,
                        false => (known.again * 2).min(AGAIN_MAX),
                    };
                }
            }
        }
    }
}

/// Whether a backend at one of the addresses is left out.
fn fails(site: &Site, named: &Named) -> bool {
    let mut views = site.backends.view(now()).into_iter();
    views.any(|view| !view.up && named.addresses.contains(&view.address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, Backend, Time},
        lookup::Family,
    };
    use std::net::{IpAddr, UdpSocket};

    fn addresses(all: &[&str]) -> Vec<IpAddr> {
        let all = all.iter();
        all.map(|text| text.parse().expect("an address")).collect()
    }

    fn answer(all: &[&str], unanswered: Option<Family>) -> Result<Answer, String> {
        Ok(Answer {
            addresses: addresses(all),
            ttl: Duration::from_secs(60),
            unanswered,
        })
    }

    #[test]
    fn the_addresses_found_last_stay_while_a_look_up_fails() {
        let mut known = Known::default();
        take(&mut known, "a.example", Err("no server answers".into()));
        assert_eq!(known.named.addresses, addresses(&[]));
        let both = ["192.0.2.1", "2001:db8::1"];
        take(&mut known, "a.example", answer(&both, None));
        assert_eq!(
            (known.named.addresses.len(), &known.named.fault),
            (2, &None)
        );
        take(&mut known, "a.example", Err("there is no such name".into()));
        assert_eq!(known.named.addresses, addresses(&both));
        assert!(known.named.fault.is_some() && known.due <= known.asked + AGAIN_MAX);
        // Half an answer replaces half of what is known, and the other half is asked for soon.
        take(
            &mut known,
            "a.example",
            answer(&["192.0.2.2"], Some(Family::V6)),
        );
        let half = ["192.0.2.2", "2001:db8::1"];
        assert_eq!(known.named.addresses, addresses(&half));
        assert!(known.due <= known.asked + AGAIN_MAX);
        take(&mut known, "a.example", answer(&["192.0.2.2"], None));
        assert_eq!(known.named.addresses, addresses(&["192.0.2.2"]));
    }

    #[test]
    fn a_silent_server_holds_nothing_up_however_many_names_there_are() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let names = (0..3 * AT_ONCE).map(|i| format!("mta{i}.example:25"));
        let backends = names.chain(["192.0.2.1:25".into(), "[2001:db8::1]:25".into()]);
        let config = Config {
            pool: vec![config::Pool {
                backends: backends.map(Backend::Address).collect(),
                ..config::Pool::default()
            }],
            dns: config::Dns {
                servers: vec![silent.local_addr().expect("bound")],
                timeout: Time::secs(60),
                ..config::Dns::default()
            },
            ..Config::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let learned = runtime.block_on(learn_within(&config, None, Duration::from_millis(200)));
        let names = learned.names();
        assert_eq!(names.len(), 3 * AT_ONCE, "addresses are no names");
        for named in names.values() {
            let fault = named.fault.as_deref();
            assert_eq!(fault, Some("no DNS server answered in time"));
        }
    }
}
