//! Credential sources: each has the keys that it needs, and none that another one has.

use crate::config::{
    Config, CredentialSource, Credentials, PoolTls, document::Document, entry, nearest::nearest,
};
use std::path::Path;

pub fn check(config: &Config, at: &mut Document) {
    let names = config.credentials.iter().map(|source| &*source.name);
    super::names("credentials", names, at);
    for (i, source) in config.credentials.iter().enumerate() {
        // Which keys belong here can't be told where the source could not be read.
        if !at.is_broken(&format!("credentials[{i}].source")) {
            keys(i, source, at);
            match source.source {
                CredentialSource::File => {}
                CredentialSource::Dovecot => socket(i, source, at),
                CredentialSource::Http | CredentialSource::Introspection => url(i, source, at),
                CredentialSource::Backend => pool(config, i, source, at),
            }
        }
        secret(i, source, at);
        values(i, source, at);
    }
}

/// The sources that take a key, with what is written for it where one of them needs it.
const KEYS: &[(&str, &[CredentialSource], Option<&str>)] = {
    use CredentialSource::{Backend, Dovecot, File, Http, Introspection};
    &[
        ("file", &[File], Some("/etc/gatepost/accounts")),
        ("socket", &[Dovecot], Some("/run/dovecot/auth-client")),
        (
            "url",
            &[Http, Introspection],
            Some("https://auth.example.net/smtp"),
        ),
        ("ca", &[Http, Introspection], None),
        ("pool", &[Backend], Some("mta")),
        ("client", &[Introspection], None),
        ("secret", &[Http, Introspection], None),
        ("scope", &[Introspection], None),
        ("claim", &[Introspection], None),
        ("domains", &[Dovecot, Http, Introspection, Backend], None),
    ]
};

fn keys(i: usize, source: &Credentials, at: &mut Document) {
    let word = source.source.as_str();
    for (key, sources, sample) in KEYS {
        let path = format!("credentials[{i}].{key}");
        let takes = sources.contains(&source.source);
        if !takes && is_set(source, key) {
            let of: Vec<_> = sources.iter().map(|s| format!("\"{s}\"")).collect();
            let message = format!("source = \"{word}\" has no `{key}`");
            at.error(&path, message, format!("it belongs to {}", of.join(", ")));
        } else if takes
            && !is_set(source, key)
            && !at.is_broken(&path)
            && let Some(sample) = sample
        {
            let message = format!("source = \"{word}\" needs `{key}`");
            at.error(&path, message, format!("write {key} = \"{sample}\""));
        }
    }
}

fn is_set(source: &Credentials, key: &str) -> bool {
    match key {
        "file" => !source.file.as_os_str().is_empty(),
        "socket" => !source.socket.is_empty(),
        "url" => !source.url.is_empty(),
        "ca" => !source.ca.as_os_str().is_empty(),
        "pool" => !source.pool.is_empty(),
        "client" => !source.client.is_empty(),
        "secret" => !source.secret.is_empty(),
        "scope" => !source.scope.is_empty(),
        "claim" => !source.claim.is_empty(),
        _ => !source.domains.is_empty(),
    }
}

fn socket(i: usize, source: &Credentials, at: &mut Document) {
    let (path, socket) = (format!("credentials[{i}].socket"), &*source.socket);
    if socket.is_empty() || socket.contains('/') {
        return;
    }
    if entry::backend(socket).is_err() {
        let hint = "write the path of a socket, or \"host:port\"".to_string();
        at.error(&path, format!("\"{socket}\" is no socket"), hint);
    }
}

fn url(i: usize, source: &Credentials, at: &mut Document) {
    let (path, url) = (format!("credentials[{i}].url"), &*source.url);
    if url.is_empty() {
        return;
    }
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    if !host.is_some_and(is_authority) || !url.bytes().all(|b| b.is_ascii_graphic()) {
        let hint = "write \"https://auth.example.net/smtp\"".to_string();
        at.error(&path, format!("\"{url}\" is no http or https URL"), hint);
        return;
    }
    let local = host.is_some_and(|host| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        is_local(name.trim_start_matches('[').trim_end_matches(']'))
    });
    if url.starts_with("http://") && !local {
        let message = "passwords go to another machine in clear text".to_string();
        at.warning(&path, message, "use https://".to_string());
    }
    if !source.ca.as_os_str().is_empty() {
        let path = format!("credentials[{i}].ca");
        if url.starts_with("http://") {
            at.error(&path, "`ca` is for `https` only".into(), None);
        } else if let Err(why) = readable(&source.ca) {
            // A warning, as with secrets: the user that checks a file may not have the rights of the one that runs it.
            at.warning(&path, why, None);
        }
    }
}

