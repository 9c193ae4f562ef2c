//! May this account send as this address? The envelope's sender, and every address in From and Sender.
//!
//! Addresses are compared in the forms of [`names`]: in lower case (strictly taken a local part has case, but no two
//! mailboxes differ in nothing else), and with the A-labels of the domain.

use super::{Account, names};
use crate::{
    config::SenderIdentity,
    smtp::{fields::mailboxes, header},
};
use std::borrow::Cow;

/// Which addresses an account may use as sender, on one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderRule {
    /// How strictly.
    pub mode: SenderIdentity,
    /// Characters that begin an extension of a local part (Postfix's `recipient_delimiter`): an account that owns
    /// `amy@example.net` also owns `amy+list@example.net`.
    pub delimiter: Box<str>,
}

impl SenderRule {
    /// The address without its extension, as Postfix splits it: at the first delimiter, which isn't the first character.
    fn without_extension(&self, local: &str) -> Option<String> {
        let delimits = |c: char| self.delimiter.contains(c);
        let at = local.find(delimits).filter(|at| *at > 0)?;
        Some(local[..at].to_string())
    }
}

/// Whether the account may use an address.
#[must_use]
pub fn owns(account: &Account, rule: &SenderRule, address: &[u8]) -> bool {
    if rule.mode == SenderIdentity::Off {
        return true;
    }
    let Ok(address) = std::str::from_utf8(address) else {
        return false;
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let address = names::address(&format!("{}@{domain}", unquoted(local)));
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    // With another `@` before it, a program may see another address.
    if local.contains('@') {
        return false;
    }
    let base = rule.without_extension(local);
    let mut owned = account.addresses.iter();
    owned.any(|own| match (own.rsplit_once('@'), rule.mode) {
        (None, _) => false,
        (Some((_, own_domain)), _) if own_domain != domain => false,
        (Some(_), SenderIdentity::Domain) | (Some(("", _)), _) => true,
        (Some((own, _)), _) => own == local || base.as_deref() == Some(own),
    })
}

/// A local part without its quotes (RFC 5321 §4.1.2: `"amy"` and `amy` are one).
fn unquoted(local: &str) -> Cow<'_, str> {
    let inner = local
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else {
        return local.into();
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.extend(characters.next()),
            c => text.push(c),
        }
    }
    text.into()
}

