//! Why a message was treated so: another view of a record than its log line, with all that the line leaves out. It is
//! written as JSON with the keys that `gatepost explain --json` has for a message that is only described.

use super::{
    Mail, Record, Refusal,
    line::{self, push_status, stages},
};
use crate::{
    log::{
        Line,
        field::{push_number, push_score},
    },
    policy::Hit,
    smtp::{Reply, Status},
};

/// Writes all fields but the time.
pub fn write(record: &Record<'_>, line: &mut Line<'_>) {
    line.plain("id", |out| out.extend_from_slice(&record.id));
    verdict(record, line);
    line::client(&record.client, line);
    if let Some(mail) = &record.mail {
        envelope(record, mail, line);
    }
    let others = record.refusals.kept().iter();
    let others = others.filter(|refusal| refusal.command != "rcpt" || record.mail.is_none());
    line.list("refusals", others, |line, refusal| {
        line.object(|line| line::refusal_object(refusal, &record.findings, line));
    });
    line.number("refused", u64::from(record.refusals.count()));
    found(record, line);
    line.list("checks", record.findings.judgement.hits(), |line, hit| {
        line.object(|line| check(record, hit, line));
    });
    line.decimal("score", |out| {
        push_score(record.findings.judgement.score(), out);
    });
    if let Some(shadow) = &record.shadow {
        line::shadow_text(shadow, line);
    }
    let tags = record.findings.judgement.tags();
    if tags.len() > 0 {
        let policy = record.findings.policy;
        line.texts("tags", tags.map(|tag| policy.tag(tag).as_bytes()));
    }
    if record.findings.judgement.is_slow() {
        line.decimal("tarpit", |out| out.extend_from_slice(b"true"));
    }
    if let Some(mail) = &record.mail {
        delivery(record, mail, line);
    } else {
        line.number("session_us", record.session_us);
    }
    if let Some(end) = record.end {
        line.text("why", end.why.as_bytes());
        line::ended(end, line);
    }
}

/// What the client was told last, and by which check.
fn verdict(record: &Record<'_>, line: &mut Line<'_>) {
    let last = record.refusals.kept().last();
    let (word, told) = match &record.mail {
        Some(mail) => (
            mail.outcome.as_str(),
            mail.told.map(|told| (&told.reply, told.check)),
        ),
        None => {
            let told = last.map(|last| (&last.reply, last.check));
            let word = match told {
                Some((reply, _)) if reply.is_transient() => "defer",
                Some(_) => "reject",
                None => "none",
            };
            (word, told)
        }
    };
    line.plain("verdict", |out| out.extend_from_slice(word.as_bytes()));
    if let Some((reply, check)) = told {
        // The text of a message's 2xx is not kept, for it is always this. A session may have ended with 221.
        let more: [&[u8]; 2] = match record.mail.is_some() && reply.is_positive() {
            true => [b"Ok: ", &record.id],
            false => [b"", b""],
        };
        write_reply("reply", reply, more, line);
        if let Some(check) = check {
            line.text("check", record.findings.name(check).as_bytes());
        }
    }
}

/// A reply and what follows it, as its `Display` has it: each message has one, and the formatting machinery is dear.
fn write_reply(key: &str, reply: &Reply, more: [&[u8]; 2], line: &mut Line<'_>) {
    let codes = |out: &mut Vec<u8>| push_codes(reply.code, reply.status, out);
    let [more, id] = more;
    line.pieces(key, codes, &[reply.text.as_str().as_bytes(), more, id]);
}

fn push_codes(code: u16, status: Status, out: &mut Vec<u8>) {
    push_number(code.into(), out);
    if status != Status::NONE {
        out.push(b' ');
        push_status(status, out);
    }
    out.push(b' ');
}

fn envelope(record: &Record<'_>, mail: &Mail<'_>, line: &mut Line<'_>) {
    if let Some(origin) = &mail.origin {
        line::origin(origin, line);
    }
    line.text("from", mail.sender);
    let refused = record.refusals.kept().iter();
    let refused = refused.filter(|refusal| refusal.command == "rcpt");
    // A recipient that a backend refused in the end had been accepted at first: it is told once.
    let taken = mail.recipients.named().filter(|path| {
        let mut refused = refused.clone();
        !refused.any(|refusal| &*refusal.subject == *path)
    });
    let taken = taken.map(Answered::Taken);
    line.list(
        "recipients",
        taken.chain(refused.clone().map(Answered::Refused)),
        |line, answered| line.object(|line| recipient(record, answered, line)),
    );
    line.number("rcpt", u64::from(mail.recipients.count()));
    if let Some(size) = mail.size {
        line.number("size", size);
    }
}

/// One recipient's answer.
enum Answered<'a> {
    Taken(&'a [u8]),
    Refused(&'a Refusal),
}

fn recipient(record: &Record<'_>, answered: Answered<'_>, line: &mut Line<'_>) {
    let refused = match answered {
        Answered::Taken(path) => {
            line.text("recipient", path);
            line.plain("verdict", |out| out.extend_from_slice(b"accept"));
            return;
        }
        Answered::Refused(refused) => refused,
    };
    line.text("recipient", &refused.subject);
    line.text("verdict", class(&refused.reply).as_bytes());
    write_reply("reply", &refused.reply, [b"", b""], line);
    if let Some(check) = refused.check {
        line.text("check", record.findings.name(check).as_bytes());
    }
}

fn class(reply: &Reply) -> &'static str {
    match reply.is_transient() {
        true => "defer",
        false => "reject",
    }
}

/// What was asked elsewhere about a stranger.
fn found(record: &Record<'_>, line: &mut Line<'_>) {
    line.objects("found", |found| {
        record.findings.each(&mut |name, result, detail| {
            found.add(|line| {
                line.words("name", name);
                line.text("result", result.as_bytes());
                line.words("detail", detail);
            });
        });
    });
}

fn check(record: &Record<'_>, hit: &Hit, line: &mut Line<'_>) {
    line.text("at", hit.at.as_str().as_bytes());
    line.text("check", record.findings.name(hit.check).as_bytes());
    line.text("does", hit.what.as_str().as_bytes());
    line.decimal("score", |out| push_score(hit.score, out));
    line.decimal("shadow", |out| {
        out.extend_from_slice(match hit.shadow {
            true => b"true",
            false => b"false",
        });
    });
    line.text("detail", hit.detail.as_bytes());
    if let Some(read) = &hit.read {
        line.text("read", read.as_bytes());
    }
    line.number("took_us", hit.micros.into());
}

fn delivery(record: &Record<'_>, mail: &Mail<'_>, line: &mut Line<'_>) {
    if let Some(backend) = mail.backend {
        line.text("backend", backend.as_bytes());
    }
    if let Some(version) = mail.backend_tls {
        line.text("backend_tls", version.as_bytes());
    }
    if let Some(said) = &mail.backend_said {
        let text = said.text.as_bytes();
        line.pieces(
            "backend_said",
            |out| push_codes(said.code, said.status, out),
            &[text],
        );
    }
    let names = [
        "envelope_us",
        "body_us",
        "verdict_and_connection_us",
        "backend_us",
    ];
    for (name, (from, to)) in names.into_iter().zip(stages(mail.started, &mail.times)) {
        if let (Some(from), Some(to)) = (from, to) {
            line.number(name, to.micros_since(from));
        }
    }
    line.number("total_us", record.now.micros_since(mail.started));
}
