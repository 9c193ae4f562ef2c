//! Commands in their sequence.

use super::{Ask, Chunk, Context, Refusal, Session, State, login};
use crate::sink::{
    point::{Fault, Point},
    save::Draft,
    transfer::Transfer,
};
use gatepost::smtp::{
    Extensions, Reply, Status, Verb,
    command::{chunk, trim},
    envelope::{MailParams, Recipient},
    params, path, replies,
    reply::Known,
};

const NO_CHUNKS: Reply = Reply::fixed(502, Status(5, 5, 1), "CHUNKING is not announced; closing");

impl Session {
    /// Does a command: replies, or leaves a question.
    pub(super) fn dispatch(
        &mut self,
        context: &Context<'_>,
        verb: Verb,
        arguments: &[u8],
        is_lhlo: bool,
        out: &mut Vec<u8>,
    ) {
        let result = match verb {
            Verb::Helo | Verb::Ehlo if is_lhlo != context.plan.fixed.lmtp => {
                Err((Some(Fault::Syntax), &replies::UNKNOWN))
            }
            Verb::Helo | Verb::Ehlo if arguments.is_empty() => {
                Err((Some(Fault::Syntax), &replies::HELLO_SYNTAX))
            }
            Verb::Helo | Verb::Ehlo => {
                self.extended = verb == Verb::Ehlo;
                self.state = State::Asked(Ask::Hello);
                Ok(())
            }
            Verb::Mail => self.mail(context, arguments, out),
            Verb::Rcpt => self.rcpt(arguments),
            Verb::Data => self.data_command(),
            Verb::Bdat => return self.bdat(context, arguments, out),
            Verb::Rset => {
                self.reset();
                return self.say(&replies::OK.reply(), out);
            }
            Verb::Noop => return self.say(&replies::OK.reply(), out),
            Verb::Vrfy => return self.say(&replies::VRFY.reply(), out),
            Verb::Help => return self.say(&replies::HELP.reply(), out),
            Verb::Quit => {
                self.state = State::Closed;
                self.quit = true;
                return self.say(&replies::BYE.reply(), out);
            }
            Verb::Auth => self.auth(context, arguments, out),
            Verb::StartTls => self.starttls(arguments),
            Verb::Expn | Verb::XClient | Verb::XForward | Verb::Unserved => {
                Err((Some(Fault::Syntax), &replies::UNSERVED))
            }
            Verb::Alien | Verb::Unknown => Err((Some(Fault::Syntax), &replies::UNKNOWN)),
        };
        if let Err((fault, known)) = result {
            if let Some(fault) = fault {
                self.fault(context, fault);
            }
            self.say(&known.reply(), out);
        }
    }

    fn mail(
        &mut self,
        context: &Context<'_>,
        arguments: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if !self.greeted {
            return Err((Some(Fault::Sequence), &replies::NEEDS_HELLO));
        }
        if self.envelope.has_sender() {
            return Err((Some(Fault::Sequence), &replies::MAIL_NESTED));
        }
        if context.plan.auth_required && !self.authenticated {
            context.counters.refused[Point::Mail as usize].one();
            self.say(&login::NEEDED, out);
            return Ok(());
        }
        let text =
            behind(arguments, b"FROM:").ok_or((Some(Fault::Syntax), &replies::MAIL_SYNTAX))?;
        let parsed = path::sender(text).ok_or((Some(Fault::Syntax), &replies::SENDER_SYNTAX))?;
        let said = params::mail(parsed.rest, self.offered)
            .map_err(|known| (Some(Fault::Parameter), known))?;
        if parsed.utf8 && !said.smtputf8 {
            return Err((Some(Fault::Parameter), &replies::NEEDS_UTF8));
        }
        let max = context.plan.size_max;
        if max > 0 && said.size > max {
            context.counters.refused[Point::Mail as usize].one();
            self.say(&replies::SIZE_DECLARED.reply(), out);
            return Ok(());
        }
        let params = MailParams {
            size: said.size,
            body: said.body,
            smtputf8: said.smtputf8,
            ..MailParams::default()
        };
        let sender = self.envelope.keep_path(parsed.path);
        self.envelope.set_sender(sender, params);
        self.state = State::Asked(Ask::Mail);
        Ok(())
    }

