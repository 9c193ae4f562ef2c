//! `[[dkim]]`: names, and what of the rest would sign less than it says. The keys themselves are not looked at here: what is
//! in them, `policy` judges.

use crate::config::{
    Config, Dkim, DkimClient, Limits, Role, SenderIdentity, Size, document::Document, entry,
};
use std::collections::HashMap;

/// Octets of a selector, dots included; the label below `_domainkey` must fit into a name.
const SELECTOR_MAX: usize = 63;

/// Fields that servers on the way add, change or remove, so that a signature over them never holds.
const UNSIGNABLE: [&str; 8] = [
    "received",
    "return-path",
    "bcc",
    "resent-bcc",
    "dkim-signature",
    "authentication-results",
    "received-spf",
    "delivered-to",
];

pub fn check(config: &Config, at: &mut Document) {
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    for (i, table) in config.dkim.iter().enumerate() {
        names(i, table, at);
        key(i, table, at);
        rest(i, table, at);
        let place = (
            table.domain.to_ascii_lowercase(),
            table.selector.to_ascii_lowercase(),
        );
        if !table.domain.is_empty()
            && let Some(first) = seen.insert(place, i)
        {
            let first = format!("dkim[{first}]");
            let first = at.cite(&first, &format!("{first}.selector"));
            let message = format!("{first} has this selector of this domain already");
            let hint = "a second key has a selector of its own".to_string();
            at.error(&format!("dkim[{i}].selector"), message, hint);
        }
    }
    if !config.dkim.is_empty() {
        size(config, at);
        accounts(config, at);
        relays(config, at);
    }
}

fn names(i: usize, table: &Dkim, at: &mut Document) {
    let path = |key: &str| format!("dkim[{i}].{key}");
    if table.domain.is_empty() {
        let hint = "write domain = \"example.net\"".to_string();
        at.error(&path("domain"), format!("`dkim[{i}]` has no domain"), hint);
    } else if !entry::is_domain(&table.domain) || !table.domain.contains('.') {
        let hint = match table.domain.trim_start_matches(['.', '*', '@']) {
            bare if bare != table.domain && entry::is_domain(bare) => {
                format!("write \"{bare}\"; `subdomains` says whether those below it count")
            }
            _ => "write a domain like \"example.net\"".into(),
        };
        let message = format!("\"{}\" is no domain", table.domain);
        at.error(&path("domain"), message, hint);
    }
    if table.selector.is_empty() {
        let hint = "write selector = \"s1\"".to_string();
        let message = format!("`dkim[{i}]` has no selector");
        at.error(&path("selector"), message, hint);
    } else if !entry::is_host(&table.selector) || table.selector.len() > SELECTOR_MAX {
        let hint = "letters, digits, `-` and dots, as in \"s2026a\"".to_string();
        let message = format!("\"{}\" is no selector", table.selector);
        at.error(&path("selector"), message, hint);
    }
}

fn key(i: usize, table: &Dkim, at: &mut Document) {
    let path = format!("dkim[{i}].key");
    let has_file = !table.key.file().as_os_str().is_empty();
    let has_env = !table.key.env().is_empty();
    let hint =
        "write key = \"/etc/gatepost/dkim/example.net-s1.pem\"; `gatepost dkim new` makes one"
            .to_string();
    if at.is_broken(&path) {
    } else if has_file && has_env {
        let message = "a key has either `file` or `env`, not both".into();
        at.error(&path, message, hint);
    } else if !has_file && !has_env {
        at.error(&path, format!("`dkim[{i}]` has no key"), hint);
    }
}

fn rest(i: usize, table: &Dkim, at: &mut Document) {
    let path = |key: &str| format!("dkim[{i}].{key}");
    if table.clients.is_empty() && !at.is_broken(&path("clients")) {
        let hint = "write clients = [\"authenticated\"], or remove the table".to_string();
        at.error(&path("clients"), "this key signs nothing".into(), hint);
    }
    let seconds = table.expires_after.0.as_secs();
    if (1..86_400).contains(&seconds) || (seconds == 0 && !table.expires_after.is_zero()) {
        let hint = "mail may wait in queues for days: write \"7d\" or more".to_string();
        let message = format!(
            "a signature that ends after {} is refused where the message comes later",
            table.expires_after
        );
        match seconds {
            0 => at.error(&path("expires_after"), message, hint),
            _ => at.warning(&path("expires_after"), message, hint),
        }
    }
    for (j, name) in table.sign_also.iter().enumerate() {
        let path = format!("dkim[{i}].sign_also[{j}]");
        let sound = |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b':' | b';');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(sound) {
            let hint = "write the name alone, as in \"X-Ticket\"".to_string();
            at.error(&path, format!("\"{name}\" is no name of a field"), hint);
        } else if UNSIGNABLE.contains(&&*name.to_ascii_lowercase()) {
            let message =
                format!("servers on the way change `{name}`: a signature over it does not hold");
            at.error(&path, message, "remove it".to_string());
        }
    }
}

/// Octets of the largest message that is signed.
fn signed(limits: &Limits) -> Size {
    let half = Size(limits.body_memory.0 / 2);
    limits.signing_window.min(half).max(limits.window)
}

/// Messages that are too large to be signed, where the limits are the operator's own.
fn size(config: &Config, at: &mut Document) {
    let limits = &config.limits;
    let default = Limits::default();
    let half = Size(limits.body_memory.0 / 2);
    let most = signed(limits);
    // With the default limits this is as the manual says, and nothing to look at.
    if (limits.message_size, most) == (default.message_size, signed(&default)) {
        return;
    }
    if limits.message_size.0 != 0 && limits.message_size <= most {
        return;
    }
    let (cause, hint) = match half < limits.signing_window {
        true => (
            "half of `limits.body_memory`",
            "raise `limits.body_memory`, or lower `limits.message_size`",
        ),
        false => (
            "`limits.signing_window`",
            "raise it together with `limits.body_memory`, or lower `limits.message_size`",
        ),
    };
    let message = format!("messages above {most} ({cause}) are not signed");
    at.warning("limits.signing_window", message, hint.to_string());
}

/// Trusted servers that may pass on mail of strangers, for whose From a signature would vouch.
fn relays(config: &Config, at: &mut Document) {
    let mut listeners = config.listener.iter();
    if !config.trusts_other_machines() || !listeners.any(|listener| listener.role == Role::Mx) {
        return;
    }
    for (i, table) in config.dkim.iter().enumerate() {
        if table.clients.contains(&DkimClient::Trusted) {
            let message = "what a server in `trusted` passes on of strangers is signed, also a forged From in this domain";
            let hint =
                "leave \"trusted\" out, unless all clients in `trusted` write their own mail";
            at.warning(
                &format!("dkim[{i}].clients"),
                message.into(),
                hint.to_string(),
            );
        }
    }
}

/// Accounts that may write any author, for whom a signature would vouch.
fn accounts(config: &Config, at: &mut Document) {
    let signed = |table: &Dkim| table.clients.contains(&DkimClient::Authenticated);
    if !config.dkim.iter().any(signed) {
        return;
    }
    for (i, listener) in config.listener.iter().enumerate() {
        if !listener.auth.is_empty() && listener.sender_identity == SenderIdentity::Off {
            let path = format!("listener[{i}].sender_identity");
            let message = "every account may write any From, and it is signed with DKIM".into();
            at.warning(&path, message, "write \"strict\" or \"domain\"".to_string());
        }
    }
}
