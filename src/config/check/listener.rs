//! Listeners, the admin endpoint, the host name, trusted networks.

use crate::config::{AdminListen, Config, document::Document, entry};
use ipnet::IpNet;
use std::net::SocketAddr;

pub fn check(config: &Config, at: &mut Document) {
    hostname(config, at);
    trusted(config, at);
    if config.listener.is_empty() {
        let hint = "add a `[[listener]]` with `name` and `address`, or --listen 127.0.0.1:2525";
        at.error(
            "listener",
            "there is nothing to listen on".into(),
            hint.to_string(),
        );
    }
    super::names(
        "listener",
        config.listener.iter().map(|listener| &*listener.name),
        at,
    );
    addresses(config, at);
    for (i, listener) in config.listener.iter().enumerate() {
        let path = |key: &str| format!("listener[{i}].{key}");
        if listener.banner.len() > 200 || listener.banner.chars().any(|c| !matches!(c, ' '..='~')) {
            let message = "`banner` is printable ASCII, 200 characters at most".to_string();
            at.error(&path("banner"), message, None);
        }
        for (key, value) in [
            ("sessions_max", listener.sessions_max),
            ("backlog", listener.backlog),
        ] {
            if value == 0 {
                at.error(
                    &path(key),
                    format!("`{key} = 0` refuses every client"),
                    "write 1 or more".to_string(),
                );
            }
        }
        for (key, networks) in [
            ("proxy_protocol_from", &listener.proxy_protocol_from),
            ("xclient_from", &listener.xclient_from),
        ] {
            claimed(&path(key), networks, at);
        }
        if listener.greeting_delay.0.as_secs() >= 60 {
            let hint = "clients give up on a silent server; a few seconds are enough".to_string();
            at.error(
                &path("greeting_delay"),
                "`greeting_delay` must stay below 1m".into(),
                hint,
            );
        }
    }
}

fn hostname(config: &Config, at: &mut Document) {
    if !entry::is_host(&config.hostname) {
        let message = format!("\"{}\" is no host name", config.hostname);
        at.error(
            "hostname",
            message,
            "write hostname = \"mx.example.net\"".to_string(),
        );
        return;
    }
    let public = config
        .listener
        .iter()
        .flat_map(|listener| &listener.address)
        .any(|a| !a.ip().is_loopback());
    if public && !config.hostname.contains('.') {
        let message = format!(
            "\"{}\" has no dot: other mail servers can't resolve it",
            config.hostname
        );
        at.warning(
            "hostname",
            message,
            "write hostname = \"mx.example.net\"".to_string(),
        );
    }
}

fn trusted(config: &Config, at: &mut Document) {
    for (i, net) in config.trusted.iter().enumerate() {
        if net.prefix_len() == 0 {
            let message =
                format!("`trusted` with {net} is an open relay: any client may send to any domain");
            at.error(
                &format!("trusted[{i}]"),
                message,
                "name the networks of your own clients".to_string(),
            );
        }
    }
}

/// Networks whose hosts may name their clients.
fn claimed(path: &str, networks: &[IpNet], at: &mut Document) {
    for (i, net) in networks.iter().enumerate() {
        if net.prefix_len() == 0 {
            let message = format!(
                "{net} lets any host claim any client address, also one that is `trusted`: an open relay"
            );
            let hint = "name the addresses of your own proxies".to_string();
            at.error(&format!("{path}[{i}]"), message, hint);
        }
    }
}

/// Whether two sockets can't both be bound. An IPv6 one takes IPv6 alone, so `[::]` and `0.0.0.0` go together.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    same && one.is_ipv4() == other.is_ipv4() && one.port() == other.port()
}

/// Refuses an IPv4 address in the form of an IPv6 one: an IPv6 socket takes IPv6 alone.
fn mapped(address: SocketAddr, path: &str, at: &mut Document) {
    let plain = SocketAddr::new(address.ip().to_canonical(), address.port());
    if plain.ip() != address.ip() {
        let message = format!("{address} is an IPv4 address in the form of an IPv6 one");
        at.error(path, message, format!("write \"{plain}\""));
    }
}

fn addresses(config: &Config, at: &mut Document) {
    let mut seen: Vec<(SocketAddr, String)> = Vec::new();
    let mut take = |address: SocketAddr, path: String, at: &mut Document| {
        // Port 0 is a different port each time.
        if address.port() == 0 {
            return;
        }
        mapped(address, &path, at);
        let mut all = seen.iter();
        match all.find(|(other, _)| overlap(*other, address)) {
            Some((other, first)) if *other == address => {
                let message = format!("{address} is used by {} already", at.cite(first, first));
                at.error(&path, message, None);
            }
            Some((other, first)) => {
                let first = at.cite(first, first);
                let message = format!(
                    "{address} and {other} of {first} are on the same port of the same addresses"
                );
                let hint = "use either one socket for all addresses, or one for each address";
                at.error(&path, message, hint.to_string());
            }
            None => seen.push((address, path)),
        }
    };
    for (i, listener) in config.listener.iter().enumerate() {
        if listener.address.is_empty() {
            let hint = "write address = [\"127.0.0.1:2525\"]".to_string();
            at.error(
                &format!("listener[{i}].address"),
                format!("`listener[{i}]` has no address"),
                hint,
            );
        }
        for (j, address) in listener.address.iter().enumerate() {
            take(*address, format!("listener[{i}].address[{j}]"), at);
        }
    }
    if let Some(address) = config.admin.listen.address() {
        take(address, "admin.listen".into(), at);
        if !address.ip().to_canonical().is_loopback() && config.admin.token.is_empty() {
            let hint =
                "set `token`, or let others use `public` and keep `listen` on loopback".to_string();
            at.warning(
                "admin.listen",
                format!("every host that reaches {address} can reload and drain"),
                hint,
            );
        }
    }
    if let Some(address) = config.admin.public.address() {
        take(address, "admin.public".into(), at);
    }
    if matches!(config.maildir.listen, AdminListen::Unix(_)) {
        let hint = "write an address, like \"127.0.0.1:2600\"".to_string();
        at.error(
            "maildir.listen",
            "the built-in backend can't listen on a Unix socket".into(),
            hint,
        );
    }
    if config.acme.is_on() {
        for (i, address) in config.acme.listen.iter().enumerate() {
            take(*address, format!("acme.listen[{i}]"), at);
        }
    }
    if let Some(address) = config.maildir.listen.address() {
        take(address, "maildir.listen".into(), at);
    }
}
