//! Pools and routes: names that refer to each other, backends, loops, domains.

use crate::{
    config::{
        Backend, ClientCertificates, Config, Pool, PoolTls, Protocol, Role, Route, RouteRecipients,
        document::Document, entry, nearest::nearest,
    },
    smtp::domain::address_to_ascii,
};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

pub fn check(config: &Config, at: &mut Document) {
    if config.pool.is_empty() {
        let hint =
            "add a `[[pool]]` with `name` and `backends`, or --backend 127.0.0.1:2600".to_string();
        at.error("pool", "there is no backend to hand mail to".into(), hint);
    }
    super::names("pool", config.pool.iter().map(|pool| &*pool.name), at);
    for (i, pool) in config.pool.iter().enumerate() {
        backends(config, i, pool, at);
        numbers(i, pool, at);
        tls(i, pool, at);
    }
    routes(config, at);
    others(config, at);
    unused(config, at);
}

fn backends(config: &Config, i: usize, pool: &Pool, at: &mut Document) {
    let list = format!("pool[{i}].backends");
    if pool.backends.is_empty() {
        let hint = "write backends = [\"10.0.0.11:25\"]".to_string();
        at.error(&list, format!("`pool[{i}]` has no backends"), hint);
    }
    let mut seen = HashSet::new();
    for (j, backend) in pool.backends.iter().enumerate() {
        let mut path = format!("{list}[{j}]");
        if let Backend::Weighted(weighted) = backend {
            if !(1..=1000).contains(&weighted.weight) {
                let message = format!("`weight` is 1 to 1000, not {}", weighted.weight);
                at.error(
                    &format!("{path}.weight"),
                    message,
                    "take a backend out by removing it".to_string(),
                );
            }
            path += ".address";
        }
        let text = backend.address();
        if let Some(service) = entry::service(text) {
            match service {
                Err((message, hint)) => at.error(&path, message, hint),
                Ok((name, _))
                    if !seen.insert((format!("srv:{}", name.to_ascii_lowercase()), 0)) =>
                {
                    at.error(&path, format!("{text} is in the pool twice"), None);
                }
                Ok(_) if matches!(backend, Backend::Weighted(_)) => at.error(
                    &path,
                    format!("{text} has no weight of its own"),
                    "write it without a table: the weights are in the SRV records".to_string(),
                ),
                Ok(_) => {}
            }
            continue;
        }
        match entry::backend(text) {
            Err((message, hint)) => at.error(&path, message, hint),
            Ok((host, port)) => {
                if !seen.insert((host.to_ascii_lowercase(), port)) {
                    at.error(
                        &path,
                        format!("{text} is in the pool twice"),
                        "use `weight`".to_string(),
                    );
                }
                if let Some(listener) = ourselves(config, text) {
                    let message = format!("{text} is our own `{listener}`: mail would loop");
                    at.error(&path, message, None);
                }
                if port == 25 && pool.protocol == Protocol::Lmtp {
                    let message =
                        format!("{text} speaks LMTP on the SMTP port, which RFC 2033 §5 forbids");
                    at.warning(&path, message, "24 is the usual one".to_string());
                }
            }
        }
    }
}

/// The listener that a backend's address is.
fn ourselves(config: &Config, backend: &str) -> Option<String> {
    let backend: SocketAddr = backend.parse().ok()?;
    config
        .listener
        .iter()
        .enumerate()
        .find_map(|(i, listener)| {
            let own = |address: &SocketAddr| {
                let wildcard = address.ip().is_unspecified() && backend.ip().is_loopback();
                let same_family = address.is_ipv4() == backend.is_ipv4();
                *address == backend || (wildcard && same_family && address.port() == backend.port())
            };
            listener
                .address
                .iter()
                .any(own)
                .then(|| format!("listener[{i}]"))
        })
}

