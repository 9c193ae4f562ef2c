//! What of a message goes to a backend: our trace field on top, then the payload as it came, without fields that
//! claim to be ours.

use super::{
    fixups::Found,
    message_id::MessageId,
    received::{self, Trace},
    results::{self, About},
    session::Session,
    status,
};
use crate::{
    config::ExplainHeader,
    policy::spf::Subject,
    smtp::{Span, fields::results::claims, header::Index},
};
use std::sync::Arc;

/// Octets of words on a line of the field that tells of tags.
const TAG_LINE: usize = 60;

/// What a header section says that matters to us, found in one walk over it.
#[derive(Default)]
pub(super) struct Survey {
    /// Received fields: the hops that the message has made.
    pub received: usize,
    /// What of that which we may add is there already.
    pub found: Found,
    /// Authentication-Results fields that claim to be ours, and fields that only we write.
    forged: Vec<Span>,
}

impl Session {
    /// What goes above the payload: our Received field, and on a submission listener the fields that are missing.
    // INV-OCTETS
    pub fn own_fields(&self, id: MessageId, found: Found) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let site = &self.current.site;
        let envelope = self.server.envelope();
        let hello = self.server.hello();
        let recipient = match envelope.recipients() {
            [only] => Some(envelope.path(only.path).whole),
            _ => None,
        };
        let params = envelope.params();
        let trace = Trace {
            hello: hello.map_or(b"", |hello| hello.name),
            client: self.peer.address,
            hostname: &site.config.hostname,
            esmtp: hello.is_some_and(|hello| hello.esmtp),
            utf8: params.smtputf8,
            secured: self.server.is_secured(),
            tls: match self.io.stream.tls() {
                Some(tls) => Some((tls.version, tls.cipher)),
                None => self.peer.via.as_ref().and_then(|via| via.suite()),
            },
            authenticated: self.account().is_some(),
            id,
            recipient,
        };
        let fixups = site.listeners[self.listener].adds_fixups;
        self.context.dates.with(self.now, |date| {
            received::write(&trace, date, &mut out);
            self.write_results(&mut out);
            self.write_status(&mut out);
            self.write_tags(&mut out);
            if fixups {
                found.add_missing(id, &site.config.hostname, date, &mut out);
            }
        });
        out
    }

    /// Why the message was treated so, where that is wanted.
    fn write_status(&self, out: &mut Vec<u8>) {
        let (site, judgement) = (&self.current.site, &self.peer.judgement);
        let is_wanted = match site.listeners[self.listener].explain_header {
            ExplainHeader::None => false,
            ExplainHeader::Tagged => judgement.score() != 0.0,
            ExplainHeader::All => true,
        };
        if is_wanted {
            status::write(judgement, &site.policy, out);
        }
    }

    /// The words that the checks have written on the message.
    fn write_tags(&self, out: &mut Vec<u8>) {
        let tags = self.peer.judgement.tags();
        if tags.len() == 0 {
            return;
        }
        let policy = &self.current.site.policy;
        out.extend_from_slice(policy.tag_field(self.profile()).as_bytes());
        let mut line = 0;
        for (place, tag) in tags.enumerate() {
            let word = policy.tag(tag).as_bytes();
            out.push(if place == 0 { b':' } else { b',' });
            line += word.len() + 2;
            match line > TAG_LINE {
                false => out.push(b' '),
                true => {
                    out.extend_from_slice(b"\r\n\t");
                    line = word.len();
                }
            }
            out.extend_from_slice(word);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// What was found of a stranger and its sender.
    fn write_results(&self, out: &mut Vec<u8>) {
        let Some(asking) = &self.peer.asking else {
            return;
        };
        if self.known_as().is_some() {
            return;
        }
        let config = &self.current.site.config;
        let receiver = Arc::from(&*config.hostname);
        let facts = self.facts();
        let wanted = self.current.site.listeners[self.listener].received_spf;
        let about = About {
            hostname: &config.hostname,
            utf8: self.server.envelope().params().smtputf8,
            client: self.peer.address,
            inquiry: &asking.inquiry,
            received_spf: wanted.then_some(Subject {
                client_ip: self.peer.address,
                mail_from: facts.sender.whole,
                helo: facts.hello,
                receiver: &receiver,
                unix_seconds: facts.unix_seconds,
            }),
        };
        results::write(&about, out);
    }
}

impl Survey {
    /// Looks through a header section; `hostname` is our own, `own` are the names of fields that only we write.
    #[must_use]
    pub fn of(header: &Index<'_>, hostname: &[u8], own: &[Arc<str>]) -> Survey {
        let mut survey = Survey::default();
        for field in header.fields() {
            survey.found.look(&field);
            if field.is("Received") {
                survey.received += 1;
            } else if own.iter().any(|name| field.may_be(name))
                || (field.may_be("Authentication-Results") && claims(field.body, hostname))
            {
                survey.forged.push(field.span);
            }
        }
        survey
    }

    /// The payload in pieces, without fields that claim to be ours: only we can say what we found (RFC 8601 §5).
    pub fn without_forged<'a>(&self, payload: &'a [u8], pieces: &mut Vec<&'a [u8]>) {
        let mut from = 0;
        for span in &self.forged {
            pieces.push(&payload[from..span.start as usize]);
            from = span.end as usize;
        }
        pieces.push(&payload[from..]);
    }
}
