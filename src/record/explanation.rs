//! Why a message was treated so: another view of a record than its log line, with all that the line leaves out.
//!
//! It is kept of each message and read of few. So [`pack`] copies what each has as it is, and writes as JSON only what few
//! have; [`unpack`] makes JSON of the whole, with the keys that `gatepost explain --json` has for a message that is only
//! described. (Rejected: JSON at once. It cost 2,600 instructions a message more.)

use super::{
    Mail, Recipients, Record, Refusal,
    line::{self, push_status, stages},
    packed::{Packer, Unpacker},
};
use crate::{
    log::{
        Line,
        field::{push_address, push_number, push_score},
    },
    policy::{CheckId, Hit},
    smtp::{Reply, Status},
};

/// It is of a transaction.
const MAIL: u8 = 1;
/// Checks have matched; they stand in the JSON.
const CHECKS: u8 = 1 << 1;

/// The keys of the stages' durations.
const STAGES: [&str; 4] = [
    "envelope_us",
    "body_us",
    "verdict_and_connection_us",
    "backend_us",
];

/// Appends it, as [`unpack`] reads it. `micros` is the moment of writing, in microseconds since 1970.
pub fn pack(record: &Record<'_>, micros: u64, out: &mut Vec<u8>) {
    let mut packer = Packer(out);
    let mail = u8::from(record.mail.is_some()) * MAIL;
    let checks = u8::from(!record.findings.judgement.hits().is_empty()) * CHECKS;
    packer.octets([mail | checks]);
    packer.octets(record.id);
    packer.number(Some(micros));
    verdict(record, &mut packer);
    packer.number(Some(record.refusals.count().into()));
    let score = record.findings.judgement.score();
    packer.octets(score.to_bits().to_le_bytes());
    packer.text(Some(record.client.listener.as_bytes()));
    packer.address(record.client.address);
    packer.text(record.client.helo);
    if let Some(mail) = &record.mail {
        envelope(record, mail, &mut packer);
        delivery(record, mail, &mut packer);
    }
    found(record, &mut packer);
    more(record, &mut Line::further(out));
}

/// What the client was told last, and by which check.
fn told<'a>(record: &'a Record<'_>) -> (&'static str, Option<&'a Reply>, Option<CheckId>) {
    let last = record.refusals.kept().last();
    match &record.mail {
        Some(mail) => (
            mail.outcome.as_str(),
            mail.told.map(|told| &told.reply),
            mail.told.and_then(|told| told.check),
        ),
        None => {
            let reply = last.map(|last| &last.reply);
            (
                reply.map_or("none", class),
                reply,
                last.and_then(|last| last.check),
            )
        }
    }
}

fn verdict(record: &Record<'_>, packer: &mut Packer<'_>) {
    let (word, reply, _) = told(record);
    packer.text(Some(word.as_bytes()));
    let Some(reply) = reply else {
        return pack_reply(0, Status::NONE, None, packer);
    };
    let text = reply.text.as_str().as_bytes();
    pack_reply(reply.code, reply.status, Some(text), packer);
}

/// A reply, or a backend's words; without text there is none.
fn pack_reply(code: u16, status: Status, text: Option<&[u8]>, packer: &mut Packer<'_>) {
    packer.octets(code.to_le_bytes());
    for number in [status.1, status.2] {
        packer.octets(number.to_le_bytes());
    }
    packer.octets([status.0]);
    packer.text(text);
}

fn envelope(record: &Record<'_>, mail: &Mail<'_>, packer: &mut Packer<'_>) {
    packer.text(Some(mail.sender));
    let mut refused = record.refusals.kept().iter();
    // Otherwise each stands in the JSON with what it was told.
    let all_taken = !refused.any(|refusal| refusal.command == "rcpt");
    packer.text(all_taken.then(|| mail.recipients.text()));
    packer.number(Some(mail.recipients.count().into()));
    packer.number(mail.size);
}

