//! May this account send as this address? The envelope's sender, and every address in From.
//!
//! An address is compared in lower case: strictly taken a local part has case, but nobody has two mailboxes that differ in nothing else.

use super::Account;
use crate::{config::SenderIdentity, smtp::header};

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

/// Whether the account may use every address in each From field of this header. A field that can't be read is nobody's; a
/// header without From is for others to judge.
#[must_use]
pub fn owns_from(account: &Account, mode: SenderIdentity, header: &[u8]) -> bool {
    if mode == SenderIdentity::Off {
        return true;
    }
    let mut body = Vec::new();
    header::fields(header)
        .filter(|field| field.is("from"))
        .all(|field| {
            body.clear();
            field.unfold(&mut body);
            addresses(&body).is_some_and(|found| {
                !found.is_empty() && found.iter().all(|address| owns(account, mode, address))
            })
        })
}

/// The addresses of a list of mailboxes and groups (RFC 5322 §3.4), without comments, quotes and blanks. `None`: it is none,
/// or a reader less strict than we are might see another address in it.
fn addresses(list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    // Of the mailbox under way: what stands outside brackets, and what stands within.
    let (mut plain, mut angle) = (Vec::new(), None::<Vec<u8>>);
    let mut within = false;
    let mut at = 0;
    while let Some(&octet) = list.get(at) {
        at += 1;
        match octet {
            b'(' => at = comment(list, at)?,
            b'"' => {
                let text = quoted(list, &mut at)?;
                match (within, &mut angle) {
                    (true, Some(inner)) => inner.extend(text),
                    _ => plain.extend(text.iter().filter(|octet| **octet != b'@')),
                }
            }
            b'<' if !within && angle.is_none() => {
                (angle, within) = (Some(Vec::new()), true);
            }
            b'>' if within => within = false,
            b'<' | b'>' => return None,
            b',' | b';' if !within => close(&mut plain, &mut angle, &mut found)?,
            // The name of a group, which may say anything.
            b':' if !within && angle.is_none() => plain.clear(),
            b' ' | b'\t' => {}
            octet if within => angle.as_mut()?.push(octet),
            // Behind the brackets of a mailbox nothing may come.
            _ if angle.is_some() => return None,
            octet => plain.push(octet),
        }
    }
    if within {
        return None;
    }
    close(&mut plain, &mut angle, &mut found)?;
    Some(found)
}

/// The end of a mailbox. An address in a display name is what a reader may be shown, so it counts as well.
fn close(plain: &mut Vec<u8>, angle: &mut Option<Vec<u8>>, found: &mut Vec<Vec<u8>>) -> Option<()> {
    match angle.take() {
        // A source route in front (RFC 5322 §4.4) names nobody.
        Some(inner) => {
            let address = match inner.strip_prefix(b"@") {
                Some(_) => inner.splitn(2, |octet| *octet == b':').nth(1)?.to_vec(),
                None => inner,
            };
            found.push(address);
            if plain.contains(&b'@') {
                return None;
            }
        }
        None if plain.is_empty() => {}
        None => found.push(std::mem::take(plain)),
    }
    plain.clear();
    Some(())
}

/// Where a comment that begins before `at` ends.
fn comment(list: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 1;
    while depth > 0 {
        match list.get(at)? {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'\\' => at += 1,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

/// The text of a quoted string that begins before `at`.
fn quoted(list: &[u8], at: &mut usize) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let octet = *list.get(*at)?;
        *at += 1;
        match octet {
            b'"' => return Some(text),
            b'\\' => {
                text.push(*list.get(*at)?);
                *at += 1;
            }
            octet => text.push(octet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn no_octets_upset_it(list in proptest::collection::vec(
            proptest::sample::select(&b"a@.,;:<>()\"\\ \xff"[..]), 0..40)) {
            if let Some(found) = addresses(&list) {
                prop_assert!(found.iter().map(Vec::len).sum::<usize>() <= list.len());
            }
        }
    }
}
