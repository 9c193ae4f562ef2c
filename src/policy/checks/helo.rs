//! The name in EHLO or HELO: lists of names first (one that accepts spares the name the rules), then what a
//! name must be. RFC 5321 §4.1.1.1: the client's own full name, or its address as a literal (§4.1.3).

use super::{Check, Whom};
use crate::policy::{
    At, Facts, Shared,
    builder::Builder,
    lists::{
        asked::{self, Lists},
        lower,
    },
    replies,
    rule::{Rule, Say},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

struct Helo {
    lists: Option<Lists>,
    unqualified: Option<Rule>,
    address: Option<Rule>,
    ours: Option<Rule>,
    hostname: Vec<u8>,
}

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let rules = &builder.config.helo;
    let mut room = [0; lower::ROOM];
    let hostname = lower::host(builder.hostname.as_bytes(), &mut room).to_vec();
    let list_doc = "The HELO name is in this list.";
    let mut rule = |key, doc, outcome| builder.outcome(key, doc, outcome, &replies::HELO);
    let unqualified = rule(
        "helo.unqualified",
        "The HELO name has no dot.",
        &rules.unqualified,
    );
    let address = rule(
        "helo.address",
        "The HELO name is a bare address, or a literal that is not the client's address.",
        &rules.address,
    );
    let ours = rule(
        "helo.ours",
        "A stranger said our own name in HELO.",
        &rules.ours,
    );
    let lists = asked::build(
        builder,
        "helo_list",
        list_doc,
        &builder.config.helo_list,
        &replies::HELO,
    );
    if lists.is_none() && unqualified.is_none() && address.is_none() && ours.is_none() {
        return None;
    }
    Some(Arc::new(Helo {
        lists,
        unqualified,
        address,
        ours,
        hostname,
    }))
}

impl Check for Helo {
    fn name(&self) -> &'static str {
        "helo"
    }

    fn stages(&self) -> &[At] {
        &[At::Hello]
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        if self
            .lists
            .as_ref()
            .is_some_and(|lists| lists.look_name(facts.hello, say).is_break())
        {
            return;
        }
        let (rule, detail) = match kind(facts.hello, &self.hostname) {
            Kind::Literal(Some(ip)) if ip == facts.client.to_canonical() => return,
            Kind::Literal(_) => (&self.address, "literal"),
            Kind::Bare => (&self.address, "bare"),
            Kind::Ours => (&self.ours, ""),
            Kind::Unqualified => (&self.unqualified, ""),
            Kind::Name => return,
        };
        if let Some(rule) = rule {
            let _ = say.hit(rule, detail);
        }
    }
}

/// What a HELO name is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// `[…]`, and the address in it where it is one.
    Literal(Option<IpAddr>),
    Bare,
    Ours,
    Unqualified,
    Name,
}

fn kind(hello: &[u8], hostname: &[u8]) -> Kind {
    if let Some(inner) = hello.strip_prefix(b"[") {
        return Kind::Literal(inner.strip_suffix(b"]").and_then(literal));
    }
    let mut room = [0; lower::ROOM];
    let name = lower::host(hello, &mut room);
    if !name.is_empty() && name == hostname {
        Kind::Ours
    } else if parse::<IpAddr>(name).is_some() {
        Kind::Bare
    } else if name.contains(&b'.') {
        Kind::Name
    } else {
        Kind::Unqualified
    }
}

/// RFC 5321 §4.1.3: `192.0.2.1`, or `IPv6:2001:db8::1`. Mail programs leave out the tag, and add the zone of a link-local
/// address (RFC 4007 §11): the address is the same.
fn literal(inner: &[u8]) -> Option<IpAddr> {
    let (tagged, rest) = match inner.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case(b"IPv6:") => (true, rest),
        _ => (false, inner),
    };
    if let Some(ip) = parse::<Ipv4Addr>(rest) {
        return (!tagged).then_some(IpAddr::V4(ip));
    }
    let zone = memchr::memchr(b'%', rest).unwrap_or(rest.len());
    let ip = parse::<Ipv6Addr>(&rest[..zone])?;
    Some(IpAddr::V6(ip).to_canonical())
}

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::*;

    const RULES: &str = "
        helo_list = [
            { name = 'good', entries = ['friend'], then = 'accept' },
            { name = 'bad', entries = ['.dyn.example', '/^adsl-/'], then = 'defer' },
        ]
        [helo.unqualified]
        then = 'score'
        score = 2.0
        [helo.address]
        mode = 'shadow'
        [helo.ours]
        then = 'close'";

    #[test]
    fn names_and_what_they_meet() {
        let mut rig = rig(RULES);
        let closed = "close 421 4.7.0 Closing the connection";
        let deferred = "defer 450 4.7.1 The name you said in HELO is not accepted";
        for (hello, verdict, hits) in [
            ("mail.client.example", "accept", ""),
            ("localhost", "accept", "helo.unqualified score"),
            ("FRIEND", "accept", "helo_list.good accept(domain)"),
            ("192.0.2.7", "accept", "[helo.address reject(bare)]"),
            ("2001:db8::1", "accept", "[helo.address reject(bare)]"),
            ("[192.0.2.7]", "accept", ""),
            ("[IPv6:::ffff:192.0.2.7]", "accept", ""),
            ("[192.0.2.8]", "accept", "[helo.address reject(literal)]"),
            ("[2001:db8::1]", "accept", "[helo.address reject(literal)]"),
            ("[rubbish", "accept", "[helo.address reject(literal)]"),
            ("MX.Example.net.", closed, "helo.ours close"),
            (
                "a.dyn.example",
                deferred,
                "helo_list.bad defer(parent domain)",
            ),
            ("ADSL-1.example", deferred, "helo_list.bad defer(pattern)"),
        ] {
            assert_eq!(rig.hello(hello), verdict, "{hello}");
            assert_eq!(rig.hits(), hits, "{hello}");
        }
    }

    #[test]
    fn the_last_hello_counts() {
        let mut rig = rig(RULES);
        rig.hello("localhost");
        assert_eq!(rig.judgement.score(), 2.0);
        rig.hello("mail.client.example");
        assert_eq!(rig.judgement.score(), 0.0);
    }

    #[test]
    fn a_literal_is_compared_as_an_address() {
        assert_eq!(
            kind(b"[ipv6:2001:DB8::1]", b""),
            Kind::Literal(Some(ip("2001:db8::1")))
        );
        assert_eq!(kind(b"[IPv6:192.0.2.1]", b""), Kind::Literal(None));
        for own in [
            "[2001:db8::1]",
            "[IPv6:2001:db8::1%eth0]",
            "[2001:DB8::1%12]",
        ] {
            let address = Some(ip("2001:db8::1"));
            assert_eq!(kind(own.as_bytes(), b""), Kind::Literal(address), "{own}");
        }
        assert_eq!(kind(b"[192.0.2.1%1]", b""), Kind::Literal(None));
        assert_eq!(kind(b"[]", b""), Kind::Literal(None));
        assert_eq!(kind("[é]".as_bytes(), b""), Kind::Literal(None));
        assert_eq!(kind(&[b'a'; 5_000], b"mx.example.net"), Kind::Unqualified);
        assert_eq!(
            kind(b"", b""),
            Kind::Unqualified,
            "a host without a name is not ours"
        );
    }

    #[test]
    fn addresses_have_no_place_in_a_helo_list() {
        let faults = faults("helo_list = [{ name = 'x', entries = ['a@b.example'] }]");
        assert_eq!(
            faults,
            ["helo_list \"x\": \"a@b.example\": a HELO name has no @"]
        );
    }
}
