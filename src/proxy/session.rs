//! One client's session: what it is made of, and what every part of it asks.
//!
//! What it does is told elsewhere: `connection` drives it, and each of the other files has one matter of it.

use super::{
    context::{Context, Current},
    io::Io,
    login::{Login, account, known_as},
    peer::{Peer, arrive},
    profiles::ClassFacts,
    site::{ListenerSite, Place, scarce},
    transaction::Transaction,
};
use crate::{
    auth::Account,
    client_key,
    metrics::{Counter, Gauge, Scope},
    net::{Stream, now},
    policy::CheckId,
    record::Refusals,
    smtp::{
        Tick,
        command::Verb,
        server::{Answer, Phase, Server},
    },
};
use std::{io, rc::Rc};

/// One session under way.
pub(super) struct Session {
    pub context: Rc<Context>,
    pub current: Rc<Current>,
    pub listener: usize,
    pub scope: Scope,
    pub io: Io,
    pub server: Server,
    pub peer: Peer,
    /// Where the session stood before the last step: told where it ends.
    pub phase: Phase,
    pub place: Option<Place>,
    /// Whether its address is let in, where that was asked before the greeting was due.
    pub admitted: Option<Box<Answer>>,
    /// AUTH: under way, or done.
    pub login: Option<Box<Login>>,
    pub transaction: Option<Box<Transaction>>,
    pub transactions: u32,
    /// The profile of the first recipient's route: see `Profiles::of_route`.
    pub route_profile: u16,
    /// What was refused outside of transactions.
    pub refusals: Refusals,
    /// The check that has refused what is being asked.
    pub decided: Option<CheckId>,
    pub started: Tick,
    /// The moment of the last event; a clock read for each would cost more than it tells.
    pub now: Tick,
    /// Counts of commands as they were at the last look, of which the low bits are enough.
    pub counted: [u16; Verb::COUNT],
    _open: Counted,
}

/// Finds out whose connection it is and makes its session; `None` where it is none of ours, or ends before it begins.
pub(super) async fn begin(
    context: Rc<Context>,
    listener: Rc<str>,
    mut stream: Stream,
) -> Option<Box<Session>> {
    let started = now();
    let current = context.current();
    // By name: a reload may have put the listeners in another order. None is ever taken away.
    let named = |site: &ListenerSite| *site.name == *listener;
    let listener = current.site.listeners.iter().position(named)?;
    let site = &current.site.listeners[listener];
    let (scope, place) = (site.scope, site.enter());
    context.recorder.count(Counter::Accepted, scope, 1);
    let open = Counted::new(&context, scope);
    let peer = arrive(&context, &current, site, &mut stream).await?;
    let granted = site.grants(peer.address);
    let secured = peer.via.as_ref().is_some_and(|via| via.is_secured());
    let mut session = Box::new(Session {
        server: Server::new(current.settings(listener), started),
        phase: Phase::Connect,
        listener,
        scope,
        io: Io {
            out: context.buffer(),
            ..Io::new(stream)
        },
        peer,
        place,
        admitted: None,
        login: None,
        transaction: None,
        transactions: 0,
        route_profile: 0,
        refusals: Refusals::default(),
        decided: None,
        started,
        now: started,
        counted: [0; Verb::COUNT],
        current,
        context,
        _open: open,
    });
    if secured {
        session.server.secured();
    }
    session.server.grant(granted);
    session.server.trust(session.peer.trusted);
    Some(session)
}

/// A session among those that are open; also one that panics is counted out.
struct Counted(Rc<Context>, Scope);

impl Counted {
    fn new(context: &Rc<Context>, scope: Scope) -> Counted {
        context.sessions.set(context.sessions.get() + 1);
        context.recorder.add(Gauge::Sessions, scope, 1);
        Counted(Rc::clone(context), scope)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sessions.set(self.0.sessions.get() - 1);
        self.0.recorder.add(Gauge::Sessions, self.1, -1);
    }
}

