//! STARTTLS in its sequence (RFC 3207 §4), and the session after a handshake.

use super::{Ask, Refusal, Session, State};
use crate::sink::{
    plan::{Announced, Plan},
    point::Fault,
};
use gatepost::smtp::{Extensions, Reply, Status, replies};

const GO: Reply = Reply::fixed(220, Status(2, 0, 0), "Ready to start TLS");

impl Session {
    /// What EHLO announces now.
    pub(super) fn announced<'a>(&self, plan: &'a Plan) -> &'a Announced {
        match self.secured {
            true => &plan.announced_secured,
            false => &plan.announced,
        }
    }

    /// STARTTLS.
    pub(super) fn starttls(&mut self, arguments: &[u8]) -> Result<(), Refusal> {
        if !self.offered.has(Extensions::STARTTLS) {
            return Err((Some(Fault::Syntax), &replies::UNSERVED));
        }
        if !arguments.is_empty() {
            return Err((Some(Fault::Syntax), &replies::NO_ARGUMENTS));
        }
        if self.envelope.has_sender() {
            return Err((Some(Fault::Sequence), &replies::MAIL_NESTED));
        }
        self.state = State::Asked(Ask::StartTls);
        Ok(())
    }

    /// The answer to STARTTLS is yes.
    pub(super) fn await_handshake(&mut self, out: &mut Vec<u8>) {
        self.say(&GO, out);
        self.state = State::Handshake;
    }

    /// TLS is spoken: nothing that was said before is known any more.
    pub fn secured(&mut self) {
        self.reset();
        self.state = State::Command;
        self.line.clear();
        self.greeted = false;
        self.authenticated = false;
        self.offered = Extensions::NONE;
        self.secured = true;
    }
}
