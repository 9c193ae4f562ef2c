//! Senders and recipients: patterns made into the envelope of each message, without allocating.

use super::settings::Settings;
use gatepost::smtp::{
    Span,
    envelope::{Envelope, MailParams, Path, Recipient},
};
use rand::{RngExt, rngs::SmallRng};
use std::sync::Arc;

/// The longest pattern.
const PATTERN_MAX: usize = 200;

/// An address, or what stands around the number of a user in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    before: String,
    after: Option<String>,
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, String> {
        let fine = |c: u8| c.is_ascii_graphic() && !matches!(c, b'<' | b'>');
        if !text.bytes().all(fine) || text.len() > PATTERN_MAX {
            return Err(format!("`{text}` is no address"));
        }
        Ok(match text.split_once('%') {
            Some((before, after)) => Pattern {
                before: before.into(),
                after: Some(after.into()),
            },
            None => Pattern {
                before: text.into(),
                after: None,
            },
        })
    }

    fn write(&self, user: u32, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.before.as_bytes());
        if let Some(after) = &self.after {
            out.extend_from_slice(itoa::Buffer::new().format(user).as_bytes());
            out.extend_from_slice(after.as_bytes());
        }
    }
}

/// Senders and recipients.
#[derive(Clone, Debug)]
pub struct Addresses(Arc<Patterns>);

#[derive(Debug)]
struct Patterns {
    sender: Pattern,
    recipients: Vec<Pattern>,
    bad: Pattern,
    bad_share: f64,
    count: u16,
    users: u32,
}

impl Addresses {
    /// The addresses that the settings say; `bad_share` of the recipients are not there.
    ///
    /// # Errors
    /// An address that could not be sent.
    pub fn new(said: &Settings, bad_share: f64) -> Result<Addresses, String> {
        let pattern = |text: &Option<String>| Pattern::parse(text.as_deref().unwrap_or_default());
        let recipients = said.recipient.iter().map(|text| Pattern::parse(text));
        let count = said.recipients.unwrap_or(1);
        if !(1..=10_000).contains(&count) {
            return Err("recipients is a number from 1 to 10000".into());
        }
        Ok(Addresses(Arc::new(Patterns {
            sender: pattern(&said.sender)?,
            recipients: recipients.collect::<Result<_, _>>()?,
            bad: pattern(&said.bad_recipient)?,
            bad_share,
            count,
            users: said.users.unwrap_or(1).max(1),
        })))
    }

    /// Writes the envelope of one message. `text` is a place to work in.
    pub fn write(&self, rng: &mut SmallRng, envelope: &mut Envelope, text: &mut Vec<u8>) {
        let Patterns {
            sender,
            recipients,
            bad,
            bad_share,
            count,
            users,
        } = &*self.0;
        envelope.clear();
        let first = rng.random_range(0..*users);
        sender.write(first, text);
        let path = envelope.keep_path(Path::split(text));
        envelope.set_sender(path, MailParams::default());
        for at in 0..u32::from(*count) {
            // One after the other, so that those of a message are different people.
            let user = first.wrapping_add(at) % users;
            if *bad_share > 0.0 && rng.random_bool(*bad_share) {
                bad.write(user, text);
            } else {
                recipients[user as usize % recipients.len()].write(user, text);
            }
            let path = envelope.keep_path(Path::split(text));
            envelope.push_recipient(Recipient {
                path,
                notify: None,
                orcpt: Span::default(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn each_message_has_its_people() {
        let said: Settings = toml::from_str(
            "recipients = 4\nusers = 4\nrecipient = ['u%@a.example', 'v%@b.example']\nsender = ''\n\
             bad_recipient = 'gone@a.example'",
        )
        .unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let (mut envelope, mut text) = (Envelope::new(), Vec::new());
        let addresses = Addresses::new(&said, 0.0).unwrap();
        addresses.write(&mut rng, &mut envelope, &mut text);
        let mut found: Vec<String> = envelope
            .recipients()
            .iter()
            .map(|r| String::from_utf8_lossy(envelope.path(r.path).whole).into_owned())
            .collect();
        found.sort();
        let wanted = [
            "u0@a.example",
            "u2@a.example",
            "v1@b.example",
            "v3@b.example",
        ];
        assert_eq!(found, wanted);
        assert!(envelope.sender().is_null());
        let addresses = Addresses::new(&said, 1.0).unwrap();
        addresses.write(&mut rng, &mut envelope, &mut text);
        let gone = |r: &Recipient| envelope.path(r.path).local == b"gone";
        assert!(envelope.recipients().iter().all(gone));
    }
}
