//! What one configuration means to the sessions that run under it. Built once by the supervisor, shared by
//! all workers, replaced as a whole at a reload; a session keeps the one that it began with.

use super::{
    candidate::Shadow,
    login::{ListenerAuth, Senders},
    profiles::Profiles,
    status,
};
use crate::{
    auth::Service,
    config::{Config, ExplainHeader, Listener, ListenerTls, LogRejected, Recipients, Role},
    lookup::Dns,
    metrics::{Registry, Scope},
    policy::{Policy, authentication::dkim::Signers, dns::watched::Watched},
    reports::Inbox,
    smtp::{
        BareNewline, Capabilities, Extensions,
        envelope::Path,
        limits::{Limits, Timeouts},
        server::{Auth, Settings},
    },
    tls::Front,
    upstream::{Backends, PoolId, Route},
};
use ipnet::IpNet;
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

/// Every extension that the front knows. What a pool's backends can't take is left out ([`Site::settings`]).
const OFFERED: Extensions = Extensions(
    Extensions::PIPELINING.0
        | Extensions::SIZE.0
        | Extensions::EIGHTBITMIME.0
        | Extensions::SMTPUTF8.0
        | Extensions::CHUNKING.0
        | Extensions::ENHANCEDSTATUSCODES.0
        | Extensions::DSN.0
        | Extensions::LIMITS.0,
);

/// Extensions that only work end to end: offered as far as the backends have them ([`Backends::announced`]).
const BACKEND_MUST_HAVE: Extensions =
    Extensions(Extensions::EIGHTBITMIME.0 | Extensions::SMTPUTF8.0 | Extensions::DSN.0);

/// One configuration, ready for use. A clone shares all that is large.
#[derive(Clone)]
pub struct Site {
    /// The configuration file, as it was read.
    pub config: Config,
    /// The checks, with a profile for each listener.
    pub policy: Arc<Policy>,
    /// A candidate's policy, which is judged beside it.
    pub shadow: Option<Arc<Shadow>>,
    /// Pools, backends and routes.
    pub backends: Arc<Backends>,
    /// TLS with clients.
    pub front: Arc<Front>,
    /// The sources of credentials.
    pub auth: Arc<Service>,
    /// What the checks ask.
    pub dns: Arc<Dns>,
    /// The keys that sign.
    pub signers: Signers,
    /// Where DMARC reports are collected.
    pub reports: Option<Arc<Inbox>>,
    /// The names of the header fields that only we write: those that a message brings are forged.
    pub own_fields: Vec<Arc<str>>,
    /// Which profile of the policy holds.
    pub profiles: Profiles,
    /// The pool for suspicious mail of each profile of the policy.
    pub quarantine: Vec<Option<PoolId>>,
    /// Listeners, in the file's order.
    pub listeners: Vec<ListenerSite>,
    /// Metric scopes of the rules, by [`crate::policy::CheckId`].
    pub checks: Vec<Scope>,
    /// Metric scopes of the kinds of check whose looks are timed, by their place in `Policy::kinds`.
    pub kinds: Vec<Scope>,
}

/// One listener.
#[derive(Clone)]
pub struct ListenerSite {
    /// As in the file, for logs and metrics.
    pub name: String,
    /// Its scope in metrics.
    pub scope: Scope,
    /// Whether strangers may come.
    pub role: Role,
    /// Whether a client that is refused at connect hears so at RCPT.
    pub delays_refusals: bool,
    /// Which messages get a field that says why they were treated so.
    pub explain_header: ExplainHeader,
    /// Whether a message that lacks Date or Message-ID gets them.
    pub adds_fixups: bool,
    /// Whether a message of a stranger gets a Received-SPF field.
    pub received_spf: bool,
    /// Sessions open now, all workers together.
    pub sessions: Arc<AtomicU32>,
    /// How many of them there may be.
    pub sessions_max: u32,
    /// Networks whose connections begin with a PROXY header.
    proxies: Vec<IpNet>,
    /// Networks whose clients may say XCLIENT.
    xclient: Vec<IpNet>,
    /// Networks whose clients may say XFORWARD.
    xforward: Vec<IpNet>,
    /// Whether TLS is offered or required.
    pub tls: ListenerTls,
    /// Names in certificates whose clients are trusted, in lower case.
    pub client_trusted: Vec<Box<str>>,
    /// The wait before the greeting; zero for none.
    pub greeting_delay: Duration,
    /// How long a client that has waited is spared that; zero for not at all.
    pub greeting_pass: Duration,
    /// AUTH, where it has it.
    pub auth: Option<ListenerAuth>,
    /// Which senders its accounts may use; `None`: its accounts are unknown here.
    pub senders: Option<Senders>,
    banner: String,
}

