//! What each reply means at its place, and what is sent next.

use super::{
    super::{
        Capabilities,
        reply_parse::{Progress, ReplyHead},
    },
    BackendError, BackendSession, BackendStep, COMMANDS_MAX, Event, Phase, capabilities,
    transaction::{Awaited, Body, Kind},
};

impl BackendSession {
    /// Takes a prefix of the input, appends what may be sent now, and says what it means.
    ///
    /// Any split of the input gives the same events, with one exception: bytes after the last reply that
    /// was awaited are [`BackendError::Unasked`] only where they are seen together with it.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> BackendStep {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            if let Some(event) = self.proceed(rest.is_empty(), out) {
                return BackendStep { consumed, event };
            }
            let event = match self.replies.read(rest) {
                Err(error) => Some(self.fail(BackendError::Nonsense(error))),
                Ok(Progress::More) => {
                    return BackendStep {
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
                return BackendStep { consumed, event };
            }
        }
    }

    pub(super) fn fail(&mut self, error: BackendError) -> Event {
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
            Phase::Idle if !quiet => return Some(self.fail(BackendError::Unasked)),
            Phase::Handshake if !quiet => return Some(self.fail(BackendError::Injected)),
            Phase::Challenged if !quiet => return Some(self.fail(BackendError::Unasked)),
            Phase::Transaction if self.transaction.refused_untold() => return Some(Event::Refused),
            _ if self.ahead && !quiet => return Some(self.fail(BackendError::Unasked)),
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
            Phase::StartTls => Some(self.hear_starttls(head, quiet)),
            Phase::Introduce => self.hear_introduced(head, quiet, out),
            Phase::Auth => Some(self.hear_auth(head, quiet)),
            Phase::Transaction => self.hear_answer(head, quiet),
            Phase::Confirm => self.hear_confirmed(head, out),
            Phase::ConfirmByQuit => Some(self.hear_left(head)),
            Phase::Quit => {
                self.phase = Phase::Failed(BackendError::Closing(head));
                Some(Event::Bye)
            }
            Phase::Idle | Phase::Challenged => Some(self.fail(BackendError::Unasked)),
            Phase::Handshake => Some(self.fail(BackendError::Injected)),
            Phase::Failed(error) => Some(Event::Failed(error)),
        }
    }

    /// Greeting, EHLO, HELO (RFC 5321 §3.1, §3.2).
    fn hear_hello(&mut self, head: ReplyHead, quiet: bool, out: &mut Vec<u8>) -> Option<Event> {
        let lmtp = self.settings.lmtp;
        match (self.phase, head.code / 100) {
            (_, 3) => return Some(self.fail(BackendError::Unexpected(head))),
            (Phase::Greeting, 2) => self.phase = Phase::Ehlo,
            (Phase::Greeting, _) => return Some(self.fail(BackendError::Greeting(head))),
            (Phase::Ehlo, 2) => {
                self.capabilities = capabilities::parse(self.replies.reply().text());
                return self.after_hello(quiet, out);
            }
            (Phase::Ehlo, 5) if !lmtp => self.phase = Phase::Helo,
            (Phase::Helo, 2) => return self.after_hello(quiet, out),
            _ => return Some(self.fail(BackendError::Hello(head))),
        }
        if !quiet {
            return Some(self.fail(BackendError::Unasked));
        }
        self.say_hello(out);
        None
    }

    /// Says EHLO, LHLO or HELO. What the backend offered before counts no more.
    pub(super) fn say_hello(&mut self, out: &mut Vec<u8>) {
        self.capabilities = Capabilities::default();
        self.push_hello(out);
    }

    pub(super) fn push_hello(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.phase {
            Phase::Helo => b"HELO ",
            _ if self.settings.lmtp => b"LHLO ",
            _ => b"EHLO ",
        });
        let ours = self.settings.hello.as_bytes();
        let told = self.introduction.as_ref().and_then(|i| i.hello());
        out.extend_from_slice(told.unwrap_or(ours));
        out.extend_from_slice(b"\r\n");
    }

    /// The answer to something of a transaction.
    fn hear_answer(&mut self, head: ReplyHead, quiet: bool) -> Option<Event> {
        let awaited = self.transaction.awaited();
        let in_body = matches!(awaited, Awaited::Chunk | Awaited::Last)
            || (awaited == Awaited::Nothing && self.transaction.is_in_body());
        if head.code == 421 && !in_body {
            self.transaction.refused = true;
            return Some(self.fail(BackendError::Closing(head)));
        }
        if head.code / 100 == 3 && awaited != Awaited::Data {
            return Some(self.fail(BackendError::Unexpected(head)));
        }
        match awaited {
            Awaited::Forward => {
                self.transaction.hear_forward(head);
                None
            }
            Awaited::Mail => self.hear_mail(head),
            Awaited::Rcpt(at) => self.hear_rcpt(at, head),
            Awaited::Data => self.hear_data(head, quiet),
            Awaited::Chunk => self.hear_chunk(head),
            Awaited::Last => self.hear_last(head),
            Awaited::Rset if head.is_positive() => {
                self.phase = Phase::Idle;
                Some(Event::Reset)
            }
            Awaited::Rset => Some(self.fail(BackendError::Reset(head))),
            // An early refusal. DATA can't be left without closing, and with BDAT nothing was asked.
            Awaited::Nothing if in_body && !head.is_positive() => {
                self.transaction.refused = true;
                self.transaction.told = true;
                self.leave(head);
                Some(Event::Final(head))
            }
            Awaited::Nothing => Some(self.fail(BackendError::Unasked)),
        }
    }

    /// After the event under way, the connection is of no more use.
    fn leave(&mut self, head: ReplyHead) {
        self.phase = Phase::Failed(if head.code == 421 {
            BackendError::Closing(head)
        } else {
            BackendError::OutOfStep
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
            // The first digit says it (RFC 5321 §4.2.1): another 3yz than 354 is a go-ahead too.
            300..400 if t.muted => Some(self.fail(BackendError::OutOfStep)),
            // An empty body would be a message to some readers of the RFC, so none is sent.
            300..400 if t.refused => {
                t.told = true;
                self.leave(head);
                Some(Event::Refused)
            }
            300..400 if !quiet => Some(self.fail(BackendError::Unasked)),
            300..400 => {
                t.body = Body::Due;
                Some(Event::Go)
            }
            400.. => self.refuse(head),
            _ => Some(self.fail(BackendError::Unexpected(head))),
        }
    }

    /// The body, or the wish to send one, was refused. Told once; but a connection that closes while what
    /// is still due is read fails.
    fn refuse(&mut self, head: ReplyHead) -> Option<Event> {
        let t = &mut self.transaction;
        if t.refused || t.muted {
            let closing = head.code == 421;
            return closing.then(|| self.fail(BackendError::Closing(head)));
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
        // LMTP: whether LAST after it gets one reply or one a recipient is not written anywhere.
        let unclear = self.settings.lmtp && t.body == Body::Ended && !t.refused;
        let event = self.refuse(head);
        if unclear {
            self.leave(head);
        }
        event
    }

    /// A final reply (RFC 5321 §4.1.1.4, RFC 2033 §4.2).
    fn hear_last(&mut self, head: ReplyHead) -> Option<Event> {
        let t = &mut self.transaction;
        if !self.settings.lmtp || t.refused && t.accepted == 0 {
            t.body = Body::Answered;
            if !head.is_positive() {
                return self.refuse(head);
            }
            if t.refused {
                return Some(self.fail(BackendError::Unexpected(head)));
            }
            self.phase = Phase::Idle;
            return Some(Event::Final(head));
        }
        let Some((place, done)) = t.next_final() else {
            return Some(self.fail(BackendError::Unexpected(head)));
        };
        t.told |= !head.is_positive();
        if done {
            t.body = Body::Answered;
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
