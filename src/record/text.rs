//! An explanation in words, made of its JSON: the same for a message that was handled and for one that is only described.

use crate::characters::is_hidden;
use serde_json::{Value, json};
use std::fmt::Write;

/// What an explanation may say of the client and its message, beside what has a section of its own.
const ABOUT: [(&str, &str); 22] = [
    ("id", "id"),
    ("time", "time"),
    ("via", "named by the proxy"),
    ("client_name", "its name by XCLIENT"),
    ("tls", "TLS"),
    ("certificate", "certificate"),
    ("user", "logged in as"),
    ("login", "logged in by XCLIENT as"),
    ("origin", "came from before"),
    ("origin_id", "its id there"),
    ("size", "size"),
    ("tags", "tagged"),
    ("tarpit", "slowed"),
    ("backend", "backend"),
    ("backend_tls", "TLS with it"),
    ("backend_said", "it said"),
    ("shadow", "the candidate's verdict"),
    ("shadow_late", "some of its questions had no answer in time"),
    ("end", "ended by"),
    ("why", "ended because"),
    ("refused", "refusals"),
    ("session_us", "session, us"),
];
/// What each stage of a message took.
const STAGES: [&str; 5] = [
    "envelope_us",
    "body_us",
    "verdict_and_connection_us",
    "backend_us",
    "total_us",
];

/// A table for readers.
#[must_use]
pub fn table(explanation: &Value) -> String {
    let mut out = format!("client {}", word(&explanation["client"]));
    if let Some(hello) = explanation["helo"].as_str() {
        let _ = write!(out, " ({})", plain(hello));
    }
    let _ = writeln!(out, " on listener {}", word(&explanation["listener"]));
    if let Some(sender) = explanation["from"].as_str() {
        let _ = writeln!(out, "from <{}>", plain(sender));
    }
    let about = ABOUT.iter().filter_map(|(key, name)| {
        let value = &explanation[*key];
        let said = !value.is_null() && value.as_u64() != Some(0);
        said.then(|| format!("{name}: {}\n", word(value)))
    });
    out.extend(about);
    for (key, title, row) in SECTIONS {
        if let Some(rows) = explanation[*key].as_array() {
            section(&mut out, title, rows.iter().map(row));
        }
    }
    let took = STAGES.iter().filter_map(|key| {
        let micros = explanation[*key].as_u64()?;
        Some(vec![
            key.trim_end_matches("_us").replace('_', " "),
            millis(micros),
        ])
    });
    let took: Vec<Vec<String>> = took.collect();
    if !took.is_empty() {
        section(&mut out, "stages", took.into_iter());
    }
    let _ = write!(out, "\nscore {}", word(&explanation["score"]));
    if let Some(micros) = explanation["took_us"].as_u64() {
        let _ = write!(out, ", {}", millis(micros));
    }
    let _ = writeln!(out, "\nverdict: {}", said(explanation));
    out
}

/// A key, the title of its section, and how one of its values is written.
type Section = (&'static str, &'static str, fn(&Value) -> Vec<String>);

const SECTIONS: &[Section] = &[
    ("asked", "asked", |asked| {
        let took = millis(asked["took_us"].as_u64().unwrap_or(0));
        let mut row = words(asked, &["type", "name", "answer"]);
        row.push(took);
        row
    }),
    ("found", "found", |found| {
        words(found, &["name", "result", "detail"])
    }),
    ("checks", "checks that matched", |check| {
        let shadow = match check["shadow"].as_bool() {
            Some(true) => " (shadow)",
            _ => "",
        };
        vec![
            word(&check["at"]),
            word(&check["check"]),
            format!("{}{shadow}", word(&check["does"])),
            format!("{:+}", check["score"].as_f64().unwrap_or(0.0)),
            format!("{} us", word(&check["took_us"])),
            words(check, &["detail", "read"])
                .join(" ")
                .trim()
                .to_string(),
        ]
    }),
    ("recipients", "recipients", |recipient| {
        vec![
            format!("<{}>", word(&recipient["recipient"])),
            said(recipient),
        ]
    }),
    ("refusals", "other refusals", |refusal| {
        let of = ["from", "helo", "argument"].map(|key| word(&refusal[key]));
        let reply = ["code", "status", "reply"].map(|key| word(&refusal[key]));
        let reply = reply.join(" ");
        let check = refusal["check"].as_str().unwrap_or("");
        let check = match check {
            "" => String::new(),
            check => format!(" ({check})"),
        };
        vec![
            word(&refusal["command"]),
            of.concat(),
            format!("{}{check}", reply.trim()),
        ]
    }),
];

/// The verdict, with the reply and the check that made it.
fn said(answer: &Value) -> String {
    let verdict = word(&answer["verdict"]);
    let Some(reply) = answer["reply"].as_str() else {
        return match answer["check"].as_str() {
            Some(check) => format!("{verdict} ({check})"),
            None => verdict,
        };
    };
    match answer["check"].as_str() {
        Some(check) => format!("{verdict}: {} ({check})", plain(reply)),
        None => format!("{verdict}: {}", plain(reply)),
    }
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

fn words(value: &Value, keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| word(&value[*key])).collect()
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        Value::Array(values) => values.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What others wrote, without what a terminal would obey.
fn plain(text: &str) -> String {
    let safe = |c: char| if is_hidden(c) { '?' } else { c };
    text.chars().map(safe).collect()
}

fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// A list of explanations in short, as the admin endpoint has it: how many are kept, and a line for each.
#[must_use]
pub fn list(value: &Value, key: &str) -> String {
    let mut out = format!("{}\n", summary(value));
    for entry in value[key].as_array().into_iter().flatten() {
        let all = BRIEF.iter().filter(|key| !entry[**key].is_null());
        let words: Vec<String> = all
            .map(|key| format!("{key}={}", word(&entry[*key])))
            .collect();
        let _ = writeln!(out, "{}", words.join("  "));
    }
    out
}

/// What a list tells of each.
const BRIEF: [&str; 9] = [
    "time",
    "id",
    "client",
    "from",
    "verdict",
    "reply",
    "check",
    "shadow",
    "shadow_late",
];

/// The short form of an explanation.
#[must_use]
pub fn brief(entry: &Value) -> Value {
    let mut short = json!({});
    for key in BRIEF {
        if !entry[key].is_null() {
            short[key] = entry[key].clone();
        }
    }
    short
}

/// How many are kept, since when.
#[must_use]
pub fn summary(kept: &Value) -> String {
    let missing = match kept["workers_without_answer"].as_u64() {
        Some(count) => format!("; {count} workers did not answer"),
        None => String::new(),
    };
    match (kept["kept"].as_u64(), kept["since"].as_str()) {
        (Some(count), Some(since)) if count > 0 => {
            format!(
                "{count} {}, since {since}, of {} at most{missing}",
                match count {
                    1 => "judgement is kept",
                    _ => "judgements are kept",
                },
                kept["most"]
            )
        }
        _ => format!(
            "no judgement is kept yet, of {} at most{missing}",
            kept["most"]
        ),
    }
}
