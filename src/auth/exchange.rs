//! One exchange of a SASL mechanism, the server's side: octets of the client in, challenges and credentials out.
//!
//! SCRAM is rsasl's, and so is the reading of OAUTHBEARER and XOAUTH2. PLAIN and LOGIN are our own: rsasl prepares
//! a PLAIN password by RFC 4013, whose tables end with Unicode 3.2, so that one with a newer character could never reach a source that
//! takes it; and its LOGIN does not know the user's name as an initial response, which many clients send.
//!
//! rsasl wants to know at once whether a token is good, and a source has to be asked first. So rsasl is told that it is;
//! what the client is told is up to us.

use super::{Credential, Mechanism, Secret, accounts::Accounts, names};
use rsasl::{
    callback::{Context, Request, SessionCallback, SessionData},
    mechanisms::{
        oauthbearer::{OAUTHBEARER, properties::OAuthBearerValidate},
        scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS, properties::ScramStoredPassword},
        xoauth2::{XOAUTH2, properties::XOAuth2Validate},
    },
    prelude::{
        ChannelBindingCallback, Mechname, Registry, SASLConfig, SASLServer, Session, SessionError,
        Validation,
    },
    property::{AuthId, AuthzId, OAuthBearerToken},
    validate::{Validate, ValidationError},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    str,
    sync::Arc,
};

/// Octets of a name or a password at most.
const SECRET_MAX: usize = 1024;
/// Octets of a token at most: what a line of AUTH can hold.
const TOKEN_MAX: usize = 9 * 1024;

/// What the client hears of a token that is not good (RFC 7628 §3.2.2, and XOAUTH2's like). It answers, and then comes
/// the reply.
const TOKEN_REFUSED: &[u8] = br#"{"status":"invalid_token","schemes":"bearer"}"#;

/// What follows from a response.
#[derive(Debug)]
pub enum Turn {
    /// The client has to answer this.
    Challenge(Vec<u8>),
    /// Ask a source about this; then, if it says no, [`Exchange::denied`].
    Check(Credential),
    /// The client has proved that it knows this account's password. It has to hear and to answer this before it may be told so.
    Proven(String, Vec<u8>),
    /// That was the answer to [`Turn::Proven`].
    Done(String),
    /// The proof was wrong, or the response is none that the mechanism knows; with the name that was tried.
    Failed(Option<String>),
    /// The client has heard why its token was refused.
    Refused,
}

/// An exchange under way.
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
}

enum State {
    Plain,
    /// The name, once it is known.
    Login(Option<String>),
    Sasl(Session<Hearing, Binding>, Arc<Shared>),
    /// Waits for the client's empty response to our own proof.
    Acknowledge(String),
    /// Waits for the client's response to the refusal of its token.
    Refusal,
    Over,
}

