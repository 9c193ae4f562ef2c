//! `[policy]`: what becomes of a message. Thresholds that have an effect, words that a check may use, pools and fields that its
//! words need.

use super::upstream::no_pool;
use crate::config::{Config, Mode, Policy, Proof, Protocol, Then, document::Document};

/// Whether it refuses, and so has a reply.
pub fn refuses(then: Then) -> bool {
    matches!(then, Then::Defer | Then::Reject | Then::Close)
}

/// Looks at the policy that stands at the path `base`; at those of its keys alone that `is_here` says stand there.
pub fn check(
    config: &Config,
    policy: &Policy,
    base: &str,
    is_here: &dyn Fn(&str, &Document) -> bool,
    at: &mut Document,
) {
    let any_here = |keys: &[&str], at: &Document| {
        let mut keys = keys.iter();
        keys.any(|key| is_here(&format!("{base}.{key}"), at))
    };
    let scores = [
        "reject_score",
        "quarantine_score",
        "defer_score",
        "tag_score",
    ];
    if any_here(&scores, at) {
        thresholds(policy, base, at);
    }
    if any_here(&["tag"], at) {
        tag(policy, base, at);
    }
    if any_here(&["quarantine"], at) {
        pool(config, policy, base, at);
    }
    if policy.quarantine_score > 0.0 && policy.quarantine.pool.is_empty() {
        let path = format!("{base}.quarantine_score");
        if is_here(&path, at) {
            no_quarantine(&path, base, "quarantine_score", at);
        }
    }
    effects(policy, base, is_here, at);
    for deed in deeds(policy) {
        let path = format!("{base}.{}", deed.path);
        let section = path.split('[').next().unwrap_or(&path).to_string();
        if deed.mode != Mode::Off && is_here(&section, at) {
            word(&path, base, &deed, policy, at);
        }
    }
}

/// Results of look-ups that ask for quarantine or for the greylist, where there is none, or for the greylist too late.
fn effects(
    policy: &Policy,
    base: &str,
    is_here: &dyn Fn(&str, &Document) -> bool,
    at: &mut Document,
) {
    let Ok(written) = toml::Table::try_from(policy) else {
        return;
    };
    for name in [
        "rdns",
        "helo_domain",
        "sender_domain",
        "spf",
        "dkim",
        "dmarc",
    ] {
        let table = written.get(name).and_then(toml::Value::as_table);
        let is_on =
            |table: &&toml::Table| table.get("mode").and_then(toml::Value::as_str) == Some("on");
        let results = table.filter(is_on).into_iter().flatten();
        for (result, effect) in results {
            let section = format!("{base}.{name}");
            let key = format!("{section}.{result}");
            let no_pool = policy.quarantine.pool.is_empty();
            let greylist_is_off = policy.greylist.mode == Mode::Off;
            match effect.as_str().filter(|_| is_here(&section, at)) {
                Some("quarantine") if no_pool => {
                    no_quarantine(&key, base, &format!("{result} = \"quarantine\""), at);
                }
                Some("greylist") if matches!(name, "dkim" | "dmarc") => too_late(&key, at),
                Some("greylist") if greylist_is_off => no_greylist(&key, base, at),
                _ => {}
            }
        }
    }
}

/// What one check does.
struct Deed {
    /// Below `policy`.
    path: String,
    then: Then,
    mode: Mode,
    judged: Judged,
}

/// When a check is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judged {
    /// At RCPT at the latest.
    Early,
    /// By the header or the whole message.
    Late,
    /// Depends on what it reads, for it is a rule of the operator's own.
    Rule,
}

