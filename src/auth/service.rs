//! The one place that a session asks: it knows the sources by name, what was answered lately, and which clients guess too
//! much.
//!
//! A question never waits on the worker that asks it. A file's hashes are checked by threads of their own, a remote source is
//! asked on the control thread, and the answer comes through the closure that went with the question. A closure that is
//! dropped uncalled is an answer too: the source couldn't be asked.

use super::{
    Account, Attempt, Credential, Outcome,
    accounts::Accounts,
    asker::Asker,
    cache::{Cache, JudgesBy},
    grant::{By, Grant, Table},
    hashing::Hashing,
    remote::{Owned, Remote},
    slowed::{Places, Slowed},
    throttle::{Limits, Throttle, network},
};
use crate::{
    config::{Config, CredentialSource, Credentials},
    smtp::Tick,
    state::{Moment, Section, Snapshot},
};
use std::{
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Questions to remote sources at once, all of them together.
const ASKED_MAX: u32 = 4096;

/// Where an answer goes.
pub type Reply = Box<dyn FnOnce(Outcome) + Send>;

/// Something to be done on the control thread.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(usize);

#[derive(Clone)]
enum Kind {
    File(Arc<Accounts>),
    Remote(Arc<Remote>),
}

struct Source {
    name: String,
    kind: Kind,
    /// What an account owns of which the source has said nothing.
    owned: Owned,
    table: Table,
    cache: Duration,
    cache_negative: Duration,
}

/// What outlives a reload.
struct Lasting {
    throttle: Throttle,
    cache: Cache,
    hashing: OnceLock<Hashing>,
    spawn: OnceLock<Box<dyn Fn(Task) + Send + Sync>>,
    generations: AtomicU64,
    asked: AtomicU32,
    slowed: Places,
}

/// All sources of a configuration. Shared by all workers.
pub struct Service {
    lasting: Arc<Lasting>,
    sources: Vec<Source>,
    generation: u64,
    limits: Limits,
    slowed_max: u32,
}

/// A question among those that are being asked.
struct Asked(Arc<Lasting>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Relaxed);
    }
}

