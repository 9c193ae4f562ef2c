//! AUTH with a backend (RFC 4954): the exchange after the session is open, and what each reply in it means.
//!
//! The mechanism and its responses are the caller's, in base64; so is what follows from the last reply. Afterwards the
//! session belongs to that account: it is only for [`BackendSession::quit`], never for a pool.

use super::{super::reply_parse::ReplyHead, BackendError, BackendSession, Event, Phase};

/// Octets of an AUTH command at most, with its CRLF: a longer initial response goes by itself (RFC 4954 §4).
const LINE_MAX: usize = 512;

impl BackendSession {
    /// Says AUTH. Whether the initial response went with it; else, if there is one, it is the first to
    /// [`BackendSession::respond`] with. The mechanism is one of those that the backend offers.
    pub fn authenticate(&mut self, mechanism: &str, initial: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.is_clean() {
            self.fail(BackendError::OutOfStep);
            return false;
        }
        out.extend_from_slice(b"AUTH ");
        out.extend_from_slice(mechanism.as_bytes());
        let whole = "AUTH  \r\n".len() + mechanism.len() + initial.len();
        let fits = !initial.is_empty() && whole <= LINE_MAX;
        if fits {
            out.push(b' ');
            out.extend_from_slice(initial);
        }
        out.extend_from_slice(b"\r\n");
        self.phase = Phase::Auth;
        fits
    }

    /// Says a response, after [`Event::Challenge`].
    pub fn respond(&mut self, response: &[u8], out: &mut Vec<u8>) {
        if self.phase != Phase::Challenged {
            self.fail(BackendError::OutOfStep);
            return;
        }
        out.extend_from_slice(response);
        out.extend_from_slice(b"\r\n");
        self.phase = Phase::Auth;
    }

    /// The answer to AUTH, or to a response.
    pub(super) fn hear_auth(&mut self, head: ReplyHead, quiet: bool) -> Event {
        match head.code {
            // The final reply can't come before our response: an attacker on the path put it there.
            334 if !quiet => self.fail(BackendError::Unasked),
            334 => {
                self.phase = Phase::Challenged;
                Event::Challenge
            }
            421 => self.fail(BackendError::Closing(head)),
            300..400 => self.fail(BackendError::Unexpected(head)),
            _ => {
                self.phase = Phase::Idle;
                Event::Authenticated(head)
            }
        }
    }
}
