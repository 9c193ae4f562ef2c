//! TLS on the way to a backend (RFC 3207): when it is asked for, and what follows from the answer.
//!
//! Of what was heard in the clear nothing is kept: after the handshake the session is as new, and its capabilities are
//! those of the second EHLO (§4.2). An attacker on the path can take the offer out of the first; a pool that must not allow that says
//! [`StartTls::Always`].

use super::{
    super::{extensions::Extensions, reply_parse::ReplyHead},
    BackendError, BackendSession, BackendSettings, Event, Phase, StartTls,
};
use std::sync::Arc;

impl BackendSession {
    /// A client on a connection that speaks TLS from its first byte (RFC 8314 §3), after the handshake.
    #[must_use]
    pub fn over_tls(settings: Arc<BackendSettings>) -> BackendSession {
        BackendSession {
            secured: true,
            ..BackendSession::new(settings)
        }
    }

    /// Whether all that is said goes over TLS.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.secured
    }

    /// The handshake that [`Event::StartTls`] asked for has succeeded: says EHLO anew.
    pub fn secured(&mut self, out: &mut Vec<u8>) {
        if self.phase != Phase::Handshake {
            self.fail(BackendError::OutOfStep);
            return;
        }
        self.secured = true;
        self.phase = Phase::Ehlo;
        self.say_hello(out);
    }

    /// The backend has greeted us back: asks for TLS where that is due, else the session is open.
    pub(super) fn after_hello(&mut self, quiet: bool, out: &mut Vec<u8>) -> Option<Event> {
        let offered = self.capabilities.extensions.has(Extensions::STARTTLS);
        match self.settings.starttls {
            _ if self.secured => {}
            StartTls::Never => {}
            StartTls::IfOffered if !offered => {}
            StartTls::Always if !offered => return Some(self.fail(BackendError::NoTls)),
            _ if !quiet => return Some(self.fail(BackendError::Unasked)),
            _ => {
                out.extend_from_slice(b"STARTTLS\r\n");
                self.phase = Phase::StartTls;
                return None;
            }
        }
        self.phase = Phase::Idle;
        Some(Event::Ready)
    }

    /// The answer to STARTTLS (RFC 3207 §4).
    pub(super) fn hear_starttls(&mut self, head: ReplyHead, quiet: bool) -> Event {
        match head.code {
            220 if !quiet => self.fail(BackendError::Injected),
            220 => {
                self.phase = Phase::Handshake;
                Event::StartTls
            }
            421 => self.fail(BackendError::Closing(head)),
            400.. if self.settings.starttls == StartTls::Always => {
                self.fail(BackendError::TlsRefused(head))
            }
            400.. => {
                self.phase = Phase::Idle;
                Event::Ready
            }
            _ => self.fail(BackendError::Unexpected(head)),
        }
    }
}
