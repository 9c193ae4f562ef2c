//! What of a message goes to a backend: our trace field on top, then the payload as it came, without fields that
//! claim to be ours.

use super::{
    connection::Session,
    mend::Found,
    message_id::MessageId,
    received::{self, Trace},
};
use crate::smtp::{Span, fields::results, header::Index};

/// What a header section says that matters to us, found in one walk over it.
pub(super) struct Survey {
    /// Received fields: the hops that the message has behind it.
    pub received: usize,
    /// What of that which we may add is there already.
    pub found: Found,
    /// Authentication-Results fields that claim to be ours.
    forged: Vec<Span>,
}

impl Session {
    /// Our Received field for this transaction.
    pub fn write_trace(&self, id: MessageId, out: &mut Vec<u8>) {
        let envelope = self.server.envelope();
        let hello = self.server.hello();
        let recipient = match envelope.recipients() {
            [only] => Some(envelope.path(only.path).whole),
            _ => None,
        };
        let params = envelope.params();
        let trace = Trace {
            hello: hello.map_or(b"", |hello| hello.name),
            client: self.client,
            hostname: &self.current.site.config.hostname,
            esmtp: hello.is_some_and(|hello| hello.esmtp),
            utf8: params.smtputf8,
            tls: self.stream.tls().map(|tls| (tls.version, tls.cipher)),
            authenticated: self.account().is_some(),
            id,
            recipient,
        };
        self.context
            .dates
            .with(self.now, |date| received::write(&trace, date, out));
    }

    /// Looks through a header section.
    pub fn survey(&self, header: &Index<'_>) -> Survey {
        let hostname = self.current.site.config.hostname.as_bytes();
        let mut survey = Survey {
            received: 0,
            found: Found::default(),
            forged: Vec::new(),
        };
        for field in header.fields() {
            survey.found.look(&field);
            if field.is("Received") {
                survey.received += 1;
            } else if field.is("Authentication-Results") && results::claims(field.body, hostname) {
                survey.forged.push(field.span);
            }
        }
        survey
    }
}

impl Survey {
    /// The payload in pieces, without Authentication-Results fields that claim to be ours: only we can say
    /// what we found (RFC 8601 §5).
    pub fn without_forged<'a>(&self, payload: &'a [u8], pieces: &mut Vec<&'a [u8]>) {
        let mut from = 0;
        for span in &self.forged {
            pieces.push(&payload[from..span.start as usize]);
            from = span.end as usize;
        }
        pieces.push(&payload[from..]);
    }
}
