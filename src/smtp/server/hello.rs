//! Greeting, HELO, EHLO, STARTTLS: how a session begins.

use super::{
    Answer, Server, State,
    interface::Question,
    xclient::{XCLIENT, XFORWARD},
};
use crate::decimal::push_decimal;
use crate::smtp::{
    domain::has_invisible,
    extensions::Extensions,
    limits::DOMAIN_MAX,
    octets::is_odd,
    path::{is_bracketed_address, is_clean_utf8},
    replies,
    reply::write_line,
    status::Status,
};
use std::sync::Arc;

impl Server {
    pub(super) fn greet(&mut self, answer: Answer, out: &mut Vec<u8>) {
        match answer {
            Answer::Accept => {
                let settings = Arc::clone(&self.settings);
                let blank = if settings.banner.is_empty() { "" } else { " " };
                out.extend_from_slice(b"220 ");
                for part in [&*settings.hostname, " ESMTP", blank, &*settings.banner] {
                    out.extend(part.bytes().filter(|byte| !byte.is_ascii_control()));
                }
                out.extend_from_slice(b"\r\n");
            }
            Answer::AcceptWith(reply) => reply.write(out),
            Answer::Refuse(reply) | Answer::Close(reply) => {
                self.denied = true;
                self.say(&reply, out);
            }
        }
    }

    /// HELO or EHLO.
    pub(super) fn hello_command(&mut self, esmtp: bool, name: &[u8], out: &mut Vec<u8>) {
        // The dot of the root at the end means nothing.
        let name = match name {
            [rest @ .., b'.'] if !rest.is_empty() => rest,
            _ => name,
        };
        let bracketed = name.first() == Some(&b'[');
        let sound = !name.is_empty()
            && name.len() <= DOMAIN_MAX
            && is_visible(name)
            && (!bracketed || is_bracketed_address(name));
        if !sound {
            self.refuse_known(&replies::HELLO_SYNTAX, out);
            return;
        }
        if !self.greeted.text.is_empty() {
            self.count_junk(out);
            if self.state == State::Closed {
                return;
            }
        }
        self.candidate.text.clear();
        self.candidate.text.extend(
            name.iter()
                .map(|byte| if is_odd(*byte) { b'?' } else { *byte }),
        );
        self.candidate.esmtp = esmtp;
        self.state = State::Asked(Question::Hello);
    }

    pub(super) fn answer_hello(&mut self, answer: Answer, out: &mut Vec<u8>) {
        let reply = match answer {
            Answer::Accept => None,
            Answer::AcceptWith(reply) => Some(reply),
            Answer::Refuse(reply) | Answer::Close(reply) => {
                self.say(&reply, out);
                return;
            }
        };
        std::mem::swap(&mut self.greeted, &mut self.candidate);
        self.reset();
        match reply {
            _ if self.greeted.esmtp => self.announce(out),
            Some(reply) => reply.write(out),
            None => write_line(250, Status::NONE, &self.settings.hostname, false, out),
        }
    }

    /// The reply to EHLO.
    fn announce(&self, out: &mut Vec<u8>) {
        let settings = &*self.settings;
        let offered = self.offered();
        let auth = self.auth_line();
        write_line(250, Status::NONE, &settings.hostname, true, out);
        let mut last = 0;
        let mut line = |extension: Extensions, text: &[u8], number: Option<u64>| {
            if offered.has(extension) {
                last = out.len();
                out.extend_from_slice(b"250-");
                out.extend_from_slice(text);
                if let Some(number) = number {
                    push_decimal(number, out);
                }
                out.extend_from_slice(b"\r\n");
            }
        };
        line(Extensions::PIPELINING, b"PIPELINING", None);
        line(Extensions::SIZE, b"SIZE ", Some(settings.size_max));
        line(Extensions::STARTTLS, b"STARTTLS", None);
        if !auth.is_empty() {
            line(Extensions::AUTH, &auth, None);
        }
        line(
            Extensions::ENHANCEDSTATUSCODES,
            b"ENHANCEDSTATUSCODES",
            None,
        );
        line(Extensions::EIGHTBITMIME, b"8BITMIME", None);
        line(Extensions::DSN, b"DSN", None);
        line(Extensions::SMTPUTF8, b"SMTPUTF8", None);
        line(Extensions::CHUNKING, b"CHUNKING", None);
        line(
            Extensions::BINARYMIME | Extensions::CHUNKING,
            b"BINARYMIME",
            None,
        );
        line(Extensions::REQUIRETLS, b"REQUIRETLS", None);
        let recipients = match (settings.limits.recipients, settings.recipients_announced) {
            (most, 0) => u64::from(most),
            (most, announced) => u64::from(most.min(announced)),
        };
        line(Extensions::XCLIENT, XCLIENT, None);
        line(Extensions::XFORWARD, XFORWARD, None);
        line(Extensions::LIMITS, b"LIMITS RCPTMAX=", Some(recipients));
        if last > 0 && offered.has(Extensions::LIMITS) && settings.limits.messages > 0 {
            out.truncate(out.len() - 2);
            out.extend_from_slice(b" MAILMAX=");
            push_decimal(u64::from(settings.limits.messages), out);
            out.extend_from_slice(b"\r\n");
        }
        if last == 0 {
            // Nothing to announce: the name's line is the last one.
            last = out.len() - 4 - settings.hostname.len() - 2;
        }
        if let Some(hyphen) = out.get_mut(last + 3) {
            *hyphen = b' ';
        }
    }

    pub(super) fn start_tls(&mut self, arguments: &[u8], out: &mut Vec<u8>) {
        let refusal = if self.is_secured() {
            &replies::TLS_ACTIVE
        } else if !self.offered().has(Extensions::STARTTLS) {
            &replies::UNSERVED
        } else if !arguments.is_empty() {
            &replies::NO_ARGUMENTS
        } else if self.envelope.has_sender() || self.transfer.is_active() {
            &replies::TLS_IN_TRANSACTION
        } else {
            replies::TLS_READY.reply().write(out);
            self.state = State::Tls;
            return;
        };
        self.refuse_known(refusal, out);
    }
}

/// Whether a name is text, all of which can be seen.
fn is_visible(name: &[u8]) -> bool {
    let clean = is_clean_utf8(name);
    clean && (name.is_ascii() || str::from_utf8(name).is_ok_and(|text| !has_invisible(text)))
}