/// `host` or `host:port`, an IPv6 address in brackets. No user and no password: those are `client` and `secret`.
fn is_authority(text: &str) -> bool {
    let with_port = match text.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => text.to_string(),
        _ => format!("{text}:443"),
    };
    entry::backend(&with_port).is_ok()
}

fn readable(file: &Path) -> Result<(), String> {
    crate::config::read_secret(file)
        .map(drop)
        .map_err(|why| format!("can't read {}: {why}", file.display()))
}

fn pool(config: &Config, i: usize, source: &Credentials, at: &mut Document) {
    let (path, name) = (format!("credentials[{i}].pool"), &*source.pool);
    if let Some(pool) = config.pool.iter().find(|pool| pool.name == name)
        && let Some(how) = in_clear(pool.tls)
        && !pool.backends.iter().all(|backend| is_local(backend.host()))
    {
        let message = format!(
            "passwords go to another machine {how} (tls = \"{}\")",
            pool.tls
        );
        let hint = format!("write tls = \"verify\" in the pool \"{name}\", or \"required\"");
        at.warning(&path, message, hint);
    }
    if let Some(pool) = config.pool.iter().find(|pool| pool.name == name)
        && let Some(service) = pool
            .backends
            .iter()
            .find(|backend| entry::service(backend.address()).is_some())
    {
        let message = format!(
            "the pool \"{name}\" has {}: backends are asked about passwords at addresses and host names alone",
            service.address()
        );
        let hint =
            "make a pool for this with the backends themselves, as \"host:port\"".to_string();
        at.error(&path, message, hint);
    }
    let pools = || config.pool.iter().map(|pool| &*pool.name);
    if name.is_empty() || pools().any(|pool| pool == name) || at.is_broken("pool") {
        return;
    }
    let hint = nearest(name, pools()).map(|near| format!("did you mean \"{near}\"?"));
    at.error(&path, format!("there is no pool \"{name}\""), hint);
}

/// Whether what such a pool is told may be read on its way.
fn in_clear(tls: PoolTls) -> Option<&'static str> {
    match tls {
        PoolTls::None => Some("in clear text"),
        PoolTls::Opportunistic => Some("in clear text where it offers no TLS"),
        PoolTls::Required | PoolTls::Verify => None,
    }
}

/// Whether that is this machine; an IPv6 address has no brackets.
fn is_local(host: &str) -> bool {
    host == "localhost" || host == "::1" || host.starts_with("127.")
}

fn secret(i: usize, source: &Credentials, at: &mut Document) {
    let path = format!("credentials[{i}].secret");
    let secret = &source.secret;
    let both = !secret.env.is_empty() && !secret.file.as_os_str().is_empty();
    if both {
        let hint = "write { file = \"…\" } or { env = \"…\" }".to_string();
        at.error(
            &path,
            "a secret has either `file` or `env`, not both".into(),
            hint,
        );
    } else if !secret.is_empty()
        && let Err(why) = secret.read()
    {
        // A warning: the user that checks a file may have neither the rights nor the environment of the one that runs it.
        at.warning(&path, why, None);
    }
    if source.source == CredentialSource::Introspection {
        let missing = match (source.client.is_empty(), secret.is_empty()) {
            (false, true) => "secret",
            (true, false) => "client",
            _ => return,
        };
        let message = format!("`client` and `secret` go together, and `{missing}` is missing");
        at.error(&format!("credentials[{i}].{missing}"), message, None);
    }
}

fn values(i: usize, source: &Credentials, at: &mut Document) {
    let path = |key: &str| format!("credentials[{i}].{key}");
    if !(1..=120).contains(&source.timeout.0.as_secs()) {
        let hint = "clients wait a minute or two for an answer".to_string();
        at.error(&path("timeout"), "`timeout` is 1s to 2m".into(), hint);
    }
    if !(1..=10_000).contains(&source.concurrency) {
        let message = "`concurrency` is 1 to 10000".to_string();
        at.error(&path("concurrency"), message, None);
    }
    for (key, value) in [("client", &source.client), ("scope", &source.scope)] {
        if !value.bytes().all(|b| b.is_ascii_graphic()) {
            let message = format!("`{key}` is printable ASCII without blanks");
            at.error(&path(key), message, None);
        }
    }
    for (j, domain) in source.domains.iter().enumerate() {
        if !entry::is_domain(domain) {
            let message = format!("\"{domain}\" is no domain");
            at.error(&path(&format!("domains[{j}]")), message, None);
        }
    }
}
