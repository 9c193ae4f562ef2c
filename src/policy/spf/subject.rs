//! What is checked: a client, the names that it gave, and the server that checks them.

use super::{Identity, SENDER_OCTETS_MAX, name};
use std::net::IpAddr;
use std::sync::Arc;

/// The inputs of a check. Domains are in A-labels (RFC 7208 section 4.3): the caller maps those of SMTPUTF8.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The client's address. An IPv4-mapped one is an IPv4 address (RFC 7208 section 5).
    pub client_ip: IpAddr,
    /// The path of MAIL FROM without its angle brackets; empty or `<>` for the null reverse-path.
    pub mail_from: &'a [u8],
    /// The argument of EHLO or HELO, as it came.
    pub helo: &'a [u8],
    /// The name of our host: `%{r}` of explanations, and `receiver` of Received-SPF.
    pub receiver: &'a Arc<str>,
    /// Seconds since 1970: `%{t}` of explanations.
    pub unix_seconds: u64,
}

/// The inputs as the machine keeps them.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    pub(super) client_ip: IpAddr,
    pub(super) identity: Identity,
    /// `local-part@domain` (`<sender>`).
    pub(super) sender: Arc<str>,
    /// Octets before the `@`; all of them where there is none.
    pub(super) local_octets: usize,
    pub(super) helo: Box<[u8]>,
    pub(super) receiver: Arc<str>,
    pub(super) unix_seconds: u64,
}

impl Inputs {
    /// The MAIL FROM identity; that of HELO for the null reverse-path (RFC 7208 section 2.4).
    pub(super) fn of_mail_from(subject: &Subject<'_>) -> Inputs {
        let path = subject.mail_from;
        if path.is_empty() || path == b"<>" {
            return Inputs::of_helo(subject);
        }
        let (local, domain) = match path.iter().rposition(|octet| *octet == b'@') {
            Some(at) => (&path[..at], Some(&path[at + 1..])),
            None => (path, None),
        };
        Inputs::new(subject, Identity::MailFrom, local, domain)
    }

    /// The HELO identity (RFC 7208 section 2.3).
    pub(super) fn of_helo(subject: &Subject<'_>) -> Inputs {
        Inputs::new(subject, Identity::Helo, b"", Some(subject.helo))
    }

    fn new(
        subject: &Subject<'_>,
        identity: Identity,
        local: &[u8],
        domain: Option<&[u8]>,
    ) -> Inputs {
        // Section 4.3: a sender without a local part is that of the postmaster.
        let local: &[u8] = if local.is_empty() {
            b"postmaster"
        } else {
            local
        };
        let mut sender = String::from_utf8_lossy(local).into_owned();
        let local_octets = sender.len();
        if let Some(domain) = domain {
            sender.push('@');
            sender.push_str(&String::from_utf8_lossy(domain));
        }
        let helo = &subject.helo[..subject.helo.len().min(SENDER_OCTETS_MAX)];
        // One octet more is kept than is allowed: so it is seen that the sender was too long.
        cut(&mut sender, SENDER_OCTETS_MAX + 1);
        Inputs {
            client_ip: subject.client_ip.to_canonical(),
            identity,
            local_octets: local_octets.min(sender.len()),
            sender: sender.into(),
            helo: helo.into(),
            receiver: Arc::clone(subject.receiver),
            unix_seconds: subject.unix_seconds,
        }
    }

    pub(super) fn local(&self) -> &str {
        &self.sender[..self.local_octets]
    }

    /// The domain as the client wrote it.
    pub(super) fn domain(&self) -> &str {
        self.sender.get(self.local_octets + 1..).unwrap_or_default()
    }

    /// The domain whose record is to be asked for; `None` where there can't be one (section 4.3).
    pub(super) fn checked_domain(&self) -> Option<Arc<str>> {
        if self.sender.len() > SENDER_OCTETS_MAX {
            return None;
        }
        name::of_sender(self.domain().as_bytes())
    }
}

/// Cuts a text at the end of a character.
pub(super) fn cut(text: &mut String, octets_max: usize) {
    text.truncate(text.floor_char_boundary(octets_max));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(mail_from: &str, helo: &str) -> Inputs {
        let subject = Subject {
            client_ip: "::ffff:192.0.2.1".parse().expect("an address"),
            mail_from: mail_from.as_bytes(),
            helo: helo.as_bytes(),
            receiver: &"mx.example".into(),
            unix_seconds: 0,
        };
        Inputs::of_mail_from(&subject)
    }

    #[test]
    fn the_sender_of_each_path() {
        for (mail_from, sender, domain, identity) in [
            (
                "a@B.example",
                "a@B.example",
                Some("b.example"),
                Identity::MailFrom,
            ),
            (
                "@b.example",
                "postmaster@b.example",
                Some("b.example"),
                Identity::MailFrom,
            ),
            (
                "\"a@c\"@b.example",
                "\"a@c\"@b.example",
                Some("b.example"),
                Identity::MailFrom,
            ),
            ("postmaster", "postmaster", None, Identity::MailFrom),
            (
                "",
                "postmaster@h.example",
                Some("h.example"),
                Identity::Helo,
            ),
            (
                "<>",
                "postmaster@h.example",
                Some("h.example"),
                Identity::Helo,
            ),
        ] {
            let inputs = inputs(mail_from, "h.example");
            assert_eq!(&*inputs.sender, sender);
            assert_eq!(inputs.checked_domain().as_deref(), domain);
            assert_eq!(inputs.identity, identity);
            assert!(inputs.client_ip.is_ipv4());
        }
    }

    #[test]
    fn a_long_sender_is_cut_and_has_no_policy() {
        let inputs = inputs(&format!("{}@b.example", "ü".repeat(5000)), "h");
        assert!(inputs.sender.len() <= SENDER_OCTETS_MAX + 1);
        assert_eq!(inputs.checked_domain(), None);
        assert_eq!(inputs.domain(), "");
    }
}
