//! A report in words.

use super::{Described, Report};
use crate::{
    dns::{Answer, Record, Unknown},
    policy::Verdict,
    proxy::explain::Told,
};
use serde_json::{Value, json};
use std::fmt::Write;

/// A table for readers.
pub(super) fn table(described: &Described<'_>, listener: &str, report: &Report) -> String {
    let found = &report.explained;
    let mut out = format!(
        "client {} ({}) on listener {listener}\nfrom <{}>\n",
        described.client,
        String::from_utf8_lossy(described.hello),
        described.sender,
    );
    section(
        &mut out,
        "asked",
        report.asked.iter().map(|asked| {
            vec![
                asked.record_type.into(),
                asked.name.clone(),
                answer(&asked.answer),
                millis(asked.took.as_micros()),
            ]
        }),
    );
    section(
        &mut out,
        "found",
        found.findings.iter().map(|finding| {
            vec![
                finding.name.clone(),
                finding.result.clone(),
                finding.detail.clone(),
            ]
        }),
    );
    section(
        &mut out,
        "checks that matched",
        found.matches.iter().map(|hit| {
            let shadow = if hit.shadow { " (shadow)" } else { "" };
            vec![
                hit.at.into(),
                hit.check.clone(),
                format!("{}{shadow}", hit.what.as_str()),
                format!("{:+}", hit.score),
                format!("{} us", hit.micros),
                hit.detail.clone(),
            ]
        }),
    );
    section(
        &mut out,
        "recipients",
        found
            .recipients
            .iter()
            .map(|(recipient, told)| vec![format!("<{recipient}>"), said(told)]),
    );
    let _ = write!(
        out,
        "\nscore {}, {}\nverdict: {}\n",
        found.score,
        millis(report.took.as_micros()),
        said(&found.told)
    );
    out
}

fn section(out: &mut String, title: &str, rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.collect();
    let _ = writeln!(out, "\n{title}");
    if rows.is_empty() {
        out.push_str("  none\n");
    }
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (text, width) in row.iter().zip(&widths) {
            let _ = write!(line, "  {text:width$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// The same for programs.
pub(super) fn json(described: &Described<'_>, listener: &str, report: &Report) -> String {
    let found = &report.explained;
    let told = |told: &Told| {
        let reply = match &told.verdict {
            Verdict::Accept => None,
            Verdict::Defer(reply) | Verdict::Reject(reply) | Verdict::Close(reply) => {
                Some(reply.to_string())
            }
        };
        json!({ "verdict": word(&told.verdict), "reply": reply, "check": told.check })
    };
    let mut whole = told(&found.told);
    whole["listener"] = json!(listener);
    whole["client"] = json!(described.client);
    whole["score"] = json!(found.score);
    whole["took_us"] = json!(micros(report.took.as_micros()));
    let recipients = found.recipients.iter().map(|(recipient, answer)| {
        let mut answer = told(answer);
        answer["recipient"] = json!(recipient);
        answer
    });
    whole["recipients"] = recipients.collect();
    let checks = found.matches.iter().map(|hit| {
        json!({
            "at": hit.at, "check": hit.check, "does": hit.what.as_str(), "score": hit.score,
            "shadow": hit.shadow, "detail": hit.detail, "took_us": hit.micros,
        })
    });
    whole["checks"] = checks.collect();
    let findings = found.findings.iter();
    let findings = findings
        .map(|finding| json!({ "name": finding.name, "result": finding.result, "detail": finding.detail }));
    whole["found"] = findings.collect();
    let asked = report.asked.iter().map(|asked| {
        json!({
            "type": asked.record_type, "name": asked.name, "answer": answer(&asked.answer),
            "took_us": micros(asked.took.as_micros()),
        })
    });
    whole["asked"] = asked.collect::<Value>();
    format!("{whole:#}\n")
}

fn micros(micros: u128) -> u64 {
    u64::try_from(micros).unwrap_or(u64::MAX)
}

fn millis(micros: u128) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Defer(_) => "defer",
        Verdict::Reject(_) => "reject",
        Verdict::Close(_) => "close",
    }
}

fn said(told: &Told) -> String {
    let word = word(&told.verdict);
    let check = told.check.as_ref();
    let check = check.map_or_else(String::new, |check| format!(" ({check})"));
    match &told.verdict {
        Verdict::Accept => word.into(),
        Verdict::Defer(reply) | Verdict::Reject(reply) | Verdict::Close(reply) => {
            format!("{word}: {reply}{check}")
        }
    }
}

/// An answer in a few words. What others wrote is shown without control characters.
fn answer(answer: &Answer) -> String {
    let records = match answer {
        Answer::Found(records) => records,
        Answer::NoRecords => return "no such records".into(),
        Answer::NoName => return "no such name".into(),
        Answer::Unknown(Unknown::Timeout) => return "no answer in time".into(),
        Answer::Unknown(Unknown::Overload) => return "not asked: too many questions".into(),
        Answer::Unknown(Unknown::Broken) => return "the servers failed".into(),
    };
    let texts: Vec<String> = records.iter().map(record).collect();
    texts.join(", ")
}

fn record(record: &Record) -> String {
    match record {
        Record::A(address) => address.to_string(),
        Record::Aaaa(address) => address.to_string(),
        Record::Mx {
            preference,
            exchange,
        } => format!("{preference} {}", plain(exchange.as_bytes())),
        Record::Ptr(name) => plain(name.as_bytes()),
        Record::Txt(text) => format!("\"{}\"", plain(text)),
    }
}

fn plain(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets)
        .chars()
        .map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        })
        .collect()
}
