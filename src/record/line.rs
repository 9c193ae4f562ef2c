//! The log line of a record.
//!
//! A line tells the story in the order in which it happened. `delays_us=a/b/c/d`: from MAIL to the body, arrival of the
//! body, verdict and connection to a backend, the backend's part. `end=by@phase` is said where the session ended with
//! this line. JSON has arrays, objects and numbers where logfmt has repeated fields and texts.

use super::{
    Client, End, Findings, ForwardedOrigin, Front, HeldBack, Mail, Record, Refusal, Shadowed,
    Times, Tls,
};
use crate::{
    log::{
        Line,
        field::{push_address, push_number, push_score},
    },
    policy::Hit,
    smtp::{Reply, Status, Tick},
};

/// Writes all fields but the time.
pub fn write(record: &Record<'_>, line: &mut Line<'_>) {
    line.plain("id", |out| out.extend_from_slice(&record.id));
    let Some(mail) = &record.mail else {
        return session(record, line);
    };
    client(&record.client, line);
    if let Some(from) = &mail.origin {
        origin(from, line);
    }
    line.text("from", mail.sender);
    for (key, result) in [
        ("spf", mail.spf),
        ("dkim", mail.dkim),
        ("dmarc", mail.dmarc),
        ("arc", mail.arc),
        ("signed", mail.signed),
    ] {
        if let Some(result) = result {
            line.text(key, result.as_bytes());
        }
    }
    if mail.recipients.count() > 0 {
        line.texts("to", mail.recipients.named());
    }
    line.number("rcpt", u64::from(mail.recipients.count()));
    refusals(record, line);
    if let Some(size) = mail.size {
        line.number("size", size);
    }
    line.text("verdict", mail.outcome.as_str().as_bytes());
    if let Some(told) = mail.told {
        reply(&told.reply, line);
        if let Some(check) = told.check {
            line.text("check", record.findings.name(check).as_bytes());
        }
    }
    checks(&record.findings, line);
    let tags = record.findings.judgement.tags();
    if tags.len() > 0 {
        let policy = record.findings.policy;
        line.texts("tag", tags.map(|tag| policy.tag(tag).as_bytes()));
    }
    shadow(record, line);
    if let Some(backend) = mail.backend {
        line.text("backend", backend.as_bytes());
    }
    if let Some(version) = mail.backend_tls {
        line.text("backend_tls", version.as_bytes());
    }
    delays(record.now, mail, line);
    if let Some(end) = record.end {
        ended(end, line);
    }
}

/// A session outside its transactions.
fn session(record: &Record<'_>, line: &mut Line<'_>) {
    client(&record.client, line);
    line.text("verdict", b"none");
    refusals(record, line);
    // What the client was told last is what most readers look for.
    if let Some(last) = record.refusals.kept().last() {
        reply(&last.reply, line);
        if let Some(check) = last.check {
            line.text("check", record.findings.name(check).as_bytes());
        }
    }
    checks(&record.findings, line);
    shadow(record, line);
    line.number("session_us", record.session_us);
    if let Some(end) = record.end {
        line.text("why", end.why.as_bytes());
        ended(end, line);
    }
}

/// Writes all fields but the time of a line that stands for many.
pub fn held_back(held: &HeldBack, line: &mut Line<'_>) {
    if let Some(address) = held.client {
        line.plain("client", |out| push_address(address, out));
    }
    line.text("verdict", b"none");
    line.number("held_back", u64::from(held.lines));
}

/// Whose session it is.
pub fn client(client: &Client<'_>, line: &mut Line<'_>) {
    line.text("listener", client.listener.as_bytes())
        .plain("client", |out| push_address(client.address, out));
    origins(client, line);
    if let Some(helo) = client.helo {
        line.text("helo", helo);
    }
    account(client, line);
}

/// Its names, and what a proxy in front said of it.
pub(super) fn origins(client: &Client<'_>, line: &mut Line<'_>) {
    if let Some(name) = client.name {
        line.text("client_name", name);
    }
    if let Some(rdns) = client.rdns {
        line.text("rdns", rdns.as_bytes());
    }
    if let Some(via) = client.via {
        line.plain("via", |out| push_address(via, out));
    }
    if let Some(tls) = &client.front {
        front(tls, line);
    }
}

