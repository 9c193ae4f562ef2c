//! `[dns]`: a time limit that ends, and servers whose word about signatures can be believed.

use crate::config::{Dns, Dnssec, Time, document::Document};
use std::net::IpAddr;

pub fn check(dns: &Dns, at: &mut Document) {
    if dns.timeout.is_zero() || dns.timeout > Time::secs(60) {
        let message = "`timeout` is longer than 0s and 1m at most".to_string();
        at.error("dns.timeout", message, None);
    }
    if dns.dnssec == Dnssec::Resolver {
        let hint = "name a validating resolver on this machine or in a private network";
        if dns.servers.is_empty() && !at.is_broken("dns.servers") {
            let message = "the servers of /etc/resolv.conf may be any".to_string();
            at.error("dns.dnssec", message, format!("{hint}: servers = [\"…\"]"));
        }
        for (place, server) in dns.servers.iter().enumerate() {
            if !is_near(server.ip()) {
                let path = format!("dns.servers[{place}]");
                let message = format!(
                    "answers of {} can be forged on their way through the internet",
                    server.ip()
                );
                at.error(&path, message, hint.to_string());
            }
        }
    }
}

/// On this machine, or in a network that the internet does not reach (RFC 1918, RFC 3927, RFC 4193).
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
