//! AUTH (RFC 4954): the command, the lines of an exchange, base64. Which mechanisms there are, what they say and whether
//! it is right, the shell knows.
//!
//! A client may say `*` at any of its turns, and a line that is no base64 ends the exchange. What the client says is
//! kept for the one question that it leads to, and overwritten after it.

use super::{Action, Answer, Channel, Server, Signals, State, interface::Question, line::Found};
use crate::smtp::{
    extensions::Extensions,
    limits::{AUTH_LINE_MAX, AUTH_RESYNC},
    replies,
    replies::Known,
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// Octets of a mechanism's name (RFC 4422 §3.1).
const NAME_MAX: usize = 20;
/// What a mechanism ends in that binds to the channel below (RFC 5801 §3).
const BOUND: &str = "-PLUS";

/// How far AUTH is.
#[derive(Debug)]
pub(super) enum Login {
    /// Nothing came of it, or nothing yet.
    No,
    /// An exchange is under way.
    Exchange(Box<Dialogue>),
    /// The client has authenticated.
    Done,
}

impl Login {
    /// Ends an exchange that is under way.
    pub fn give_up(&mut self) {
        if matches!(self, Login::Exchange(_)) {
            *self = Login::No;
        }
    }
}

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Dialogue {
    /// Its place in the settings' list.
    mechanism: usize,
    /// What the client said last.
    response: Option<Vec<u8>>,
    /// Nothing was answered yet.
    fresh: bool,
}

/// What a client says in an exchange, for [`Question::Auth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// The mechanism, as the settings spell it.
    pub mechanism: &'a str,
    /// It has just been chosen.
    pub fresh: bool,
    /// The octets; `None` where AUTH came without an initial response.
    pub response: Option<&'a [u8]>,
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        wipe(self.response.take());
    }
}

/// Overwrites what may be a password.
fn wipe(octets: Option<Vec<u8>>) {
    if let Some(mut octets) = octets {
        octets.fill(0);
        std::hint::black_box(&mut octets);
    }
}

