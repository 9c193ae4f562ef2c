//! The backends' names: looked up at the start, for a reload, when an answer's TTL is over, when `/etc/hosts` or
//! `/etc/resolv.conf` has changed, and while a backend at one of their addresses is left out. A name is a host's, or a service's
//! (`srv:`), whose SRV records name hosts: those are looked up as if the file named them.
//!
//! A name that isn't found stops nothing: its backend counts as down until it is. The addresses and hosts that were found last
//! stay in use while a look-up fails.
//!
//! All of it runs on the control thread, and asks the DNS on the thread for that. A configuration without names asks nothing.

use crate::{
    config::Config,
    log::say,
    lookup::{Dns, Service},
    net::now,
    proxy::Site,
    upstream::{Named, Names, SERVICE, ServiceTarget, name_of},
};
use asking::{Answer, Answers, Asking};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{sleep_until, timeout_at};

mod asking;

/// How often the names that are due are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Look-ups for a start or a reload take this long at most, all together. What has not been answered by then is asked for
/// again while mail flows.
const LEARN_MAX: Duration = Duration::from_secs(5);
/// From a look-up that failed, or one for a backend that is left out, to the next one; it doubles up to the maximum.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// A name.
#[derive(Clone)]
pub(super) struct Known {
    named: Named,
    /// When it is asked for again: the TTL of the answer is over, or the wait after one that failed.
    due: Instant,
    /// When it was asked for last, and the wait until it is asked for again where it leads to a backend that is left out.
    asked: Instant,
    again: Duration,
    /// The configuration has it, not only an SRV record.
    is_written: bool,
}

/// What a configuration's names were found to be, before it is in force.
pub(super) struct Learned {
    dns: Arc<Dns>,
    known: BTreeMap<String, Known>,
}

impl Learned {
    /// For building with.
    pub fn names(&self) -> Names {
        names(&self.known)
    }