impl Service {
    /// Reads what the configuration names. `before` lends what outlives a reload.
    ///
    /// # Errors
    /// Everything that is wrong, in words for the operator.
    pub fn build(config: &Config, before: Option<&Service>) -> Result<Service, Vec<String>> {
        let lasting = match before {
            Some(before) => Arc::clone(&before.lasting),
            None => Arc::new(Lasting {
                throttle: Throttle::default(),
                cache: Cache::new().map_err(|why| vec![why])?,
                hashing: OnceLock::new(),
                spawn: OnceLock::new(),
                generations: AtomicU64::new(0),
                asked: AtomicU32::new(0),
                slowed: Places::default(),
            }),
        };
        let (mut sources, mut problems) = (Vec::new(), Vec::new());
        for credentials in &config.credentials {
            match kind(config, credentials) {
                Ok(kind) => sources.push(Source {
                    name: credentials.name.clone(),
                    kind,
                    owned: Owned::new(credentials, &config.hostname),
                    table: Table::new(credentials, &config.hostname),
                    cache: credentials.cache.0,
                    cache_negative: credentials.cache_negative.0,
                }),
                Err(found) => problems.extend(found.into_iter().map(|why| told(credentials, &why))),
            }
        }
        let files = sources.iter().any(|s| matches!(s.kind, Kind::File(_)));
        if problems.is_empty() && files && lasting.hashing.get().is_none() {
            match Hashing::start() {
                // Two configurations are never built at once.
                Ok(threads) => drop(lasting.hashing.set(threads)),
                Err(why) => problems.push(format!("no thread to check passwords: {why}")),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (limits, timeouts) = (&config.limits, &config.timeouts);
        Ok(Service {
            generation: lasting.generations.fetch_add(1, Relaxed),
            lasting,
            sources,
            limits: Limits {
                client: limits.auth_failures_client,
                account: limits.auth_failures_account,
                lockout: timeouts.auth_lockout.0,
                delay: timeouts.auth_delay.0,
            },
            slowed_max: limits.auth_slowed,
        })
    }

    /// Says how something gets to the control thread. Remote sources can't be asked before. Once is enough for all
    /// configurations that follow.
    pub fn attend(&self, spawn: impl Fn(Task) + Send + Sync + 'static) {
        // A second time changes nothing.
        let _ = self.lasting.spawn.set(Box::new(spawn));
    }

    /// Entries of what is to outlive a restart at most.
    pub const KEPT_MAX: usize = Throttle::KEPT_MAX;

    /// The counts of failures and who has logged in, to outlive a restart.
    #[must_use]
    pub fn sections(&self, now: Moment) -> Vec<Section> {
        self.lasting.throttle.sections(now)
    }

    /// Takes in what was kept. To be called at the start, before the first question: later it would free those that are locked.
    pub fn restore(&self, kept: &Snapshot, now: Moment) {
        self.lasting.throttle.restore(kept, now);
    }

    /// The source of this name; of no name, the only one.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<SourceId> {
        if name.is_empty() {
            return (self.sources.len() == 1).then_some(SourceId(0));
        }
        let place = self.sources.iter().position(|source| source.name == name);
        place.map(SourceId)
    }

    /// The accounts of a source that is a file: SCRAM's verifiers are there and nowhere else.
    #[must_use]
    pub fn accounts(&self, id: SourceId) -> Option<Arc<Accounts>> {
        match &self.sources.get(id.0)?.kind {
            Kind::File(accounts) => Some(Arc::clone(accounts)),
            Kind::Remote(_) => None,
        }
    }

    /// Asks a source. `reply` is called once, on any thread, or dropped.
    pub fn check(&self, id: SourceId, attempt: Attempt, now: Tick, reply: Reply) {
        let Some(source) = self.sources.get(id.0) else {
            return;
        };
        let judges_by = match source.kind {
            Kind::File(_) => JudgesBy::Credential,
            Kind::Remote(_) => JudgesBy::Attempt,
        };
        let cache = &self.lasting.cache;
        let key = cache.key(self.generation, &source.name, judges_by, &attempt);
        if let Some(known) = cache.get(&key, now) {
            reply(known);
            return;
        }
        let lasting = Arc::clone(&self.lasting);
        let (good, bad) = (source.cache, source.cache_negative);
        let answered = move |outcome: Outcome, holds: Duration| {
            let last = match outcome {
                Outcome::Granted(_) => good.min(holds),
                _ => bad,
            };
            lasting.cache.put(key, &outcome, now, last);
            reply(outcome);
        };
        let asker = self.asker(&attempt, now);
        match source.kind.clone() {
            Kind::File(accounts) => {
                let job = move || answered(accounts.check(&attempt), Duration::MAX);
                // A job that isn't taken is dropped, and its reply with it.
                let _ = self.lasting.hashing.get().map(|at| at.run(asker, job));
            }
            Kind::Remote(remote) => {
                let asked = Asked(Arc::clone(&self.lasting));
                let before = self.lasting.asked.fetch_add(1, Relaxed);
                if let (Some(spawn), true) = (self.lasting.spawn.get(), before < ASKED_MAX) {
                    spawn(Box::pin(async move {
                        let _asked = asked;
                        let (outcome, holds) = remote.check_as(&attempt, asker).await;
                        answered(outcome, holds);
                    }));
                }
            }
        }
    }

    /// Whose share of the hashes, or of a source's places, an attempt takes.
    fn asker(&self, attempt: &Attempt, now: Tick) -> Asker {
        let user = match &attempt.credential {
            Credential::Password { user, .. } => Some(user),
            Credential::Token { user, .. } => user.as_ref(),
        };
        let user = user.map(|user| super::names::folded(user));
        let throttle = &self.lasting.throttle;
        match throttle.known_pair(attempt.client, user.as_deref(), now) {
            Some((network, account)) => Asker::Known(network, account),
            None => Asker::Stranger(network(attempt.client)),
        }
    }

    /// Whether this address, or this account from this address, has failed so often that its passwords aren't checked any
    /// more.
    #[must_use]
    pub fn is_locked(&self, client: IpAddr, user: Option<&str>, now: Tick) -> bool {
        let user = user.map(super::names::folded);
        let throttle = &self.lasting.throttle;
        throttle.is_locked(client, user.as_deref(), now, &self.limits)
    }

    /// Counts a failure. How long after the question the client may hear of it.
    #[must_use]
    pub fn failed(&self, client: IpAddr, user: Option<&str>, now: Tick) -> Duration {
        let user = user.map(super::names::folded);
        let throttle = &self.lasting.throttle;
        throttle.failed(client, user.as_deref(), now, &self.limits)
    }

    /// Remembers that this account is used from this address.
    pub fn granted(&self, client: IpAddr, user: &str, now: Tick) {
        let user = super::names::folded(user);
        self.lasting.throttle.granted(client, &user, now);
    }

    /// A place among the sessions that wait to hear of their failure. `None`: too many wait, or too many of this client's
    /// address or network.
    #[must_use]
    pub fn slow(&self, client: IpAddr) -> Option<Slowed> {
        self.lasting.slowed.take(client, self.slowed_max)
    }

    /// The account of a name that a trusted proxy has told (XCLIENT's LOGIN). Where no source can be asked without a
    /// password, or it doesn't know the name, the account owns what its name says.
    #[must_use]
    pub fn named(&self, id: SourceId, user: &str) -> Account {
        let source = self.sources.get(id.0);
        let known = source.and_then(|source| match &source.kind {
            Kind::File(accounts) => accounts.find(user).map(|entry| entry.account.clone()),
            Kind::Remote(_) => None,
        });
        known
            .or_else(|| source.and_then(|source| source.owned.account(user, None)))
            .unwrap_or_else(|| Account {
                name: super::names::folded(user).into(),
                addresses: [].into(),
            })
    }

    /// Takes an account that SCRAM has proved. `None`: it is gone.
    #[must_use]
    pub fn proven(&self, id: SourceId, user: &str) -> Option<Account> {
        let accounts = self.accounts(id)?;
        accounts.find(user).map(|entry| entry.account.clone())
    }

    /// The login of an account that a source of this configuration has granted. `None`: it has no such account.
    #[must_use]
    pub fn grant(&self, id: SourceId, account: Account) -> Option<Grant> {
        let source = self.sources.get(id.0)?;
        let by = match &source.kind {
            Kind::File(accounts) => {
                By::Verifiers(accounts.find(&account.name)?.verifiers.as_slice().into())
            }
            Kind::Remote(_) => By::Source(source.table.clone()),
        };
        Some(Grant {
            account,
            generation: self.generation,
            by,
        })
    }

    /// Whether a login was granted, or found to hold, by this very configuration.
    #[must_use]
    pub fn has_granted(&self, grant: &Grant) -> bool {
        grant.generation == self.generation
    }

    /// A login under this configuration, with what its account owns now. `None`: the account is gone, its password is another one, or
    /// the source is.
    #[must_use]
    pub fn renew(&self, id: SourceId, grant: &Grant) -> Option<Grant> {
        let account = match &self.sources.get(id.0)?.kind {
            Kind::File(accounts) => accounts.find(&grant.account.name)?.account.clone(),
            Kind::Remote(_) => grant.account.clone(),
        };
        self.grant(id, account).filter(|again| again.by == grant.by)
    }
}

/// What is wrong with the files that the credential sources of a configuration name: the key, and why.
#[must_use]
pub fn faults(config: &Config) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    for (i, credentials) in config.credentials.iter().enumerate() {
        let key = match credentials.source {
            CredentialSource::File => format!("credentials[{i}].file"),
            _ => format!("credentials[{i}]"),
        };
        let found = kind(config, credentials).err().unwrap_or_default();
        faults.extend(
            found
                .into_iter()
                .map(|why| (key.clone(), told(credentials, &why))),
        );
    }
    faults
}

