//! One message through one connection: the dialogue, its steps on the clock, and how it ended.

use super::{
    link::{Link, LinkError},
    payload::Template,
    record::{End, Fault, Outcome, Recorder, Step},
};
use gatepost::smtp::{
    Envelope, Event, Load, ReplyHead, Tick, To, Unsupported, backend_session::BackendState,
};
use std::cell::RefCell;

/// A body goes out in pieces of this many octets at most; smaller ones in one, with all that surrounds them.
const PIECE: usize = 256 * 1024;

/// Where a message is left on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// When a recipient has been accepted.
    BehindRcpt,
    /// In the middle of its body.
    InBody,
    /// With all of it sent but the end.
    BeforeEnd,
}

/// A message to be sent.
#[derive(Debug)]
pub struct Letter<'a> {
    /// From whom, to whom.
    pub envelope: &'a Envelope,
    /// Its first line.
    pub stamp: &'a [u8],
    /// The rest of it.
    pub template: &'a Template,
    /// Where to leave it.
    pub leave: Option<Leave>,
}

impl Letter<'_> {
    fn octets(&self) -> u64 {
        (self.stamp.len() + self.template.rest.len()) as u64
    }

    /// What of the body is sent: less than all where it is left in the middle.
    fn body(&self) -> &[u8] {
        let all = &self.template.rest;
        match self.leave {
            Some(Leave::InBody) => &all[..all.len() / 2],
            _ => all,
        }
    }
}

/// Sends a message on a connection that is ready. Behind it the connection's state says what it is still good for.
pub async fn send(link: &mut Link, letter: &Letter<'_>, notes: &RefCell<Recorder>) -> Outcome {
    let load = Load {
        size: letter.octets(),
        eight_bit: letter.template.eight_bit,
        whole: true,
    };
    let begun = link.at;
    if let Err(why) = link
        .session
        .open(letter.envelope, To::All, load, &mut link.out)
    {
        let fault = Fault::Words(unsupported(why));
        notes.borrow_mut().error(Step::Mail, fault);
        return Outcome::FAILED;
    }
    let mut dialogue = Dialogue {
        link,
        letter,
        notes,
        begun,
        body_begun: begun,
        awaited: Step::Mail,
        sent: None,
        accepted: 0,
        refused: 0,
        delivered: 0,
        refusal: None,
    };
    match dialogue.run().await {
        Ok(end) => dialogue.outcome(end),
        Err(failure) => dialogue.died(&failure),
    }
}

struct Dialogue<'a> {
    link: &'a mut Link,
    letter: &'a Letter<'a>,
    notes: &'a RefCell<Recorder>,
    begun: Tick,
    body_begun: Tick,
    /// What the next reply answers.
    awaited: Step,
    /// Octets of the body that were sent; `None` before the first.
    sent: Option<usize>,
    accepted: u16,
    refused: u16,
    /// LMTP: recipients that got it.
    delivered: u16,
    refusal: Option<ReplyHead>,
}

