//! Settings made whole: defaults filled in, contradictions told, texts turned into what the workers use.

use super::{
    arrivals,
    envelope::Addresses,
    secure::{Auth, Tls},
    settings::Settings,
    shape::Shape,
    value::{Extension, Many, ProxyVersion, Share, Sizes, Spacing},
};
use crate::ledger::MESSAGES_MAX;
use gatepost::{
    config::{Io, Size, Time},
    net,
    smtp::backend_session::BackendSettings,
};
use ipnet::IpNet;
use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// How the load comes.
#[derive(Clone, Debug)]
pub enum Load {
    /// So many sessions, each as fast as it goes.
    Closed {
        /// Sessions of all workers.
        sessions: u32,
    },
    /// Each message has its moment.
    Open {
        /// The rate at each moment.
        shape: Arc<Shape>,
        /// How messages follow each other.
        spacing: Spacing,
        /// Sessions of all workers.
        sessions_max: u32,
    },
}

/// Where to stop looking for the knee.
#[derive(Clone, Copy, Debug)]
pub struct KneeLimits {
    /// Of the latency.
    pub p99: Duration,
    /// The share of messages that are not acknowledged.
    pub errors: f64,
}

/// Shares of messages and sessions that are not as they should be.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Of recipients that are not there.
    pub bad_recipients: f64,
    /// Of messages that are spam.
    pub spam: f64,
    /// Of messages that are left.
    pub abort: f64,
    /// Of messages that trickle in.
    pub slow: f64,
    /// Octets a second of those.
    pub slow_pace: u64,
    /// The most of those at a time, of all workers.
    pub slow_max: u32,
    /// Idle sessions of all workers.
    pub idle: u32,
}

/// A run, ready to be executed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The settings it came from, with the defaults.
    pub settings: Settings,
    /// What the run is called.
    pub name: String,
    /// Where the mail goes, in turns.
    pub targets: Vec<SocketAddr>,
    /// How the load comes.
    pub load: Load,
    /// The first number that is too high.
    pub messages: u32,
    /// When no more messages are begun.
    pub duration: Option<Duration>,
    /// Whether the rate is to end where the target's knee is.
    pub knee: Option<KneeLimits>,
    /// Messages of a session; `u32::MAX` for no limit.
    pub per_session: u32,
    /// What all clients have in common.
    pub session: Arc<BackendSettings>,
    /// Where connections come from.
    pub source: Option<IpNet>,
    /// What is said before the greeting, and of whom.
    pub proxy: Option<(ProxyVersion, IpNet)>,
    /// How TLS is spoken, if at all.
    pub tls: Option<Tls>,
    /// The account of sessions that authenticate.
    pub auth: Option<Auth>,
    /// How long each wait may take.
    pub timeout: Duration,
    /// The sizes of messages.
    pub sizes: Sizes,
    /// Where they come from instead.
    pub from: Option<PathBuf>,
    /// The line that makes spam of a message.
    pub spam_phrase: String,
    /// Senders and recipients.
    pub addresses: Addresses,
    /// What goes wrong on purpose.
    pub trouble: Trouble,
    /// Threads.
    pub workers: u32,
    /// Where they are pinned, in turns; empty where they are not.
    pub cores: Vec<usize>,
    /// The engine asked for.
    pub io: Io,
    /// For what is drawn.
    pub seed: u64,
}

/// GTUBE: every filter knows it.
pub const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

const SESSIONS_MAX: u32 = 100_000;
const IDLE_MAX: u32 = 1_000_000;

impl Plan {
    /// Makes a plan of settings.
    ///
    /// # Errors
    /// They contradict each other, or a target's name is not known: a sentence that says so.
    pub fn new(settings: Settings) -> Result<Plan, String> {
        let settings = filled(settings)?;
        let said = settings.clone();
        let closed = said.closed == Some(true);
        let load = load(&said)?;
        let timeout = said.timeout.unwrap_or_default().0;
        if timeout.is_zero() {
            return Err("timeout must be longer than 0s".into());
        }
        let count = |share: Option<Share>| share.unwrap_or_default().0;
        let trouble = Trouble {
            bad_recipients: count(said.bad_recipients),
            spam: count(said.spam),
            abort: count(said.abort),
            slow: count(said.slow),
            slow_pace: said.slow_pace.unwrap_or_default().0.max(1),
            slow_max: said.slow_max.unwrap_or_default(),
            idle: said.idle.unwrap_or_default().min(IDLE_MAX),
        };
        let proxy_from = said.proxy_from.unwrap_or_default();
        Ok(Plan {
            name: said.name.clone().unwrap_or_default(),
            targets: resolve(&said.targets)?,
            knee: knee(&said, closed)?,
            load,
            messages: said.messages.unwrap_or(MESSAGES_MAX).min(MESSAGES_MAX),
            duration: said.duration.map(|time| time.0),
            per_session: match said.messages_per_session {
                Some(Many::Count(count)) => count,
                Some(Many::All) | None => u32::MAX,
            },
            session: Arc::new(BackendSettings {
                lmtp: said.lmtp == Some(true),
                chunking: said.chunking != Some(Extension::Off),
                pipelining: said.pipelining != Some(Extension::Off),
                ..BackendSettings::new(said.hello.as_deref().unwrap_or_default())
            }),
            source: said.source,
            proxy: said.proxy_header.map(|version| (version, proxy_from)),
            tls: Tls::new(&said)?,
            auth: Auth::new(&said)?,
            timeout,
            sizes: said.size.expect("filled"),
            from: said.from.clone(),
            spam_phrase: said.spam_phrase.clone().unwrap_or_default(),
            addresses: Addresses::new(&said, trouble.bad_recipients)?,
            trouble,
            workers: workers(&said)?,
            cores: said.cores.clone(),
            io: said.io.unwrap_or_default(),
            seed: u64::from(said.seed.unwrap_or_default()),
            settings,
        })
    }