impl Session {
    /// Sends the replies that are due.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.write(false).await
    }

    /// Sends the replies that are due; the `last` ones go with the close that must follow.
    pub async fn write(&mut self, last: bool) -> io::Result<()> {
        if self.is_slow() && !self.io.out.is_empty() {
            // Boxed: a session that is answered at once must not hold the room for it.
            return Box::pin(self.write_slowly(last)).await;
        }
        let deadline = self.now.after(self.current.site.config.timeouts.send.0);
        self.io
            .write(&self.context, self.scope, deadline, last)
            .await
    }

    /// Whether places or memory are scarce.
    pub fn is_stressed(&self) -> bool {
        let site = &self.current.site;
        let others = self.context.sessions.get().saturating_sub(1);
        site.listeners[self.listener].is_scarce()
            || scarce(others, site.config.limits.sessions)
            || self.context.memory.is_scarce()
    }

    /// By which profile of the policy it is judged.
    pub fn profile(&self) -> usize {
        let profiles = &self.current.site.profiles;
        profiles.place(self.listener, self.peer.class, self.route_profile)
    }

    /// Finds the class of the client by what is known of it now. No recipient is known yet.
    pub fn classify(&mut self) {
        self.route_profile = 0;
        let profiles = &self.current.site.profiles;
        if !profiles.has_classes() {
            return;
        }
        self.peer.class = profiles.class_of(&ClassFacts {
            address: self.peer.address,
            trusted: self.peer.trusted,
            authenticated: self.known_as().is_some(),
            certificate: self.certificate(),
        });
    }

    /// The names in the client's certificate, as it was verified here or by a proxy.
    pub fn certificate(&self) -> &[Box<str>] {
        // After XCLIENT the certificate is the proxy's, whether it was shown here or told of in a PROXY header.
        if self.server.xclient_attributes().is_some() {
            return &[];
        }
        match (self.io.stream.tls(), self.peer.via.as_deref()) {
            (Some(tls), _) => &tls.peer_names,
            (None, via) => via.map_or(&[], |via| via.secured().1),
        }
    }

    /// The key under which what the client takes is counted; `None` of one that is trusted.
    pub fn client_key(&self) -> Option<u128> {
        (!self.peer.trusted).then(|| client_key::address(self.peer.address))
    }

    /// Whether the listener and the worker have room for this session.
    pub fn has_place(&self) -> bool {
        self.place.is_some()
            && self.context.sessions.get() <= self.current.site.config.limits.sessions
    }

    /// Seconds since 1970.
    pub fn unix_seconds(&self) -> u64 {
        self.context.dates.micros(self.now) / 1_000_000
    }

    /// The configuration in force, which may be a later one than the session's, and the place of its listener there. `None`: it has none.
    pub fn in_force(&self) -> Option<(Rc<Current>, usize)> {
        let current = self.context.current();
        if Rc::ptr_eq(&current, &self.current) {
            return Some((current, self.listener));
        }
        // A reload may have put the listeners in another order.
        let name = &self.current.site.listeners[self.listener].name;
        let mut all = current.site.listeners.iter();
        let place = all.position(|listener| listener.name == *name)?;
        Some((current, place))
    }

    /// The account that the client has authenticated as.
    pub fn account(&self) -> Option<&Account> {
        account(&self.login, &self.server)
    }

    /// The name that the client has authenticated as: here, or by the word of a proxy that it came through.
    pub fn known_as(&self) -> Option<&str> {
        known_as(&self.login, &self.server, self.peer.login())
    }

    /// The mechanism and the account's name, for the log.
    pub fn logged_in(&self) -> Option<(&'static str, &str)> {
        let login = self.login.as_ref()?;
        Some((login.mechanism.as_str(), &self.account()?.name))
    }

    /// Forgets an exchange that the core has ended by itself, and an account that TLS has made void.
    pub fn settle_login(&mut self, phase: Phase) {
        if self.login.is_some() && phase != Phase::Auth && !self.server.is_authenticated() {
            self.login = None;
        }
    }
}