fn told(credentials: &Credentials, why: &str) -> String {
    format!("credentials \"{}\": {why}", credentials.name)
}

fn kind(config: &Config, credentials: &Credentials) -> Result<Kind, Vec<String>> {
    match credentials.source {
        CredentialSource::File => {
            Accounts::read(&credentials.file).map(|accounts| Kind::File(Arc::new(accounts)))
        }
        _ => Remote::build(credentials, config)
            .map(|remote| Kind::Remote(Arc::new(remote)))
            .map_err(|why| vec![why]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{
        Secret,
        edit::{self, Kept},
    };
    use std::path::Path;

    const KEPT: Kept = Kept {
        bcrypt: false,
        scram: false,
    };

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes())
    }

    fn built(credentials: Credentials, before: Option<&Service>) -> Service {
        let config = Config {
            hostname: "mx.example".into(),
            credentials: vec![credentials],
            ..Config::default()
        };
        Service::build(&config, before).expect("sound")
    }

    fn file(path: &Path) -> Credentials {
        Credentials {
            name: "staff".into(),
            source: CredentialSource::File,
            file: path.into(),
            ..Credentials::default()
        }
    }

    fn http(url: &str) -> Credentials {
        Credentials {
            name: "staff".into(),
            source: CredentialSource::Http,
            url: url.into(),
            ..Credentials::default()
        }
    }

    #[test]
    fn a_login_holds_while_its_account_and_its_password_stay() {
        const ID: SourceId = SourceId(0);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("accounts");
        for name in ["amy@example.net", "ben", "cid"] {
            edit::add(&path, name, &[], &secret("one"), KEPT).expect("added");
        }
        let first = built(file(&path), None);
        let login = |name: &str| {
            let account = first.proven(ID, name).expect("there");
            first.grant(ID, account).expect("there")
        };
        let [amy, ben, cid] = ["amy@example.net", "ben", "cid"].map(login);
        let same = built(file(&path), Some(&first));
        assert!(first.has_granted(&amy) && !same.has_granted(&amy));
        let renewed = same.renew(ID, &amy).expect("nothing has changed");
        assert!(same.has_granted(&renewed));

        edit::remove(&path, "cid").expect("removed");
        edit::change(&path, "ben", &[], &secret("two"), KEPT).expect("changed");
        let text = std::fs::read_to_string(&path).expect("there");
        let text = text.replace("amy@example.net -", "amy@example.net new@example.net");
        std::fs::write(&path, text).expect("written");
        let later = built(file(&path), Some(&same));
        let amy = later.renew(ID, &renewed).expect("the same password");
        assert_eq!(*amy.account().addresses, ["new@example.net".into()]);
        assert!(later.renew(ID, &ben).is_none(), "another password");
        assert!(later.renew(ID, &cid).is_none(), "no account");

        let other = built(http("http://127.0.0.1:1/"), Some(&later));
        assert!(other.renew(ID, &amy).is_none(), "another kind of source");
        let told = other.owned(ID).account("amy", None).expect("a name");
        let told = other.grant(ID, told).expect("a source");
        let quick = Credentials {
            cache: crate::config::Time(Duration::from_secs(1)),
            ..http("http://127.0.0.1:1/")
        };
        assert!(built(quick, Some(&other)).renew(ID, &told).is_some());
        let moved = built(http("http://127.0.0.1:2/"), Some(&other));
        assert!(moved.renew(ID, &told).is_none(), "another endpoint");
        let held = Credentials {
            domains: vec!["mx.example".into()],
            ..http("http://127.0.0.1:1/")
        };
        let held = built(held, Some(&other)).renew(ID, &told);
        assert!(held.is_none(), "held to its domains now, be it our own");
    }

    impl Service {
        fn owned(&self, id: SourceId) -> &Owned {
            &self.sources[id.0].owned
        }
    }
}
