//! One field, out of which nothing from outside breaks.

use super::*;
use crate::policy::authentication::crypto::Algorithm;
use crate::policy::spf::{Identity, ResultCode};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv6Addr};

fn signature(domain: &str, identity: &str, reason: Reason) -> SignatureResult {
    SignatureResult {
        identity: identity.into(),
        beginning: "dzdVyOfA".into(),
        algorithm: Some(Algorithm::RsaSha256),
        key_bits: Some(2048),
        ..SignatureResult::of(domain, "s1", reason)
    }
}

#[test]
fn all_results_stand_in_one_field() {
    let mut results = Results::new("mx.example.net", true);
    let client = IpAddr::V6(Ipv6Addr::LOCALHOST);
    results.iprev("pass", client, Some("mail.example.org"));
    results.spf(&SpfResult {
        code: ResultCode::Pass,
        identity: Identity::MailFrom,
        sender: "bounces+a=b@example.org".into(),
        domain: "example.org".into(),
        mechanism: None,
        problem: None,
        explanation: None,
        lookups: 1,
        void_lookups: 0,
    });
    let mut broken = signature("example.org", "@example.org", Reason::BodyDiffers);
    broken.testing = true;
    broken.unsigned_octets = 7;
    let good = signature("example.org", "\"a b\"@example.org", Reason::Verified);
    results.dkim(&Dkim {
        signatures: vec![good, broken],
        skipped: 2,
    });
    results.arc(
        &Arc {
            chain: Chain::Fail,
            fault: Some(ArcFault::Seal(2, Reason::NoKey)),
            seals: Vec::new(),
        },
        Some(client),
    );
    let dmarc = Dmarc {
        conclusion: Conclusion::Fail,
        author: "example.org".into(),
        organizational: "example.org".into(),
        record: None,
        requested: Some((
            Policy::Reject,
            crate::policy::authentication::dmarc::PolicyTag::Domain,
        )),
        disposition: Policy::Reject,
        spf_aligned: false,
        dkim_aligned: false,
    };
    results.dmarc(&dmarc, Some("trusted_forwarder"));
    assert_eq!(
        results.finish().expect("results"),
        "Authentication-Results: mx.example.net;\r\n\
         \tiprev=pass (mail.example.org) policy.iprev=\"::1\";\r\n\
         \tspf=pass smtp.mailfrom=bounces+a=b@example.org;\r\n\
         \tdkim=pass (2048-bit key) header.d=example.org\r\n\
         \theader.i=\"\\\"a b\\\"@example.org\" header.s=s1 header.a=rsa-sha256\r\n\
         \theader.b=dzdVyOfA;\r\n\
         \tdkim=fail\r\n\
         \t(2048-bit key, body hash differs, testing, 7 octets not signed)\r\n\
         \theader.d=example.org header.i=@example.org header.s=s1\r\n\
         \theader.a=rsa-sha256 header.b=dzdVyOfA;\r\n\
         \tdkim=policy (2 more signatures not looked at);\r\n\
         \tarc=fail (seal 2: no key) smtp.remote-ip=\"::1\";\r\n\
         \tdmarc=fail (p=reject dis=none override=trusted_forwarder)\r\n\
         \theader.from=example.org policy.dmarc=reject\r\n"
    );
    assert_eq!(Results::new("mx.example.net", true).finish(), None);
}

#[test]
fn other_than_ascii_stands_where_it_may() {
    let signed = |utf8| {
        let mut results = Results::new("mx.example.net", utf8);
        results.dkim(&Dkim {
            signatures: vec![signature(
                "a.example",
                "am\u{fc}y@a.example",
                Reason::Verified,
            )],
            skipped: 0,
        });
        results.finish().expect("a result")
    };
    assert!(signed(true).contains("header.i=\"am\u{fc}y@a.example\""));
    assert!(signed(false).contains("header.i=\"am?y@a.example\""));
}

/// Reads values back as RFC 8601 §2.2 has them, and fails at what is none.
fn words(field: &str) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => words.last_mut()?.push(chars.next()?),
                    c => words.last_mut()?.push(c),
                }
            },
            '(' => {
                chars.by_ref().find(|c| *c == ')')?;
            }
            ' ' | '\t' | '\r' | '\n' => words.push(String::new()),
            ';' => words.push(";".into()),
            c => words.last_mut()?.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    Some(words)
}

proptest! {
    #[test]
    fn nothing_from_outside_breaks_out(login in "[ -~\r\n\t\0äé\"\\\\();=]{0,400}", name in "[ -~\r\n()\\\\\"]{0,40}") {
        let mut results = Results::new("mx.example.net", true);
        let signatures = vec![signature("a.example", &login, Reason::Verified)];
        results.dkim(&Dkim { signatures, skipped: 0 });
        results.iprev("fail", IpAddr::V6(Ipv6Addr::LOCALHOST), Some(&name));
        let field = results.finish().unwrap_or_default();
        prop_assert!(field.split("\r\n").all(|line| line.len() <= LINE_MAX));
        prop_assert!(!field.trim_end().replace("\r\n\t", " ").contains(['\r', '\n', '\0']));
        let words = words(&field).expect("quotes and comments are closed");
        let expected: String = login.chars().filter(|c| !c.is_control()).collect();
        let found = words.iter().find_map(|word| word.strip_prefix("header.i="));
        prop_assert!(expected.starts_with(found.unwrap_or("?")) || found.is_none() && expected.is_empty());
        prop_assert!(words.iter().any(|word| word == "iprev=fail"));
    }

    #[test]
    fn the_field_has_an_end(count in 0usize..200, identity in "[a-z\"]{0,600}") {
        let mut results = Results::new("mx.example.net", true);
        let signatures = vec![signature("example.org", &identity, Reason::Verified); count];
        results.dkim(&Dkim { signatures, skipped: 0 });
        let field = results.finish().unwrap_or_default();
        prop_assert!(field.len() <= FIELD_MAX + 2);
        prop_assert!(field.split("\r\n").all(|line| line.len() <= LINE_MAX));
        prop_assert!(words(&field).is_some());
    }
}
