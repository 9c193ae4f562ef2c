//! Commands in their sequence (RFC 5321 §4.1.4): which one may come now, and what it leads to.

use super::{Action, Answer, Earlier, Server, Signals, State, interface::Question, line::Found};
use crate::smtp::{
    command::{Command, Verb, chunk},
    envelope::{BodyKind, MailParams, Recipient},
    extensions::Extensions,
    limits::{AUTH_LINE_MAX, COMMAND_LINE, mail_line_max, rcpt_line_max},
    params, path, replies,
    replies::wire,
};

impl Server {
    /// Takes the next command out of the input. `None` goes on in whatever state that led to.
    pub(super) fn command(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Option<Action>) {
        if input.is_empty() {
            self.drain_if_idle(out);
            let action = (self.state == State::Command).then_some(Action::Read);
            return (0, action);
        }
        let resync = self.settings.limits.resync as usize;
        let found = self.lines.find(input, resync, self.serves_auth());
        let consumed = match found {
            Found::More => return (input.len(), None),
            Found::Here { length, consumed } => {
                self.run(&input[..length], consumed < input.len(), out);
                consumed
            }
            Found::Gathered { consumed } => {
                let line = self.lines.take();
                self.run(&line, consumed < input.len(), out);
                self.lines.give_back(line);
                consumed
            }
            Found::TooLong { consumed } => {
                self.run_too_long(out);
                consumed
            }
            Found::Endless => {
                self.hang_up_known(&replies::LINE_ENDLESS, out);
                input.len()
            }
            Found::Broken => {
                self.hang_up_known(&replies::BARE_NEWLINE, out);
                input.len()
            }
            Found::Alien => {
                self.count(Verb::Alien);
                self.hang_up_known(&replies::ALIEN, out);
                input.len()
            }
        };
        self.clock.restart();
        (consumed, None)
    }

    fn count(&mut self, verb: Verb) {
        self.verb = verb;
        self.tally.verbs[verb as usize] += 1;
    }

    /// A line that is longer than the buffer: only its verb is of interest.
    fn run_too_long(&mut self, out: &mut Vec<u8>) {
        let verb = Command::parse(self.lines.start()).verb;
        self.lines.forget();
        self.count(verb);
        match verb {
            Verb::Alien => self.hang_up_known(&replies::ALIEN, out),
            _ => self.refuse_known(&replies::LINE_TOO_LONG, out),
        }
    }

    /// One command. `more`: the client sent on without waiting for its reply.
    fn run(&mut self, line: &[u8], more: bool, out: &mut Vec<u8>) {
        let Command { verb, arguments } = Command::parse(line);
        self.count(verb);
        self.claiming &= verb == Verb::XClient;
        if more {
            self.signals = self.signals | self.signal(verb);
        }
        if verb == Verb::Alien {
            self.hang_up_known(&replies::ALIEN, out);
            return;
        }
        let length_max = match verb {
            Verb::Mail => mail_line_max(self.offered()),
            Verb::Rcpt => rcpt_line_max(self.offered()),
            Verb::Auth if self.serves_auth() => AUTH_LINE_MAX,
            _ => COMMAND_LINE,
        };
        let refusal = if line.len() + 2 > length_max {
            Some(&replies::LINE_TOO_LONG)
        } else if line.is_empty() {
            Some(&replies::LINE_EMPTY)
        } else if self.denied && verb != Verb::Quit {
            Some(&replies::DENIED)
        } else {
            self.too_early(verb)
        };
        if verb == Verb::Bdat && self.offered().has(Extensions::CHUNKING) {
            // Its octets must be swallowed, whatever the reply is.
            match chunk(arguments) {
                Some((size, last)) => self.chunk_command(size, last, refusal),
                None => self.refuse_known(refusal.unwrap_or(&replies::CHUNK_SYNTAX), out),
            }
            return;
        }
        match refusal {
            Some(known) => self.refuse_known(known, out),
            None => self.dispatch(verb, arguments, out),
        }
        if more && verb == Verb::Quit && self.state == State::Closed {
            self.signals = self.signals | Signals::PAST_QUIT;
        }
    }