/// Whether the account may use every address in each From and Sender field of this header, and each address that is shown
/// with them: a program may show a display name alone, or "Sender on behalf of From". A field that can't be read, and a From
/// without an address, is refused, and so is a header that has more of these fields than are read of one; a header without
/// From is not judged here.
#[must_use]
pub fn owns_from(account: &Account, rule: &SenderRule, header: &[u8]) -> bool {
    if rule.mode == SenderIdentity::Off {
        return true;
    }
    let mut line = Vec::new();
    let mut octets = 0;
    header::fields(header)
        .filter(|field| field.may_be("from") || field.may_be("sender"))
        .all(|field| {
            octets += field.body.len();
            if octets > mailboxes::OCTETS_MAX {
                return false;
            }
            mailboxes::of_field(&field, &mut line).is_some_and(|found| {
                let enough = field.may_be("sender") || !found.mailboxes.is_empty();
                enough && found.all().all(|address| owns(account, rule, address))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amy() -> Account {
        Account {
            name: "amy".into(),
            addresses: ["amy@example.net".into(), "@amy.example".into()].into(),
        }
    }

    fn rule(mode: SenderIdentity) -> SenderRule {
        SenderRule {
            mode,
            delimiter: "+".into(),
        }
    }

    fn may(mode: SenderIdentity, from: &str) -> bool {
        owns_from(
            &amy(),
            &rule(mode),
            format!("Subject: x\r\nFrom:{from}\r\n\r\n").as_bytes(),
        )
    }

    #[test]
    fn an_address_is_owned_by_itself_by_its_domain_or_by_nobody() {
        use SenderIdentity::{Domain, Off, Strict};
        for (address, strict, domain) in [
            ("amy@example.net", true, true),
            ("Amy@Example.NET", true, true),
            ("anything@amy.example", true, true),
            ("ben@example.net", false, true),
            ("ben@sub.amy.example", false, false),
            ("ben@example.org", false, false),
            ("amy", false, false),
            ("", false, false),
            ("amy+list@example.net", true, true),
            ("AMY+List=joe=x.example@example.net", true, true),
            ("amy+@example.net", true, true),
            ("\"amy\"@example.net", true, true),
            ("\"a\\my+x y\"@example.net", true, true),
            ("amy-list@example.net", false, true),
            ("amyx+list@example.net", false, true),
            ("+amy@example.net", false, true),
            ("ben+amy@example.net", false, true),
            ("amy+x@example.org", false, false),
            ("@amy.example@example.org", false, false),
        ] {
            assert_eq!(
                owns(&amy(), &rule(Strict), address.as_bytes()),
                strict,
                "{address}"
            );
            assert_eq!(
                owns(&amy(), &rule(Domain), address.as_bytes()),
                domain,
                "{address}"
            );
            assert!(owns(&amy(), &rule(Off), address.as_bytes()), "{address}");
        }
        assert!(!owns(&amy(), &rule(Strict), b"\xff@amy.example"));
    }

    #[test]
    fn the_delimiter_is_the_operators() {
        let may = |delimiter: &str, address: &str| {
            let rule = SenderRule {
                mode: SenderIdentity::Strict,
                delimiter: delimiter.into(),
            };
            owns(&amy(), &rule, address.as_bytes())
        };
        assert!(may("-", "amy-list@example.net") && !may("-", "amy+list@example.net"));
        assert!(may("+-", "amy-list@example.net") && may("+-", "amy+list@example.net"));
        assert!(!may("", "amy+list@example.net") && may("", "amy@example.net"));
    }

    #[test]
    fn both_forms_of_a_domain_are_owned() {
        let names = ["amy@b\u{fc}cher.example", "@stra\u{df}e.example"];
        let amy = Account {
            name: "amy".into(),
            addresses: names.map(|name| names::address(name).into()).into(),
        };
        for address in [
            "amy@b\u{fc}cher.example",
            "amy+x@bu\u{308}cher.example",
            "Amy@B\u{dc}CHER.example",
            "amy@XN--BCHER-KVA.example",
            "any@stra\u{df}e.example",
            "any@xn--strae-oqa.example",
        ] {
            assert!(
                owns(&amy, &rule(SenderIdentity::Strict), address.as_bytes()),
                "{address}"
            );
        }
        for address in ["amy@bucher.example", "any@strasse.example"] {
            assert!(
                !owns(&amy, &rule(SenderIdentity::Domain), address.as_bytes()),
                "{address}"
            );
        }
    }

    #[test]
    fn a_field_that_some_programs_take_for_from_counts() {
        for name in ["FROM ", "From\0", "F\u{1}rom", "\u{feff}From", "Sender\0"] {
            let owns = |address: &str| {
                let header = format!("{name}: {address}\r\nFrom: amy@example.net\r\n\r\n");
                owns_from(&amy(), &rule(SenderIdentity::Strict), header.as_bytes())
            };
            assert!(owns("amy@example.net"), "{name:?}");
            assert!(
                !owns("bob@example.net") && !owns("\r\n bob@example.net"),
                "{name:?}"
            );
        }
    }

    #[test]
    fn more_fields_than_are_read_are_refused() {
        let fields = |count| "amy@example.net\r\nFrom: ".repeat(count) + "amy@example.net";
        let most = mailboxes::OCTETS_MAX / " amy@example.net".len();
        assert!(may(SenderIdentity::Strict, &fields(10)));
        assert!(may(SenderIdentity::Strict, &fields(most - 1)));
        assert!(!may(SenderIdentity::Strict, &fields(most)));
        assert!(!may(
            SenderIdentity::Strict,
            &"amy@example.net,".repeat(200)
        ));
    }

    #[test]
    fn every_address_in_from_counts() {
        for from in [
            " amy@example.net",
            " <amy@example.net>",
            " Amy (at work) <amy@example.net>",
            " \"Doe, Amy\" <amy@example.net>",
            " =?utf-8?q?Amy?= <amy@example.net>",
            " amy@example.net, Other <x@amy.example>",
            "\r\n Amy\r\n <amy@example.net>",
            " us: amy@example.net, x@amy.example;",
            " \"any thing\"@amy.example",
            " <@relay.example:amy@example.net>",
            " amy @ example.net",
            " amy@example.net <amy@example.net>",
            " \"amy@example.net\" <AMY@EXAMPLE.NET>",
            " Doe, Amy <amy@example.net>",
            " Dö, Amy <amy@example.net>",
            " =?utf-8?Q?D=C3=B6,_Amy?= <amy@example.net>",
            " Amy @ Example <amy@example.net>",
            " Amy <amy@example.net>,",
            " Amy <amy@example.net",
            " Amy\r\n <amy@example.net>\r\nSender: amy@example.net",
            " Amy <amy@example.net>\r\nResent-From: ben@example.net",
            " amy+news@example.net",
            " \"amy+news\"@example.net",
        ] {
            assert!(may(SenderIdentity::Strict, from), "{from}");
        }
        for from in [
            " ben@example.net",
            " amy@example.net, ben@example.net",
            " Amy <amy@example.net> <ben@example.net>",
            " ben@example.net <amy@example.net>",
            " <amy@example.net> ben@example.net",
            " us: amy@example.net, ben@example.net;",
            " \"amy@example.net\" <ben@example.net>",
            " (amy@example.net) ben@example.net",
            " <ben@example.net",
            " \"amy@example.net",
            " (amy@example.net",
            " amy@example.net>",
            "",
            " us:;",
            " amy@example.net\r\nFrom: ben@example.net",
            " <amy@example.net,ben@example.net>",
            " amy@example.net ben@example.net",
            " amy",
            " Amy <>",
            " undisclosed-recipients:;",
            " ben@example.net: amy@example.net;",
            " \"ben@example.net\": amy@example.net;",
            " \"ben@example.net\" <amy@example.net>",
            " amy@example.net (ben@example.net)",
            " =?utf-8?Q?ben=40example.net?= <amy@example.net>",
            " \"ben@example.net\"@amy.example",
            " =?utf-8?Q?ben=40example.net?=@amy.example",
            " amy@example.net\r\nSender: ben@example.net",
            " amy@example.net\r\nFROM : ben@example.net",
            " amy@example.net,\r\n\tben@example.net",
            " Ben@exämple.net <amy@example.net>",
        ] {
            assert!(!may(SenderIdentity::Strict, from), "{from}");
            assert!(may(SenderIdentity::Off, from), "{from}");
        }
        assert!(owns_from(
            &amy(),
            &rule(SenderIdentity::Strict),
            b"Subject: none\r\n\r\n"
        ));
    }
}