    /// What they were asked of.
    pub fn dns(&self) -> &Arc<Dns> {
        &self.dns
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
    let (before, mut known) = match before {
        Some(directory) => {
            let (dns, known) = directory.copy();
            (Some(dns), known)
        }
        None => (None, BTreeMap::new()),
    };
    let dns = Dns::new(&config.dns, before.as_ref());
    if before.is_some_and(|before| !Arc::ptr_eq(&before, &dns)) {
        // Other servers may know other addresses.
        known.clear();
    }
    let all = config.pool.iter().flat_map(|pool| &pool.backends);
    let mut wanted: Vec<String> = all
        .filter_map(|backend| name_of(backend.address()))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    for (name, known) in &mut known {
        known.is_written = wanted.contains(name);
    }
    for name in &wanted {
        known.entry(name.clone()).or_default().is_written = true;
    }
    let deadline = Instant::now() + limit;
    let (mut asking, mut answers) = (Asking::new(&dns), Answers::new());
    wanted.iter().for_each(|name| asking.begin(name.clone()));
    loop {
        let is_known = |host: &str| answers.iter().any(|(name, _)| name == host);
        match timeout_at(deadline.into(), asking.next(is_known)).await {
            Ok(Some(more)) => answers.extend(more),
            Ok(None) | Err(_) => break,
        }
    }
    answers.extend(asking.end());
    for name in wanted {
        let is_late = !answers.iter().any(|(answered, _)| *answered == name);
        if is_late {
            answers.push((name, Err("no DNS server answered in time".to_string())));
        }
    }
    take_all(&mut known, answers);
    Learned { dns, known }
}

impl Default for Known {
    fn default() -> Known {
        Known {
            named: Named::default(),
            due: Instant::now(),
            asked: Instant::now(),
            again: AGAIN,
            is_written: false,
        }
    }
}

/// Takes the answers, and forgets the hosts that no service names any more. Hosts come before services: a host that serves must
/// be known before it takes the place of another.
fn take_all(known: &mut BTreeMap<String, Known>, answers: Answers) {
    let is_service = |(name, _): &(String, _)| name.starts_with(SERVICE);
    let (services, hosts): (Answers, Answers) = answers.into_iter().partition(is_service);
    for (name, answer) in hosts {
        take(known.entry(name.clone()).or_default(), &name, answer);
    }
    for (name, answer) in services {
        let answer = match answer {
            Ok(Answer::Service(service)) if !leads_somewhere(known, &name, &service) => {
                Err("none of its hosts has an address".to_string())
            }
            answer => answer,
        };
        take(known.entry(name.clone()).or_default(), &name, answer);
    }
    let targets = known.values().flat_map(|known| &known.named.targets);
    let targets: BTreeSet<String> = targets.map(|target| target.host.clone()).collect();
    known.retain(|name, known| known.is_written || targets.contains(name));
    for host in targets {
        known.entry(host).or_default();
    }
}

/// Whether hosts are known well enough to be used in place of those that are used now.
fn leads_somewhere(known: &BTreeMap<String, Known>, name: &str, service: &Service) -> bool {
    let has_address = |host: &str| {
        let host = known.get(host);
        host.is_some_and(|host| !host.named.addresses.is_empty())
    };
    let before = known.get(name).map(|known| &*known.named.targets);
    service.targets.is_empty()
        || before.is_none_or(|before| !before.iter().any(|target| has_address(&target.host)))
        || service
            .targets
            .iter()
            .any(|target| has_address(&target.host))
}

/// Takes an answer, and says what it changes. Of a family that no server answered about, the addresses of before stay.
fn take(known: &mut Known, host: &str, answer: Result<Answer, String>) {
    known.asked = Instant::now();
    let mut unusable = Vec::new();
    let named = match answer {
        Ok(Answer::Service(service)) => {
            known.due = known.asked + service.ttl;
            unusable.clone_from(&service.unusable);
            Named {
                targets: tiers(&service),
                ..Named::default()
            }
        }
        Ok(Answer::Host(mut answer)) => {
            known.due = known.asked + answer.ttl;
            if let Some(family) = answer.unanswered {
                known.due = known.asked + known.again;
                let before = known.named.addresses.iter();
                answer.addresses.extend(before.filter(|a| family.has(a)));
                answer.addresses.sort_unstable();
            }
            Named {
                addresses: answer.addresses,
                ..Named::default()
            }
        }
        Err(why) => {
            known.due = known.asked + known.again;
            Named {
                fault: Some(why),
                ..known.named.clone()
            }
        }
    };
    if named == known.named {
        return;
    }
    if !unusable.is_empty() {
        let all = unusable.join(", ");
        say!(
            Warn,
            "backend {host}: the port in its SRV records is 0 for {all}, which is left out"
        );
    }
    let (addresses, targets) = (named.addresses.iter(), named.targets.iter());
    let all: Vec<String> = addresses
        .map(ToString::to_string)
        .chain(targets.map(|target| {
            let host = target.host.trim_end_matches('.');
            format!("{host}:{}", target.port)
        }))
        .collect();
    match &named.fault {
        None if all.is_empty() => say!(
            Warn,
            "backend {host}: its SRV record says that the service is not offered"
        ),
        None => say!(Info, "backend {host} is at {}", all.join(", ")),
        Some(why) if all.is_empty() => {
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

/// The hosts of a service, by what their records say. The tiers of several services, and what is written beside them, begin
/// at the same one. A share of 0 is a small one (RFC 2782).
fn tiers(service: &Service) -> Vec<ServiceTarget> {
    let (mut tier, mut priority) = (0, None);
    let in_order = service.targets.iter();
    in_order
        .map(|target| {
            if priority.is_some_and(|priority| priority != target.priority) {
                tier += 1;
            }
            priority = Some(target.priority);
            ServiceTarget {
                host: target.host.clone(),
                port: target.port,
                weight: u32::from(target.weight).max(1),
                tier,
            }
        })
        .collect()
}

impl Directory {
    /// Of the configuration of the start.
    pub fn new(learned: Learned) -> Directory {
        Directory(Mutex::new(learned))
    }

    fn copy(&self) -> (Arc<Dns>, BTreeMap<String, Known>) {
        let learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&learned.dns), learned.known.clone())
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
        let mut asking = Asking::new(&self.copy().0);
        loop {
            let next_look = Instant::now() + LOOK;
            let (dns, known) = self.copy();
            if !asking.is_of(&dns) {
                // A reload has brought other servers: these are to say it.
                asking = Asking::new(&dns);
            }
            let (current, moment) = (site(), Instant::now());
            let outdated = !known.is_empty() && dns.is_outdated();
            let is_due = |known: &Known| {
                let again = known.asked + known.again <= moment && fails(&current, &known.named);
                outdated || known.due <= moment || again
            };
            let due = known.iter().filter(|(_, known)| is_due(known));
            due.for_each(|(name, _)| asking.begin(name.clone()));
            let is_known = |host: &str| known.contains_key(host);
            while let Ok(Some(answers)) = timeout_at(next_look.into(), asking.next(is_known)).await
            {
                let mut learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                // A reload may have brought other servers meanwhile.
                if asking.is_of(&learned.dns) {
                    learned.keep(&site(), answers);
                }
            }
            sleep_until(next_look.into()).await;
        }
    }
}

impl Learned {
    /// Takes what came while mail flows, and sets when what failed is asked for again.
    fn keep(&mut self, site: &Site, mut answers: Answers) {
        // A reload may have taken a name away, or a service a host.
        let named = answers.iter().flat_map(|(_, answer)| match answer {
            Ok(Answer::Service(service)) => &*service.targets,
            _ => &[],
        });
        let named: BTreeSet<String> = named.map(|target| target.host.clone()).collect();
        answers.retain(|(name, _)| self.known.contains_key(name) || named.contains(name));
        let well: Vec<(String, bool)> = answers
            .iter()
            .map(|(name, answer)| {
                let well = match answer {
                    Ok(Answer::Host(answer)) => answer.unanswered.is_none(),
                    Ok(Answer::Service(_)) => true,
                    Err(_) => false,
                };
                (name.clone(), well)
            })
            .collect();
        take_all(&mut self.known, answers);
        for (name, well) in well {
            if let Some(known) = self.known.get_mut(&name) {
                let well = well && known.named.fault.is_none() && !fails(site, &known.named);
                known.again = match well {
                    true => AGAIN,
                    false => (known.again * 2).min(AGAIN_MAX),
                };
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
mod tests;