    /// The plan as a scenario, without the password: it stands in reports.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let shown = Settings {
            password: None,
            ..self.settings.clone()
        };
        toml::to_string(&shown).expect("settings are text, numbers and lists of them")
    }

    /// How long an interval of the results is: some 2,000 of them at most.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let seconds = self.duration.unwrap_or_default().as_secs();
        Duration::from_secs((seconds / 2000).max(1))
    }

    /// The messages of one worker to come, in an open loop.
    #[must_use]
    pub fn arrivals(&self) -> Option<arrivals::Setup> {
        match &self.load {
            Load::Closed { .. } => None,
            Load::Open { shape, spacing, .. } => Some(arrivals::Setup {
                shape: Arc::clone(shape),
                spacing: *spacing,
                messages: self.messages,
                duration: self.duration,
                workers: self.workers,
                seed: self.seed,
            }),
        }
    }

    /// A worker's part of a number for all workers; the first ones have one more.
    #[must_use]
    pub fn part(&self, all: u32, worker: u32) -> u32 {
        all / self.workers + u32::from(worker < all % self.workers)
    }
}

/// Fills in what was not set.
fn filled(said: Settings) -> Result<Settings, String> {
    let closed = said.closed == Some(true);
    let own = [
        ("rate", said.rate.is_some() && said.burst.is_none()),
        ("ramp", said.ramp.is_some()),
        ("steps", said.steps.is_some()),
        ("burst", said.burst.is_some()),
        ("closed", closed),
    ];
    let named: Vec<&str> = own
        .iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| *name)
        .collect();
    if named.len() > 1 {
        return Err(format!("only one of {} can be", named.join(", ")));
    }
    let defaults = Settings {
        targets: vec!["127.0.0.1:2525".into()],
        rate: named.is_empty().then_some(1000.0),
        sessions: closed.then_some(32),
        sessions_max: (!closed).then_some(1000),
        arrivals: (!closed).then_some(Spacing::Even),
        messages_per_session: Some(Many::All),
        hello: Some("load.example".into()),
        pipelining: Some(Extension::Auto),
        chunking: Some(Extension::Auto),
        proxy_from: said
            .proxy_header
            .map(|_| "198.18.0.0/15".parse().expect("a network (RFC 2544)")),
        timeout: Some(Time::secs(60)),
        size: Some(Sizes::Fixed(Size::kib(4))),
        recipients: Some(1),
        recipient: vec!["user%@load.example".into()],
        sender: Some("sender%@source.example".into()),
        users: Some(1000),
        bad_recipient: said.bad_recipients.map(|_| "bad%@load.example".into()),
        spam_phrase: said.spam.map(|_| GTUBE.into()),
        slow_pace: said.slow.map(|_| Size(10)),
        slow_max: said.slow.map(|_| 1000),
        workers: Some(usual_workers(&said)),
        io: Some(Io::Auto),
        seed: Some(1),
        ..Settings::default()
    };
    let name = said.name.clone().unwrap_or_else(|| title(&said));
    let explicit = (said.duration, said.messages);
    let mut filled = said.over(defaults);
    filled.name = Some(name);
    if explicit == (None, None) {
        let own = shape(&filled).and_then(|shape| shape.length());
        let length = own.unwrap_or(Duration::from_secs(30));
        filled.duration = Some(Time(length));
    }
    Ok(filled)
}

/// What a run is called that has no name: what its load is.
fn title(said: &Settings) -> String {
    match said {
        Settings {
            burst: Some(burst), ..
        } => format!("bursts {burst}"),
        Settings {
            ramp: Some(ramp), ..
        } => format!("ramp {ramp}"),
        Settings {
            steps: Some(steps), ..
        } => format!("steps {steps}"),
        Settings {
            closed: Some(true), ..
        } => "closed loop".into(),
        Settings { rate, .. } => format!("{}/s", rate.unwrap_or(1000.0)),
    }
}

/// One a named core; else half of the cores, for what is under test needs some too.
fn usual_workers(said: &Settings) -> u32 {
    let count = match said.cores.len() {
        0 => (net::allowed_cores().len() / 2).clamp(1, 8),
        named => named,
    };
    u32::try_from(count).unwrap_or(1)
}

