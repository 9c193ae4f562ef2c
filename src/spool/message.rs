//! A message that was accepted: its envelope, what was known of it then, and the part of that which the index keeps.

use super::fields::{self, Fields, Malformed, Writer};

/// The version of payloads that this program writes.
pub const VERSION: u8 = 1;
/// How many recipients a message may have.
pub const RECIPIENTS_MAX: usize = 10_000;

/// Bits of [`Accept::flags`].
pub mod flags {
    /// BODY=8BITMIME (RFC 6152).
    pub const EIGHT_BIT: u32 = 1;
    /// BODY=BINARYMIME (RFC 3030).
    pub const BINARY: u32 = 1 << 1;
    /// SMTPUTF8 (RFC 6531).
    pub const UTF8: u32 = 1 << 2;
    /// REQUIRETLS (RFC 8689).
    pub const REQUIRE_TLS: u32 = 1 << 3;
    /// The client was authenticated.
    pub const AUTHENTICATED: u32 = 1 << 4;
    /// SPF or DMARC passed: a bounce reaches the author, not a stranger.
    pub const SENDER_PROVEN: u32 = 1 << 5;
    /// RET=FULL (RFC 3461 section 4.3).
    pub const RET_FULL: u32 = 1 << 6;
    /// RET=HDRS.
    pub const RET_HEADERS: u32 = 1 << 7;
}

/// A recipient, with what RFC 3461 lets a client say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipient {
    /// The forward-path without brackets.
    pub address: Vec<u8>,
    /// NOTIFY: 1 SUCCESS, 2 FAILURE, 4 DELAY, 8 NEVER; zero where it was not given.
    pub notify: u8,
    /// ORCPT as it came, empty where it was not given.
    pub original: Vec<u8>,
}

/// A message that was accepted: its envelope and what is known of it. The body lies beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accept {
    /// The reverse-path without brackets; empty for `<>`.
    pub sender: Vec<u8>,
    /// At least one, [`RECIPIENTS_MAX`] at most.
    pub recipients: Vec<Recipient>,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Milliseconds since 1970.
    pub arrived_ms: u64,
    /// When it is first due: milliseconds since 1970.
    pub due_ms: u64,
    /// When it expires: milliseconds since 1970; zero is never.
    pub expires_ms: u64,
    /// Whose message it is, as the configuration names it.
    pub tenant: String,
    /// The route or pool at the time; it is routed afresh at each attempt.
    pub route: String,
    /// The client's address and port.
    pub client: String,
    /// What the client said in EHLO or HELO.
    pub hello: Vec<u8>,
    /// ENVID, empty where it was not given (RFC 3461 section 4.4).
    pub envid: Vec<u8>,
    /// How many octets the body has.
    pub body_octets: u64,
    /// The body lies in a file of its own.
    pub body_in_file: bool,
}

impl Accept {
    /// Appends it as a payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out, VERSION);
        to.octets(1, &self.sender);
        for recipient in &self.recipients {
            to.nested(2, |to| {
                to.octets(1, &recipient.address);
                to.number(2, recipient.notify.into());
                to.octets(3, &recipient.original);
            });
        }
        to.number(3, self.flags.into());
        to.number(4, self.arrived_ms);
        to.number(5, self.due_ms);
        to.number(6, self.expires_ms);
        to.octets(7, self.tenant.as_bytes());
        to.octets(8, self.route.as_bytes());
        to.octets(9, self.client.as_bytes());
        to.octets(10, &self.hello);
        to.octets(11, &self.envid);
        to.number(12, self.body_octets);
        to.number(13, self.body_in_file.into());
    }

    /// Reads one.
    ///
    /// # Errors
    /// The payload is broken, or needs a newer program.
    pub fn decode(payload: &[u8]) -> Result<Accept, Malformed> {
        let mut found = Accept::default();
        for field in Fields::new(payload, VERSION)? {
            let (tag, value) = field?;
            match tag {
                1 => found.sender = value.to_vec(),
                2 if found.recipients.len() == RECIPIENTS_MAX => return Err(Malformed::Broken),
                2 => found.recipients.push(recipient(value)?),
                3 => found.flags = fields::small(value)?,
                4 => found.arrived_ms = fields::number(value)?,
                5 => found.due_ms = fields::number(value)?,
                6 => found.expires_ms = fields::number(value)?,
                7 => found.tenant = fields::text(value)?,
                8 => found.route = fields::text(value)?,
                9 => found.client = fields::text(value)?,
                10 => found.hello = value.to_vec(),
                11 => found.envid = value.to_vec(),
                12 => found.body_octets = fields::number(value)?,
                13 => found.body_in_file = fields::number(value)? != 0,
                other => fields::skip(other)?,
            }
        }
        match found.recipients.is_empty() {
            true => Err(Malformed::Broken),
            false => Ok(found),
        }
    }
}

