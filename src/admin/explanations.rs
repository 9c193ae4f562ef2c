//! `/explain`, `/explain/ID` and `/shadow`: what the workers keep of their latest judgements.

use super::{
    collector::Collector,
    source::{Judgements, Wanted},
};
use crate::record::text;
use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Explanations that a list names.
pub const LISTED_MAX: usize = 100;

/// What an answer is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    Html,
}

impl Form {
    /// What the client would rather read: JSON, unless it names text first.
    fn of(headers: &HeaderMap) -> Form {
        let accept = headers.get(header::ACCEPT);
        let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or("");
        let kinds = accept
            .split(',')
            .map(|kind| kind.split(';').next().unwrap_or("").trim());
        for kind in kinds {
            match kind {
                "text/html" | "application/xhtml+xml" => return Form::Html,
                "text/plain" | "text/*" => return Form::Text,
                "application/json" | "*/*" => return Form::Json,
                _ => {}
            }
        }
        Form::Json
    }

    /// The answer: `text` is how it reads.
    fn answer(
        self,
        status: StatusCode,
        value: Value,
        text: impl FnOnce(&Value) -> String,
    ) -> Response {
        match self {
            Form::Json => {
                let json = [(header::CONTENT_TYPE, "application/json")];
                (status, json, format!("{value:#}\n")).into_response()
            }
            Form::Text => (status, text(&value)).into_response(),
            Form::Html => {
                let mut page = String::from(
                    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Gatepost</title>\n<pre>\n",
                );
                escape(&text(&value), &mut page);
                page.push_str("</pre></html>\n");
                (status, Html(page)).into_response()
            }
        }
    }
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
}

/// One explanation, or what is kept instead.
pub(super) async fn one(
    State(collector): State<Arc<Collector>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let form = Form::of(&headers);
    let found = collector
        .judgements(&Wanted::Id(id.to_ascii_uppercase()))
        .await;
    if let Some(explanation) = found.texts.first().and_then(|text| read(text)) {
        return form.answer(StatusCode::OK, explanation, text::table);
    }
    let kept = kept(&found);
    let shown: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
    let why = match found.count {
        0 if found.max == 0 => {
            format!("{shown}: no explanation is kept (`admin.explanations = 0`)")
        }
        _ => format!("{shown} is not known; {}", text::summary(&kept)),
    };
    let mut value = kept;
    value["error"] = json!(why);
    form.answer(StatusCode::NOT_FOUND, value, |value| {
        format!("{}\n", value["error"].as_str().unwrap_or_default())
    })
}

/// How much is kept, and the latest in short.
pub(super) async fn all(State(collector): State<Arc<Collector>>, headers: HeaderMap) -> Response {
    let found = collector.judgements(&Wanted::Latest(LISTED_MAX)).await;
    list(&found, Form::of(&headers), "latest")
}

/// The latest messages that the candidate's policy would have treated otherwise.
pub(super) async fn shadow(
    State(collector): State<Arc<Collector>>,
    headers: HeaderMap,
) -> Response {
    let found = collector.judgements(&Wanted::Differences(LISTED_MAX)).await;
    list(&found, Form::of(&headers), "differences")
}

fn list(found: &Judgements, form: Form, key: &'static str) -> Response {
    let mut entries: Vec<Value> = found.texts.iter().filter_map(|text| read(text)).collect();
    // Of several workers: by their time, which is written so that it sorts.
    entries.sort_by(|a, b| b["time"].as_str().cmp(&a["time"].as_str()));
    entries.truncate(LISTED_MAX);
    let entries: Vec<Value> = entries.iter().map(text::brief).collect();
    let mut value = kept(found);
    value[key] = json!(entries);
    form.answer(StatusCode::OK, value, |value| text::list(value, key))
}

fn kept(found: &Judgements) -> Value {
    let since = found.since.map(|micros| {
        let moment = jiff::Timestamp::from_microsecond(i64::try_from(micros).unwrap_or(0));
        format!("{:.0}", moment.unwrap_or_default())
    });
    let mut value = json!({ "kept": found.count, "since": since, "most": found.max });
    if found.missing > 0 {
        value["workers_without_answer"] = json!(found.missing);
    }
    value
}

fn read(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_browser_reads_html_and_a_program_json() {
        for (accept, form) in [
            (None, Form::Json),
            (Some("*/*"), Form::Json),
            (
                Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
                Form::Html,
            ),
            (Some("text/plain"), Form::Text),
            (Some("image/png, application/json"), Form::Json),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(Form::of(&headers), form, "{accept:?}");
        }
    }
}
