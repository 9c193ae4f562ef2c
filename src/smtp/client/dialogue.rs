//! What each reply means at its place, and what may be sent next.
//!
//! Replies come in the order of the commands (RFC 2920 §3.1), so what is awaited follows from a few
//! counters: the script (MAIL, RCPT…, DATA), then chunks, then the final replies, then RSET.

use super::{
    super::{
        envelope::Envelope,
        extensions::Capabilities,
        reply_parse::{Progress, ReplyHead},
        stuff::Stuff,
    },
    CHUNKS_MAX, COMMANDS_MAX, Client, ClientError, ClientState, ClientStep, Event, Phase,
    Unsupported, capabilities, commands,
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

/// How far the end of the body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    #[default]
    No,
    Sent,
    Answered,
}

/// The reply that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Mail,
    Rcpt(usize),
    Data,
    Chunk,
    Last,
    Rset,
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Rcpt {
    /// Its place in the envelope.
    place: usize,
    accepted: bool,
}

/// One transaction. Its buffers are reused.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    kind: Kind,
    /// The body goes by BDAT.
    pub(super) chunks: bool,
    /// The commands, rendered; `written` bytes of them have been sent.
    pub(super) script: Vec<u8>,
    written: usize,
    /// Commands of the script that were sent, and answered.
    sent: usize,
    answered: usize,
    recipients: Vec<Rcpt>,
    accepted: usize,
    /// Chunks sent and not answered, without the last.
    chunks_open: usize,
    /// Something of the body was sent.
    begun: bool,
    last: Last,
    /// LMTP: recipients whose final reply is in (or who get none).
    finals: usize,
    rset: Rset,
    /// The caller has turned away: replies are read, and not told.
    muted: bool,
    /// Nothing will come of it: nothing more of it is sent.
    pub(super) refused: bool,
    /// The caller knows how it ended.
    told: bool,
    /// `Go` was said.
    pub(super) go: bool,
    pub(super) stuff: Stuff,
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

    pub(super) fn is_for_nobody(&self) -> bool {
        self.recipients.is_empty()
    }

    pub(super) fn state(&self) -> ClientState {
        match self {
            Transaction {
                last: Last::Sent, ..
            } => ClientState::Committing,
            Transaction {
                kind: Kind::Probe,
                muted: false,
                ..
            } => ClientState::Open,
            Transaction {
                rset: Rset::Wanted | Rset::Sent,
                ..
            } => ClientState::Resetting,
            Transaction { told: true, .. } => ClientState::Over,
            _ => ClientState::Open,
        }
    }

    pub(super) fn accepted(&self) -> impl Iterator<Item = usize> + '_ {
        let accepted = self.recipients.iter().filter(|rcpt| rcpt.accepted);
        accepted.map(|rcpt| rcpt.place)
    }

    pub(super) fn is_committing(&self) -> bool {
        self.last == Last::Sent
    }

    pub(super) fn is_ruled_out(&self) -> bool {
        self.refused
    }

    pub(super) fn awaits_reply(&self) -> bool {
        self.awaited() != Awaited::Nothing
    }

    fn awaited(&self) -> Awaited {
        if self.answered < self.sent {
            match self.answered {
                0 => Awaited::Mail,
                n if n <= self.recipients.len() => Awaited::Rcpt(n - 1),
                _ => Awaited::Data,
            }
        } else if self.chunks_open > 0 {
            Awaited::Chunk
        } else if self.last == Last::Sent {
            Awaited::Last
        } else if self.rset == Rset::Sent {
            Awaited::Rset
        } else {
            Awaited::Nothing
        }
    }

    /// Whether more of the body would be of use, and the backend is ready to read it.
    pub(super) fn takes_body(&self, pipelines: bool) -> bool {
        if !self.is_live() || self.last != Last::No {
            return false;
        }
        if !self.chunks {
            self.go
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
        self.begun = true;
        if last {
            self.last = Last::Sent;
        } else if self.chunks {
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
        let body_open = !self.chunks && self.go && !self.told;
        let committing = self.last == Last::Sent && !self.refused;
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
        self.sent == self.recipients.len() + 2 && self.answered < self.sent
    }

    fn is_in_body(&self) -> bool {
        self.is_live() && (self.go || self.begun) && self.last == Last::No
    }

    /// Sends what the window allows of the commands.
    fn send_script(&mut self, window: usize, out: &mut Vec<u8>) {
        if self.refused || self.muted {
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
    fn send_reset(&mut self, pipelines: bool, out: &mut Vec<u8>) {
        let rest = !self.refused && !self.muted && self.written < self.script.len();
        let now = !self.awaits_reply() || (pipelines && !self.is_at_data());
        if self.rset == Rset::Wanted && !rest && now {
            out.extend_from_slice(b"RSET\r\n");
            self.rset = Rset::Sent;
        }
    }

    /// What there is to say though no byte came: the end of a refused transaction, or that the backend
    /// waits for the body.
    fn refused_untold(&mut self) -> bool {
        let now = self.kind == Kind::Message
            && self.refused
            && !self.told
            && !self.muted
            && !self.awaits_reply();
        self.told |= now;
        now
    }

    fn go_untold(&mut self) -> bool {
        let now = self.chunks
            && self.is_live()
            && !self.go
            && !self.begun
            && self.written == self.script.len()
            && !self.awaits_reply();
        self.go |= now;
        now
    }

    /// The final reply of the next accepted recipient (LMTP): its place, and whether it was the last.
    fn next_final(&mut self) -> Option<(usize, bool)> {
        let rest = self.recipients.get(self.finals..)?;
        let at = self.finals + rest.iter().position(|rcpt| rcpt.accepted)?;
        self.finals = at + 1;
        let more = self.recipients[at + 1..].iter().any(|rcpt| rcpt.accepted);
        Some((self.recipients[at].place, !more))
    }
}

impl Client {
    /// Takes a prefix of the input, appends what may be sent now, and says what it means.
    ///
    /// Any split of the input gives the same events, with one exception: bytes behind the last reply that
    /// was awaited are [`ClientError::Unasked`] only where they are seen together with it.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> ClientStep {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            if let Some(event) = self.proceed(rest.is_empty(), out) {
                return ClientStep { consumed, event };
            }
            let event = match self.replies.read(rest) {
                Err(error) => Some(self.fail(ClientError::Nonsense(error))),
                Ok(Progress::More) => {
                    return ClientStep {
                        consumed: input.len(),
                        event: Event::Read,
                    };
                }
                Ok(Progress::Done(n)) => {
                    consumed += n;
                    let quiet = consumed == input.len();
                    let event = self.hear(quiet, out);
                    self.ahead = !quiet && !self.awaits_reply();
                    event
                }
            };
            if let Some(event) = event {
                return ClientStep { consumed, event };
            }
        }
    }

    pub(super) fn fail(&mut self, error: ClientError) -> Event {
        self.phase = Phase::Failed(error);
        Event::Failed(error)
    }

    pub(super) fn send_script(&mut self, out: &mut Vec<u8>) {
        let window = if self.pipelines() { COMMANDS_MAX } else { 1 };
        self.transaction.send_script(window, out);
    }

    pub(super) fn send_reset(&mut self, out: &mut Vec<u8>) {
        let pipelines = self.pipelines();
        self.transaction.send_reset(pipelines, out);
    }

    /// What is to be done before another reply is read.
    fn proceed(&mut self, quiet: bool, out: &mut Vec<u8>) -> Option<Event> {
        match self.phase {
            Phase::Failed(error) => return Some(Event::Failed(error)),
            Phase::Idle if !quiet => return Some(self.fail(ClientError::Unasked)),
            Phase::Transaction if self.transaction.refused_untold() => return Some(Event::Refused),
            _ if self.ahead && !quiet => return Some(self.fail(ClientError::Unasked)),
            Phase::Transaction => {}
            _ => return None,
        }
        self.send_script(out);
        self.send_reset(out);
        self.transaction.go_untold().then_some(Event::Go)
    }

    /// A reply is complete.
    fn hear(&mut self, quiet: bool, out: &mut Vec<u8>) -> Option<Event> {
        let head = self.replies.reply().head;
        match self.phase {
            Phase::Greeting | Phase::Ehlo | Phase::Helo => self.hear_hello(head, quiet, out),
            Phase::Transaction => self.hear_answer(head, quiet),
            Phase::Quit => {
                self.phase = Phase::Failed(ClientError::Closing(head));
                Some(Event::Bye)
            }
            Phase::Idle => Some(self.fail(ClientError::Unasked)),
            Phase::Failed(error) => Some(Event::Failed(error)),
        }
    }

    /// Greeting, EHLO, HELO (RFC 5321 §3.1, §3.2).
    fn hear_hello(&mut self, head: ReplyHead, quiet: bool, out: &mut Vec<u8>) -> Option<Event> {
        let lmtp = self.settings.lmtp;
        let next = match (self.phase, head.code / 100) {
            (_, 3) => return Some(self.fail(ClientError::Unexpected(head))),
            (Phase::Greeting, 2) => Phase::Ehlo,
            (Phase::Greeting, _) => return Some(self.fail(ClientError::Greeting(head))),
            (Phase::Ehlo, 2) => {
                self.capabilities = capabilities::parse(self.replies.reply().text());
                Phase::Idle
            }
            (Phase::Ehlo, 5) if !lmtp => Phase::Helo,
            (Phase::Helo, 2) => Phase::Idle,
            _ => return Some(self.fail(ClientError::Hello(head))),
        };
        self.phase = next;
        let verb = match next {
            Phase::Ehlo if lmtp => &b"LHLO "[..],
            Phase::Ehlo => b"EHLO ",
            Phase::Helo => b"HELO ",
            _ => return Some(Event::Ready),
        };
        if !quiet {
            return Some(self.fail(ClientError::Unasked));
        }
        out.extend_from_slice(verb);
        out.extend_from_slice(self.settings.hello.as_bytes());
        out.extend_from_slice(b"\r\n");
        None
    }

    /// The answer to something of a transaction.
    fn hear_answer(&mut self, head: ReplyHead, quiet: bool) -> Option<Event> {
        let awaited = self.transaction.awaited();
        let in_body = matches!(awaited, Awaited::Chunk | Awaited::Last)
            || (awaited == Awaited::Nothing && self.transaction.is_in_body());
        if head.code == 421 && !in_body {
            self.transaction.refused = true;
            return Some(self.fail(ClientError::Closing(head)));
        }
        if head.code / 100 == 3 && awaited != Awaited::Data {
            return Some(self.fail(ClientError::Unexpected(head)));
        }
        match awaited {
            Awaited::Mail => self.hear_mail(head),
            Awaited::Rcpt(at) => self.hear_rcpt(at, head),
            Awaited::Data => self.hear_data(head, quiet),
            Awaited::Chunk => self.hear_chunk(head),
            Awaited::Last => self.hear_last(head),
            Awaited::Rset if head.is_positive() => {
                self.phase = Phase::Idle;
                Some(Event::Reset)
            }
            Awaited::Rset => Some(self.fail(ClientError::Reset(head))),
            // An early refusal. DATA can't be left without closing, and with BDAT nothing was asked.
            Awaited::Nothing if in_body && !head.is_positive() => {
                self.transaction.refused = true;
                self.transaction.told = true;
                self.leave(head);
                Some(Event::Final(head))
            }
            Awaited::Nothing => Some(self.fail(ClientError::Unasked)),
        }
    }

    /// After the event under way, the connection is of no more use.
    fn leave(&mut self, head: ReplyHead) {
        self.phase = Phase::Failed(if head.code == 421 {
            ClientError::Closing(head)
        } else {
            ClientError::OutOfStep
        });
    }

    fn hear_mail(&mut self, head: ReplyHead) -> Option<Event> {
        let t = &mut self.transaction;
        t.answered += 1;
        t.refused = !head.is_positive();
        let quiet = t.muted || (t.kind == Kind::Probe && !t.refused);
        (!quiet).then_some(Event::Sender(head))
    }

    fn hear_rcpt(&mut self, at: usize, head: ReplyHead) -> Option<Event> {
        let t = &mut self.transaction;
        t.answered += 1;
        if t.refused {
            return None; // MAIL was: this only follows from it
        }
        let rcpt = &mut t.recipients[at];
        rcpt.accepted = head.is_positive();
        let place = rcpt.place;
        t.accepted += usize::from(head.is_positive());
        t.refused = t.accepted == 0 && at + 1 == t.recipients.len();
        match t.kind {
            _ if t.muted => None,
            Kind::Probe => Some(Event::Verified(head)),
            Kind::Message | Kind::Reset => Some(Event::Recipient(place, head)),
        }
    }

    fn hear_data(&mut self, head: ReplyHead, quiet: bool) -> Option<Event> {
        let t = &mut self.transaction;
        t.answered += 1;
        match head.code {
            354 if t.muted => Some(self.fail(ClientError::OutOfStep)),
            // An empty body would be a message to some readers of the RFC, so none is sent.
            354 if t.refused => {
                t.told = true;
                self.leave(head);
                Some(Event::Refused)
            }
            354 if !quiet => Some(self.fail(ClientError::Unasked)),
            354 => {
                t.go = true;
                Some(Event::Go)
            }
            400.. => self.refuse(head),
            _ => Some(self.fail(ClientError::Unexpected(head))),
        }
    }

    /// The body, or the wish to send one, was refused. Told once.
    fn refuse(&mut self, head: ReplyHead) -> Option<Event> {
        let t = &mut self.transaction;
        if t.refused || t.muted {
            return None;
        }
        t.refused = true;
        t.told = true;
        if head.code == 421 {
            self.leave(head);
        }
        Some(Event::Final(head))
    }

    fn hear_chunk(&mut self, head: ReplyHead) -> Option<Event> {
        let t = &mut self.transaction;
        t.chunks_open -= 1;
        if head.is_positive() {
            let tell = !t.refused && !t.muted;
            return tell.then_some(Event::Chunk);
        }
        let event = self.refuse(head);
        // LMTP: whether LAST behind it gets one reply or one a recipient is not written anywhere.
        if self.settings.lmtp && self.transaction.last == Last::Sent && event.is_some() {
            self.leave(head);
        }
        event
    }

    /// A final reply (RFC 5321 §4.1.1.4, RFC 2033 §4.2).
    fn hear_last(&mut self, head: ReplyHead) -> Option<Event> {
        let t = &mut self.transaction;
        if !self.settings.lmtp || t.refused && t.accepted == 0 {
            t.last = Last::Answered;
            if !head.is_positive() {
                return self.refuse(head);
            }
            if t.refused {
                return Some(self.fail(ClientError::Unexpected(head)));
            }
            self.phase = Phase::Idle;
            return Some(Event::Final(head));
        }
        let Some((place, done)) = t.next_final() else {
            return Some(self.fail(ClientError::Unexpected(head)));
        };
        t.told |= !head.is_positive();
        if done {
            t.last = Last::Answered;
            t.refused = t.told;
            if !t.told {
                self.phase = Phase::Idle;
            }
        }
        if head.code == 421 {
            self.leave(head);
        }
        Some(Event::FinalFor(place, head))
    }
}