fn shape(said: &Settings) -> Option<Shape> {
    let rate = said.rate.unwrap_or_default();
    match said {
        Settings {
            burst: Some(burst), ..
        } => Some(burst.shape(rate)),
        Settings {
            ramp: Some(ramp), ..
        } => Some(ramp.shape()),
        Settings {
            steps: Some(steps), ..
        } => Some(steps.shape()),
        Settings {
            closed: Some(true), ..
        } => None,
        Settings { .. } => Some(Shape::constant(rate)),
    }
}

fn load(said: &Settings) -> Result<Load, String> {
    let within = |name: &str, count: Option<u32>| match count.unwrap_or_default() {
        0 => Err(format!("{name} must be 1 or more")),
        count if count > SESSIONS_MAX => Err(format!("{name} can be {SESSIONS_MAX} at most")),
        count => Ok(count),
    };
    let Some(shape) = shape(said) else {
        return Ok(Load::Closed {
            sessions: within("sessions", said.sessions)?,
        });
    };
    if said.rate.is_some_and(|rate| !(0.0..=1e7).contains(&rate)) {
        return Err("rate is a number of messages a second, up to 10000000".into());
    }
    if shape.when(0.0).is_infinite() {
        return Err("the rate is 0 all the time: nothing would be sent".into());
    }
    Ok(Load::Open {
        shape: Arc::new(shape),
        spacing: said.arrivals.unwrap_or(Spacing::Even),
        sessions_max: within("sessions_max", said.sessions_max)?,
    })
}

fn knee(said: &Settings, closed: bool) -> Result<Option<KneeLimits>, String> {
    if said.knee_p99.is_none() && said.knee_errors.is_none() {
        return Ok(None);
    }
    if closed {
        return Err("the knee is found with a rate that grows, not in a closed loop".into());
    }
    Ok(Some(KneeLimits {
        p99: said.knee_p99.map_or(Duration::MAX, |time| time.0),
        errors: said.knee_errors.map_or(1.0, |share| share.0),
    }))
}

fn workers(said: &Settings) -> Result<u32, String> {
    let sessions = said.sessions.or(said.sessions_max).unwrap_or(1);
    match said.workers.unwrap_or(1) {
        // A worker without a session would have nothing to do.
        count @ 1..=1024 => Ok(count.min(sessions)),
        _ => Err("workers is a number from 1 to 1024".into()),
    }
}

fn resolve(targets: &[String]) -> Result<Vec<SocketAddr>, String> {
    let address = |text: &String| {
        let wrong = |why: &dyn std::fmt::Display| {
            format!("`{text}` is no target ({why}); write one as 127.0.0.1:2525 or mx.example:25")
        };
        let mut found = text.to_socket_addrs().map_err(|why| wrong(&why))?;
        found.next().ok_or_else(|| wrong(&"it has no address"))
    };
    targets.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(text: &str) -> Result<Plan, String> {
        Plan::new(toml::from_str(text).unwrap())
    }

    #[test]
    fn a_plan_printed_is_a_scenario_that_makes_the_same_plan() {
        for text in [
            "",
            "closed = true\nmessages = 10",
            "ramp = '1..2:10s'\nspam = 0.05\nslow = '2%'\nproxy_header = 'v2'",
            "tls = 'starttls'\ntls_resume = '50%'\ntls_name = 'mx.example'",
            "burst = '9:1s/2s'\nrate = 2\nsource = '127.1.0.0/16'\nknee_p99 = '1s'",
        ] {
            let first = plan(text).unwrap().to_toml();
            assert_eq!(plan(&first).unwrap().to_toml(), first);
        }
    }

    #[test]
    fn a_ramp_ends_by_itself_and_a_rate_after_a_while() {
        let duration = |text| plan(text).unwrap().duration;
        assert_eq!(duration("ramp = '1..2:10s'"), Some(Duration::from_secs(10)));
        assert_eq!(duration("steps = '1,2:10s'"), Some(Duration::from_secs(20)));
        assert_eq!(duration("rate = 5"), Some(Duration::from_secs(30)));
        assert_eq!(duration("messages = 5"), None);
    }

    #[test]
    fn contradictions_are_told() {
        for (text, word) in [
            ("rate = 1\nramp = '1..2:10s'", "only one of rate, ramp"),
            ("closed = true\nrate = 5", "only one of rate, closed"),
            ("rate = 0", "nothing would be sent"),
            ("closed = true\nsessions = 0", "sessions"),
            ("targets = ['x']", "no target"),
            ("closed = true\nknee_p99 = '1s'", "knee"),
            ("recipient = ['a b@c']", "a b@c"),
            ("recipients = 0", "recipients"),
        ] {
            let error = plan(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn parts_are_even_and_whole() {
        let plan = plan("workers = 3").unwrap();
        let parts: Vec<u32> = (0..3).map(|worker| plan.part(8, worker)).collect();
        assert_eq!(parts, [3, 3, 2]);
    }
}