impl Exchange {
    /// Begins one. `accounts` has SCRAM's verifiers; `exporter` is what the TLS below exports for binding (RFC 9266), where a
    /// mechanism that binds was offered. `None`: the mechanism can't be had with what is there.
    #[must_use]
    pub fn begin(
        mechanism: Mechanism,
        accounts: Option<Arc<Accounts>>,
        exporter: Option<[u8; 32]>,
    ) -> Option<Exchange> {
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::Login(None),
            Mechanism::ScramSha256 => sasl(mechanism, Some(accounts?), None, exporter.is_some())?,
            Mechanism::ScramSha256Plus => sasl(mechanism, Some(accounts?), Some(exporter?), true)?,
            Mechanism::OauthBearer | Mechanism::Xoauth2 => sasl(mechanism, None, None, false)?,
        };
        Some(Exchange { mechanism, state })
    }

    /// Takes a response. `None`: AUTH came without an initial one.
    #[must_use]
    pub fn respond(&mut self, response: Option<&[u8]>) -> Turn {
        match (std::mem::replace(&mut self.state, State::Over), response) {
            (State::Plain, None) => {
                self.state = State::Plain;
                Turn::Challenge(Vec::new())
            }
            (State::Plain, Some(octets)) => plain(octets).unwrap_or(Turn::Failed(None)),
            (State::Login(user), response) => self.login(user, response),
            (State::Sasl(session, shared), None) => {
                self.state = State::Sasl(session, shared);
                Turn::Challenge(Vec::new())
            }
            (State::Sasl(session, shared), Some(octets)) => self.sasl(session, shared, octets),
            (State::Acknowledge(user), Some(b"")) => Turn::Done(user),
            (State::Acknowledge(user), _) => Turn::Failed(Some(user)),
            (State::Refusal, _) => Turn::Refused,
            (State::Over, _) => Turn::Failed(None),
        }
    }

    /// The source said no: what the client has to answer before it is told, where there is something.
    #[must_use]
    pub fn denied(&mut self) -> Option<&'static [u8]> {
        let token = matches!(self.mechanism, Mechanism::OauthBearer | Mechanism::Xoauth2);
        self.state = if token { State::Refusal } else { State::Over };
        token.then_some(TOKEN_REFUSED)
    }

    fn login(&mut self, user: Option<String>, response: Option<&[u8]>) -> Turn {
        match (user, response) {
            (None, None) => {
                self.state = State::Login(None);
                Turn::Challenge(b"Username:".to_vec())
            }
            (None, Some(octets)) => match name(octets) {
                Some(user) => {
                    self.state = State::Login(Some(user));
                    Turn::Challenge(b"Password:".to_vec())
                }
                None => Turn::Failed(None),
            },
            (Some(user), Some(octets)) => match secret(octets, SECRET_MAX) {
                Some(password) => Turn::Check(Credential::Password { user, password }),
                None => Turn::Failed(Some(user)),
            },
            (Some(user), None) => Turn::Failed(Some(user)),
        }
    }

    fn sasl(
        &mut self,
        mut session: Session<Hearing, Binding>,
        shared: Arc<Shared>,
        octets: &[u8],
    ) -> Turn {
        let tried = || shared.user.get().cloned();
        // A client that has to bind says so in the first octet (RFC 5802 §7); rsasl would let it off.
        let first = shared.user.get().is_none();
        if self.mechanism == Mechanism::ScramSha256Plus && first && !octets.starts_with(b"p=") {
            return Turn::Failed(None);
        }
        if self.is_scram() && !is_scram_message(octets, first) {
            return Turn::Failed(tried());
        }
        let mut said = Vec::new();
        // A fault of rsasl's would be one more failed response. The session that it leaves is dropped here.
        let step = AssertUnwindSafe(|| session.step(Some(octets), &mut said));
        let Ok(Ok(state)) = catch_unwind(step) else {
            return Turn::Failed(tried());
        };
        match (session.validation(), state.is_running()) {
            (Some(heard), _) => match heard.token {
                Some(token) => {
                    secret(token.as_bytes(), TOKEN_MAX).map_or(Turn::Failed(None), |token| {
                        let user = heard.user;
                        Turn::Check(Credential::Token { user, token })
                    })
                }
                None => match heard.user {
                    Some(user) => {
                        self.state = State::Acknowledge(user.clone());
                        Turn::Proven(user, said)
                    }
                    None => Turn::Failed(tried()),
                },
            },
            (None, true) => {
                self.state = State::Sasl(session, shared);
                Turn::Challenge(said)
            }
            (None, false) => Turn::Failed(tried()),
        }
    }

    fn is_scram(&self) -> bool {
        let scram = [Mechanism::ScramSha256, Mechanism::ScramSha256Plus];
        scram.contains(&self.mechanism)
    }
}

/// Whether a client's message of SCRAM is a list of attributes, each a letter, `=` and a value (RFC 5802 §7); the first message has a
/// flag and a name that may be left out before them. rsasl takes the first two octets of each part without a look at its length.
fn is_scram_message(octets: &[u8], first: bool) -> bool {
    let mut parts = octets.split(|octet| *octet == b',');
    if first {
        let (_flag, Some(acts_as)) = (parts.next(), parts.next()) else {
            return false;
        };
        if !(acts_as.is_empty() || acts_as.starts_with(b"a=")) {
            return false;
        }
    }
    parts.all(|part| matches!(part, [letter, b'=', ..] if letter.is_ascii_alphabetic()))
}

