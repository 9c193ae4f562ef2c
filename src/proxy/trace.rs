//! The log line of a transaction, or of a session that never had one.
//!
//! A line tells the story in the order in which it happened. `delays_us=a/b/c/d`: from MAIL to the body,
//! arrival of the body, verdict and connection to a backend, the backend's part. `end=who@phase` is said where
//! the session ended with the transaction open.

use super::{connection::Session, transaction::Transaction};
use crate::{
    config::LogFormat,
    log::Line,
    metrics::Counter,
    policy::Hit,
    smtp::{Tick, server::Phase},
};

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// `client` or `gatepost`.
    pub by: &'static str,
    /// Where it stood.
    pub phase: Phase,
    /// In a word.
    pub why: &'static str,
    /// The last reply must not be lost: close with patience.
    pub lingers: bool,
}

impl End {
    /// The client closed, or its connection broke.
    #[must_use]
    pub fn client(phase: Phase) -> End {
        End {
            by: "client",
            phase,
            why: "closed",
            lingers: false,
        }
    }
}

/// A transaction got its final reply.
pub(super) fn finished(session: &Session, transaction: &Transaction) {
    write(session, transaction, None);
}

/// A transaction ended without an end of data that was answered.
pub(super) fn transaction(session: &Session, transaction: &Transaction, end: Option<End>) {
    write(session, transaction, end);
}

fn verdict(transaction: &Transaction, has_recipients: bool) -> (&'static str, Option<Counter>) {
    let done = transaction.times.done.is_some();
    match transaction.said.as_ref().map(|said| said.code / 100) {
        Some(2) if done => ("accept", Some(Counter::MessageAccepted)),
        Some(4) if done || !has_recipients => ("defer", Some(Counter::MessageDeferred)),
        Some(5) if done || !has_recipients => ("reject", Some(Counter::MessageRejected)),
        _ if has_recipients => ("abandon", Some(Counter::MessageAbandoned)),
        _ => ("abandon", None),
    }
}

fn write(session: &Session, transaction: &Transaction, end: Option<End>) {
    let (verdict, counter) = verdict(transaction, transaction.accepted > 0);
    if let Some(counter) = counter {
        session.context.recorder.count(counter, session.scope, 1);
    }
    session.context.log(|line| {
        session.context.dates.stamp(line);
        line.show("id", transaction.id);
        who(session, line);
        line.text("from", &transaction.sender);
        recipients(session, transaction, line);
        line.number("rcpt", u64::from(transaction.accepted));
        if transaction.refused > 0 {
            line.number("refused", u64::from(transaction.refused));
        }
        if transaction.times.body.is_some() {
            line.number("size", transaction.size);
        }
        line.text("verdict", verdict.as_bytes());
        if let Some(said) = &transaction.said {
            line.number("code", u64::from(said.code))
                .show("status", said.status);
            if said.code / 100 != 2 {
                line.text("reply", said.text.as_bytes());
            }
        }
        checks(session, line);
        if let Some(backend) = &transaction.backend {
            line.text("backend", backend.as_bytes());
        }
        delays(session.now, transaction, line);
        if let Some(end) = end {
            line.show("end", format_args!("{}@{}", end.by, end.phase.as_str()));
        }
    });
}

/// A session that had no transaction.
pub(super) fn session(session: &Session, end: End) {
    session.context.log(|line| {
        session.context.dates.stamp(line);
        who(session, line);
        line.text("verdict", b"none");
        checks(session, line);
        line.number("session_us", session.now.micros_since(session.started));
        line.text("why", end.why.as_bytes());
        line.show("end", format_args!("{}@{}", end.by, end.phase.as_str()));
    });
}

/// One field a recipient in logfmt; JSON, where a key comes once, gets one field with all of them.
fn recipients(session: &Session, transaction: &Transaction, line: &mut Line<'_>) {
    let text = transaction
        .recipients
        .strip_suffix(b"\n")
        .unwrap_or_default();
    if text.is_empty() {
        return;
    }
    if session.current.site.config.log.format == LogFormat::Json {
        let joined: Vec<u8> = text
            .iter()
            .map(|octet| if *octet == b'\n' { b' ' } else { *octet })
            .collect();
        line.text("to", &joined);
        return;
    }
    for recipient in text.split(|octet| *octet == b'\n') {
        line.text("to", recipient);
    }
}

fn who(session: &Session, line: &mut Line<'_>) {
    let listener = &session.current.site.listeners[session.listener];
    line.text("listener", listener.name.as_bytes())
        .show("client", session.client);
    if let Some(hello) = session.server.hello() {
        line.text("helo", hello.name);
    }
}

fn checks(session: &Session, line: &mut Line<'_>) {
    let hits = session.judgement.hits();
    if hits.is_empty() {
        return;
    }
    let mut text = String::new();
    for Hit {
        check,
        what,
        shadow,
        score,
        ..
    } in hits
    {
        let name = session
            .current
            .site
            .policy
            .check(*check)
            .map_or("?", |info| &info.name);
        let shade = if *shadow { "(shadow)" } else { "" };
        let comma = if text.is_empty() { "" } else { "," };
        text.push_str(&format!("{comma}{name}:{}{shade}", what.as_str()));
        if *score != 0.0 {
            text.push_str(&format!(":{score}"));
        }
    }
    line.text("checks", text.as_bytes());
    line.show("score", format_args!("{:.1}", session.judgement.score()));
}

/// Four stages; those that were not reached are `-`.
fn delays(now: Tick, transaction: &Transaction, line: &mut Line<'_>) {
    struct Stage(Option<Tick>, Option<Tick>);
    impl std::fmt::Display for Stage {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match (self.0, self.1) {
                (Some(from), Some(to)) => write!(f, "{}", to.micros_since(from)),
                _ => f.write_str("-"),
            }
        }
    }
    let times = &transaction.times;
    let (begin, body) = (Some(transaction.started), times.body);
    line.show(
        "delays_us",
        format_args!(
            "{}/{}/{}/{}",
            Stage(begin, body),
            Stage(body, times.complete),
            Stage(times.complete, times.leased.max(times.complete)),
            Stage(times.leased.max(times.complete), times.done)
        ),
    );
    line.number("total_us", now.micros_since(transaction.started));
}
