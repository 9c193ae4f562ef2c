//! `[limits]`, `[timeouts]`, `[log]`, `[maildir]`: what the RFCs ask for at least, and what contradicts itself.

use crate::config::{Config, Limits, Size, Time, document::Document};
use std::path::Path;

/// Explanations that may be kept: 2 GiB.
const EXPLANATIONS_MAX: u32 = 1_000_000;

pub fn check(config: &Config, at: &mut Document) {
    limits(&config.limits, at);
    timeouts(config, at);
    log(config, at);
}

fn limits(limits: &Limits, at: &mut Document) {
    let (recipients, received) = (limits.recipients.into(), limits.received.into());
    // Below the least is unwise, and told; nothing at all is an error.
    for (key, value, least, why) in [
        (
            "message_size",
            limits.message_size.0,
            64 << 10,
            "RFC 5321 §4.5.3.1.7 asks for that",
        ),
        (
            "line",
            limits.line.0,
            1000,
            "RFC 5321 §4.5.3.1.6 asks for that",
        ),
        (
            "window",
            limits.window.0,
            4 << 10,
            "a smaller one costs more than it saves",
        ),
        ("header", limits.header.0, 4 << 10, "ordinary mail has more"),
        (
            "recipients",
            recipients,
            100,
            "RFC 5321 §4.5.3.1.8 asks for that",
        ),
        (
            "received",
            received,
            10,
            "ordinary mail passes that many hosts",
        ),
        ("sessions", limits.sessions.into(), 1, ""),
        ("auth_slowed", limits.auth_slowed.into(), 1, ""),
    ] {
        let path = format!("limits.{key}");
        if value == 0 {
            at.error(
                &path,
                format!("`{key} = 0` refuses all mail"),
                "write 1 or more".to_string(),
            );
        } else if value < least && at.has(&path) {
            at.warning(
                &path,
                format!("`{key}` is less than {}: {why}", Size(least)),
                None,
            );
        }
    }
    // Told at the key that the file has, if it has only one of the two.
    let mut order = |small: &str, small_value: Size, large: &str, large_value: Size| {
        if small_value > large_value {
            let path = |key: &str| format!("limits.{key}");
            let key = if at.has(&path(small)) { small } else { large };
            let message = format!(
                "`{small}` ({small_value}) must not be larger than `{large}` ({large_value})"
            );
            at.error(&path(key), message, None);
        }
    };
    order("header", limits.header, "window", limits.window);
    order("window", limits.window, "body_memory", limits.body_memory);
}

fn timeouts(config: &Config, at: &mut Document) {
    let timeouts = &config.timeouts;
    for (key, value) in [
        ("command", timeouts.command),
        ("proxy_header", timeouts.proxy_header),
        ("data", timeouts.data),
        ("stress", timeouts.stress),
        ("send", timeouts.send),
        ("connect", timeouts.connect),
        ("backend", timeouts.backend),
        ("commit", timeouts.commit),
        ("verify_good", timeouts.verify_good),
        ("verify_bad", timeouts.verify_bad),
        ("auth_lockout", timeouts.auth_lockout),
    ] {
        if value.is_zero() {
            at.error(
                &format!("timeouts.{key}"),
                format!("`{key}` must be longer than 0s"),
                None,
            );
        }
    }
    if timeouts.auth_delay.0.as_secs() > 60 {
        let hint = "clients give up on a silent server; one second is enough".to_string();
        let path = "timeouts.auth_delay";
        at.error(path, "`auth_delay` is 1m at most".into(), hint);
    }
    if timeouts.tarpit.0.as_secs() > 240 {
        let hint = "clients wait 5m for a reply: RFC 5321 §4.5.3.2".to_string();
        at.error("timeouts.tarpit", "`tarpit` is 4m at most".into(), hint);
    }
    if timeouts.commit < timeouts.backend && at.has("timeouts.commit") {
        let hint =
            "a backend may need long for a message: RFC 5321 §4.5.3.2.6 asks for 10m".to_string();
        at.warning(
            "timeouts.commit",
            "`commit` is shorter than `backend`".into(),
            hint,
        );
    }
}

fn log(config: &Config, at: &mut Document) {
    if config.log.queue == 0 {
        at.error(
            "log.queue",
            "`queue = 0` drops every line".into(),
            "write to = \"off\"".to_string(),
        );
    }
    match &*config.log.to {
        "" => at.error(
            "log.to",
            "`to` is empty".into(),
            "write \"stdout\", \"stderr\", \"off\" or a path".to_string(),
        ),
        "stdout" | "stderr" | "off" => {}
        file => folder_of("log.to", Path::new(file), at),
    }
    if let Some(file) = &config.admin.histogram_log {
        folder_of("admin.histogram_log", file, at);
    }
    if config.admin.histogram_interval < Time::secs(1) {
        at.error(
            "admin.histogram_interval",
            "`histogram_interval` is 1s at least".into(),
            None,
        );
    }
    if config.admin.explanations > EXPLANATIONS_MAX {
        at.error(
            "admin.explanations",
            format!("`explanations` is {EXPLANATIONS_MAX} at most: each takes 1 KiB of memory"),
            None,
        );
    }
    if config.state.interval < Time::secs(1) {
        let message = "`interval` is 1s at least".into();
        at.error("state.interval", message, None);
    }
    if let Some(directory) = &config.state.directory {
        if directory.as_os_str().is_empty() {
            at.error("state.directory", "`directory` is empty".into(), None);
        } else if directory.exists() && !directory.is_dir() {
            let message = format!("{} is a file, not a folder", directory.display());
            at.error("state.directory", message, None);
        }
    }
    if config.maildir.listen.address().is_some() && config.maildir.directory.as_os_str().is_empty()
    {
        at.error("maildir.directory", "`directory` is empty".into(), None);
    }
}

/// A file that will be written needs a folder that is there.
fn folder_of(key: &str, file: &Path, at: &mut Document) {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        at.error(
            key,
            format!("there is no folder {}", folder.display()),
            "create it first".to_string(),
        );
    } else if file.is_dir() {
        at.error(
            key,
            format!("{} is a folder, not a file", file.display()),
            None,
        );
    }
}