/// Its account, and its TLS with us.
pub(super) fn account(client: &Client<'_>, line: &mut Line<'_>) {
    if let Some(login) = client.login {
        line.text("login", login.as_bytes());
    }
    if let Some((mechanism, user)) = client.auth {
        line.text("auth", mechanism.as_bytes());
        line.text("user", user.as_bytes());
    }
    if let Some(tls) = &client.tls {
        with_us(tls, line);
    }
}

fn with_us(tls: &Tls<'_>, line: &mut Line<'_>) {
    line.text("tls", tls.version.as_bytes());
    line.text("cipher", tls.cipher.as_bytes());
    if tls.resumed {
        line.text("resumed", b"yes");
    }
    if let Some(name) = tls.certificate {
        line.text("certificate", name.as_bytes());
    }
}

fn front(tls: &Front<'_>, line: &mut Line<'_>) {
    for (key, value) in [
        ("via_tls", tls.version),
        ("via_cipher", tls.cipher),
        ("via_certificate", tls.certificate),
        ("via_alpn", tls.alpn),
        ("via_sni", tls.sni),
    ] {
        if let Some(value) = value {
            line.text(key, value.as_bytes());
        }
    }
}

pub(super) fn origin(origin: &ForwardedOrigin<'_>, line: &mut Line<'_>) {
    if let Some(address) = origin.address {
        line.plain("origin", |out| push_address(address, out));
    }
    for (key, value) in [
        ("origin_name", origin.name),
        ("origin_helo", origin.helo),
        ("origin_id", origin.id),
    ] {
        if let Some(value) = value {
            line.text(key, value);
        }
    }
}

/// How many were refused, and each with what it was told.
fn refusals(record: &Record<'_>, line: &mut Line<'_>) {
    let refusals = record.refusals;
    if refusals.count() == 0 {
        return;
    }
    line.number("refused", u64::from(refusals.count()));
    let findings = &record.findings;
    if line.is_json() {
        line.list("refusals", refusals.kept(), |line, refusal| {
            line.object(|line| refusal_object(refusal, findings, line));
        });
        return;
    }
    let mut text = Vec::new();
    for refusal in refusals.kept() {
        text.clear();
        refusal_text(refusal, findings, &mut text);
        line.text("refusal", &text);
    }
}

pub(super) fn refusal_object(refusal: &Refusal, findings: &Findings<'_>, line: &mut Line<'_>) {
    line.text("command", refusal.command.as_bytes());
    if let Some(key) = subject_key(refusal) {
        line.text(key, &refusal.subject);
    }
    reply(&refusal.reply, line);
    if let Some(check) = refusal.check {
        line.text("check", findings.name(check).as_bytes());
    }
}

/// What the subject of a refusal is.
fn subject_key(refusal: &Refusal) -> Option<&'static str> {
    match refusal.command {
        // The null sender is one.
        "mail" => Some("from"),
        _ if refusal.subject.is_empty() => None,
        "rcpt" => Some("to"),
        "ehlo" | "helo" => Some("helo"),
        _ => Some("argument"),
    }
}

