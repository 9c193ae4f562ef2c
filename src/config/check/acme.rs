//! `[acme]`: what the authority would refuse anyway is told before it is asked.

use crate::config::{Acme, document::Document, entry};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{collections::HashSet, net::IpAddr, path::Path};

/// Names in one certificate; Let's Encrypt takes no more either.
const DOMAINS_MAX: usize = 100;
/// Octets of a file with a key or a certificate.
const FILE_MAX: u64 = 1 << 20;

pub fn check(acme: &Acme, at: &mut Document) {
    domains(acme, at);
    authority(acme, at);
    if !acme.is_on() {
        return;
    }
    if !acme.agree {
        let key = if at.has("acme.agree") {
            "acme.agree"
        } else {
            "acme"
        };
        let hint = "read the terms of the authority, then write agree = true";
        let message = "an authority issues no certificate until you agree to its terms";
        at.error(key, message.into(), hint.to_string());
    }
    if acme.listen.is_empty() {
        let hint = "write listen = [\"0.0.0.0:80\"]".to_string();
        at.error(
            "acme.listen",
            "nothing answers the authority's challenges".into(),
            hint,
        );
    }
    if acme.renew_before.0.as_secs() < 3600 {
        let hint = "a renewal may fail for days; 30d is usual".to_string();
        at.error(
            "acme.renew_before",
            "`renew_before` must be 1h at least".into(),
            hint,
        );
    }
}

fn domains(acme: &Acme, at: &mut Document) {
    if acme.domains.len() > DOMAINS_MAX {
        let message = format!(
            "{} names are more than {DOMAINS_MAX}, which one certificate holds",
            acme.domains.len()
        );
        at.error("acme.domains", message, None);
    }
    let mut seen = HashSet::new();
    for (i, name) in acme.domains.iter().enumerate() {
        let path = format!("acme.domains[{i}]");
        if let Some(hint) = instead_of_name(name) {
            at.error(&path, format!("\"{name}\" can't be certified"), hint);
        } else if !seen.insert(name.to_ascii_lowercase()) {
            at.error(&path, format!("\"{name}\" is listed twice"), None);
        }
    }
}

/// What is wrong with a name, or to write instead.
fn instead_of_name(name: &str) -> Option<String> {
    if name.starts_with("*.") {
        return Some(
            "a wildcard needs a challenge over DNS, which is not supported; name each host".into(),
        );
    }
    if name.parse::<IpAddr>().is_ok() {
        return Some("name the host, not its address".into());
    }
    if let Some(bare) = name.strip_suffix('.').filter(|bare| entry::is_host(bare)) {
        return Some(format!("write \"{bare}\", without the dot at the end"));
    }
    if !name.is_ascii() && entry::is_domain(name) {
        return Some("write the `xn--` form of the name".into());
    }
    // RFC 5280 §4.2.1.6: the preferred name syntax, which has no underscores.
    if entry::is_host(name) && !name.contains('_') && name.contains('.') {
        return None;
    }
    Some("write a host name like \"mx.example.net\"".into())
}

/// The authority, and our account there.
fn authority(acme: &Acme, at: &mut Document) {
    if !acme.directory.starts_with("https://") || acme.directory.len() <= "https://".len() {
        let hint = "ACME uses HTTPS only (RFC 8555 §6.1): write \"https://…\"".to_string();
        let message = format!("\"{}\" is no directory", acme.directory);
        at.error("acme.directory", message, hint);
    }
    for (i, contact) in acme.contact.iter().enumerate() {
        let address = contact.strip_prefix("mailto:");
        let sound = |address: &str| {
            let parts = address.rsplit_once('@');
            parts.is_some_and(|(local, domain)| !local.is_empty() && entry::is_host(domain))
                && !address.contains(|c: char| c.is_whitespace() || matches!(c, ',' | '?'))
        };
        if !address.is_some_and(sound) {
            let hint = match sound(contact) {
                true => format!("write \"mailto:{contact}\""),
                false => "write \"mailto:postmaster@example.net\"".into(),
            };
            let path = format!("acme.contact[{i}]");
            at.error(&path, format!("\"{contact}\" is no contact"), hint);
        }
    }
    if let Some(ca) = &acme.ca {
        let text = read(ca, "acme.ca", acme, at);
        if text.is_some_and(|text| !text.contains("-----BEGIN CERTIFICATE-----")) {
            let message = format!("{} holds no certificate in PEM", ca.display());
            at.error("acme.ca", message, None);
        }
    }
    match (&acme.external_account, &acme.external_key) {
        (None, None) => {}
        (Some(_), None) => at.error(
            "acme.external_account",
            "`external_account` needs its key".into(),
            "name the file with the key: external_key = \"…\"".to_string(),
        ),
        (None, Some(_)) => at.error(
            "acme.external_key",
            "`external_key` needs the account's name".into(),
            "write external_account = \"…\"".to_string(),
        ),
        (Some(_), Some(file)) => {
            let key = read(file, "acme.external_key", acme, at);
            let decodes = |key: String| {
                let key = key.trim().trim_end_matches('=');
                !key.is_empty() && URL_SAFE_NO_PAD.decode(key).is_ok()
            };
            if key.is_some_and(|key| !decodes(key)) {
                let message = format!("{} holds no key in base64url", file.display());
                at.error("acme.external_key", message, None);
            }
        }
    }
}

fn read(file: &Path, path: &str, acme: &Acme, at: &mut Document) -> Option<String> {
    // A file that nothing uses need not be there.
    if !acme.is_on() {
        return None;
    }
    let text = match crate::config::read_secret(file) {
        Ok(octets) if octets.len() as u64 > FILE_MAX => {
            Err(format!("it has more than {FILE_MAX} octets"))
        }
        Ok(octets) => String::from_utf8(octets).map_err(|why| why.to_string()),
        Err(why) => Err(why.to_string()),
    };
    text.map_err(|why| at.error(path, format!("can't read {}: {why}", file.display()), None))
        .ok()
}
