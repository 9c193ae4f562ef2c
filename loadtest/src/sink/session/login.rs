//! AUTH in its sequence (RFC 4954 §4).

use super::{Ask, Context, Refusal, Session, State};
use crate::sink::{
    login::{Awaited, Heard, Mechanism},
    point::{Fault, Point},
};
use gatepost::smtp::{Reply, Status, replies};

/// To MAIL, where the behaviour wants AUTH first.
pub(super) const NEEDED: Reply = Reply::fixed(530, Status(5, 7, 0), "Authentication required");
const WELCOME: Reply = Reply::fixed(235, Status(2, 7, 0), "Welcome");
const WRONG: Reply = Reply::fixed(535, Status(5, 7, 8), "Wrong credentials");
const CANCELLED: Reply = Reply::fixed(501, Status(5, 7, 0), "Cancelled");
const NONSENSE: Reply = Reply::fixed(501, Status(5, 5, 2), "Not what this mechanism wants");
const UNKNOWN: Reply = Reply::fixed(504, Status(5, 5, 4), "No such mechanism");
const AGAIN: Reply = Reply::fixed(503, Status(5, 5, 1), "Not now");

impl Session {
    /// AUTH with its mechanism, and what may come with it.
    pub(super) fn auth(
        &mut self,
        context: &Context<'_>,
        arguments: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if context.plan.mechanisms.is_empty() {
            return Err((Some(Fault::Syntax), &replies::UNSERVED));
        }
        if self.authenticated || self.envelope.has_sender() || !self.greeted {
            self.fault(context, Fault::Sequence);
            self.say(&AGAIN, out);
            return Ok(());
        }
        let mut words = arguments
            .split(|octet| *octet == b' ')
            .filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        let offered = &context.plan.mechanisms;
        let Some(mechanism) = offered
            .iter()
            .find(|one| name.eq_ignore_ascii_case(one.as_str().as_bytes()))
        else {
            self.fault(context, Fault::Syntax);
            self.say(&UNKNOWN, out);
            return Ok(());
        };
        let awaited = match mechanism {
            Mechanism::Plain => Awaited::Plain,
            Mechanism::Login => Awaited::User,
        };
        match words.next() {
            // "=" is a response that is there and empty.
            Some(b"=") => self.response(context, awaited, b"", out),
            Some(response) => self.response(context, awaited, response, out),
            None => self.challenge(awaited, out),
        }
        Ok(())
    }

    fn challenge(&mut self, awaited: Awaited, out: &mut Vec<u8>) {
        out.extend_from_slice(b"334 ");
        out.extend_from_slice(awaited.challenge().as_bytes());
        out.extend_from_slice(b"\r\n");
        self.state = State::Auth(awaited);
    }

    /// A line of the exchange.
    pub(super) fn response(
        &mut self,
        context: &Context<'_>,
        awaited: Awaited,
        line: &[u8],
        out: &mut Vec<u8>,
    ) {
        self.state = State::Command;
        match awaited.hear(line, &mut self.user) {
            Heard::Go(next) => self.challenge(next, out),
            Heard::Whole(user, password) if context.plan.account.admits(&user, &password) => {
                self.state = State::Asked(Ask::Auth);
            }
            Heard::Whole(..) => {
                context.counters.refused[Point::Auth as usize].one();
                self.say(&WRONG, out);
            }
            Heard::Cancelled => self.say(&CANCELLED, out),
            Heard::Nonsense => {
                self.fault(context, Fault::Syntax);
                self.say(&NONSENSE, out);
            }
        }
    }

    /// The answer to AUTH is yes.
    pub(super) fn admit(&mut self, context: &Context<'_>, out: &mut Vec<u8>) {
        self.authenticated = true;
        context.counters.authenticated.one();
        self.say(&WELCOME, out);
    }
}
