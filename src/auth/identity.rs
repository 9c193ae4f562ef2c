//! May this account send as this address? The envelope's sender, and every address in From and Sender.
//!
//! An address is compared in lower case: strictly taken a local part has case, but nobody has two mailboxes that differ in nothing else.

use super::Account;
use crate::{
    config::SenderIdentity,
    smtp::{fields::mailboxes, header},
};

/// Whether the account may use an address.
#[must_use]
pub fn owns(account: &Account, mode: SenderIdentity, address: &[u8]) -> bool {
    let Ok(address) = std::str::from_utf8(address) else {
        return mode == SenderIdentity::Off;
    };
    let address = address.to_ascii_lowercase();
    let Some((_, domain)) = address.rsplit_once('@') else {
        return mode == SenderIdentity::Off;
    };
    let mut owned = account.addresses.iter();
    match mode {
        SenderIdentity::Off => true,
        SenderIdentity::Strict => owned.any(|own| match own.strip_prefix('@') {
            Some(whole) => whole == domain,
            None => **own == *address,
        }),
        SenderIdentity::Domain => owned.any(|own| {
            own.rsplit_once('@')
                .is_some_and(|(_, whole)| whole == domain)
        }),
    }
}

/// Whether the account may use every address in each From and Sender field of this header, and each address that is shown
/// with them: a program may show a display name alone, or "Sender on behalf of From". A field that can't be read, and a From
/// without an address, is refused; a header without From is not judged here.
#[must_use]
pub fn owns_from(account: &Account, mode: SenderIdentity, header: &[u8]) -> bool {
    if mode == SenderIdentity::Off {
        return true;
    }
    let mut body = Vec::new();
    header::fields(header)
        .filter(|field| field.is("from") || field.is("sender"))
        .all(|field| {
            body.clear();
            field.unfold(&mut body);
            mailboxes::read(&body).is_some_and(|found| {
                let enough = field.is("sender") || !found.mailboxes.is_empty();
                enough && found.all().all(|address| owns(account, mode, address))
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

    fn may(mode: SenderIdentity, from: &str) -> bool {
        owns_from(
            &amy(),
            mode,
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
            ("@amy.example@example.org", false, false),
        ] {
            assert_eq!(
                owns(&amy(), Strict, address.as_bytes()),
                strict,
                "{address}"
            );
            assert_eq!(
                owns(&amy(), Domain, address.as_bytes()),
                domain,
                "{address}"
            );
            assert!(owns(&amy(), Off, address.as_bytes()), "{address}");
        }
        assert!(!owns(&amy(), Strict, b"\xff@amy.example"));
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
            SenderIdentity::Strict,
            b"Subject: none\r\n\r\n"
        ));
    }
}
