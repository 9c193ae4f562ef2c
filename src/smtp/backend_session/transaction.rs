//! Where one transaction is: what was sent, what was answered, what is due.
//!
//! Replies come in the order of the commands (RFC 2920 §3.1), so what is awaited follows from a few
//! counters: the script (XFORWARD, MAIL, RCPT…, DATA), then chunks, then the final replies, then RSET.

use super::{
    super::{Capabilities, envelope::Envelope, reply_parse::ReplyHead, stuff::Stuff},
    BackendState, CHUNKS_MAX, Unsupported, commands,
    identity::Introduction,
};

/// What a transaction is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message.
    #[default]
    Message,
    /// To ask about a recipient.
    Probe,
    /// RSET alone.
    Reset,
}

/// How far RSET is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rset {
    #[default]
    No,
    Wanted,
    Sent,
}

/// How far the body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
pub(super) enum Body {
    /// Nothing of it was sent, and nothing asked for.
    #[default]
    No,
    /// The backend waits for it: `Go` was said.
    Due,
    /// Something of it was sent.
    Begun,
    /// Its end was sent.
    Ended,
    /// The final reply is in; in LMTP the last of them.
    Answered,
}

/// The reply that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Forward,
    Mail,
    Rcpt(usize),
    Data,
    Chunk,
    Last,
    Rset,
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rcpt {
    /// Its place in the envelope.
    pub(super) place: usize,
    pub(super) accepted: bool,
}

/// One transaction. Its buffers are reused.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    pub(super) kind: Kind,
    /// The body goes by BDAT.
    pub(super) chunks: bool,
    /// The commands, rendered; `written` bytes of them have been sent.
    pub(super) script: Vec<u8>,
    written: usize,
    /// So many of the commands, the first ones, are XFORWARD.
    forwards: usize,
    /// One of them was refused.
    pub(super) forward_refused: bool,
    /// Commands of the script that were sent, and answered.
    sent: usize,
    pub(super) answered: usize,
    pub(super) recipients: Vec<Rcpt>,
    pub(super) accepted: usize,
    /// Chunks sent and not answered, without the last.
    pub(super) chunks_open: usize,
    pub(super) body: Body,
    /// LMTP: recipients whose final reply is in (or that get none).
    finals: usize,
    rset: Rset,
    /// The caller has turned away: replies are read, and not told.
    pub(super) muted: bool,
    /// Nothing will come of it: nothing more of it is sent.
    pub(super) refused: bool,
    /// The caller knows how it ended.
    pub(super) told: bool,
    pub(super) stuff: Stuff,
    /// No dot of the payload needs stuffing.
    pub(super) undotted: bool,
}

impl Transaction {
    pub(super) fn begin(&mut self, kind: Kind, chunks: bool) {
        let mut script = std::mem::take(&mut self.script);
        let mut recipients = std::mem::take(&mut self.recipients);
        script.clear();
        script.shrink_to(16 * 1024);
        recipients.clear();
        recipients.shrink_to(256);
        *self = Transaction {
            kind,
            chunks,
            script,
            recipients,
            ..Transaction::default()
        };
    }

    /// Puts what tells of the client in front.
    pub(super) fn forward(&mut self, introduction: &Introduction) {
        let (lines, count) = introduction.forward_lines();
        self.script.extend_from_slice(lines);
        self.forwards = count;
    }

    /// An XFORWARD was answered. It is for a log: where it's refused the message goes on.
    pub(super) fn hear_forward(&mut self, head: ReplyHead) {
        self.answered += 1;
        self.forward_refused |= !head.is_positive();
    }

    /// Adds the recipient at a place of the envelope.
    pub(super) fn add(
        &mut self,
        envelope: &Envelope,
        place: usize,
        offered: &Capabilities,
    ) -> Result<(), Unsupported> {
        let recipient = envelope.recipients().get(place).ok_or(Unsupported::Busy)?;
        commands::rcpt(envelope, recipient, offered, &mut self.script)?;
        self.recipients.push(Rcpt {
            place,
            accepted: false,
        });
        Ok(())
    }

    /// The one recipient of a probe.
    pub(super) fn add_probed(&mut self) {
        self.recipients.push(Rcpt {
            place: 0,
            accepted: false,
        });
        self.rset = Rset::Wanted;
    }

    pub(super) fn memory(&self) -> usize {
        self.script.capacity() + self.recipients.capacity() * size_of::<Rcpt>()
    }

    pub(super) fn is_for_nobody(&self) -> bool {
        self.recipients.is_empty()
    }

    pub(super) fn state(&self) -> BackendState {
        match self {
            Transaction {
                body: Body::Ended, ..
            } => BackendState::Committing,
            Transaction {
                kind: Kind::Probe,
                muted: false,
                ..
            } => BackendState::Open,
            Transaction {
                rset: Rset::Wanted | Rset::Sent,
                ..
            } => BackendState::Resetting,
            Transaction { told: true, .. } => BackendState::Over,
            _ => BackendState::Open,
        }
    }