/// What was built of a configuration.
pub struct Parts {
    /// The checks.
    pub policy: Policy,
    /// A candidate's, judged beside them.
    pub shadow: Option<Shadow>,
    /// Pools, backends and routes.
    pub backends: Arc<Backends>,
    /// TLS with clients.
    pub front: Front,
    /// Who may send.
    pub auth: Arc<Service>,
    /// What the checks ask.
    pub dns: Arc<Dns>,
    /// The keys that sign.
    pub signers: Signers,
    /// Where DMARC reports are collected.
    pub reports: Option<Arc<Inbox>>,
}

impl Site {
    /// Puts it together. `sessions` counts each listener's sessions and outlives a reload.
    #[must_use]
    pub fn new(
        config: Config,
        parts: Parts,
        registry: &Registry,
        sessions: &dyn Fn(&str) -> Arc<AtomicU32>,
    ) -> Site {
        let Parts {
            policy,
            shadow,
            backends,
            front,
            auth,
            dns,
            signers,
            reports,
        } = parts;
        let listeners: Vec<ListenerSite> = config
            .listener
            .iter()
            .map(|listener| {
                let counted = sessions(&listener.name);
                let scope = registry.listener(&listener.name);
                ListenerSite::new(listener, &config, (scope, counted), &auth)
            })
            .collect();
        let checks = policy
            .checks()
            .iter()
            .map(|check| registry.check(&check.name))
            .collect();
        let kinds = policy
            .kinds()
            .iter()
            .map(|kind| registry.check(kind))
            .collect();
        let policies = config.policies();
        let quarantine = policies.iter();
        let quarantine = quarantine
            .map(|policy| backends.pool_named(&policy.quarantine.pool))
            .collect();
        Site {
            own_fields: own_fields(&listeners, &policy),
            profiles: Profiles::of(&config, &policy),
            config,
            quarantine,
            policy: Arc::new(policy),
            shadow: shadow.map(Arc::new),
            backends,
            front: Arc::new(front),
            auth,
            dns,
            signers,
            reports,
            listeners,
            checks,
            kinds,
        }
    }

    /// The same with other backends: a name has led to another address.
    #[must_use]
    pub fn with_backends(&self, backends: Backends) -> Site {
        Site {
            backends: Arc::new(backends),
            ..self.clone()
        }
    }

    /// The lists in the DNS that are asked, those of a candidate with them.
    pub fn lists(&self) -> impl Iterator<Item = &Arc<Watched>> {
        let of_shadow = self.shadow.iter().flat_map(|shadow| shadow.policy.lists());
        self.policy.lists().into_iter().chain(of_shadow)
    }

    /// Whether this client may send to any domain.
    #[must_use]
    pub fn trusts(&self, client: IpAddr) -> bool {
        holds(&self.config.trusted, client)
    }

    /// Where a recipient of this domain goes, and whether the domain is ours. A domain that only `*` matches,
    /// or no route, is not: only clients that may relay get that far.
    #[must_use]
    pub fn route(&self, domain: &[u8]) -> (Option<Route>, bool) {
        let routes = self.backends.routes();
        if domain.is_empty() {
            return (routes.of_others(), true);
        }
        match routes.find_ours(domain) {
            Some(route) => (Some(*route), true),
            None => {
                let others = routes.find(domain).copied();
                (others.or_else(|| routes.of_others()), false)
            }
        }
    }

    /// Whether the list of a route has this recipient, where it has a list.
    #[must_use]
    pub fn may_be(&self, route: &Route, recipient: Path<'_>) -> bool {
        let written = self.config.route.get(route.id.0 as usize);
        written.is_none_or(|written| written.recipients.may_be(recipient))
    }

    /// Whether recipients of a route are asked for.
    #[must_use]
    pub fn verifies(route: &Route) -> bool {
        matches!(route.recipients, Recipients::Verify)
    }

    /// Whether a pool speaks LMTP.
    #[must_use]
    pub fn is_lmtp(&self, pool: PoolId) -> bool {
        self.backends.is_lmtp(pool)
    }

    /// How long clients may take, given whether places or memory are scarce.
    #[must_use]
    pub fn timeouts(&self, stressed: bool) -> Timeouts {
        let timeouts = &self.config.timeouts;
        let (command, data, rate) = (timeouts.command.0, timeouts.data.0, timeouts.body_rate.0);
        match stressed {
            true => Timeouts {
                command: command.min(timeouts.stress.0),
                data: data.min(timeouts.stress.0),
                body_rate: rate.max(timeouts.stress_rate.0),
            },
            false => Timeouts {
                command,
                data,
                body_rate: rate,
            },
        }
    }

