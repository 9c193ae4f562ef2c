//! The pages: what is asked by whom, and what is answered.

use super::collector::Collector;
use crate::metrics::{
    Process,
    export::{self, PROMETHEUS_TYPE},
};
use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Longest wait for an answer, that of a reload included.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `GET /` shows.
const INDEX: &str = concat!(
    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Gatepost</title>\n",
    "<h1>Gatepost ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<dl>\n",
    "<dt><a href=\"/metrics\">GET /metrics</a><dd>everything, in Prometheus' text format\n",
    "<dt><a href=\"/stages\">GET /stages</a><dd>exact percentiles of every stage, in microseconds\n",
    "<dt><a href=\"/health\">GET /health</a><dd>200 while every worker's loop runs\n",
    "<dt><a href=\"/ready\">GET /ready</a><dd>200 while messages can be delivered\n",
    "<dt>POST /reload<dd>reads the configuration again\n",
    "<dt>POST /drain<dd>takes no new session, lets running messages finish, then ends\n",
    "</dl></html>\n",
);

/// All pages.
pub fn router(collector: Arc<Collector>) -> Router {
    Router::new()
        .route("/", get(async || Html(INDEX)))
        .route("/metrics", get(metrics))
        .route("/stages", get(stages))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/reload", post(reload))
        .route("/drain", post(drain))
        .fallback(async || (StatusCode::NOT_FOUND, "No such page; see GET /\n"))
        .layer(middleware::from_fn(guard))
        .with_state(collector)
}

/// Bounds the time of a request, refuses what a web page made a browser send, forbids caching.
async fn guard(request: Request, next: Next) -> Response {
    // A page on any site can make a browser on this machine POST to the loopback. A browser says so with
    // `Origin`; curl sends none.
    if request.method() != "GET" && request.headers().contains_key(header::ORIGIN) {
        let why = "Not from a web page: this request has an Origin header\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    let Ok(mut response) = timeout(PATIENCE, next.run(request)).await else {
        return (StatusCode::GATEWAY_TIMEOUT, "No answer in time\n").into_response();
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

async fn metrics(State(collector): State<Arc<Collector>>) -> Response {
    let text = export::prometheus(&collector.view().await, &Process::read());
    ([(header::CONTENT_TYPE, PROMETHEUS_TYPE)], text).into_response()
}

/// What is asked of `/stages`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    /// `histograms=1`: the whole histograms too.
    histograms: u8,
}

async fn stages(
    State(collector): State<Arc<Collector>>,
    Query(wanted): Query<Wanted>,
) -> Json<Value> {
    Json(export::stages_json(
        &collector.view().await,
        wanted.histograms > 0,
    ))
}

async fn health(State(collector): State<Arc<Collector>>) -> (StatusCode, Json<Value>) {
    let stalled = collector.stalled().await;
    let (status, word) = if stalled.is_empty() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stalled")
    };
    let workers = collector.source().workers();
    (
        status,
        Json(json!({"status": word, "workers": workers, "stalled": stalled})),
    )
}

async fn ready(State(collector): State<Arc<Collector>>) -> (StatusCode, Json<Value>) {
    let status = collector.source().status();
    let why = status.unready();
    let code = match why {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let answer = json!({
        "ready": why.is_none(),
        "why": why,
        "draining": status.draining,
        "starting": status.starting,
        "pools": status.pools,
    });
    (code, Json(answer))
}

async fn reload(State(collector): State<Arc<Collector>>) -> (StatusCode, Json<Value>) {
    told(collector.source().reload().await, StatusCode::OK)
}

async fn drain(State(collector): State<Arc<Collector>>) -> (StatusCode, Json<Value>) {
    told(collector.source().drain().await, StatusCode::ACCEPTED)
}

fn told(outcome: Result<String, String>, done: StatusCode) -> (StatusCode, Json<Value>) {
    match outcome {
        Ok(message) => (done, Json(json!({"ok": true, "message": message}))),
        Err(message) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            Json(json!({"ok": false, "message": message})),
        ),
    }
}
