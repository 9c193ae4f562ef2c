//! What of a message goes to a backend: our trace field on top, then the payload as it came, without fields that
//! claim to be ours or would become a part of ours.

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
    smtp::{
        Span,
        fields::results::claims,
        header::{Field, Index},
    },
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
    /// Authentication-Results fields that claim to be ours, fields that only we write, and what would continue the last of the
    /// fields that we put on top.
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
            ExplainHeader::Tagged => judgement.score() != 0.0 || judgement.tags().len() > 0,
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
        // Our own fields stand right above: a first line that begins with white space would be a part of the last of them
        // (RFC 5322 §2.2.3), and could have us say `dmarc=pass`.
        let mut is_top = true;
        for field in header.fields() {
            if is_top && is_continuation(&field) {
                survey.forged.push(field.span);
                continue;
            }
            survey.found.look(&field);
            if field.is("Received") {
                survey.received += 1;
            }
            if own.iter().any(|name| field.may_be(name))
                || (field.may_be("Authentication-Results") && claims(field.body, hostname))
            {
                survey.forged.push(field.span);
                continue;
            }
            is_top = false;
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

/// Whether a program may take a line for the continuation of the field above it: it begins with white space, once the octets are
/// left out that programs drop (NUL, other controls, a byte-order mark), or has nothing else.
fn is_continuation(field: &Field<'_>) -> bool {
    let line = match field.name {
        b"" => field.body,
        name => name,
    };
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    // VT and FF are white space to the regular expressions that some programs read a header with.
    let is_space = |octet: u8| octet == b' ' || matches!(octet, b'\t'..=b'\r');
    let mut seen = line
        .iter()
        .filter(|octet| !octet.is_ascii_control() || is_space(**octet));
    seen.next().is_none_or(|octet| is_space(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What leaves of a header section of strangers.
    fn leaving(header: &str) -> String {
        let survey = Survey::of(
            &Index::new(header.as_bytes()),
            b"edge.example",
            &[Arc::from(status::FIELD)],
        );
        let mut pieces = Vec::new();
        survey.without_forged(header.as_bytes(), &mut pieces);
        String::from_utf8(pieces.concat()).expect("text")
    }

    #[test]
    fn nothing_continues_the_fields_that_we_put_on_top() {
        let ours = "Authentication-Results: edge.example; spf=pass\r\n";
        let status = "X-Gatepost-Status: accept\r\n folded\r\n";
        for front in [
            "\t; dmarc=pass header.from=bank.example\r\n".to_string(),
            " ; dmarc=pass\r\n\t; dkim=pass\r\n".into(),
            " Field: with a colon\r\n".into(),
            " \r\n\t\r\n x\r\n".into(),
            "\u{b}; dmarc=pass\r\n".into(),
            "\u{c}x: dmarc=pass\r\n more\r\n".into(),
            "\0\t; dmarc=pass\r\n".into(),
            "\0 : dmarc=pass\r\n".into(),
            "\u{feff}\t; dmarc=pass\r\n".into(),
            // What follows a field that is removed comes to its place.
            format!("{ours}{status}"),
            format!(" x\r\n{ours} x\r\n{status}\tx\r\n"),
            format!("{ours}\0 x\r\n"),
        ] {
            for rest in [
                "From: a@b\r\n c\r\n\r\n",
                "no field\r\n x\r\n\r\n",
                "\r\n",
                "",
            ] {
                assert_eq!(leaving(&format!("{front}{rest}")), rest, "{front:?}");
            }
        }
    }

    #[test]
    fn other_first_lines_stay() {
        for header in [
            "From a@b Mon Jan 1 00:00\r\nA: 1\r\n\r\n",
            "no field\r\n it goes on\r\nA: 1\r\n\r\n",
            ":nameless\r\n x\r\n",
            "\u{1}From: a@b\r\n c\r\n\r\n",
            "\u{feff}From: a@b\r\n\r\n",
            "A: 1\r\n x\r\n : y\r\n\r\n",
            "\r\n text\r\n",
        ] {
            assert_eq!(leaving(header), header);
        }
    }
}