    /// What a session on this listener offers and allows, given what the backends can take now.
    #[must_use]
    pub fn settings(&self, listener: usize, announced: &Capabilities) -> Settings {
        let limits = &self.config.limits;
        let tls = self.listeners[listener].tls;
        let offered = match tls {
            ListenerTls::Starttls | ListenerTls::Required => OFFERED | Extensions::STARTTLS,
            ListenerTls::None | ListenerTls::Implicit => OFFERED,
        };
        let missing = BACKEND_MUST_HAVE.without(announced.extensions);
        let size_max = match (limits.message_size.0, announced.size_max) {
            (ours, 0) => ours,
            (0, theirs) => theirs,
            (ours, theirs) => ours.min(theirs),
        };
        Settings {
            hostname: self.config.hostname.clone(),
            banner: self.listeners[listener].banner.clone(),
            extensions: offered.without(missing),
            size_max,
            recipients_announced: announced.recipients_max,
            requires_tls: tls == ListenerTls::Required,
            auth: self.listeners[listener].auth_settings(),
            limits: Limits {
                recipients: limits.recipients,
                line: u32::try_from(limits.line.0).unwrap_or(u32::MAX),
                messages: limits.messages,
                errors: limits.errors,
                junk: limits.junk,
                ..Limits::default()
            },
            timeouts: self.timeouts(false),
            bare_newline: match limits.bare_newline {
                crate::config::BareNewline::Reject => BareNewline::Reject,
                crate::config::BareNewline::Normalize => BareNewline::Normalize,
            },
        }
    }
}

/// A place among the sessions of a listener; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicU32>);

impl ListenerSite {
    fn new(
        listener: &Listener,
        config: &Config,
        (scope, sessions): (Scope, Arc<AtomicU32>),
        auth: &Service,
    ) -> ListenerSite {
        let policy = config.policy_of(listener);
        ListenerSite {
            name: listener.name.clone(),
            scope,
            role: listener.role,
            delays_refusals: policy.log_rejected == LogRejected::Delayed,
            received_spf: policy.spf.received_spf,
            explain_header: policy.explain_header,
            adds_fixups: listener.role == Role::Submission && listener.submission_fixes,
            sessions,
            sessions_max: listener.sessions_max,
            proxies: listener.proxy_protocol_from.clone(),
            xclient: listener.xclient_from.clone(),
            xforward: listener.xforward_from.clone(),
            tls: listener.tls,
            client_trusted: listener
                .client_trusted
                .iter()
                .map(|name| name.to_ascii_lowercase().into())
                .collect(),
            greeting_delay: listener.greeting_delay.0,
            greeting_pass: listener.greeting_pass.0,
            auth: ListenerAuth::new(listener, auth),
            senders: Senders::new(listener, auth),
            banner: listener.banner.clone(),
        }
    }

    /// What the core is told of AUTH.
    fn auth_settings(&self) -> Auth {
        let served = self.auth.as_ref().map(ListenerAuth::settings);
        Auth {
            required: served.is_some() && self.role == Role::Submission,
            ..served.unwrap_or_default()
        }
    }

    /// Whether a connection from this address must begin with a PROXY header.
    #[must_use]
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        holds(&self.proxies, peer)
    }

    /// Whether a client whose certificate holds these names is trusted for that.
    #[must_use]
    pub fn trusts_certificate(&self, names: &[Box<str>]) -> bool {
        let mut all = self.client_trusted.iter();
        all.any(|known| names.iter().any(|name| known.eq_ignore_ascii_case(name)))
    }

    /// Whether a client at this address may say XCLIENT.
    #[must_use]
    pub fn speaks_for_others(&self, client: IpAddr) -> bool {
        holds(&self.xclient, client)
    }

    /// Whether a client can be known as an account here: by AUTH, or by the word of a proxy.
    #[must_use]
    pub fn takes_logins(&self) -> bool {
        self.auth.is_some() || !self.xclient.is_empty()
    }

    /// What a client at this address may say of others.
    #[must_use]
    pub fn grants(&self, client: IpAddr) -> Extensions {
        let mut granted = Extensions::NONE;
        for (networks, extension) in [
            (&self.xclient, Extensions::XCLIENT),
            (&self.xforward, Extensions::XFORWARD),
        ] {
            if holds(networks, client) {
                granted = granted | extension;
            }
        }
        granted
    }

    /// Whether nine tenths of the places are taken.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        scarce(self.sessions.load(Relaxed), self.sessions_max)
    }

    /// Takes a place, where there is one.
    #[must_use]
    pub fn enter(&self) -> Option<Place> {
        let before = self.sessions.fetch_add(1, Relaxed);
        let place = Place(Arc::clone(&self.sessions));
        (before < self.sessions_max).then_some(place)
    }
}

/// The names of the header fields that only we write.
fn own_fields(listeners: &[ListenerSite], policy: &Policy) -> Vec<Arc<str>> {
    let mut listeners = listeners.iter();
    let explains = listeners.any(|listener| listener.explain_header != ExplainHeader::None);
    let status = explains.then(|| Arc::from(status::FIELD));
    status
        .into_iter()
        .chain(policy.tag_fields().iter().cloned())
        .collect()
}

fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Whether `taken` is nine tenths of `max` or more.
#[must_use]
pub fn scarce(taken: u32, max: u32) -> bool {
    u64::from(taken) * 10 >= u64::from(max) * 9
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
