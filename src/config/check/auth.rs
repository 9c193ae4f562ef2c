//! AUTH of the listeners: mechanisms that their source can serve.

use crate::config::{
    AuthMechanism, Config, CredentialSource, Credentials, Listener, ListenerTls, Role,
    document::Document, nearest::nearest,
};

pub fn check(config: &Config, at: &mut Document) {
    for (i, listener) in config.listener.iter().enumerate() {
        let path = |key: &str| format!("listener[{i}].{key}");
        for (j, mechanism) in listener.auth.iter().enumerate() {
            if listener.auth[..j].contains(mechanism) {
                let message = format!("\"{mechanism}\" is listed twice");
                at.error(&path(&format!("auth[{j}]")), message, None);
            }
        }
        delimiter(listener, &path("recipient_delimiter"), at);
        if listener.auth.is_empty() {
            // With XCLIENT they say which senders the login of a proxy may use.
            if !listener.credentials.is_empty() && listener.xclient_from.is_empty() {
                let hint = "write auth = [\"plain\"]".to_string();
                let message = "`credentials` without `auth` does nothing".to_string();
                at.error(&path("credentials"), message, hint);
            }
            continue;
        }
        if !listener.auth_requires_tls && listener.address.iter().any(|a| !a.ip().is_loopback()) {
            let message = "passwords may cross the network in clear text".to_string();
            let hint = "remove `auth_requires_tls = false`".to_string();
            at.warning(&path("auth_requires_tls"), message, hint);
        }
        let in_clear = listener.tls == ListenerTls::None && listener.proxy_protocol_from.is_empty();
        if listener.auth_requires_tls && in_clear {
            let message =
                "AUTH is offered over TLS only, and this listener has no TLS: it is never offered";
            let hint = "write tls = \"starttls\", or auth_requires_tls = false".to_string();
            at.warning(&path("auth"), message.to_string(), hint);
        }
        if listener.role == Role::Mx && at.has(&path("auth")) {
            let hint = "offer AUTH on a listener with role = \"submission\"".to_string();
            let message =
                "AUTH on an mx listener lets the whole internet guess passwords".to_string();
            at.warning(&path("auth"), message, hint);
        }
        if let Some(source) = source(config, i, listener, at) {
            mechanisms(i, listener, source, at);
        }
    }
}

fn delimiter(listener: &Listener, path: &str, at: &mut Document) {
    let fits = |c: char| c.is_ascii_punctuation() && !matches!(c, '@' | '"' | '\\' | '.');
    if !listener.recipient_delimiter.chars().all(fits) {
        let message = "a delimiter is punctuation that a local part may hold".to_string();
        at.error(path, message, "write \"+\" or \"-\"".to_string());
    }
}

fn source<'a>(
    config: &'a Config,
    i: usize,
    listener: &Listener,
    at: &mut Document,
) -> Option<&'a Credentials> {
    let (path, name) = (format!("listener[{i}].credentials"), &*listener.credentials);
    let all = &config.credentials;
    if at.is_broken("credentials") {
        return None;
    }
    if let (true, [only]) = (name.is_empty(), &all[..]) {
        return Some(only);
    }
    let found = all.iter().find(|source| source.name == name);
    if found.is_none() {
        let names = || all.iter().map(|source| &*source.name);
        let (message, hint) = match (name.is_empty(), names().next()) {
            (true, None) => (
                "AUTH needs a source that knows the passwords".to_string(),
                Some("add `[[credentials]]`".to_string()),
            ),
            (true, Some(first)) => (
                "there are several credentials".to_string(),
                Some(format!("write credentials = \"{first}\"")),
            ),
            (false, _) => (
                format!("there are no credentials \"{name}\""),
                nearest(name, names()).map(|near| format!("did you mean \"{near}\"?")),
            ),
        };
        let path = if name.is_empty() {
            format!("listener[{i}].auth")
        } else {
            path
        };
        at.error(&path, message, hint);
    }
    found
}

fn mechanisms(i: usize, listener: &Listener, source: &Credentials, at: &mut Document) {
    use AuthMechanism::{Login, Plain, ScramSha256, ScramSha256Plus};
    for (j, mechanism) in listener.auth.iter().enumerate() {
        let why = match (mechanism, source.source) {
            (ScramSha256 | ScramSha256Plus, CredentialSource::File) => continue,
            (ScramSha256 | ScramSha256Plus, _) => "needs what only a `file` has",
            (Plain | Login, CredentialSource::Introspection) => "is for passwords",
            _ => continue,
        };
        let message = format!(
            "\"{mechanism}\" {why}, and \"{}\" is of source = \"{}\"",
            source.name, source.source
        );
        at.error(&format!("listener[{i}].auth[{j}]"), message, None);
    }
    let bound = listener.auth.contains(&ScramSha256Plus);
    if bound && !listener.auth.contains(&ScramSha256) {
        let hint = "add \"scram-sha-256\"".to_string();
        let message =
            "\"scram-sha-256-plus\" alone leaves out clients that can't bind to TLS".to_string();
        at.warning(&format!("listener[{i}].auth"), message, hint);
    }
}