fn delivery(record: &Record<'_>, mail: &Mail<'_>, packer: &mut Packer<'_>) {
    packer.text(mail.backend.map(str::as_bytes));
    match &mail.backend_said {
        Some(said) => pack_reply(said.code, said.status, Some(said.text.as_bytes()), packer),
        None => pack_reply(0, Status::NONE, None, packer),
    }
    for (from, to) in stages(mail.started, &mail.times) {
        packer.number(to.zip(from).map(|(to, from)| to.micros_since(from)));
    }
    packer.number(Some(record.now.micros_since(mail.started)));
}

/// What was asked elsewhere about a stranger: how much, and then each.
fn found(record: &Record<'_>, packer: &mut Packer<'_>) {
    let (start, mut count) = (packer.0.len(), 0_u32);
    packer.octets(count.to_le_bytes());
    record.findings.each(&mut |name, result, detail| {
        count += 1;
        packer.parts(name);
        packer.text(Some(result.as_bytes()));
        packer.words(detail);
    });
    packer.0[start..start + 4].copy_from_slice(&count.to_le_bytes());
}

/// What few have, as JSON.
fn more(record: &Record<'_>, line: &mut Line<'_>) {
    if let (_, _, Some(check)) = told(record) {
        line.text("check", record.findings.name(check).as_bytes());
    }
    line::origins(&record.client, line);
    line::account(&record.client, line);
    if let Some(origin) = record.mail.as_ref().and_then(|mail| mail.origin.as_ref()) {
        line::origin(origin, line);
    }
    if record.refusals.count() > 0 {
        refusals(record, line);
    }
    if !record.findings.judgement.hits().is_empty() {
        line.list("checks", record.findings.judgement.hits(), |line, hit| {
            line.object(|line| check(record, hit, line));
        });
    }
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
    match &record.mail {
        Some(mail) => {
            if let Some(version) = mail.backend_tls {
                line.text("backend_tls", version.as_bytes());
            }
        }
        None => {
            line.number("session_us", record.session_us);
        }
    }
    if let Some(end) = record.end {
        line.text("why", end.why.as_bytes());
        line::ended(end, line);
    }
}

fn refusals(record: &Record<'_>, line: &mut Line<'_>) {
    let others = record.refusals.kept().iter();
    let others = others.filter(|refusal| refusal.command != "rcpt" || record.mail.is_none());
    line.list("refusals", others, |line, refusal| {
        line.object(|line| line::refusal_object(refusal, &record.findings, line));
    });
    let refused = record.refusals.kept().iter();
    let refused = refused.filter(|refusal| refusal.command == "rcpt");
    let Some(mail) = record.mail.as_ref().filter(|_| refused.clone().count() > 0) else {
        return;
    };
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
}

