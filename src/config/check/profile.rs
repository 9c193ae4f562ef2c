//! `[[profile]]`: names, classes, and keys that can't have an effect where the profile holds.

use super::{list, policy};
use crate::config::{
    Class, Config, DecideAt, Policy, Profile, document::Document, nearest::nearest,
};

/// Policies of a process: one for each listener, class of clients and profile of routes.
const POLICIES_MAX: usize = 1_000;

/// What can have an effect on a message once its first recipient is known.
const FROM_RCPT: &[&str] = &[
    "preset",
    "reject_score",
    "quarantine_score",
    "defer_score",
    "tag_score",
    "tag",
    "quarantine",
    "recipient_list",
    "greylist",
    "loop",
    "header_size",
    "rdns",
    "helo_domain",
    "sender_domain",
    "spf",
    "dkim",
    "dmarc",
    "arc",
    "header",
    "list",
    "rule",
];

/// What has an effect on clients that are trusted or have logged in.
const FOR_KNOWN: &[&str] = &[
    "reject_score",
    "quarantine_score",
    "defer_score",
    "tag_score",
    "tag",
    "quarantine",
    "recipient_list",
    "identity",
    "loop",
    "header_size",
    "header",
    "list",
    "rule",
];

pub fn check(config: &Config, at: &mut Document) {
    let profiles = config.profile.iter();
    super::names("profile", profiles.map(|profile| &*profile.name), at);
    let named: Vec<&str> = config
        .profile
        .iter()
        .filter(|profile| profile.class == Class::Named)
        .map(|profile| &*profile.name)
        .collect();
    let listeners = config.listener.iter().enumerate();
    let listeners = listeners.map(|(i, one)| (format!("listener[{i}].profile"), &*one.profile));
    let routes = config.route.iter().enumerate();
    let routes = routes.map(|(i, one)| (format!("route[{i}].profile"), &*one.profile));
    for (path, name) in listeners.chain(routes) {
        if !name.is_empty() && !named.contains(&name) && !at.is_broken("profile") {
            unknown(config, &path, name, &named, at);
        }
    }
    for (i, profile) in config.profile.iter().enumerate() {
        one(config, i, profile, at);
    }
    let count = config.policies_per_listener() * config.listener.len();
    if count > POLICIES_MAX {
        let message = format!(
            "listeners × classes × profiles of routes make {count} policies, more than {POLICIES_MAX}"
        );
        let hint = "let routes share profiles".to_string();
        at.error("profile", message, hint);
    }
}

fn unknown(config: &Config, path: &str, name: &str, named: &[&str], at: &mut Document) {
    if config.profile.iter().any(|profile| profile.name == name) {
        let hint = "leave it out here: it holds for that class everywhere".to_string();
        let message = format!("the profile \"{name}\" is that of a class of clients");
        return at.error(path, message, hint);
    }
    let hint = match nearest(name, named.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if named.is_empty() => "there is none yet: add a `[[profile]]`".into(),
        None => format!("the profiles are {}", named.join(", ")),
    };
    at.error(path, format!("there is no profile \"{name}\""), hint);
}

fn one(config: &Config, i: usize, profile: &Profile, at: &mut Document) {
    let path = format!("profile[{i}]");
    let base = format!("{path}.policy");
    let policy = config.policy_in(profile);
    policy::part(config, &policy, &base, at);
    if at.is_broken(&format!("{path}.class")) {
        // What has an effect can't be told.
        return;
    }
    let refuse = |key: &str, why: &str, hint: &str, at: &mut Document| {
        at.error(
            &format!("{base}.{key}"),
            format!("`{key}` {why}"),
            hint.to_string(),
        );
    };
    let is_routed = config
        .route
        .iter()
        .any(|route| route.profile == profile.name)
        && profile.class == Class::Named;
    let is_used = config
        .listener
        .iter()
        .any(|one| one.profile == profile.name)
        || is_routed;
    if profile.class == Class::Named && !is_used {
        let message = format!(
            "no listener and no route names the profile \"{}\"",
            profile.name
        );
        at.warning(&format!("{path}.name"), message, None);
    }
    // A preset has brought what `[policy]` says with it, which is no mistake of the profile's.
    for key in profile.policy.keys() {
        if !at.has(&format!("{base}.{key}")) {
            continue;
        }
        let is_known = matches!(profile.class, Class::Authenticated | Class::Trusted);
        let of_listeners = matches!(key, "log_rejected" | "explain_header");
        let of_all = matches!(key, "rate_table" | "reputation");
        if of_all || (of_listeners && profile.class != Class::Named) {
            refuse(key, "can't differ by profile", "write it in `[policy]`", at);
        } else if is_routed && !FROM_RCPT.contains(&key) {
            let why = "is judged before the recipient is known, so it can't depend on a route";
            refuse(
                key,
                why,
                "write it in `[policy]`, `[listener.policy]` or a listener's profile",
                at,
            );
        } else if is_known && !FOR_KNOWN.contains(&key) {
            let why = format!(
                "has no effect on clients that are {}: it is for strangers",
                profile.class
            );
            refuse(key, &why, "remove it", at);
        }
    }
    if is_routed {
        early(&policy, &base, at);
    }
    partners(config, &path, profile, at);
}

/// Checks of a route's profile that decide before its recipients are known.
fn early(policy: &Policy, base: &str, at: &mut Document) {
    let hint = || "remove `at`, or write \"rcpt\"".to_string();
    for (key, decides) in [
        ("rdns", policy.rdns.at),
        ("helo_domain", policy.helo_domain.at),
        ("sender_domain", policy.sender_domain.at),
        ("spf", policy.spf.at),
    ] {
        if at.has(&format!("{base}.{key}")) && decides != DecideAt::Rcpt {
            let message = format!("`{key}` decides at {decides}, before the recipient is known");
            at.error(&format!("{base}.{key}"), message, hint());
        }
    }
    let has_rules = at.has(&format!("{base}.rule"));
    for (i, rule) in policy.rule.iter().enumerate() {
        if has_rules && rule.at != DecideAt::Rcpt {
            let message = format!(
                "this rule is judged at {}, before the recipient is known",
                rule.at
            );
            at.error(&format!("{base}.rule[{i}].at"), message, hint());
        }
    }
}

fn partners(config: &Config, path: &str, profile: &Profile, at: &mut Document) {
    let (list, certificates) = (&profile.list, &profile.certificates);
    let is_partner = profile.class == Class::Partner;
    for (key, is_said) in [
        ("list", !list.is_empty()),
        ("certificates", !certificates.is_empty()),
    ] {
        if is_said && !is_partner {
            let message = format!("`{key}` has no effect with class = \"{}\"", profile.class);
            let hint = "write class = \"partner\", or remove it".to_string();
            at.error(&format!("{path}.{key}"), message, hint);
        }
    }
    let keys = ["list", "certificates"];
    let is_unread = keys
        .map(|key| at.is_broken(&format!("{path}.{key}")))
        .contains(&true);
    if is_partner && list.is_empty() && certificates.is_empty() && !is_unread {
        let hint = "name a `[[policy.list]]` in `list`, or `certificates`".to_string();
        at.error(
            &format!("{path}.class"),
            "no client is a partner".into(),
            hint,
        );
    }
    if is_partner && !list.is_empty() {
        list::known(&format!("{path}.list"), list, &config.policy.list, at);
    }
}
