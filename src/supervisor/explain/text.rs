//! A report as JSON.

use super::{Described, Report};
use crate::{
    characters::is_hidden,
    dns::{Answer, Record},
    proxy::explain::Told,
};
use serde_json::{Value, json};

/// What programs read, and [`crate::record::text::table`] makes a table of.
pub(super) fn json(described: &Described<'_>, listener: &str, report: &Report) -> Value {
    let found = &report.explained;
    let told = |told: &Told| {
        let reply = told.verdict.refusal().map(ToString::to_string);
        json!({ "verdict": told.verdict.as_str(), "reply": reply, "check": told.check })
    };
    let mut whole = told(&found.told);
    whole["listener"] = json!(listener);
    whole["client"] = json!(described.client);
    whole["helo"] = json!(String::from_utf8_lossy(described.hello));
    whole["from"] = json!(described.sender);
    whole["score"] = json!(found.score);
    if !found.tags.is_empty() {
        whole["tags"] = json!(found.tags);
    }
    if found.slow {
        whole["tarpit"] = json!(true);
    }
    whole["took_us"] = json!(micros(report.took.as_micros()));
    let recipients = found.recipients.iter().map(|(recipient, answer)| {
        let mut answer = told(answer);
        answer["recipient"] = json!(recipient);
        answer
    });
    whole["recipients"] = recipients.collect();
    let checks = found.matches.iter().map(|hit| {
        let mut check = json!({
            "at": hit.at, "check": hit.check, "does": hit.what.as_str(), "score": hit.score,
            "shadow": hit.shadow, "detail": hit.detail, "took_us": hit.micros,
        });
        if let Some(read) = &hit.read {
            check["read"] = json!(read);
        }
        check
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
    whole
}

fn micros(micros: u128) -> u64 {
    u64::try_from(micros).unwrap_or(u64::MAX)
}

/// An answer in a few words. What others wrote is shown without control characters.
fn answer(answer: &Answer) -> String {
    let records = match answer {
        Answer::Found(records) => records,
        Answer::NoRecords => return "no such records".into(),
        Answer::NoName => return "no such name".into(),
        Answer::Unknown(why) => return why.as_str().into(),
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
        Record::Srv {
            priority,
            weight,
            port,
            target,
        } => format!("{priority} {weight} {port} {}", plain(target.as_bytes())),
    }
}

fn plain(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets)
        .chars()
        .map(
            |character| {
                if is_hidden(character) { '?' } else { character }
            },
        )
        .collect()
}