/// Appends the whole as a JSON object; `None`, and perhaps a part of it, where `entry` is no explanation.
#[must_use]
pub fn unpack(entry: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut unpacker = Unpacker(entry);
    let [flags] = unpacker.octets()?;
    let mut line = Line::start(out, true);
    let line = &mut line;
    let id: super::Id = unpacker.octets()?;
    line.text("id", &id);
    let micros = i64::try_from(unpacker.number()??).ok()?;
    let moment = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
    line.words(
        "time",
        format_args!("{}", moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")),
    );
    line.text("verdict", unpacker.text()??);
    // The text of a message's 2xx is not kept, for it is always this. A session may have ended with 221.
    let ok = [&b"Ok: "[..], &id];
    unpack_reply("reply", &mut unpacker, line, |code| {
        match flags & MAIL != 0 && code / 100 == 2 {
            true => ok,
            false => [b"", b""],
        }
    })?;
    let refused = unpacker.number()??;
    line.number("refused", refused);
    let score = f64::from_bits(u64::from_le_bytes(unpacker.octets()?));
    line.decimal("score", |out| push_score(score, out));
    line.text("listener", unpacker.text()??);
    let address = unpacker.address()?;
    line.plain("client", |out| push_address(address, out));
    if let Some(helo) = unpacker.text()? {
        line.text("helo", helo);
    }
    if flags & MAIL != 0 {
        unpack_mail(&mut unpacker, line)?;
    }
    unpack_found(&mut unpacker, line)?;
    for (list, is_empty) in [("refusals", refused == 0), ("checks", flags & CHECKS == 0)] {
        if is_empty {
            line.list(list, [], |_, ()| ());
        }
    }
    line.again(unpacker.0);
    line.end();
    Some(())
}

fn unpack_mail(unpacker: &mut Unpacker<'_>, line: &mut Line<'_>) -> Option<()> {
    line.text("from", unpacker.text()??);
    if let Some(text) = unpacker.text()? {
        line.list("recipients", Recipients::each(text), |line, path| {
            line.object(|line| taken(path, line));
        });
    }
    line.number("rcpt", unpacker.number()??);
    if let Some(size) = unpacker.number()? {
        line.number("size", size);
    }
    if let Some(backend) = unpacker.text()? {
        line.text("backend", backend);
    }
    unpack_reply("backend_said", unpacker, line, |_| [b"", b""])?;
    for name in STAGES {
        if let Some(micros) = unpacker.number()? {
            line.number(name, micros);
        }
    }
    line.number("total_us", unpacker.number()??);
    Some(())
}

fn unpack_found(unpacker: &mut Unpacker<'_>, line: &mut Line<'_>) -> Option<()> {
    let count = u32::from_le_bytes(unpacker.octets()?);
    let all = (0..count).map(|_| Some([unpacker.text()??, unpacker.text()??, unpacker.text()??]));
    let all: Vec<[&[u8]; 3]> = all.collect::<Option<_>>()?;
    line.list("found", all, |line, texts| {
        line.object(|line| {
            for (key, text) in ["name", "result", "detail"].into_iter().zip(texts) {
                line.text(key, text);
            }
        });
    });
    Some(())
}

fn unpack_reply<'a>(
    key: &str,
    unpacker: &mut Unpacker<'_>,
    line: &mut Line<'_>,
    more: impl FnOnce(u16) -> [&'a [u8]; 2],
) -> Option<()> {
    let code = u16::from_le_bytes(unpacker.octets()?);
    let subject = u16::from_le_bytes(unpacker.octets()?);
    let detail = u16::from_le_bytes(unpacker.octets()?);
    let [class] = unpacker.octets()?;
    if let Some(text) = unpacker.text()? {
        write_reply(
            key,
            code,
            Status(class, subject, detail),
            text,
            more(code),
            line,
        );
    }
    Some(())
}

/// A reply and what follows it, as its `Display` has it.
fn write_reply(
    key: &str,
    code: u16,
    status: Status,
    text: &[u8],
    more: [&[u8]; 2],
    line: &mut Line<'_>,
) {
    let codes = |out: &mut Vec<u8>| {
        push_number(code.into(), out);
        if status != Status::NONE {
            out.push(b' ');
            push_status(status, out);
        }
        out.push(b' ');
    };
    let [more, id] = more;
    line.pieces(key, codes, &[text, more, id]);
}

/// One recipient's answer.
enum Answered<'a> {
    Taken(&'a [u8]),
    Refused(&'a Refusal),
}

fn taken(path: &[u8], line: &mut Line<'_>) {
    line.text("recipient", path);
    line.plain("verdict", |out| out.extend_from_slice(b"accept"));
}

fn recipient(record: &Record<'_>, answered: Answered<'_>, line: &mut Line<'_>) {
    let refused = match answered {
        Answered::Taken(path) => {
            return taken(path, line);
        }
        Answered::Refused(refused) => refused,
    };
    line.text("recipient", &refused.subject);
    line.text("verdict", class(&refused.reply).as_bytes());
    let reply = &refused.reply;
    let text = reply.text.as_str().as_bytes();
    write_reply("reply", reply.code, reply.status, text, [b"", b""], line);
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
