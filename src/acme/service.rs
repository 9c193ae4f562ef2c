//! What runs: the certificate to begin with, the responder, and the loop that orders when it is time.

use super::{
    certificate::{Certificate, self_signed},
    order::{self, Failure},
    responder::{Answers, Challenges},
    schedule::{Fault, History, Validity},
    store::Store,
};
use crate::{
    config,
    log::say,
    metrics::{Counter, Gauge, Registry, Scope},
};
use std::{
    mem::take,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// The longest sleep: the clock may be set, and the machine may have slept as well.
const NAP: u64 = 3600;

/// Puts a certificate in force; the error says why it can't be.
pub type Install = Box<dyn Fn(&Certificate) -> Result<(), String> + Send + Sync>;

/// The certificate in force, as far as the schedule needs it.
struct Held {
    validity: Validity,
    /// Is it what would be ordered: these names, from this authority?
    fits: bool,
}

/// ACME, ready to run.
pub struct Acme {
    settings: config::Acme,
    challenges: Challenges,
    answers: Answers,
    store: Store,
    history: History,
    held: Option<Held>,
    registry: Arc<Registry>,
}

impl Acme {
    /// Reads the store: `None` if no ACME is wanted. With it comes the certificate to begin with: the stored one, or a
    /// self-signed one until the real one is there. Call it once privileges are dropped: the store is a folder of the
    /// user that the service runs as, and root must not follow a link that stands there.
    ///
    /// # Errors
    /// A domain can't stand in a certificate.
    pub fn prepare(
        settings: &config::Acme,
        challenges: Challenges,
        registry: &Arc<Registry>,
    ) -> Result<Option<(Acme, Certificate)>, String> {
        if !settings.is_on() {
            return Ok(None);
        }
        let settings = &lower(settings);
        let store = Store::new(&settings.store);
        let names = settings.domains.join(", ");
        let stored = store.certificate().filter(|(certificate, _)| {
            let ours = |name: &String| settings.domains.contains(name);
            certificate.names().iter().any(ours)
        });
        let (first, held) = match stored {
            Some((certificate, from)) => {
                let held = Held {
                    validity: certificate.validity(),
                    fits: certificate.fits(&settings.domains) && from == settings.directory,
                };
                say_stored(&certificate, held.validity);
                (certificate, Some(held))
            }
            None => {
                let certificate = self_signed(&settings.domains)?;
                say!(
                    Warn,
                    "acme: no certificate for {names} is stored; a self-signed one is used until it is issued"
                );
                (certificate, None)
            }
        };
        let acme = Acme {
            settings: settings.clone(),
            challenges,
            answers: Answers::default(),
            history: store.history(),
            store,
            held,
            registry: Arc::clone(registry),
        };
        Ok(Some((acme, first)))
    }

    /// Orders and renews for ever. A change of the settings is a wish to try at once, as far as the hour's budget of
    /// orders goes. It may be dropped at any time: an order that is half done does no harm.
    pub async fn run(mut self, mut settings: watch::Receiver<config::Acme>, install: Install) {
        // They end with this.
        let mut responders = JoinSet::new();
        take(&mut self.challenges).serve(&self.answers, &mut responders);
        let mut reloads = true;
        loop {
            let at = self.next();
            let gauge = i64::try_from(at).unwrap_or(i64::MAX);
            self.registry.set(Gauge::AcmeNext, Scope::NONE, gauge);
            tokio::select! {
                () = until(at) => self.attempt(&install).await,
                changed = settings.changed(), if reloads => match changed {
                    Ok(()) => {
                        let fresh = settings.borrow_and_update().clone();
                        self.adapt(fresh);
                    }
                    Err(_) => reloads = false,
                },
            }
        }
    }

    /// When to try.
    fn next(&self) -> u64 {
        let due = match &self.held {
            Some(held) if held.fits => held.validity.due(self.settings.renew_before.0),
            _ => 0,
        };
        self.history.next(due, now())
    }

    /// Takes new settings; where ACME was taken out of the file, it stays until a restart.
    fn adapt(&mut self, fresh: config::Acme) {
        if !fresh.is_on() {
            return;
        }
        let before = std::mem::replace(&mut self.settings, lower(&fresh));
        if let Some(held) = &mut self.held
            && (before.directory != self.settings.directory
                || before.domains != self.settings.domains)
        {
            let same = |(stored, from): (Certificate, String)| {
                stored.fits(&self.settings.domains) && from == self.settings.directory
            };
            held.fits = self.store.certificate().is_some_and(same);
        }
        self.history.forget_failures();
    }

    /// Tries once, and remembers what became of it.
    async fn attempt(&mut self, install: &Install) {
        match self.order(install).await {
            Ok(certificate) => {
                self.history.forget_failures();
                let validity = certificate.validity();
                self.held = Some(Held {
                    validity,
                    fits: true,
                });
                self.registry.count(Counter::AcmeIssued, Scope::NONE, 1);
                say!(
                    Info,
                    "acme: the certificate for {} is in force, good until {}; the next one is due on {}",
                    certificate.names().join(", "),
                    day(validity.until),
                    day(self.next())
                );
            }
            Err(failure) => self.failed(&failure),
        }
        if let Err(why) = self.store.keep_history(&self.history) {
            say!(Warn, "acme: {why}");
        }
    }

    fn failed(&mut self, failure: &Failure) {
        self.history.failed(now(), failure.fault);
        if failure.limited {
            self.history.slow_down();
        }
        if failure.stranger {
            self.store.forget_account();
        }
        let counter = match failure.fault {
            Fault::Refused => Counter::AcmeRefused,
            Fault::Unreached => Counter::AcmeUnreached,
        };
        self.registry.count(counter, Scope::NONE, 1);
        let wait = config::Time::secs(self.next().saturating_sub(now()));
        say!(
            Warn,
            "acme: no certificate for {}: {}; next try in {wait}",
            self.settings.domains.join(", "),
            failure.why
        );
    }

    /// Orders, installs, stores.
    async fn order(&mut self, install: &Install) -> Result<Certificate, Failure> {
        self.store.open().map_err(Failure::unreached)?;
        let account = order::account(&self.settings, &self.store).await?;
        // Before it is made: an order that ends with the process counts as well.
        self.history.ordered(now());
        self.store
            .keep_history(&self.history)
            .map_err(Failure::unreached)?;
        let names = self.settings.domains.join(", ");
        say!(Info, "acme: ordering a certificate for {names}");
        let certificate = order::certificate(&self.settings, &account, &self.answers).await?;
        let validity = certificate.validity();
        if !validity.holds(now()) || validity.due(self.settings.renew_before.0) <= now() {
            let (from, until) = (day(validity.from), day(validity.until));
            let why = format!("it is good from {from} to {until} only; is the clock right?");
            return Err(Failure::refused(why));
        }
        install(&certificate).map_err(Failure::refused)?;
        let kept = self
            .store
            .keep_certificate(&certificate.pem(), &self.settings.directory);
        if let Err(why) = kept {
            say!(
                Error,
                "acme: {why}; the certificate is in force, but not stored: the next start orders another"
            );
        }
        Ok(certificate)
    }
}

/// Says which one was stored. One that is not good now is used all the same: it says no less than a self-signed one, and the clock
/// may be what is wrong.
fn say_stored(certificate: &Certificate, validity: Validity) {
    let stored = certificate.names().join(", ");
    let (from, until) = (day(validity.from), day(validity.until));
    match validity.holds(now()) {
        true => say!(
            Info,
            "acme: the stored certificate for {stored} is good until {until}"
        ),
        false => say!(
            Warn,
            "acme: the stored certificate for {stored} is good from {from} to {until} only; it is used until another is issued; is \
             the clock right?"
        ),
    }
}

/// With the names as certificates spell them.
fn lower(settings: &config::Acme) -> config::Acme {
    let mut settings = settings.clone();
    for name in &mut settings.domains {
        name.make_ascii_lowercase();
    }
    settings
}

/// Waits for a second since 1970.
async fn until(at: u64) {
    loop {
        match at.saturating_sub(now()) {
            0 => return,
            rest => sleep(Duration::from_secs(rest.min(NAP))).await,
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A second as a date and time in UTC.
fn day(second: u64) -> String {
    let second = i64::try_from(second).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second).map_or_else(|_| "never".into(), |at| at.to_string())
}