/// All that have a `then`.
fn deeds(policy: &Policy) -> Vec<Deed> {
    let mut all = Vec::new();
    let mut add = |path: String, then, mode, judged| {
        all.push(Deed {
            path,
            then,
            mode,
            judged,
        });
    };
    for (name, lists) in [
        ("client_list", &policy.client_list),
        ("helo_list", &policy.helo_list),
        ("sender_list", &policy.sender_list),
        ("recipient_list", &policy.recipient_list),
    ] {
        for (i, list) in lists.iter().enumerate() {
            add(format!("{name}[{i}]"), list.then, list.mode, Judged::Early);
        }
    }
    let (helo, identity) = (&policy.helo, &policy.identity);
    for (name, one, judged) in [
        ("helo.unqualified", &helo.unqualified, Judged::Early),
        ("helo.address", &helo.address, Judged::Early),
        ("helo.ours", &helo.ours, Judged::Early),
        ("early_talk", &policy.early_talk, Judged::Early),
        ("identity.sender", &identity.sender, Judged::Early),
        ("identity.from", &identity.from, Judged::Late),
        ("loop", &policy.r#loop, Judged::Late),
        ("header_size", &policy.header_size, Judged::Late),
    ] {
        add(name.into(), one.then, one.mode, judged);
    }
    for (i, list) in policy.dnsbl.iter().enumerate() {
        // Signatures are verified when the message is there.
        let mut proofs = list.requires.iter();
        let judged = match proofs.any(|proof| matches!(proof, Proof::Dkim | Proof::Dmarc)) {
            true => Judged::Late,
            false => Judged::Early,
        };
        add(format!("dnsbl[{i}]"), list.then, list.mode, judged);
    }
    for (i, rule) in policy.header.iter().enumerate() {
        add(format!("header[{i}]"), rule.then, rule.mode, Judged::Late);
    }
    for (i, rule) in policy.rule.iter().enumerate() {
        add(format!("rule[{i}]"), rule.then, rule.mode, Judged::Rule);
    }
    all
}

/// A word that needs something, or may not stand here.
fn word(path: &str, base: &str, deed: &Deed, policy: &Policy, at: &mut Document) {
    let path = format!("{path}.then");
    match deed.then {
        Then::Quarantine if deed.mode == Mode::On && policy.quarantine.pool.is_empty() => {
            no_quarantine(&path, base, "then = \"quarantine\"", at);
        }
        Then::Greylist if deed.judged == Judged::Late => too_late(&path, at),
        Then::Greylist if deed.mode == Mode::On && policy.greylist.mode == Mode::Off => {
            no_greylist(&path, base, at);
        }
        Then::Discard if deed.judged != Judged::Rule => {
            let hint = "write a rule that says which messages, or \"reject\"".to_string();
            at.error(
                &path,
                "only a `[[policy.rule]]` can discard: what it matches is lost".into(),
                hint,
            );
        }
        _ => {}
    }
}

fn too_late(path: &str, at: &mut Document) {
    let hint = "write a score, or \"defer\"".to_string();
    let message = "the greylist is asked at RCPT, before there is a header".into();
    at.error(path, message, hint);
}

/// Whether what a word needs is written, in `[policy]` or at `base`, and could not be read.
fn is_unread(key: &str, base: &str, at: &Document) -> bool {
    let mut bases = ["policy", base].into_iter();
    bases.any(|base| at.is_broken(&format!("{base}.{key}")))
}

fn no_greylist(path: &str, base: &str, at: &mut Document) {
    if is_unread("greylist.mode", base, at) {
        return;
    }
    let hint = "write `[policy.greylist]` with mode = \"on\"".to_string();
    at.error(path, "the greylist is off".into(), hint);
}

fn no_quarantine(path: &str, base: &str, what: &str, at: &mut Document) {
    if is_unread("quarantine.pool", base, at) {
        return;
    }
    let hint =
        "write `[policy.quarantine]` with pool = \"…\", the name of a `[[pool]]`".to_string();
    at.error(path, format!("`{what}` has no pool to send to"), hint);
}

fn pool(config: &Config, policy: &Policy, base: &str, at: &mut Document) {
    let path = format!("{base}.quarantine.pool");
    let name = &policy.quarantine.pool;
    if name.is_empty() {
        return;
    }
    match config.pool.iter().find(|pool| pool.name == *name) {
        None if at.is_broken("pool") => {}
        None => no_pool(config, &path, name, at),
        Some(pool) if pool.protocol == Protocol::Lmtp => {
            let hint = "hand it to a mail server that speaks SMTP".to_string();
            let message =
                format!("the pool \"{name}\" speaks LMTP, which takes one recipient a message");
            at.error(&path, message, hint);
        }
        Some(_) => {}
    }
}

/// The name of the field and the words in it.
fn tag(policy: &Policy, base: &str, at: &mut Document) {
    let header = &policy.tag.header;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_ours = header
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case("X-"));
    if !is_ours || header.len() < 3 || header.len() > 64 || !header.chars().all(plain) {
        let hint = "it begins with `X-`, for fields of that name are removed from what comes in: \
                    \"X-Spam\""
            .to_string();
        let message = format!("\"{header}\" can't be the field for tags");
        at.error(&format!("{base}.tag.header"), message, hint);
    }
    is_word(&format!("{base}.tag.word"), &policy.tag.word, at);
}

/// Words stand in a header field, parted by commas.
pub fn is_word(path: &str, word: &str, at: &mut Document) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if word.is_empty() || word.len() > 64 || !word.chars().all(plain) {
        let hint = "a tag is letters, digits, `-`, `_` and `.`, 64 at most".to_string();
        at.error(path, format!("\"{word}\" can't be a tag"), hint);
    }
}

/// Of two thresholds that are both reached the severer one counts.
fn thresholds(policy: &Policy, base: &str, at: &mut Document) {
    let all = [
        ("reject_score", policy.reject_score, "rejected"),
        ("quarantine_score", policy.quarantine_score, "quarantined"),
        ("defer_score", policy.defer_score, "deferred"),
    ];
    let tag = ("tag_score", policy.tag_score, "");
    for (key, score, _) in all.iter().chain([&tag]) {
        if *score < 0.0 || !score.is_finite() {
            let message = format!("`{key}` must be 0 (off) or above");
            at.error(&format!("{base}.{key}"), message, None);
        }
    }
    for (place, (key, score, _)) in all.iter().chain([&tag]).enumerate() {
        let severer = all[..place.min(all.len())].iter();
        // What goes to quarantine shows its tags there.
        let mut severer =
            severer.filter(|(other, _, _)| (*key, *other) != ("tag_score", "quarantine_score"));
        let hidden = severer.find(|(_, least, _)| *least > 0.0 && *score >= *least);
        let Some((_, least, word)) = hidden.filter(|_| *score > 0.0) else {
            continue;
        };
        // Deferred is only what is not in quarantine by then.
        if *key == "tag_score" && *word == "deferred" && policy.quarantine_score > 0.0 {
            continue;
        }
        let message =
            format!("`{key}` ({score}) never takes effect: at {least} the message is {word}");
        let hint = "make it smaller, or 0 for off".to_string();
        at.error(&format!("{base}.{key}"), message, hint);
    }
}