/// `authzid NUL authcid NUL password` (RFC 4616).
fn plain(octets: &[u8]) -> Option<Turn> {
    let mut parts = octets.split(|octet| *octet == 0);
    let (acts_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let user = name(user)?;
    // No account acts as another one.
    if !(acts_as.is_empty() || name(acts_as).is_some_and(|name| is_same(&name, &user))) {
        return Some(Turn::Failed(Some(user)));
    }
    match secret(password, SECRET_MAX) {
        Some(password) => Some(Turn::Check(Credential::Password { user, password })),
        None => Some(Turn::Failed(Some(user))),
    }
}

/// A name that a source may be asked about, prepared.
fn name(octets: &[u8]) -> Option<String> {
    let text = names::prepared(str::from_utf8(octets).ok()?)?;
    let sound = !text.is_empty() && text.len() <= SECRET_MAX && !text.chars().any(char::is_control);
    sound.then(|| text.into_owned())
}

fn is_same(one: &str, other: &str) -> bool {
    names::folded(one) == names::folded(other)
}

fn secret(octets: &[u8], max: usize) -> Option<Secret> {
    let sound = !octets.is_empty() && octets.len() <= max && !octets.contains(&0);
    sound.then(|| Secret::new(octets))
}

/// What the client said, once rsasl has read it.
struct Heard {
    user: Option<String>,
    token: Option<String>,
}

struct Hearing;

impl Validation for Hearing {
    type Value = Heard;
}

/// What rsasl asks about, and what it has asked: shared with its callback.
struct Shared {
    accounts: Option<Arc<Accounts>>,
    /// The name that SCRAM was asked about.
    user: std::sync::OnceLock<String>,
}

struct Callback(Arc<Shared>);

impl SessionCallback for Callback {
    fn callback(
        &self,
        _session: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        if request.is::<ScramStoredPassword<'static>>()
            && let (Some(accounts), Some(user)) = (&self.0.accounts, context.get_ref::<AuthId>())
        {
            let user = unescaped(user);
            let keys = accounts.scram(&user);
            // Asked once an exchange.
            let _ = self.0.user.set(user);
            request.satisfy::<ScramStoredPassword<'static>>(&ScramStoredPassword::new(
                keys.iterations,
                &keys.salt,
                &keys.stored_key,
                &keys.server_key,
            ))?;
        }
        request
            .satisfy::<OAuthBearerValidate>(&Ok(()))?
            .satisfy::<XOAuth2Validate>(&Ok(()))?;
        Ok(())
    }

    fn validate(
        &self,
        _session: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        validate.with::<Hearing, _>(|| Ok(heard(context)))?;
        Ok(())
    }
}

fn heard(context: &Context<'_>) -> Heard {
    let user = context.get_ref::<AuthId>().map(unescaped);
    let acts_as = context
        .get_ref::<AuthzId>()
        .filter(|name| !name.is_empty())
        .map(unescaped);
    let user = match (user, acts_as) {
        (None, other) => other,
        // No account acts as another one.
        (Some(user), Some(other)) if !is_same(&user, &other) => None,
        (user, _) => user,
    };
    let token = context.get_ref::<OAuthBearerToken>().map(bearer);
    Heard {
        user: user.and_then(|user| name(user.as_bytes())),
        token,
    }
}

/// A name with its `=2C` and `=3D` (RFC 5802 §5.1) as they are meant.
fn unescaped(name: &str) -> String {
    name.replace("=2C", ",").replace("=3D", "=")
}

/// The token after `Bearer` (RFC 6750 §2.1; any case, RFC 7235 §2.1), where that stands there.
fn bearer(text: &str) -> String {
    let token = match text.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token,
        _ => text,
    };
    token.trim().to_string()
}

/// The TLS below.
struct Binding(Option<[u8; 32]>);