impl Dialogue<'_> {
    async fn run(&mut self) -> Result<End, LinkError> {
        self.body().await?;
        loop {
            if self.is_left() {
                // What was written goes out, so that the server has it when the connection closes.
                self.link.flush().await?;
                return Ok(End::Aborted);
            }
            let event = self.link.next().await?;
            if let Some(end) = self.hear(event) {
                return Ok(end);
            }
            if matches!(event, Event::Go | Event::Chunk) {
                self.body().await?;
            }
        }
    }

    fn hear(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Sender(head) => {
                self.answer(Step::Mail, head);
                self.awaited = Step::Rcpt;
            }
            Event::Recipient(_, head) => {
                self.answer(Step::Rcpt, head);
                if head.is_positive() {
                    self.accepted += 1;
                } else {
                    self.refused += 1;
                }
                if usize::from(self.accepted + self.refused)
                    == self.letter.envelope.recipients().len()
                {
                    self.awaited = if self.sent.is_some() {
                        Step::Body
                    } else {
                        Step::Data
                    };
                }
            }
            Event::Go => {
                if !self.link.session.chunks() {
                    self.notes.borrow_mut().step(Step::Data, self.link.waited());
                }
                self.awaited = Step::Body;
            }
            Event::Chunk => {}
            Event::Final(head) => return Some(self.end(head)),
            Event::FinalFor(_, head) => {
                if head.is_positive() {
                    self.delivered += 1;
                } else {
                    self.note(Step::Body, head);
                }
                if !self.link.session.awaits_reply() {
                    return Some(self.end_lmtp());
                }
            }
            Event::Refused => return Some(self.refusal.map_or(End::Failed, End::refused)),
            // What belongs to no message: the greeting, a reset, goodbye.
            _ => {
                let fault = Fault::Words("an event that makes no sense");
                self.notes.borrow_mut().error(self.awaited, fault);
                return Some(End::Failed);
            }
        }
        None
    }

    /// The reply to MAIL or RCPT.
    fn answer(&mut self, step: Step, head: ReplyHead) {
        self.notes.borrow_mut().step(step, self.link.waited());
        if !head.is_positive() {
            self.note(step, head);
        }
    }

    fn note(&mut self, step: Step, head: ReplyHead) {
        self.refusal = Some(head);
        self.notes.borrow_mut().error(step, Fault::Reply(head));
    }

    fn end(&mut self, head: ReplyHead) -> End {
        if head.is_positive() {
            self.delivered = self.accepted;
            self.took();
            return End::Acknowledged;
        }
        self.note(self.awaited, head);
        End::refused(head)
    }

    /// In LMTP each recipient has its own end: one is enough for the message.
    fn end_lmtp(&mut self) -> End {
        if self.delivered > 0 {
            self.refused += self.accepted - self.delivered;
            self.took();
            return End::Acknowledged;
        }
        self.refusal.map_or(End::Failed, End::refused)
    }

    fn took(&self) {
        let at = self.link.at;
        let mut notes = self.notes.borrow_mut();
        notes.step(Step::Body, at.micros_since(self.body_begun));
        notes.step(Step::Service, at.micros_since(self.begun));
    }

    fn is_left(&self) -> bool {
        match self.letter.leave {
            None => false,
            Some(Leave::BehindRcpt) => self.accepted > 0,
            Some(Leave::InBody | Leave::BeforeEnd) => self.sent == Some(self.letter.body().len()),
        }
    }

    /// Writes what the server is ready to take of the body.
    async fn body(&mut self) -> Result<(), LinkError> {
        let body = self.letter.body();
        let whole = self.letter.leave.is_none();
        while self.sent != Some(body.len()) && self.link.session.takes_body() {
            let from = self.sent.unwrap_or(0);
            let to = body.len().min(from + PIECE);
            let stamp = match self.sent {
                Some(_) => &[][..],
                None => {
                    self.body_begun = self.link.at;
                    self.letter.stamp
                }
            };
            let last = to == body.len();
            let pieces = [stamp, &body[from..to]];
            let Link { session, out, .. } = &mut *self.link;
            session.body(&pieces, last && whole, out);
            self.sent = Some(to);
            if !last {
                self.link.flush().await?;
            }
        }
        Ok(())
    }

    fn outcome(&self, end: End) -> Outcome {
        let delivered = end == End::Acknowledged;
        Outcome {
            end,
            accepted: if delivered {
                self.delivered
            } else {
                self.accepted
            },
            refused: self.refused,
            octets: if delivered { self.letter.octets() } else { 0 },
        }
    }

    /// The connection is of no more use, and no final reply was read.
    fn died(&mut self, failure: &LinkError) -> Outcome {
        let end = match (failure, failure.fault()) {
            // Not all of it was sent, whatever the client was told to send.
            (LinkError::Cut, _) => End::Aborted,
            _ if self.link.session.is_uncertain() => End::Uncertain,
            (_, Fault::Reply(head)) => End::refused(head),
            (_, Fault::Words(_)) => End::Failed,
        };
        if !matches!(failure, LinkError::Cut) {
            self.notes.borrow_mut().error(self.awaited, failure.fault());
        }
        self.outcome(end)
    }
}

/// What a connection is good for after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Another one.
    Ready,
    /// Another one after RSET.
    Soiled,
    /// Nothing.
    Dead,
}

/// Looks at a connection after a message.
#[must_use]
pub fn rest(link: &Link, outcome: &Outcome) -> Rest {
    match link.session.state() {
        _ if matches!(outcome.end, End::Aborted | End::Uncertain) => Rest::Dead,
        BackendState::Idle if link.session.is_clean() => Rest::Ready,
        BackendState::Over => Rest::Soiled,
        _ => Rest::Dead,
    }
}

fn unsupported(why: Unsupported) -> &'static str {
    match why {
        Unsupported::Size => "larger than the server's SIZE",
        Unsupported::EightBit => "8-bit text, and no 8BITMIME",
        Unsupported::Binary => "binary, and no BINARYMIME",
        Unsupported::Utf8 => "no SMTPUTF8",
        Unsupported::RequireTls => "no REQUIRETLS",
        Unsupported::Malformed => "a control character in an address",
        Unsupported::Busy => "the connection was not ready",
    }
}
