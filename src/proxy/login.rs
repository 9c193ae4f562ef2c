//! The account that a client authenticates as, and what a listener offers of AUTH.

use crate::{
    auth::{Account, Exchange, Grant, Mechanism, SenderRule, Service, SourceId},
    config::{AuthMechanism, Listener},
    smtp::server::{Auth, Server},
};
use std::sync::Arc;

/// AUTH on a listener.
#[derive(Clone)]
pub struct ListenerAuth {
    pub(super) source: SourceId,
    pub(super) mechanisms: Vec<Mechanism>,
    pub(super) requires_tls: bool,
}

/// Which senders a client may use on a listener once it is known as an account: by AUTH, or by XCLIENT's LOGIN.
#[derive(Clone)]
pub struct Senders {
    pub(super) source: SourceId,
    pub(super) rule: SenderRule,
}

impl Senders {
    /// `None`: no source knows the accounts of this listener, so it is for the proxy that names them to judge.
    #[must_use]
    pub fn new(listener: &Listener, service: &Service) -> Option<Senders> {
        Some(Senders {
            source: service.source(&listener.credentials)?,
            rule: SenderRule {
                mode: listener.sender_identity,
                delimiter: listener.recipient_delimiter.as_str().into(),
            },
        })
    }
}

impl ListenerAuth {
    /// `None`: the listener has none.
    #[must_use]
    pub fn new(listener: &Listener, service: &Service) -> Option<ListenerAuth> {
        let mechanisms: Vec<Mechanism> = listener.auth.iter().copied().map(known).collect();
        Some(ListenerAuth {
            source: service.source(&listener.credentials)?,
            mechanisms: (!mechanisms.is_empty()).then_some(mechanisms)?,
            requires_tls: listener.auth_requires_tls,
        })
    }

    /// What the core is told.
    #[must_use]
    pub fn settings(&self) -> Auth {
        let names = self
            .mechanisms
            .iter()
            .map(|mechanism| mechanism.as_str().into());
        Auth {
            mechanisms: names.collect(),
            requires_tls: self.requires_tls,
            required: false,
        }
    }
}

fn known(mechanism: AuthMechanism) -> Mechanism {
    match mechanism {
        AuthMechanism::Plain => Mechanism::Plain,
        AuthMechanism::Login => Mechanism::Login,
        AuthMechanism::ScramSha256 => Mechanism::ScramSha256,
        AuthMechanism::ScramSha256Plus => Mechanism::ScramSha256Plus,
        AuthMechanism::OauthBearer => Mechanism::OauthBearer,
        AuthMechanism::Xoauth2 => Mechanism::Xoauth2,
    }
}

/// What a session that said AUTH keeps: the exchange while it lasts, then the account.
pub(super) struct Login {
    pub mechanism: Mechanism,
    pub exchange: Option<Exchange>,
    /// The sources that the exchange asks: those in force when it began, or at its latest question.
    pub asks: Arc<Service>,
    pub source: SourceId,
    pub grant: Option<Grant>,
}

impl Login {
    /// Takes an account that the source has said yes to.
    pub fn grant(&self, account: Account) -> Option<Grant> {
        self.asks.grant(self.source, account)
    }
}

/// The account that the client has proved to be.
pub(super) fn account<'a>(login: &'a Option<Box<Login>>, server: &Server) -> Option<&'a Account> {
    // TLS and XCLIENT begin a session anew.
    let login = login.as_ref().filter(|_| server.is_authenticated());
    login?.grant.as_ref().map(Grant::account)
}

/// The name that a client has authenticated as: here, or as `claimed` by a proxy that it came through.
pub(super) fn known_as<'a>(
    login: &'a Option<Box<Login>>,
    server: &Server,
    claimed: Option<&'a str>,
) -> Option<&'a str> {
    let name = account(login, server).map(|account| &*account.name);
    name.or(claimed)
}

/// The account that the client has authenticated as, as XCLIENT said it.
pub(super) fn claimed_login(server: &Server) -> Option<&str> {
    std::str::from_utf8(server.xclient_attributes()?.login.value()?).ok()
}