    fn rcpt(&mut self, arguments: &[u8]) -> Result<(), Refusal> {
        if !self.envelope.has_sender() || self.transfer.is_some() {
            return Err((self.out_of_turn(), &replies::NEEDS_MAIL));
        }
        let text = behind(arguments, b"TO:").ok_or((Some(Fault::Syntax), &replies::RCPT_SYNTAX))?;
        let parsed =
            path::recipient(text).ok_or((Some(Fault::Syntax), &replies::RECIPIENT_SYNTAX))?;
        let utf8 = self.envelope.params().smtputf8;
        params::rcpt(parsed.rest, self.offered, utf8)
            .map_err(|known| (Some(Fault::Parameter), known))?;
        if parsed.utf8 && !utf8 {
            return Err((Some(Fault::Parameter), &replies::NEEDS_UTF8));
        }
        let path = self.envelope.keep_path(parsed.path);
        self.envelope.push_recipient(Recipient {
            path,
            notify: None,
            orcpt: Default::default(),
        });
        self.state = State::Asked(Ask::Rcpt);
        Ok(())
    }

    /// What stands against a body now.
    fn no_body(&self) -> Option<&'static Known> {
        if !self.envelope.has_sender() {
            Some(&replies::NEEDS_MAIL)
        } else if self.envelope.recipients().is_empty() {
            Some(&replies::NO_RECIPIENTS)
        } else {
            None
        }
    }

    /// A command before its time. A client that pipelines learns too late that MAIL or RCPT was refused.
    fn out_of_turn(&self) -> Option<Fault> {
        (!self.offered.has(Extensions::PIPELINING)).then_some(Fault::Sequence)
    }

    fn data_command(&mut self) -> Result<(), Refusal> {
        if let Some(known) = self.no_body() {
            return Err((self.out_of_turn(), known));
        }
        if self.transfer.is_some() || self.spoiled {
            return Err((Some(Fault::Sequence), &replies::WANTS_CHUNKS));
        }
        self.state = State::Asked(Ask::Data);
        Ok(())
    }

    fn bdat(&mut self, context: &Context<'_>, arguments: &[u8], out: &mut Vec<u8>) {
        // Its octets can't be told from commands by a server without BDAT.
        if !self.offered.has(Extensions::CHUNKING) {
            self.fault(context, Fault::Chunking);
            self.say(&NO_CHUNKS, out);
            self.state = State::Closed;
            return;
        }
        let Some((size, last)) = chunk(arguments) else {
            self.fault(context, Fault::Syntax);
            self.say(&replies::CHUNK_SYNTAX.reply(), out);
            self.state = State::Closed;
            return;
        };
        let refusal = self.no_body();
        let refusal = refusal.or(self.spoiled.then_some(&replies::CHUNK_AFTER_ERROR));
        self.state = State::Chunk(Chunk {
            left: size,
            size,
            last,
            unwanted: refusal.is_some(),
        });
        if let Some(known) = refusal {
            // As in `out_of_turn`.
            self.say(&known.reply(), out);
        } else if self.transfer.is_none() {
            self.transfer = Some(Transfer::by_chunks(self.draft(context)));
        }
    }

    /// A file for the message, where messages are saved.
    pub(super) fn draft(&self, context: &Context<'_>) -> Option<Draft> {
        let envelope = &self.envelope;
        let recipients = envelope.recipients().iter();
        let paths = recipients.map(|one| envelope.path(one.path).whole);
        context.saver?.draft(envelope.sender().whole, paths)
    }
}

/// What follows a keyword, in any case.
fn behind<'a>(arguments: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = arguments.split_at_checked(keyword.len())?;
    front.eq_ignore_ascii_case(keyword).then(|| trim(rest))
}
