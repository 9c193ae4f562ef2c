//! Signatures and the policies of authors, with keys from a real resolver (unbound).

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address},
    nameservers::Nameservers,
};
use std::net::IpAddr;

/// The example of RFC 8463, signed by Ed25519 and RSA. Its domain asks to reject what fails DMARC (`unbound.conf`).
const SIGNED: &str = include_str!("../data/dkim/rfc8463.eml");

/// More than `limits.window`. A canonical body does not end in empty lines, so the signatures cover them as well as none.
const EMPTY_LINES: usize = 200_000;

/// An edge before `backend` that refuses what DMARC wants refused.
fn edge(engine: &str, backend: &Backend, dns: &Nameservers) -> Gatepost {
    let policy = "[policy.dmarc]\nreject = \"reject\"\n[policy.dkim]\ntemperror = \"defer\"\n";
    Gatepost::start(engine, &(pool(&[backend], "") + &dns.config("") + policy))
}

/// What a stranger's message is told.
fn told(gatepost: &Gatepost, message: &str) -> String {
    let client = IpAddr::from([127, 0, 0, 9]);
    let message = message.replace('\n', "\r\n");
    Client::hello_from(client, gatepost.smtp).send("a@sender.example", &["b@example.net"], &message)
}

crate::on_all_engines! {
    fn a_signature_proves_its_domain(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns);
        let reply = told(&gatepost, SIGNED);
        assert!(reply.starts_with("250"), "{reply}");
        gatepost.log_line(&["verdict=accept", "dkim=pass dmarc=pass"]);
        let messages = backend.messages();
        let got = String::from_utf8_lossy(&messages[0].body).replace("\r\n\t", " ");
        for part in [
            "dkim=pass (256-bit key) header.d=football.example.com",
            "dkim=pass (1024-bit key) header.d=football.example.com",
            "dmarc=pass (p=reject dis=none) header.from=football.example.com",
        ] {
            assert!(got.contains(part), "{part} in {got}");
        }
        let reply = told(&gatepost, &SIGNED.replace("hungry", "thirsty"));
        assert!(reply.starts_with("550 5.7.1 Refused by the DMARC policy"), "{reply}");
        gatepost.log_line(&["verdict=reject", "dkim=fail dmarc=fail", "check=dmarc.reject"]);
        let reply = told(&gatepost, "From: joe@football.example.com\n\nx\n");
        assert!(reply.starts_with("550 5.7.1 Refused by the DMARC policy"), "{reply}");
        gatepost.log_line(&["verdict=reject", "dkim=none dmarc=fail"]);
        assert_eq!(backend.messages().len(), 1);
        // Another author has no record, and nothing is refused for that.
        let reply = told(&gatepost, "From: joe@nowhere.example\n\nx\n");
        assert!(reply.starts_with("250"), "{reply}");
        gatepost.log_line(&["verdict=accept", "dkim=none dmarc=none"]);
    }

    fn a_body_that_streams_is_verified(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns);
        let long = SIGNED.to_owned() + &"\n".repeat(EMPTY_LINES);
        let reply = told(&gatepost, &long);
        assert!(reply.starts_with("250"), "{reply}");
        gatepost.log_line(&["verdict=accept", "dkim=pass dmarc=pass"]);
        // What follows the empty lines is covered, and the end is held back until that is known.
        let reply = told(&gatepost, &(long + "x\n"));
        assert!(reply.starts_with("550 5.7.1 Refused by the DMARC policy"), "{reply}");
        gatepost.log_line(&["verdict=reject", "dkim=fail dmarc=fail"]);
        assert_eq!(backend.messages().len(), 1);
    }

    fn a_key_that_can_t_be_had_defers_where_that_is_wanted(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns);
        let message = "DKIM-Signature: v=1; a=rsa-sha256; d=silent.test; s=s; h=from; b=AAAA;\n \
                       bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=\nFrom: a@mail.test\n\n";
        let reply = told(&gatepost, message);
        assert!(reply.starts_with("451 4.7.20"), "{reply}");
        gatepost.log_line(&["verdict=defer", "dkim=temperror", "check=dkim.temperror"]);
        assert_eq!(backend.messages().len(), 0);
    }
}
