//! An address that can't be listened on, in words: the key that names it, what is wrong, and what to do.

use std::{io, io::ErrorKind as Kind, net::SocketAddr};

/// The lowest port that a process without rights may listen on (`net.ipv4.ip_unprivileged_port_start`, by default).
const UNPRIVILEGED_MIN: u16 = 1024;

/// The error of binding `address`, of the same kind, with the advice. `key` names the address for the operator, in a
/// configuration or on a command line; empty where no key does. `instead` is what else to do where the port is in use.
#[must_use]
pub fn explain(key: &str, address: SocketAddr, error: &io::Error, instead: &str) -> io::Error {
    let port = address.port();
    let advice = match error.kind() {
        Kind::AddrInUse => {
            let rest = if instead.is_empty() { "" } else { "; " };
            format!(
                "port {port} is in use: `ss -ltnp 'sport = :{port}'` shows by which process{rest}{instead}"
            )
        }
        Kind::AddrNotAvailable => format!(
            "{} is no address of this machine: `ip address` shows those that are",
            address.ip()
        ),
        Kind::PermissionDenied if port < UNPRIVILEGED_MIN => format!(
            "no permission for port {port}: ports below {UNPRIVILEGED_MIN} need CAP_NET_BIND_SERVICE or a start as root"
        ),
        _ => error.to_string(),
    };
    let whole = match key {
        "" => format!("can't listen on {address}: {advice}"),
        key => format!("{key} = \"{address}\": can't listen: {advice}"),
    };
    io::Error::new(error.kind(), whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(key: &str, address: &str, kind: Kind, instead: &str) -> String {
        let error = explain(
            key,
            address.parse().expect("an address"),
            &kind.into(),
            instead,
        );
        assert_eq!(error.kind(), kind);
        error.to_string()
    }

    #[test]
    fn says_the_key_and_what_to_do() {
        assert_eq!(
            told(
                "admin.listen",
                "127.0.0.1:9025",
                Kind::AddrInUse,
                "or \"off\""
            ),
            "admin.listen = \"127.0.0.1:9025\": can't listen: port 9025 is in use: \
             `ss -ltnp 'sport = :9025'` shows by which process; or \"off\""
        );
        assert_eq!(
            told("", "[::]:25", Kind::AddrInUse, ""),
            "can't listen on [::]:25: port 25 is in use: `ss -ltnp 'sport = :25'` shows by which process"
        );
        let low = told("", "0.0.0.0:25", Kind::PermissionDenied, "");
        assert!(
            low.contains("below 1024 need CAP_NET_BIND_SERVICE"),
            "{low}"
        );
        // A security module may forbid any port.
        let high = told("", "0.0.0.0:2525", Kind::PermissionDenied, "");
        assert!(high.ends_with(": permission denied"), "{high}");
        let foreign = told("", "192.0.2.1:25", Kind::AddrNotAvailable, "");
        assert!(
            foreign.contains("192.0.2.1 is no address of this machine"),
            "{foreign}"
        );
    }
}
