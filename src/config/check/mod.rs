//! What a configuration means: names that must exist or must not exist twice, contradictions, limits that
//! the RFCs set, and what would make an open relay. The types are right already when this runs.

mod acme;
mod auth;
mod credentials;
mod dkim;
mod dns;
mod fate;
mod limit;
mod list;
mod listener;
mod policy;
mod profile;
mod tls;
mod upstream;

use super::{Config, document::Document};
use std::collections::HashMap;

/// Finds everything that is wrong; the document keeps it.
pub fn check(config: &Config, at: &mut Document) {
    listener::check(config, at);
    acme::check(&config.acme, at);
    tls::check(config, at);
    upstream::check(config, at);
    credentials::check(config, at);
    auth::check(config, at);
    dkim::check(config, at);
    policy::check(config, at);
    profile::check(config, at);
    dns::check(&config.dns, at);
    limit::check(config, at);
}

/// Names stand in log lines and metric labels: no spaces or quotes, and each just once.
fn names<'a>(section: &str, names: impl Iterator<Item = &'a str>, at: &mut Document) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (i, name) in names.enumerate() {
        let path = format!("{section}[{i}].name");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() {
            at.error(
                &path,
                format!("`{section}[{i}]` has no name"),
                "write name = \"…\"".to_string(),
            );
        } else if name.len() > 64 || !name.chars().all(plain) {
            let hint = "names are letters, digits, `-`, `_` and `.`, 64 at most".to_string();
            at.error(&path, format!("\"{name}\" can't be a name"), hint);
        } else if let Some(first) = seen.insert(name, i) {
            let first = format!("{section}[{first}]");
            let first = at.cite(&first, &format!("{first}.name"));
            let message = format!("the name \"{name}\" is used by {first}");
            at.error(&path, message, None);
        }
    }
}
