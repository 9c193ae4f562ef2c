//! Keeps every refusal for the log: those that the shell gave as answers, and those that the core made by itself. One that
//! belongs to a transaction is kept with it, any other with the session.

use super::{session::Session, trace, transaction::Body};
use crate::{
    record::Refusal,
    smtp::{
        Reply, Status,
        command::{Command, Verb},
        server::{Action, Question},
    },
};

impl Session {
    /// The shell refuses what the core asks.
    pub fn note_answer(&mut self, question: Question, reply: &Reply) {
        let envelope = self.server.envelope();
        let verb = self.server.verb().as_str();
        let (command, subject) = match question {
            Question::Connect | Question::Client => ("connect", &b""[..]),
            Question::Hello => {
                let hello = self.server.hello();
                (verb, hello.map_or(&b""[..], |hello| hello.name))
            }
            Question::Mail => (verb, envelope.sender().whole),
            Question::Rcpt => {
                let last = envelope.recipients().last();
                let path = last.map(|last| envelope.path(last.path));
                (verb, path.map_or(&b""[..], |path| path.whole))
            }
            Question::Body | Question::Auth => (verb, &b""[..]),
        };
        let refusal = Refusal::new(command, subject, reply, self.decided);
        match (question, &mut self.transaction) {
            (Question::Mail | Question::Rcpt | Question::Body, Some(transaction)) => {
                transaction.note(refusal);
            }
            _ => self.refusals.push(refusal),
        }
    }

    /// The core has refused a command or a body by itself, or ends the session: the last of the input that it consumed
    /// was refused.
    pub fn note_core(&mut self, reply: &Reply, consumed: usize) {
        let seen = &self.io.input.bytes()[..consumed];
        let refusal = by_the_core(self.server.verb(), seen, reply);
        self.io.input.consume(consumed);
        let is_open = self.server.envelope().has_sender();
        if self.server.verb() == Verb::Rcpt && reply.status == Status(4, 5, 3) {
            // It has more recipients than `limits.recipients`.
            self.with_turn(|turn, _| turn.cut(&refusal.subject));
        }
        match self.transaction.take() {
            // It was the end of a body that had been found dead.
            Some(mut transaction) if !is_open && matches!(transaction.body, Body::Gone) => {
                transaction.tell(reply, None);
                transaction.times.done = Some(self.now);
                trace::transaction(self, &transaction, None);
            }
            Some(mut transaction) => {
                match is_open {
                    true => transaction.note(refusal),
                    // What was pipelined after a refused MAIL: that one has the word.
                    false => transaction.refusals.push(refusal),
                }
                self.transaction = Some(transaction);
            }
            None => self.refusals.push(refusal),
        }
    }

    /// Keeps the reply by which the core has just ended the session.
    pub fn note_farewell(&mut self) {
        // At most a body to drop comes before it.
        for _ in 0..2 {
            let step = self.server.step(self.now, b"", &mut self.io.out);
            if let Action::Refused(reply) = step.action {
                let refusal = Refusal::new("session", b"", &reply, None);
                match &mut self.transaction {
                    Some(transaction) => transaction.note(refusal),
                    None => self.refusals.push(refusal),
                }
                return;
            }
        }
    }
}

/// A refusal by the core. `seen` is the input that it came of: with MAIL, RCPT and EHLO what was refused is in its last
/// line. Of other commands nothing is kept, for it may be a password.
fn by_the_core(verb: Verb, seen: &[u8], reply: &Reply) -> Refusal {
    let subject = subject(verb, seen).unwrap_or_default();
    Refusal::new(verb.as_str(), subject, reply, None)
}

fn subject(verb: Verb, seen: &[u8]) -> Option<&[u8]> {
    let line = seen.strip_suffix(b"\r\n")?;
    let from = memchr::memrchr(b'\n', line).map_or(0, |at| at + 1);
    let command = Command::parse(&line[from..]);
    // Where the line came in several pieces, what is left of it is no command.
    if command.verb != verb {
        return None;
    }
    match verb {
        Verb::Ehlo | Verb::Helo => Some(command.arguments.trim_ascii()),
        Verb::Mail | Verb::Rcpt => {
            let colon = memchr::memchr(b':', command.arguments)?;
            let path = command.arguments[colon + 1..].trim_ascii();
            let path = path.strip_prefix(b"<").unwrap_or(path);
            let end = memchr::memrchr(b'>', path).unwrap_or(path.len());
            Some(&path[..end])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_in_the_last_line() {
        for (verb, seen, wanted) in [
            (Verb::Rcpt, "NOOP\r\nrcpt to: <b@>\r\n", "b@"),
            (Verb::Rcpt, "RCPT TO:b@example.net\r\n", "b@example.net"),
            (Verb::Rcpt, "RCPT TO:<b@x> NOTIFY=NOW\r\n", "b@x"),
            (Verb::Mail, "MAIL FROM:<a@x\r\n", "a@x"),
            (Verb::Ehlo, "EHLO [1.2\r\n", "[1.2"),
            (Verb::Rcpt, "example.net>\r\n", ""),
            (Verb::Rcpt, "RCPT <b@x>\r\n", ""),
            (Verb::Auth, "AUTH PLAIN c2VjcmV0\r\n", ""),
            (Verb::Unknown, "c2VjcmV0\r\n", ""),
            (Verb::Data, "", ""),
        ] {
            let reply = crate::smtp::replies::UNKNOWN.reply();
            let refusal = by_the_core(verb, seen.as_bytes(), &reply);
            assert_eq!(&*refusal.subject, wanted.as_bytes(), "{seen:?}");
        }
    }
}