    /// Why a command may not come before TLS (RFC 3207 §4) or AUTH (RFC 4954 §6). XCLIENT is a proxy's, which may speak
    /// before TLS as in Postfix.
    fn too_early(&self, verb: Verb) -> Option<&'static replies::Known> {
        if self.settings.requires_tls && !self.is_secured() {
            let free = matches!(
                verb,
                Verb::Ehlo | Verb::Noop | Verb::StartTls | Verb::Quit | Verb::XClient
            );
            if !free {
                return Some(&replies::NEEDS_TLS);
            }
        }
        let mails = matches!(
            verb,
            Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat | Verb::Vrfy | Verb::Expn
        );
        (mails && self.lacks_auth()).then_some(&replies::AUTH_REQUIRED)
    }

    fn signal(&self, verb: Verb) -> Signals {
        match verb {
            Verb::Ehlo | Verb::Helo => Signals::PAST_HELLO,
            Verb::Data => Signals::PAST_DATA,
            Verb::StartTls => Signals::PAST_STARTTLS,
            Verb::Auth => Signals::PAST_AUTH,
            Verb::Bdat => Signals::NONE,    // its chunk follows at once
            Verb::XClient => Signals::NONE, // may be pipelined (XCLIENT_README)
            _ if !self.greeted.esmtp => Signals::UNOFFERED,
            _ => Signals::NONE,
        }
    }

    fn dispatch(&mut self, verb: Verb, arguments: &[u8], out: &mut Vec<u8>) {
        match verb {
            Verb::Helo => self.hello_command(false, arguments, out),
            Verb::Ehlo => self.hello_command(true, arguments, out),
            Verb::Mail => self.mail(arguments, out),
            Verb::Rcpt => self.rcpt(arguments, out),
            Verb::Data => self.data_command(arguments, out),
            Verb::Rset => self.rset(arguments, out),
            Verb::Noop => {
                out.extend_from_slice(wire::OK);
                self.count_junk(out);
            }
            Verb::Vrfy if arguments.is_empty() => self.refuse_known(&replies::VRFY_SYNTAX, out),
            Verb::Vrfy => {
                replies::VRFY.reply().write(out);
                self.count_junk(out);
            }
            Verb::Help => {
                replies::HELP.reply().write(out);
                self.count_junk(out);
            }
            Verb::Quit if !arguments.is_empty() => self.refuse_known(&replies::NO_ARGUMENTS, out),
            Verb::Quit => {
                out.extend_from_slice(wire::BYE);
                self.state = State::Closed;
            }
            Verb::StartTls => self.start_tls(arguments, out),
            Verb::XClient => self.xclient(arguments, out),
            Verb::XForward => self.xforward(arguments, out),
            Verb::Auth => self.auth_command(arguments, out),
            Verb::Expn | Verb::Bdat | Verb::Unserved => self.refuse_known(&replies::UNSERVED, out),
            Verb::Alien | Verb::Unknown => self.refuse_known(&replies::UNKNOWN, out),
        }
    }

    fn rset(&mut self, arguments: &[u8], out: &mut Vec<u8>) {
        if !arguments.is_empty() {
            self.refuse_known(&replies::NO_ARGUMENTS, out);
            return;
        }
        let needless = !self.envelope.has_sender() && !self.transfer.is_active();
        self.reset();
        out.extend_from_slice(wire::OK);
        if needless {
            self.count_junk(out);
        }
    }

    fn mail(&mut self, arguments: &[u8], out: &mut Vec<u8>) {
        let max = self.settings.limits.messages;
        if max > 0 && self.tally.messages >= max && !self.greeted.text.is_empty() {
            self.hang_up_known(&replies::TOO_MANY_MESSAGES, out);
            return;
        }
        if let Err(known) = self.try_mail(arguments) {
            if !self.envelope.has_sender() {
                self.earlier = Earlier::SenderRefused;
            }
            self.refuse_known(known, out);
        }
    }

    fn try_mail(&mut self, arguments: &[u8]) -> Result<(), &'static replies::Known> {
        if self.greeted.text.is_empty() {
            return Err(&replies::NEEDS_HELLO);
        }
        if self.envelope.has_sender() || self.transfer.is_active() {
            return Err(&replies::MAIL_NESTED);
        }
        let text = behind(arguments, b"FROM:").ok_or(&replies::MAIL_SYNTAX)?;
        let parsed = path::sender(text).ok_or(&replies::SENDER_SYNTAX)?;
        let said = params::mail(parsed.rest, self.offered())?;
        if parsed.utf8 && !said.smtputf8 {
            return Err(&replies::NEEDS_UTF8);
        }
        let max = self.settings.size_max;
        if max > 0 && said.size > max {
            return Err(&replies::SIZE_DECLARED);
        }
        let sender = self.envelope.keep_path(parsed.path);
        let params = MailParams {
            size: said.size,
            body: said.body,
            smtputf8: said.smtputf8,
            requiretls: said.requiretls,
            ret: said.ret,
            envid: self.envelope.keep(&params::xtext(said.envid)),
            auth: self.envelope.keep(&params::xtext(said.auth)),
        };
        self.envelope.set_sender(sender, params);
        self.state = State::Asked(Question::Mail);
        Ok(())
    }

    pub(super) fn answer_mail(&mut self, answer: Answer, out: &mut Vec<u8>) {
        match answer {
            Answer::Accept => out.extend_from_slice(wire::MAIL_OK),
            Answer::AcceptWith(reply) => reply.write(out),
            Answer::Refuse(reply) | Answer::Close(reply) => {
                self.reset();
                self.earlier = Earlier::SenderRefused;
                self.say(&reply, out);
            }
        }
    }

    fn rcpt(&mut self, arguments: &[u8], out: &mut Vec<u8>) {
        let follows = self.earlier == Earlier::SenderRefused;
        match self.try_rcpt(arguments) {
            Ok(()) => {}
            Err(known) if follows => self.refuse_follower(known.reply(), out),
            Err(known) => self.refuse_known(known, out),
        }
    }

    fn try_rcpt(&mut self, arguments: &[u8]) -> Result<(), &'static replies::Known> {
        if self.transfer.is_active() {
            return Err(&replies::BODY_BEGUN);
        }
        if !self.envelope.has_sender() {
            return Err(&replies::NEEDS_MAIL);
        }
        self.earlier = Earlier::RecipientTried;
        let text = behind(arguments, b"TO:").ok_or(&replies::RCPT_SYNTAX)?;
        let parsed = path::recipient(text).ok_or(&replies::RECIPIENT_SYNTAX)?;
        let utf8 = self.envelope.params().smtputf8;
        let said = params::rcpt(parsed.rest, self.offered(), utf8)?;
        if parsed.utf8 && !utf8 {
            return Err(&replies::NEEDS_UTF8);
        }
        if self.envelope.recipients().len() >= self.settings.limits.recipients as usize {
            return Err(&replies::TOO_MANY_RECIPIENTS);
        }
        let path = self.envelope.keep_path(parsed.path);
        let orcpt = self.envelope.keep(&params::orcpt(said.orcpt));
        self.envelope.push_recipient(Recipient {
            path,
            notify: said.notify,
            orcpt,
        });
        self.state = State::Asked(Question::Rcpt);
        Ok(())
    }

    pub(super) fn answer_rcpt(&mut self, answer: Answer, out: &mut Vec<u8>) {
        match answer {
            Answer::Accept => out.extend_from_slice(wire::RCPT_OK),
            Answer::AcceptWith(reply) => reply.write(out),
            Answer::Refuse(reply) | Answer::Close(reply) => {
                self.envelope.pop_recipient();
                self.say(&reply, out);
                return;
            }
        }
        self.tally.recipients += 1;
    }

    fn data_command(&mut self, arguments: &[u8], out: &mut Vec<u8>) {
        let refusal: &'static replies::Known = if !arguments.is_empty() {
            &replies::NO_ARGUMENTS
        } else if self.transfer.is_active() {
            &replies::WANTS_CHUNKS
        } else if let Some(known) = self.lacks_recipient() {
            match self.earlier {
                Earlier::Nothing => self.refuse_known(known, out),
                _ => self.refuse_follower(known.reply(), out),
            }
            return;
        } else if self.envelope.params().body == BodyKind::BinaryMime {
            &replies::WANTS_CHUNKS
        } else {
            self.state = State::Asked(Question::Body);
            return;
        };
        self.refuse_known(refusal, out);
    }

    /// Why no body may come now.
    pub(super) fn lacks_recipient(&self) -> Option<&'static replies::Known> {
        if !self.envelope.recipients().is_empty() {
            None
        } else if self.earlier == Earlier::RecipientTried {
            Some(&replies::NO_RECIPIENTS)
        } else {
            Some(&replies::NEEDS_RCPT)
        }
    }
}

/// What follows a keyword, in any case.
fn behind<'a>(text: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then_some(rest)
}
