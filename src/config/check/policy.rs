//! `[policy]`: replies that fit their verdict, scores that have an effect, rules that can match.

use super::{
    fate,
    list::{self, Entries},
};
use crate::config::{
    Config, DmarcReports, HeaderRule, HeaderTest, Mode, Policy, Rate, Then, document::Document,
    entry,
};

/// Entries of a table of what is remembered: 160 MB each.
const TABLE_MAX: u32 = 10_000_000;

/// The policy for all, and what each listener has otherwise.
pub fn check(config: &Config, at: &mut Document) {
    tables(&config.policy, "policy", &|_, _| true, at);
    reports(&config.policy.dmarc.reports, at);
    reported(config, at);
    fate::check(config, &config.policy, "policy", &|_, _| true, at);
    for (i, listener) in config.listener.iter().enumerate() {
        if !listener.policy.is_empty() {
            let base = format!("listener[{i}].policy");
            part(config, &config.policy_of(listener), &base, at);
        }
    }
}

/// What stands in a part of a policy. A mistake below it, in `[policy]`, was told there.
pub fn part(config: &Config, policy: &Policy, base: &str, at: &mut Document) {
    let own = |section: &str, at: &Document| at.has(section);
    tables(policy, base, &own, at);
    fate::check(config, policy, base, &own, at);
    let reports = format!("{base}.dmarc.reports");
    if at.has(&reports) && policy.dmarc.reports != config.policy.dmarc.reports {
        let hint = "write it in [policy.dmarc.reports]".to_string();
        at.error(&reports, "reports are those of all listeners".into(), hint);
    }
}

/// What must be told in a report, and how long it may be about.
fn reports(reports: &DmarcReports, at: &mut Document) {
    if !reports.is_on() {
        return;
    }
    let base = "policy.dmarc.reports";
    let email = &reports.email;
    let is_address = email.bytes().all(|octet| octet.is_ascii_graphic())
        && email
            .rsplit_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && entry::is_domain(domain));
    if !is_address {
        let key = format!("{base}.email");
        let (key, message) = match at.has(&key) {
            true => (key, format!("\"{email}\" is no mail address")),
            false => (
                base.into(),
                "a report names an address that its readers may write to".into(),
            ),
        };
        at.error(&key, message, "write email = \"postmaster@…\"".to_string());
    }
    let seconds = reports.interval.0.as_secs();
    if !(1..=24 * 60 * 60).contains(&seconds) {
        let message = "`interval` must be between 1s and 1d".to_string();
        at.error(
            &format!("{base}.interval"),
            message,
            "1d is usual".to_string(),
        );
    }
}

/// What is not judged can't be reported.
fn reported(config: &Config, at: &mut Document) {
    let is_off = |policy: &Policy| policy.dmarc.mode == Mode::Off;
    if config.policy.dmarc.reports.is_on() && config.policies().iter().all(is_off) {
        at.warning(
            "policy.dmarc.reports",
            "no reports are collected: `policy.dmarc.mode` is \"off\", and no message is judged"
                .into(),
            "write mode = \"on\"; results without a key of their own have no effect".to_string(),
        );
    }
}

