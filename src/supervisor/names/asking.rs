//! Look-ups of names, side by side: an answer can be taken as soon as it is there, whatever else is still being asked.
//!
//! What a service is, is told with the addresses of those of its hosts that are new: a host that serves must be known before it
//! takes the place of another.

use crate::{
    lookup::{Dns, HostAnswer, Service},
    upstream::SERVICE,
};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};
use tokio::task::{Id, JoinSet};

/// Look-ups at the same time.
pub const AT_ONCE: usize = 16;

/// What was found of a name.
#[derive(Clone)]
pub enum Answer {
    Host(HostAnswer),
    Service(Service),
}

pub type Answers = Vec<(String, Result<Answer, String>)>;

/// A service that has answered, and of whose new hosts some have not.
struct Held {
    name: String,
    service: Service,
    waits_for: BTreeSet<String>,
    hosts: Answers,
}

impl Held {
    fn answers(self) -> Answers {
        let mut all = self.hosts;
        all.push((self.name, Ok(Answer::Service(self.service))));
        all
    }
}

/// The look-ups that are under way, and those that are to come.
pub struct Asking {
    dns: Arc<Dns>,
    queue: VecDeque<String>,
    under_way: JoinSet<Result<Answer, String>>,
    names: HashMap<Id, String>,
    held: Vec<Held>,
}

impl Asking {
    /// Nothing is asked of these servers yet.
    pub fn new(dns: &Arc<Dns>) -> Asking {
        Asking {
            dns: Arc::clone(dns),
            queue: VecDeque::new(),
            under_way: JoinSet::new(),
            names: HashMap::new(),
            held: Vec::new(),
        }
    }

    /// Whether these are the servers that it asks.
    pub fn is_of(&self, dns: &Arc<Dns>) -> bool {
        Arc::ptr_eq(&self.dns, dns)
    }

    /// Asks for a name, unless that is being done.
    pub fn begin(&mut self, name: String) {
        let is_begun = self.queue.contains(&name)
            || self.names.values().any(|one| *one == name)
            || self.held.iter().any(|held| held.name == name);
        if !is_begun {
            self.queue.push_back(name);
        }
    }

    /// The next answers, which belong together; `None` once nothing is asked any more. Asks for the hosts of services that
    /// are not known. May be dropped at any time.
    pub async fn next(&mut self, is_known: impl Fn(&str) -> bool) -> Option<Answers> {
        loop {
            while self.under_way.len() < AT_ONCE
                && let Some(name) = self.queue.pop_front()
            {
                let task = ask(Arc::clone(&self.dns), name.clone());
                self.names.insert(self.under_way.spawn(task).id(), name);
            }
            let (id, answer) = match self.under_way.join_next_with_id().await? {
                Ok(done) => done,
                Err(error) => (error.id(), Err("its look-up has failed".to_string())),
            };
            let name = self.names.remove(&id)?;
            let answers = self.arrived(name, answer, &is_known);
            if !answers.is_empty() {
                return Some(answers);
            }
        }
    }

    /// What can be taken now that this answer is there.
    fn arrived(
        &mut self,
        name: String,
        answer: Result<Answer, String>,
        is_known: &dyn Fn(&str) -> bool,
    ) -> Answers {
        let mut answers = Answers::new();
        match answer {
            Ok(Answer::Service(service)) => {
                let hosts = service.targets.iter().map(|target| target.host.clone());
                let new: BTreeSet<String> = hosts.filter(|host| !is_known(host)).collect();
                new.iter().for_each(|host| self.begin(host.clone()));
                self.held.push(Held {
                    name,
                    service,
                    waits_for: new,
                    hosts: Answers::new(),
                });
            }
            answer => {
                let mut is_held = false;
                for held in &mut self.held {
                    if held.waits_for.remove(&name) {
                        held.hosts.push((name.clone(), answer.clone()));
                        is_held = true;
                    }
                }
                if !is_held {
                    answers.push((name, answer));
                }
            }
        }
        let (held, done) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| !held.waits_for.is_empty());
        self.held = held;
        let done: Vec<Held> = done;
        answers.extend(done.into_iter().flat_map(Held::answers));
        answers
    }

    /// Ends it: services that have answered, with those of their hosts that have.
    pub fn end(self) -> Answers {
        self.held.into_iter().flat_map(Held::answers).collect()
    }
}

async fn ask(dns: Arc<Dns>, name: String) -> Result<Answer, String> {
    match name.strip_prefix(SERVICE) {
        Some(service) => {
            let service = service.strip_suffix('.').unwrap_or(service);
            dns.service(service).await.map(Answer::Service)
        }
        None => dns.addresses(&name).await.map(Answer::Host),
    }
}