/// `rcpt <b@example.net>: 550 5.1.1 No such user (recipient_list.gone)`.
fn refusal_text(refusal: &Refusal, findings: &Findings<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(refusal.command.as_bytes());
    match subject_key(refusal) {
        Some("to" | "from") => {
            out.extend_from_slice(b" <");
            out.extend_from_slice(&refusal.subject);
            out.push(b'>');
        }
        Some(_) => {
            out.push(b' ');
            out.extend_from_slice(&refusal.subject);
        }
        None => {}
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(refusal.reply.to_string().as_bytes());
    if let Some(check) = refusal.check {
        out.extend_from_slice(b" (");
        out.extend_from_slice(findings.name(check).as_bytes());
        out.push(b')');
    }
}

/// Appends an enhanced code as its `Display` has it.
pub(super) fn push_status(Status(class, subject, detail): Status, out: &mut Vec<u8>) {
    push_number(class.into(), out);
    for number in [subject, detail] {
        out.push(b'.');
        push_number(number.into(), out);
    }
}

fn reply(reply: &Reply, line: &mut Line<'_>) {
    line.number("code", u64::from(reply.code));
    if reply.status != Status::NONE {
        line.plain("status", |out| push_status(reply.status, out));
    }
    if !reply.is_positive() {
        line.text("reply", reply.text.as_str().as_bytes());
    }
}

fn checks(findings: &Findings<'_>, line: &mut Line<'_>) {
    let hits = findings.judgement.hits();
    if hits.is_empty() {
        return;
    }
    if line.is_json() {
        line.list("checks", hits, |line, hit| {
            line.object(|line| check_object(hit, findings, line));
        });
    } else {
        let mut text = Vec::with_capacity(128);
        for hit in hits {
            check_text(hit, findings, &mut text);
        }
        line.text("checks", &text);
    }
    line.decimal("score", |out| push_score(findings.judgement.score(), out));
    // Whoever looks for a message that was put off wants to know for whom, and for how long.
    let of_greylist = |hit: &&Hit| findings.name(hit.check) == "greylist";
    if let Some(hit) = hits.iter().rev().find(of_greylist) {
        line.text("greylist", hit.detail.as_bytes());
    }
}

fn check_object(hit: &Hit, findings: &Findings<'_>, line: &mut Line<'_>) {
    line.text("check", findings.name(hit.check).as_bytes());
    line.text("verdict", hit.what.as_str().as_bytes());
    if hit.shadow {
        line.decimal("shadow", |out| out.extend_from_slice(b"true"));
    }
    if hit.score != 0.0 {
        line.decimal("score", |out| push_score(hit.score, out));
    }
    if !hit.detail.is_empty() {
        line.text("detail", hit.detail.as_bytes());
    }
}

/// `relay:reject,header.loud:score:2.5`; `(shadow)` where it had no effect.
fn check_text(hit: &Hit, findings: &Findings<'_>, text: &mut Vec<u8>) {
    if !text.is_empty() {
        text.push(b',');
    }
    text.extend_from_slice(findings.name(hit.check).as_bytes());
    text.push(b':');
    text.extend_from_slice(hit.what.as_str().as_bytes());
    if hit.shadow {
        text.extend_from_slice(b"(shadow)");
    }
    if hit.score != 0.0 {
        text.push(b':');
        push_score(hit.score, text);
    }
}

/// Where a candidate's policy would have said something else: `reject(rule.no)`.
fn shadow(record: &Record<'_>, line: &mut Line<'_>) {
    if let Some(shadow) = record.shadow.filter(|shadow| shadow.differs) {
        shadow_text(&shadow, line);
    }
}

pub(super) fn shadow_text(shadow: &Shadowed<'_>, line: &mut Line<'_>) {
    let mut text = shadow.verdict.as_bytes().to_vec();
    if let Some(check) = shadow.check {
        text.push(b'(');
        text.extend_from_slice(check.as_bytes());
        text.push(b')');
    }
    line.text("shadow", &text);
    if shadow.late {
        line.text("shadow_late", b"yes");
    }
}

/// From and to, in the order of the stages.
pub(super) type Stage = (Option<Tick>, Option<Tick>);

/// Four stages; those that were not reached are `-`, in JSON `null`.
fn delays(now: Tick, mail: &Mail<'_>, line: &mut Line<'_>) {
    let stages = stages(mail.started, &mail.times);
    let took = |stage: Stage| Some(stage.1?.micros_since(stage.0?));
    if line.is_json() {
        line.list("delays_us", stages, |line, stage| {
            line.bare(|out| match took(stage) {
                Some(micros) => push_number(micros, out),
                None => out.extend_from_slice(b"null"),
            });
        });
    } else {
        line.plain("delays_us", |out| {
            for (place, stage) in stages.into_iter().enumerate() {
                if place > 0 {
                    out.push(b'/');
                }
                match took(stage) {
                    Some(micros) => push_number(micros, out),
                    None => out.push(b'-'),
                }
            }
        });
    }
    line.number("total_us", now.micros_since(mail.started));
}

pub(super) fn stages(started: Tick, times: &Times) -> [Stage; 4] {
    let leased = times.leased.max(times.complete);
    [
        (Some(started), times.body),
        (times.body, times.complete),
        (times.complete, leased),
        (leased, times.done),
    ]
}

pub(super) fn ended(end: End, line: &mut Line<'_>) {
    line.plain("end", |out| {
        out.extend_from_slice(end.by.as_bytes());
        out.push(b'@');
        out.extend_from_slice(end.phase.as_str().as_bytes());
    });
}