impl Server {
    /// What the client said: while [`Question::Auth`] is open.
    #[must_use]
    pub fn said(&self) -> Option<Said<'_>> {
        let Login::Exchange(dialogue) = &self.login else {
            return None;
        };
        Some(Said {
            mechanism: self.settings.auth.mechanisms.get(dialogue.mechanism)?,
            fresh: dialogue.fresh,
            response: dialogue.response.as_deref(),
        })
    }

    /// Whether [`Question::Auth`] was answered with yes.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        matches!(self.login, Login::Done)
    }

    /// Says whether the client may mail without AUTH where [`Auth::required`](super::Auth::required) is set.
    pub fn trust(&mut self, trusted: bool) {
        self.trusted = trusted;
    }

    /// Whether the client must still authenticate before it mails. One whose login a proxy has told has done so.
    pub(super) fn lacks_auth(&self) -> bool {
        let claimed = || {
            self.xclient_attributes()
                .is_some_and(|xclient| xclient.login.value().is_some())
        };
        self.settings.auth.required && !self.trusted && !self.is_authenticated() && !claimed()
    }

    /// Whether the channel below can be bound to: mechanisms that do so are offered from now on.
    pub fn set_bindable(&mut self, bindable: bool) {
        self.channel = match (bindable, self.channel) {
            (true, _) => Channel::Bindable,
            (false, Channel::Clear) => Channel::Clear,
            (false, _) => Channel::Tls,
        };
    }

    /// Whether AUTH may come at all on this listener.
    pub(super) fn has_auth(&self) -> bool {
        !self.settings.auth.mechanisms.is_empty()
    }

    /// Whether AUTH is served at this moment, or was before the client used it.
    pub(super) fn serves_auth(&self) -> bool {
        self.has_auth() && (self.is_secured() || !self.settings.auth.requires_tls)
    }

    /// The mechanisms that may be used now.
    pub(super) fn mechanisms(&self) -> impl Iterator<Item = (usize, &str)> {
        let bindable = self.channel == Channel::Bindable;
        let all = self.settings.auth.mechanisms.iter().enumerate();
        all.map(|(place, name)| (place, &**name))
            .filter(move |(_, name)| bindable || !name.ends_with(BOUND))
    }

    pub(super) fn auth_command(&mut self, arguments: &[u8], out: &mut Vec<u8>) {
        match self.try_auth(arguments) {
            Ok(dialogue) => {
                self.login = Login::Exchange(Box::new(dialogue));
                self.state = State::Asked(Question::Auth);
            }
            Err(known) => self.refuse_known(known, out),
        }
    }

    fn try_auth(&self, arguments: &[u8]) -> Result<Dialogue, &'static Known> {
        if !self.has_auth() {
            return Err(&replies::AUTH_OFF);
        }
        if self.greeted.text.is_empty() || !self.greeted.esmtp {
            return Err(&replies::AUTH_NEEDS_EHLO);
        }
        if self.envelope.has_sender() || self.transfer.is_active() {
            return Err(&replies::AUTH_IN_TRANSACTION);
        }
        if self.is_authenticated() {
            return Err(&replies::AUTH_TWICE);
        }
        if !self.serves_auth() {
            return Err(&replies::AUTH_NEEDS_TLS);
        }
        let mut words = arguments
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty());
        let name = words.next().ok_or(&replies::AUTH_SYNTAX)?;
        let initial = words.next();
        if words.next().is_some() || name.len() > NAME_MAX {
            return Err(&replies::AUTH_SYNTAX);
        }
        let chosen = self
            .mechanisms()
            .find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name));
        let (mechanism, _) = chosen.ok_or(&replies::AUTH_UNKNOWN)?;
        let response = match initial {
            None => None,
            // RFC 4954 §4: an initial response that is there and empty.
            Some(b"=") => Some(Vec::new()),
            Some(text) => Some(STANDARD.decode(text).map_err(|_| &replies::AUTH_BASE64)?),
        };
        Ok(Dialogue {
            mechanism,
            response,
            fresh: true,
        })
    }

    /// Takes the client's next line of an exchange out of the input.
    pub(super) fn auth_response(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> (usize, Option<Action>) {
        if input.is_empty() {
            return (0, Some(Action::Read));
        }
        let found = self
            .lines
            .find_response(input, AUTH_LINE_MAX - 2, AUTH_RESYNC);
        let consumed = match found {
            Found::More => return (input.len(), None),
            Found::Here { length, consumed } => {
                self.take_response(&input[..length], out);
                consumed
            }
            Found::Gathered { consumed } => {
                let mut line = self.lines.take();
                self.take_response(&line, out);
                line.fill(0);
                self.lines.give_back(line);
                consumed
            }
            Found::TooLong { consumed } => {
                self.lines.forget();
                self.end_auth(&replies::AUTH_LINE_TOO_LONG, out);
                consumed
            }
            Found::Endless | Found::Alien => {
                self.hang_up_known(&replies::LINE_ENDLESS, out);
                input.len()
            }
            Found::Broken => {
                self.hang_up_known(&replies::BARE_NEWLINE, out);
                input.len()
            }
        };
        if consumed < input.len() {
            self.signals = self.signals | Signals::PAST_AUTH;
        }
        self.clock.restart();
        (consumed, None)
    }

    fn take_response(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if line == b"*" {
            self.end_auth(&replies::AUTH_CANCELLED, out);
            return;
        }
        match (STANDARD.decode(line), &mut self.login) {
            (Ok(octets), Login::Exchange(dialogue)) => {
                dialogue.response = Some(octets);
                self.state = State::Asked(Question::Auth);
            }
            _ => self.end_auth(&replies::AUTH_BASE64, out),
        }
    }

    fn end_auth(&mut self, known: &'static Known, out: &mut Vec<u8>) {
        self.login.give_up();
        self.state = State::Command;
        self.refuse_known(known, out);
    }

    /// Asks the client on in the exchange, instead of an answer to [`Question::Auth`]. Without that question it does
    /// nothing.
    pub fn challenge(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let (State::Asked(Question::Auth), Login::Exchange(dialogue)) =
            (self.state, &mut self.login)
        else {
            return;
        };
        wipe(dialogue.response.take());
        dialogue.fresh = false;
        out.extend_from_slice(b"334 ");
        out.extend_from_slice(STANDARD.encode(octets).as_bytes());
        out.extend_from_slice(b"\r\n");
        self.state = State::Auth;
        self.clock.restart();
    }

    pub(super) fn answer_auth(&mut self, answer: Answer, out: &mut Vec<u8>) {
        match answer {
            Answer::Accept | Answer::AcceptWith(_) => {
                self.login = Login::Done;
                let reply = match answer {
                    Answer::AcceptWith(reply) => reply,
                    _ => replies::AUTH_OK.reply(),
                };
                reply.write(out);
            }
            Answer::Refuse(reply) | Answer::Close(reply) => {
                self.login.give_up();
                // A 4xx too: an exchange costs more than a command, and one that is asked to wait is slowed down
                // because of those that failed.
                reply.write(out);
                self.count_error(out);
            }
        }
    }

    /// AUTH's line of the EHLO reply; empty where it is not offered.
    pub(super) fn auth_line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        if self.serves_auth() && !self.is_authenticated() {
            for (_, name) in self.mechanisms() {
                line.extend_from_slice(if line.is_empty() { b"AUTH " } else { b" " });
                line.extend_from_slice(name.as_bytes());
            }
        }
        line
    }

    /// AUTH among the extensions where it holds: that is what allows the parameter of MAIL (RFC 4954 §5).
    pub(super) fn auth_extension(&self) -> Extensions {
        match self.serves_auth() {
            true => Extensions::AUTH,
            false => Extensions::NONE,
        }
    }
}