/// Looks at the tables of a policy which stands at the path `base`; at those alone that `is_here` says stand there.
pub(super) fn tables(
    policy: &Policy,
    base: &str,
    is_here: &dyn Fn(&str, &Document) -> bool,
    at: &mut Document,
) {
    for (name, lists, entries) in [
        ("client_list", &policy.client_list, Entries::Networks),
        ("helo_list", &policy.helo_list, Entries::Hosts),
        ("sender_list", &policy.sender_list, Entries::Names),
        ("recipient_list", &policy.recipient_list, Entries::Names),
    ] {
        let section = format!("{base}.{name}");
        if is_here(&section, at) {
            list::check(&section, lists, entries, &policy.list, at);
            for (i, list) in lists.iter().enumerate() {
                let (path, reply) = (format!("{section}[{i}]"), list.reply.as_deref());
                outcome(&path, list.then, list.score, reply, at);
            }
        }
    }
    for (name, rates) in [
        ("client_rate", &policy.client_rate),
        ("prefix_rate", &policy.prefix_rate),
        ("sender_rate", &policy.sender_rate),
    ] {
        let section = format!("{base}.{name}");
        if is_here(&section, at) {
            rate(&section, rates, at);
        }
    }
    for (name, rule) in [
        ("helo.unqualified", &policy.helo.unqualified),
        ("helo.address", &policy.helo.address),
        ("helo.ours", &policy.helo.ours),
        ("early_talk", &policy.early_talk),
        ("relay", &policy.relay),
        ("identity.sender", &policy.identity.sender),
        ("identity.from", &policy.identity.from),
        ("loop", &policy.r#loop),
        ("header_size", &policy.header_size),
    ] {
        let section = format!("{base}.{name}");
        if is_here(&section, at) {
            outcome(&section, rule.then, rule.score, rule.reply.as_deref(), at);
        }
    }
    greylist(policy, base, is_here, at);
    relay(policy, base, is_here, at);
    headers(policy, base, is_here, at);
    rules(policy, base, is_here, at);
}

/// What can be said of rules without their language, which `policy` knows.
fn rules(
    policy: &Policy,
    base: &str,
    is_here: &dyn Fn(&str, &Document) -> bool,
    at: &mut Document,
) {
    let lists = format!("{base}.list");
    if is_here(&lists, at) {
        list::named(&lists, &policy.list, at);
    }
    let section = format!("{base}.rule");
    if !is_here(&section, at) {
        return;
    }
    super::names(&section, policy.rule.iter().map(|rule| &*rule.name), at);
    for (i, rule) in policy.rule.iter().enumerate() {
        let path = format!("{section}[{i}]");
        // One that only tags has no score.
        if rule.then != Then::Score || rule.score != 0.0 || rule.tag.is_none() {
            outcome(&path, rule.then, rule.score, None, at);
        }
        if let Some(word) = &rule.tag {
            fate::is_word(&format!("{path}.tag"), word, at);
        }
        if rule.when.trim().is_empty() {
            let hint = "write when = '…', such as when = 'spf == \"fail\"'".to_string();
            at.error(
                &format!("{path}.when"),
                format!("`{path}` has no condition"),
                hint,
            );
        }
        let is_unread = at.is_broken(&format!("{path}.then"));
        if rule.reply.is_some() && !fate::refuses(rule.then) && !is_unread {
            let message = format!("`reply` is never said with `then = \"{}\"`", rule.then);
            let hint = "remove it, or change `then`".to_string();
            at.error(&format!("{path}.reply"), message, hint);
        }
    }
}

fn headers(
    policy: &Policy,
    base: &str,
    is_here: &dyn Fn(&str, &Document) -> bool,
    at: &mut Document,
) {
    let section = format!("{base}.header");
    if is_here(&section, at) {
        super::names(&section, policy.header.iter().map(|rule| &*rule.name), at);
        for (i, rule) in policy.header.iter().enumerate() {
            header(&format!("{section}[{i}]"), rule, at);
        }
    }
}

/// The keys that every check shares.
fn outcome(path: &str, then: Then, score: f64, text: Option<&str>, at: &mut Document) {
    let scored = format!("{path}.score");
    if at.is_broken(&format!("{path}.then")) {
        // What it should be is not known, and so not what goes with it.
        return;
    }
    if then == Then::Score && score == 0.0 {
        let hint = "give it `score`, or `then = \"reject\"`".to_string();
        at.error(
            &scored,
            "`then = \"score\"` with a score of 0 does nothing".into(),
            hint,
        );
    }
    // A score that only the default has is no contradiction.
    if then != Then::Score && score != 0.0 && at.has(&scored) {
        let message = format!("`score` has no effect with `then = \"{then}\"`");
        at.error(
            &scored,
            message,
            "write then = \"score\", or remove the score".to_string(),
        );
    }
    if let Some(text) = text {
        reply(&format!("{path}.reply"), text, then, at);
    }
}

fn reply(path: &str, text: &str, then: Then, at: &mut Document) {
    match (entry::reply(text), then) {
        (Err(why), _) => at.error(path, format!("\"{text}\" is no reply"), why),
        (Ok(_), then) if !fate::refuses(then) => {
            let message = format!("`reply` is never said with `then = \"{then}\"`");
            at.error(path, message, "remove it, or change `then`".to_string());
        }
        (Ok(4), Then::Reject) => {
            at.error(
                path,
                "a 4xx reply defers, it doesn't reject".into(),
                "write 5xx, or then = \"defer\"".to_string(),
            );
        }
        (Ok(5), Then::Defer) => {
            at.error(
                path,
                "a 5xx reply rejects, it doesn't defer".into(),
                "write 4xx, or then = \"reject\"".to_string(),
            );
        }
        _ => {}
    }
}

fn greylist(
    policy: &Policy,
    base: &str,
    is_here: &dyn Fn(&str, &Document) -> bool,
    at: &mut Document,
) {
    let (section, rules) = (format!("{base}.greylist"), &policy.greylist);
    if !is_here(&section, at) {
        return;
    }
    if let Some(text) = &rules.reply {
        reply(&format!("{section}.reply"), text, Then::Defer, at);
    }
    if rules.score < 0.0 {
        let message = "`score` must be 0 (every stranger's mail) or above".into();
        at.error(&format!("{section}.score"), message, None);
    }
    let mode = format!("{section}.mode");
    if at.has(&section) && rules.mode == Mode::Off && !at.has(&mode) {
        let hint = "write mode = \"on\", or \"shadow\" to only watch".to_string();
        at.warning(&section, "`greylist` is off: it has no `mode`".into(), hint);
    }
    let mut wrong = |key: &str, message: String| {
        at.error(&format!("{section}.{key}"), message, None);
    };
    if rules.window <= rules.delay {
        let (window, delay) = (rules.window, rules.delay);
        let message = format!("`window` ({window}) must be longer than `delay` ({delay})");
        wrong("window", message);
    }
    if rules.lifetime < rules.window {
        wrong("lifetime", "`lifetime` is shorter than `window`".into());
    }
    for (key, time) in [("window", rules.window), ("lifetime", rules.lifetime)] {
        if time.0.as_secs() > 366 * 86_400 {
            wrong(key, format!("`{key}` is a year at most"));
        }
    }
    for (key, table) in [
        ("greylist.table", rules.table),
        ("reputation.table", policy.reputation.table),
    ] {
        if !(1..=TABLE_MAX).contains(&table) {
            let message = format!("`{key}` is from 1 to {TABLE_MAX}");
            at.error(&format!("{base}.{key}"), message, None);
        }
    }
    let half_life = policy.reputation.half_life.0.as_secs();
    if !(3_600..=366 * 86_400).contains(&half_life) {
        let message = "`half_life` is an hour at least and a year at most".into();
        at.error(&format!("{base}.reputation.half_life"), message, None);
    }
}

fn rate(path: &str, rate: &Rate, at: &mut Document) {
    if !fate::refuses(rate.then) {
        let message = format!("a rate can't `{}`", rate.then);
        let hint = "use \"defer\", \"reject\" or \"close\", or `mode = \"shadow\"` to only watch"
            .to_string();
        at.error(&format!("{path}.then"), message, hint);
    } else {
        outcome(path, rate.then, 0.0, rate.reply.as_deref(), at);
    }
    if rate.per.is_zero() {
        at.error(
            &format!("{path}.per"),
            "`per` must be longer than 0s".into(),
            None,
        );
    }
    if rate.table == 0 {
        let hint = "write 1 or more; `mode = \"off\"` turns the rate off".to_string();
        at.error(
            &format!("{path}.table"),
            "`table = 0` remembers no client".into(),
            hint,
        );
    }
}

/// Relay control stays, whatever else is turned off: a typo must not make an open relay.
fn relay(
    policy: &Policy,
    base: &str,
    is_here: &dyn Fn(&str, &Document) -> bool,
    at: &mut Document,
) {
    let section = format!("{base}.relay");
    if !is_here(&section, at) {
        return;
    }
    let hint = || "put the clients that may relay into `trusted`".to_string();
    if !fate::refuses(policy.relay.then) {
        let message = format!(
            "`relay` with `then = \"{}\"` is an open relay",
            policy.relay.then
        );
        at.error(&format!("{section}.then"), message, hint());
    }
    if policy.relay.mode != Mode::On {
        let message = format!(
            "`relay` with `mode = \"{}\"` is an open relay",
            policy.relay.mode
        );
        at.error(&format!("{section}.mode"), message, hint());
    }
}

fn header(path: &str, rule: &HeaderRule, at: &mut Document) {
    outcome(path, rule.then, rule.score, rule.reply.as_deref(), at);
    // RFC 5322 §3.6.8: printable, no colon, no space.
    if rule.field.is_empty() {
        at.error(
            &format!("{path}.field"),
            format!("`{path}` has no field"),
            "write field = \"Subject\"".to_string(),
        );
    } else if rule
        .field
        .chars()
        .any(|c| !matches!(c, '!'..='~') || c == ':')
    {
        let hint = "write the name alone, without a colon".to_string();
        at.error(
            &format!("{path}.field"),
            format!("\"{}\" is no field name", rule.field),
            hint,
        );
    }
    let pattern = format!("{path}.pattern");
    match (rule.when, &rule.pattern) {
        (HeaderTest::Matches, None) => {
            let hint = "write pattern = '…', or when = \"present\"".to_string();
            at.error(
                &pattern,
                "`when = \"matches\"` needs a `pattern`".into(),
                hint,
            );
        }
        (HeaderTest::Matches, Some(text)) => {
            if let Err(why) = entry::regex(text) {
                at.error(
                    &pattern,
                    format!("the pattern is no regular expression: {why}"),
                    None,
                );
            }
        }
        (when, Some(_)) => {
            let message = format!("`pattern` has no effect with `when = \"{when}\"`");
            at.error(
                &pattern,
                message,
                "write when = \"matches\", or remove the pattern".to_string(),
            );
        }
        (_, None) => {}
    }
}