fn numbers(i: usize, pool: &Pool, at: &mut Document) {
    let path = |key: &str| format!("pool[{i}].{key}");
    if pool.connections == 0 {
        at.error(
            &path("connections"),
            "`connections = 0` reaches no backend".into(),
            "write 1 or more".to_string(),
        );
    }
    if !pool.hello.is_empty()
        && !entry::is_host(&pool.hello)
        && !at.is_broken("hostname")
        && at.has(&path("hello"))
    {
        at.error(
            &path("hello"),
            format!("\"{}\" is no host name", pool.hello),
            None,
        );
    }
    let sender = pool.verify_path();
    let sound = sender.rsplit_once('@').is_some_and(|(local, domain)| {
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '@');
        !local.is_empty() && !local.contains(odd) && entry::is_domain(domain)
    });
    if !sender.is_empty() && !sound {
        let message = format!("\"{sender}\" is no address");
        let hint = "write \"<>\", or an address such as \"postmaster@example.net\"";
        at.error(&path("verify_sender"), message, hint.to_string());
    }
    let health = &pool.health;
    for (key, value) in [
        ("lease_wait", pool.lease_wait),
        ("idle", pool.idle),
        ("lifetime", pool.lifetime),
        ("health.backoff", health.backoff),
        ("health.timeout", health.timeout),
    ] {
        if value.is_zero() {
            at.error(&path(key), format!("`{key}` must be longer than 0s"), None);
        }
    }
    if health.backoff > health.backoff_max {
        let message = format!(
            "`backoff` ({}) is longer than `backoff_max` ({})",
            health.backoff, health.backoff_max
        );
        let key = if at.has(&path("health.backoff")) {
            "health.backoff"
        } else {
            "health.backoff_max"
        };
        at.error(&path(key), message, None);
    }
    if health.eject_max > 100 {
        at.error(
            &path("health.eject_max"),
            "`eject_max` is a share of 0 to 100 percent".into(),
            None,
        );
    }
}

fn tls(i: usize, pool: &Pool, at: &mut Document) {
    let path = |key: &str| format!("pool[{i}].{key}");
    let word = pool.tls;
    if pool.tls_implicit && !matches!(word, PoolTls::Required | PoolTls::Verify) {
        at.error(
            &path("tls_implicit"),
            format!(
                "`tls_implicit` can't be used with tls = \"{word}\": there is nothing to fall back to"
            ),
            "write tls = \"verify\", or \"required\"".to_string(),
        );
    }
    if !pool.tls_name.is_empty()
        && !entry::is_host(&pool.tls_name)
        && pool.tls_name.parse::<IpAddr>().is_err()
    {
        at.error(
            &path("tls_name"),
            format!(
                "\"{}\" is neither a host name nor an address",
                pool.tls_name
            ),
            None,
        );
    }
    if pool.tls_key.is_some() && pool.tls_certificate.is_none() {
        at.error(
            &path("tls_key"),
            "`tls_key` without `tls_certificate`".into(),
            "name the certificate that the key belongs to".to_string(),
        );
    }
    if pool.tls_ca.is_some() && word != PoolTls::Verify {
        let message = format!("`tls_ca` has no effect with tls = \"{word}\"");
        at.warning(
            &path("tls_ca"),
            message,
            "write tls = \"verify\"".to_string(),
        );
    }
    let on_465 = |backend: &Backend| backend.address().ends_with(":465");
    if !pool.tls_implicit && pool.backends.iter().any(on_465) {
        let message = "port 465 begins with a TLS handshake".to_string();
        at.warning(
            &path("backends"),
            message,
            "write tls_implicit = true".to_string(),
        );
    }
}

fn routes(config: &Config, at: &mut Document) {
    if config.route.is_empty() {
        let hint =
            "add a `[[route]]` with `domains` and `pool`, or --domain example.net".to_string();
        at.error(
            "route",
            "no domain has a route: every recipient would be refused".into(),
            hint,
        );
    }
    let pools: Vec<&str> = config.pool.iter().map(|pool| &*pool.name).collect();
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    for (i, route) in config.route.iter().enumerate() {
        let pool = format!("route[{i}].pool");
        if route.pool.is_empty() {
            at.error(
                &pool,
                format!("`route[{i}]` has no pool"),
                "write pool = \"…\"".to_string(),
            );
        } else if !pools.contains(&&*route.pool) && !at.is_broken("pool") {
            no_pool(config, &pool, &route.pool, at);
        }
        if route.domains.is_empty() {
            let hint = "write domains = [\"example.net\"]".to_string();
            at.error(
                &format!("route[{i}].domains"),
                format!("`route[{i}]` has no domains"),
                hint,
            );
        }
        for (j, domain) in route.domains.iter().enumerate() {
            let path = format!("route[{i}].domains[{j}]");
            if let Err(hint) = entry::route_domain(domain) {
                at.error(&path, format!("\"{domain}\" is no domain"), hint);
            } else if let Some((i, j)) = seen.insert(one_spelling(domain), (i, j)) {
                let first = at.cite(&format!("route[{i}]"), &format!("route[{i}].domains[{j}]"));
                let message = format!("{domain} has a route already, {first}");
                at.error(&path, message, None);
            }
        }
    }
}