/// What the index keeps of a message: read without allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary<'a> {
    /// See [`Accept::arrived_ms`].
    pub arrived_ms: u64,
    /// See [`Accept::due_ms`].
    pub due_ms: u64,
    /// See [`Accept::body_octets`].
    pub body_octets: u64,
    /// See [`Accept::body_in_file`].
    pub body_in_file: bool,
    /// See [`Accept::tenant`]; empty where it is no text.
    pub tenant: &'a str,
    /// See [`Accept::route`]; empty where it is no text.
    pub route: &'a str,
}

impl<'a> Summary<'a> {
    /// Appends it as the payload of an [`Accept`] without envelope, for an index file.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out, VERSION);
        to.number(4, self.arrived_ms);
        to.number(5, self.due_ms);
        to.octets(7, self.tenant.as_bytes());
        to.octets(8, self.route.as_bytes());
        to.number(12, self.body_octets);
        to.number(13, self.body_in_file.into());
    }

    /// Reads it from the payload of an [`Accept`].
    ///
    /// # Errors
    /// The payload is broken, or needs a newer program.
    pub fn of(payload: &'a [u8]) -> Result<Summary<'a>, Malformed> {
        let mut found = Summary::default();
        for field in Fields::new(payload, VERSION)? {
            let (tag, value) = field?;
            match tag {
                4 => found.arrived_ms = fields::number(value)?,
                5 => found.due_ms = fields::number(value)?,
                7 => found.tenant = std::str::from_utf8(value).unwrap_or_default(),
                8 => found.route = std::str::from_utf8(value).unwrap_or_default(),
                12 => found.body_octets = fields::number(value)?,
                13 => found.body_in_file = fields::number(value)? != 0,
                1..=13 => {}
                other => fields::skip(other)?,
            }
        }
        Ok(found)
    }
}

fn recipient(value: &[u8]) -> Result<Recipient, Malformed> {
    let mut found = Recipient::default();
    for field in Fields::nested(value) {
        let (tag, value) = field?;
        match tag {
            1 => found.address = value.to_vec(),
            2 => found.notify = fields::small(value)?,
            3 => found.original = value.to_vec(),
            other => fields::skip(other)?,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_comes_back_as_it_went_and_its_summary_too() {
        let accept = Accept {
            sender: b"a@example.org".to_vec(),
            recipients: vec![
                Recipient::default(),
                Recipient {
                    address: b"b@example.net".to_vec(),
                    notify: 3,
                    original: b"rfc822;b@example.net".to_vec(),
                },
            ],
            flags: flags::UTF8 | flags::SENDER_PROVEN,
            arrived_ms: 1 << 41,
            body_octets: 9,
            body_in_file: true,
            ..Accept::default()
        };
        let mut out = Vec::new();
        accept.encode(&mut out);
        assert_eq!(Accept::decode(&out), Ok(accept));
        let summary = Summary::of(&out).expect("whole");
        let mut short = Vec::new();
        summary.encode(&mut short);
        assert_eq!(Summary::of(&short), Ok(summary));
        // Whatever is cut, nothing panics.
        for end in 0..out.len() {
            let _ = (Accept::decode(&out[..end]), Summary::of(&out[..end]));
        }
    }
}
