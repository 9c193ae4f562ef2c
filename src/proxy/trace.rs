//! The log line of a transaction, or of a session that never had one.
//!
//! A line tells the story in the order in which it happened. `delays_us=a/b/c/d`: from MAIL to the body,
//! arrival of the body, verdict and connection to a backend, the backend's part. `end=who@phase` is said where
//! the session ended with the transaction open.

use super::{arrival::claimed_login, connection::Session, transaction::Transaction};
use crate::{
    config::LogFormat,
    log::{
        Line,
        field::{push_address, push_number, push_score},
    },
    metrics::Counter,
    net::proxy_header::Origin,
    smtp::{
        Status, Tick,
        server::{Claims, Phase},
    },
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
        session.context.dates.stamp(session.now, line);
        line.plain("id", |out| out.extend_from_slice(&transaction.id.text()));
        who(session, line);
        if let Some(claims) = &transaction.forwarded {
            forwarded(claims, line);
        }
        line.text("from", &transaction.sender);
        recipients(session, transaction, line);
        line.number("rcpt", u64::from(transaction.accepted));
        if transaction.refused > 0 {
            line.number("refused", u64::from(transaction.refused));
        }
        if transaction.times.body.is_some() {
            line.number("size", transaction.size);
        }
        line.plain("verdict", |out| out.extend_from_slice(verdict.as_bytes()));
        if let Some(said) = &transaction.said {
            line.number("code", u64::from(said.code));
            let Status(class, subject, detail) = said.status;
            line.plain("status", |out| {
                push_number(u64::from(class), out);
                out.push(b'.');
                push_number(u64::from(subject), out);
                out.push(b'.');
                push_number(u64::from(detail), out);
            });
            if said.code / 100 != 2 {
                line.text("reply", said.text.as_bytes());
            }
        }
        checks(session, line);
        if let Some(backend) = &transaction.backend {
            line.text("backend", backend.label.as_bytes());
        }
        if let Some(version) = transaction.backend_tls {
            line.plain("backend_tls", |out| {
                out.extend_from_slice(version.as_bytes())
            });
        }
        delays(session.now, transaction, line);
        if let Some(end) = end {
            ended(end, line);
        }
    });
}

/// A session that had no transaction.
pub(super) fn session(session: &Session, end: End) {
    session.context.log(|line| {
        session.context.dates.stamp(session.now, line);
        who(session, line);
        line.text("verdict", b"none");
        checks(session, line);
        line.number("session_us", session.now.micros_since(session.started));
        line.text("why", end.why.as_bytes());
        ended(end, line);
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

pub(super) fn who(session: &Session, line: &mut Line<'_>) {
    let listener = &session.current.site.listeners[session.listener];
    line.text("listener", listener.name.as_bytes())
        .plain("client", |out| push_address(session.client, out));
    if let Some(name) = &session.name {
        line.text("client_name", name);
    }
    if let Some(via) = &session.via {
        line.plain("via", |out| push_address(via.proxy, out));
        if let Some(origin) = &via.origin {
            front_tls(origin, line);
        }
    }
    if let Some(hello) = session.server.hello() {
        line.text("helo", hello.name);
    }
    if let Some(login) = claimed_login(&session.server) {
        line.text("login", login.as_bytes());
    }
    if let Some((mechanism, user)) = session.logged_in() {
        line.text("auth", mechanism.as_bytes());
        line.text("user", user.as_bytes());
    }
    if let Some(tls) = session.stream.tls() {
        line.text("tls", tls.version.as_bytes());
        line.text("cipher", tls.cipher.as_bytes());
        if tls.resumed {
            line.text("resumed", b"yes");
        }
        if let Some(name) = tls.peer_names.first() {
            line.text("certificate", name.as_bytes());
        }
    }
}

/// Where a message came from before it came to the client that sends it.
fn forwarded(claims: &Claims, line: &mut Line<'_>) {
    if let Some(address) = claims.address.value() {
        line.plain("origin", |out| push_address(*address, out));
    }
    for (key, claim) in [
        ("origin_name", &claims.name),
        ("origin_helo", &claims.hello),
        ("origin_id", &claims.ident),
    ] {
        if let Some(value) = claim.value() {
            line.text(key, value);
        }
    }
}

/// What the proxy in front says of the client's TLS.
fn front_tls(origin: &Origin, line: &mut Line<'_>) {
    let Some(tls) = &origin.tls else { return };
    for (key, value) in [
        ("via_tls", &tls.version),
        ("via_cipher", &tls.cipher),
        ("via_certificate", &tls.name),
        ("via_alpn", &origin.alpn),
        ("via_sni", &origin.authority),
    ] {
        if let Some(value) = value {
            line.text(key, value.as_bytes());
        }
    }
}

fn checks(session: &Session, line: &mut Line<'_>) {
    let hits = session.judgement.hits();
    if hits.is_empty() {
        return;
    }
    let mut text = Vec::with_capacity(128);
    for hit in hits {
        let info = session.current.site.policy.check(hit.check);
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(info.map_or("?", |info| &info.name).as_bytes());
        text.push(b':');
        text.extend_from_slice(hit.what.as_str().as_bytes());
        if hit.shadow {
            text.extend_from_slice(b"(shadow)");
        }
        if hit.score != 0.0 {
            text.push(b':');
            push_score(hit.score, &mut text);
        }
    }
    line.text("checks", &text);
    line.plain("score", |out| push_score(session.judgement.score(), out));
}

/// Four stages; those that were not reached are `-`.
fn delays(now: Tick, transaction: &Transaction, line: &mut Line<'_>) {
    let times = &transaction.times;
    let leased = times.leased.max(times.complete);
    let stages = [
        (Some(transaction.started), times.body),
        (times.body, times.complete),
        (times.complete, leased),
        (leased, times.done),
    ];
    line.plain("delays_us", |out| {
        for (place, stage) in stages.iter().enumerate() {
            if place > 0 {
                out.push(b'/');
            }
            match *stage {
                (Some(from), Some(to)) => push_number(to.micros_since(from), out),
                _ => out.push(b'-'),
            }
        }
    });
    line.number("total_us", now.micros_since(transaction.started));
}

fn ended(end: End, line: &mut Line<'_>) {
    line.plain("end", |out| {
        out.extend_from_slice(end.by.as_bytes());
        out.push(b'@');
        out.extend_from_slice(end.phase.as_str().as_bytes());
    });
}