    pub(super) fn accepted(&self) -> impl Iterator<Item = usize> + '_ {
        let accepted = self.recipients.iter().filter(|rcpt| rcpt.accepted);
        accepted.map(|rcpt| rcpt.place)
    }

    pub(super) fn is_committing(&self) -> bool {
        self.body == Body::Ended
    }

    /// The final reply that was heard may have been the answer to something else.
    pub(super) fn doubt(&mut self) {
        self.body = Body::Ended;
    }

    /// It was the answer to the end of the body.
    pub(super) fn settle(&mut self) {
        self.body = Body::Answered;
    }

    pub(super) fn is_ruled_out(&self) -> bool {
        self.refused
    }

    pub(super) fn awaits_reply(&self) -> bool {
        self.awaited() != Awaited::Nothing
    }

    pub(super) fn awaits_envelope(&self) -> bool {
        self.answered < self.sent
    }

    pub(super) fn awaited(&self) -> Awaited {
        if self.answered < self.sent {
            match self.answered.checked_sub(self.forwards) {
                None => Awaited::Forward,
                Some(0) => Awaited::Mail,
                Some(n) if n <= self.recipients.len() => Awaited::Rcpt(n - 1),
                Some(_) => Awaited::Data,
            }
        } else if self.chunks_open > 0 {
            Awaited::Chunk
        } else if self.body == Body::Ended {
            Awaited::Last
        } else if self.rset == Rset::Sent {
            Awaited::Rset
        } else {
            Awaited::Nothing
        }
    }

    /// Whether more of the body would be of use, and the backend is ready to read it.
    pub(super) fn takes_body(&self, pipelines: bool) -> bool {
        if !self.is_live() || self.body >= Body::Ended {
            return false;
        }
        if !self.chunks {
            self.body >= Body::Due
        } else if pipelines {
            self.written == self.script.len() && self.chunks_open < CHUNKS_MAX
        } else {
            self.accepted > 0 && self.written == self.script.len() && !self.awaits_reply()
        }
    }

    /// Whether it may still deliver something.
    pub(super) fn is_live(&self) -> bool {
        self.kind == Kind::Message && !self.refused && !self.muted
    }

    /// Notes that a piece of the body was written.
    pub(super) fn count_piece(&mut self, last: bool) {
        self.body = if last { Body::Ended } else { Body::Begun };
        if !last && self.chunks {
            self.chunks_open += 1;
        }
    }

    /// Whether chunks may be sent: all commands have been, and more than the window isn't the question
    /// (a caller that disregards it costs memory of its own, not correctness).
    pub(super) fn takes_chunk(&self, pipelines: bool) -> bool {
        self.written == self.script.len() && (pipelines || !self.awaits_reply())
    }

    /// Turns away from it. False where only closing the connection keeps the message from delivery.
    pub(super) fn abandon(&mut self) -> bool {
        let body_open = !self.chunks && self.body >= Body::Due && !self.told;
        let committing = self.body == Body::Ended && !self.refused;
        if self.rset == Rset::No {
            if body_open || committing {
                return false;
            }
            self.rset = Rset::Wanted;
        }
        self.muted = true;
        true
    }

    /// DATA was sent and not answered: what comes now may be read as a body.
    fn is_at_data(&self) -> bool {
        self.sent == self.forwards + self.recipients.len() + 2 && self.answered < self.sent
    }

    pub(super) fn is_in_body(&self) -> bool {
        self.is_live() && matches!(self.body, Body::Due | Body::Begun)
    }

    /// Sends what the window allows of the commands.
    pub(super) fn send_script(&mut self, window: usize, out: &mut Vec<u8>) {
        // Called at each step: mostly there is nothing left.
        if self.written == self.script.len() || self.refused || self.muted {
            return;
        }
        let rest = &self.script[self.written..];
        let room = window.saturating_sub(self.sent - self.answered);
        let mut newlines = memchr::memchr_iter(b'\n', rest);
        let (mut count, mut bytes) = (0, 0);
        while count < room {
            let Some(at) = newlines.next() else { break };
            count += 1;
            bytes = at + 1;
        }
        out.extend_from_slice(&rest[..bytes]);
        self.written += bytes;
        self.sent += count;
    }

    /// Sends RSET if it is wanted and may be.
    pub(super) fn send_reset(&mut self, pipelines: bool, out: &mut Vec<u8>) {
        if self.rset != Rset::Wanted {
            return;
        }
        let rest = !self.refused && !self.muted && self.written < self.script.len();
        let now = !self.awaits_reply() || (pipelines && !self.is_at_data());
        if !rest && now {
            out.extend_from_slice(b"RSET\r\n");
            self.rset = Rset::Sent;
        }
    }

    /// What there is to say though no byte came: the end of a refused transaction, or that the backend
    /// waits for the body.
    pub(super) fn refused_untold(&mut self) -> bool {
        let now = self.kind == Kind::Message
            && self.refused
            && !self.told
            && !self.muted
            && !self.awaits_reply();
        self.told |= now;
        now
    }

    pub(super) fn go_untold(&mut self) -> bool {
        let now = self.chunks
            && self.is_live()
            && self.body == Body::No
            && self.written == self.script.len()
            && !self.awaits_reply();
        if now {
            self.body = Body::Due;
        }
        now
    }

    /// The final reply of the next accepted recipient (LMTP): its place, and whether it was the last.
    pub(super) fn next_final(&mut self) -> Option<(usize, bool)> {
        let rest = self.recipients.get(self.finals..)?;
        let at = self.finals + rest.iter().position(|rcpt| rcpt.accepted)?;
        self.finals = at + 1;
        let more = self.recipients[at + 1..].iter().any(|rcpt| rcpt.accepted);
        Some((self.recipients[at].place, !more))
    }
}