impl ChannelBindingCallback for Binding {
    fn get_cb_data(&self, kind: &str) -> Option<&[u8]> {
        self.0
            .as_ref()
            .filter(|_| kind == "tls-exporter")
            .map(<[u8; 32]>::as_slice)
    }
}

fn sasl(
    mechanism: Mechanism,
    accounts: Option<Arc<Accounts>>,
    exporter: Option<[u8; 32]>,
    bindable: bool,
) -> Option<State> {
    static ALONE: &[rsasl::prelude::Mechanism] = &[SCRAM_SHA256, OAUTHBEARER, XOAUTH2];
    // With it in the list, SCRAM refuses a client that could bind and thinks that we couldn't: an attacker took it out of the
    // list that the client saw (RFC 5802 §6).
    static BINDING: &[rsasl::prelude::Mechanism] = &[SCRAM_SHA256, SCRAM_SHA256_PLUS];
    let list = if bindable { BINDING } else { ALONE };
    let shared = Arc::new(Shared {
        accounts,
        user: std::sync::OnceLock::new(),
    });
    let config = SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(list))
        .with_callback(Callback(Arc::clone(&shared)))
        .ok()?;
    let server = SASLServer::<Hearing, Binding>::with_cb(config, Binding(exporter));
    let named = Mechname::parse(mechanism.as_str().as_bytes()).ok()?;
    let session = server.start_suggested(named).ok()?;
    Some(State::Sasl(session, shared))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::accounts::sample;

    const FIRST: &[u8] = b"n,,n=amy,r=abcdefghij";

    fn scram() -> Exchange {
        Exchange::begin(Mechanism::ScramSha256, Some(sample()), None).expect("there are accounts")
    }

    fn is_refused(turn: &Turn) -> bool {
        matches!(turn, Turn::Failed(_))
    }

    #[test]
    fn a_first_message_of_scram_that_is_none_is_refused() {
        let messages: [&[u8]; 20] = [
            b"",
            b",",
            b",,",
            b"n",
            b"n,",
            b"n,,",
            b"n,,,",
            b"n,x,n=a,r=b",
            b"n,a,n=a,r=b",
            b"n,b=c,n=a,r=b",
            b"n,,n,r=b",
            b"n,,,r=b",
            b"n,,n=a",
            b"n,,n=a,",
            b"n,,n=a,r",
            b"n,,n=a,,r=b",
            b"n,,n=a,r=b,",
            b"n,,n=a,r=b,x",
            b"n,,m=x,n=a,r=b",
            b"\xff,\xff,\xff,\xff",
        ];
        for message in messages {
            let shown = message.escape_ascii();
            assert!(is_refused(&scram().respond(Some(message))), "{shown}");
        }
        for message in [
            FIRST,
            b"n,a=amy,n=amy,r=abcdefghij,x=further",
            b"y,,n=a,r=b",
        ] {
            let turn = scram().respond(Some(message));
            let shown = message.escape_ascii();
            assert!(matches!(turn, Turn::Challenge(_)), "{shown}: {turn:?}");
        }
    }

    #[test]
    fn a_final_message_of_scram_that_is_none_is_refused() {
        let messages: [&[u8]; 15] = [
            b"",
            b",",
            b"c",
            b"c=",
            b"c=biws",
            b"c=biws,",
            b"c=biws,r",
            b"c=biws,r=y",
            b"c=biws,r=y,",
            b"c=biws,r=y,p",
            b"c=biws,r=y,,p=AAAA",
            b"c=biws,r=y,x,p=AAAA",
            b"c=biws,r=y,p=AAAA,",
            b"c=biws,r=y,p=AAAA,x",
            b"\0\0,\0",
        ];
        for message in messages {
            let mut exchange = scram();
            let turn = exchange.respond(Some(FIRST));
            assert!(matches!(turn, Turn::Challenge(_)), "{turn:?}");
            let turn = exchange.respond(Some(message));
            let tried = matches!(&turn, Turn::Failed(Some(user)) if user == "amy");
            assert!(tried, "{}: {turn:?}", message.escape_ascii());
            assert!(is_refused(&exchange.respond(Some(message))));
        }
    }
}