/// Where mail goes that known clients send to other domains than ours.
fn others(config: &Config, at: &mut Document) {
    // Domains that could not be read may have been `*`.
    if at.is_broken("route") {
        return;
    }
    let has_star = |route: &&Route| route.domains.iter().any(|domain| domain == "*");
    let mut routes = config.route.iter();
    if let Some(i) = routes.position(|route| has_star(&route)) {
        if let RouteRecipients::Listed(_) = config.route[i].recipients {
            let message = "`*` is in this route, so mail of your own clients to any other domain is refused, unless the file has \
                           the recipient";
            let hint = "give `*` a `[[route]]` of its own, without `recipients`";
            let path = format!("route[{i}].recipients");
            at.warning(&path, message.into(), hint.to_string());
        }
        return;
    }
    let Some(first) = config.route.first().filter(|first| !first.pool.is_empty()) else {
        return;
    };
    let Some(which) = takes_mail_for_others(config) else {
        return;
    };
    let message = format!(
        "no route has `*`: what {which} may send to other domains goes to the pool \"{}\", because the first route has it",
        first.pool
    );
    let hint = "add a `[[route]]` with domains = [\"*\"] and the pool that sends mail to the rest of the world";
    at.warning("route[0].pool", message, hint.to_string());
}

/// Whose mail to other domains is taken, by what the file says; trusted programs on this machine alone don't count.
fn takes_mail_for_others(config: &Config) -> Option<String> {
    let listeners = config.listener.iter();
    let mut listeners = listeners.filter(|listener| {
        let asks = listener.client_certificates != ClientCertificates::Off;
        let certified = asks && !listener.client_trusted.is_empty();
        certified || !listener.auth.is_empty() || listener.role == Role::Submission
    });
    if let Some(listener) = listeners.next() {
        return Some(format!("clients of the listener \"{}\"", listener.name));
    }
    config
        .trusts_other_machines()
        .then(|| "clients in `trusted`".into())
}

/// The key at `path` names a pool that there is not.
pub fn no_pool(config: &Config, path: &str, name: &str, at: &mut Document) {
    let pools: Vec<&str> = config.pool.iter().map(|pool| &*pool.name).collect();
    let hint = match nearest(name, pools.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if pools.is_empty() => "there is none yet: add a `[[pool]]`".into(),
        None => format!("the pools are {}", pools.join(", ")),
    };
    at.error(path, format!("there is no pool \"{name}\""), hint);
}

/// A route's domain as it is looked up: either form of an internationalized name is the same domain.
fn one_spelling(domain: &str) -> String {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let form = address_to_ascii(domain.as_bytes());
    String::from_utf8_lossy(&form).to_ascii_lowercase()
}

fn unused(config: &Config, at: &mut Document) {
    // A route that names its pool wrongly has been told; the pool it meant is not unused.
    let known = |name: &str| config.pool.iter().any(|pool| pool.name == name);
    let sound = config.route.iter().all(|route| known(&route.pool)) && !config.route.is_empty();
    // Quarantine is what listeners judge, and a pool may be asked for passwords.
    let sound = sound && !config.listener.is_empty();
    let leads = [
        "route",
        "pool",
        "listener",
        "profile",
        "policy.quarantine",
        "credentials",
    ];
    if sound && !leads.iter().any(|path| at.is_broken(path)) {
        let quarantine = config.quarantine_pools();
        for (i, pool) in config.pool.iter().enumerate() {
            let routed = config.route.iter().any(|route| route.pool == pool.name);
            let asked = config
                .credentials
                .iter()
                .any(|source| source.pool == pool.name);
            if !routed && !asked && !quarantine.contains(&pool.name) {
                let message = format!("no route leads to the pool \"{}\"", pool.name);
                at.warning(&format!("pool[{i}].name"), message, None);
            }
        }
    }
    if let Some(own) = config.maildir.listen.address() {
        let own = own.to_string();
        if !config
            .pool
            .iter()
            .flat_map(|pool| &pool.backends)
            .any(|backend| backend.address() == own)
        {
            let message =
                format!("the built-in Maildir listens on {own}, but no pool has it as a backend");
            at.warning("maildir.listen", message, None);
        }
    }
}
