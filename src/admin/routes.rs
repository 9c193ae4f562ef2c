//! The pages: what is asked through which door, and what is answered.

use super::{
    collector::{Collector, Kind},
    explanations,
    rules::{Refusal, Rules},
    source::Status,
    users::{Asker, Users},
};
use crate::metrics::export::PROMETHEUS_TYPE;
use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
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

/// The answer to a user of this machine that may only look.
const OTHER_USER: &str = "Without a token only root and the user that Gatepost runs as may do this: use sudo, set \
    admin.token, or set admin.listen = \"unix:/run/gatepost/admin.sock\" and put the users that may do it into the group of \
    that socket\n";
/// The answer where too many connections wait for their users to be looked up.
const BUSY: &str = "Too many connections wait until it is known which user of this machine they are of: try again, set \
    admin.token, or set admin.listen = \"unix:/run/gatepost/admin.sock\"\n";

/// What `GET /` shows: the head, and the lines of each kind of page.
const HEAD: &str = concat!(
    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Gatepost</title>\n",
    "<h1>Gatepost ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<dl>\n",
    "<dt><a href=\"/metrics\">GET /metrics</a><dd>everything, in Prometheus' text format\n",
    "<dt><a href=\"/stages\">GET /stages</a><dd>exact percentiles of every stage, in microseconds\n",
    "<dt><a href=\"/health\">GET /health</a><dd>200 while every worker's loop runs\n",
    "<dt><a href=\"/ready\">GET /ready</a><dd>200 while messages can be delivered\n",
);
const CHANGES: &str = concat!(
    "<dt><a href=\"/shadow\">GET /shadow</a><dd>the latest messages that <code>shadow_config</code> would have treated otherwise\n",
    "<dt><a href=\"/explain\">GET /explain</a><dd>the latest judgements; <code>/explain/ID</code> says why, by the id of a log line\n",
    "<dt>POST /reload<dd>reads the configuration again\n",
    "<dt>POST /drain<dd>takes no new session, lets running messages finish, then ends\n",
);

/// What a socket of the endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `admin.listen` on a network address: all pages; changes need the token, or the right user of this machine.
    Control,
    /// `admin.listen` on a Unix socket: all pages, for its owner and group.
    Local,
    /// `admin.public`: pages that only show.
    Public,
}

/// The pages of a door.
pub fn router(collector: Arc<Collector>, door: Door) -> Router {
    router_for(collector, door, Arc::new(Users::new()))
}

/// The same, where the users of its connections are looked up so.
pub(super) fn router_for(collector: Arc<Collector>, door: Door, users: Arc<Users>) -> Router {
    let shown = match door {
        Door::Public => [HEAD, "</dl></html>\n"].concat(),
        Door::Control | Door::Local => [HEAD, CHANGES, "</dl></html>\n"].concat(),
    };
    let mut pages = Router::new()
        .route("/", get(async move || Html(shown)))
        .route("/metrics", get(metrics))
        .route("/stages", get(stages))
        .route("/health", get(health))
        .route("/ready", get(ready));
    if door != Door::Public {
        pages = pages
            .route("/explain", get(explanations::all))
            .route("/explain/{id}", get(explanations::one))
            .route("/shadow", get(explanations::shadow))
            .route("/reload", post(reload))
            .route("/drain", post(drain));
    }
    let guarding = Arc::clone(&collector);
    pages
        .fallback(async || (StatusCode::NOT_FOUND, "No such page; see GET /\n"))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let (rules, users) = (guarding.source().rules(), Arc::clone(&users));
            guard((rules, users), door, request, next)
        }))
        .with_state(collector)
}

/// Bounds the time of a request, refuses what a web page made a browser send, forbids caching.
async fn guard(
    (rules, users): (Arc<Rules>, Arc<Users>),
    door: Door,
    request: Request,
    next: Next,
) -> Response {
    if let Some(refused) = refusal(&rules, door, &request) {
        return refused;
    }
    let answer = async {
        if door == Door::Control && !rules.has_token() && is_guarded(&request) {
            match users.asker(request.extensions().get().cloned()).await {
                Asker::Operator => {}
                Asker::Other => return last_answer(StatusCode::FORBIDDEN, OTHER_USER),
                Asker::Busy => return last_answer(StatusCode::SERVICE_UNAVAILABLE, BUSY),
            }
        }
        next.run(request).await
    };
    let Ok(mut response) = timeout(PATIENCE, answer).await else {
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

/// An answer after which the connection is closed, so that its place is free for others.
fn last_answer(status: StatusCode, why: &'static str) -> Response {
    let close = [(header::CONNECTION, "close")];
    (status, close, why).into_response()
}

/// The answer to a request that is not let in.
fn refusal(rules: &Rules, door: Door, request: &Request) -> Option<Response> {
    let headers = request.headers();
    // No browser opens a Unix socket.
    if door != Door::Local
        && let Err(name) = rules.host_is_ours(request.uri(), headers)
    {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(255).collect();
        let why = format!(
            "This endpoint doesn't answer to the name \"{shown}\": use an IP address or localhost, or add the name \
             to admin.hosts\n"
        );
        return Some((StatusCode::FORBIDDEN, why).into_response());
    }
    if !is_guarded(request) {
        return None;
    }
    let why = match rules.allows_change(headers, door != Door::Local) {
        Ok(()) => return None,
        Err(Refusal::Token) => {
            "This needs the token of admin.token, as `Authorization: Bearer TOKEN`\n"
        }
        Err(Refusal::Origin) => {
            let why = "Not from another site's page: its Origin is not this endpoint\n";
            return Some((StatusCode::FORBIDDEN, why).into_response());
        }
    };
    let asked = [(header::WWW_AUTHENTICATE, "Bearer")];
    Some((StatusCode::UNAUTHORIZED, asked, why).into_response())
}

/// Whether a request changes something, or is for what tells of clients.
fn is_guarded(request: &Request) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    !reads || tells_of_clients(request.uri().path())
}

/// Whether a page has addresses of clients and senders in it: it is for those alone that may change something.
fn tells_of_clients(path: &str) -> bool {
    path.starts_with("/explain") || path == "/shadow"
}

async fn metrics(State(collector): State<Arc<Collector>>) -> Response {
    page(&collector, Kind::Metrics, PROMETHEUS_TYPE).await
}

async fn page(collector: &Arc<Collector>, kind: Kind, content_type: &'static str) -> Response {
    match collector.page(kind).await {
        Some(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What is asked of `/stages`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    /// `histograms=1`: the whole histograms too.
    histograms: u8,
}

async fn stages(State(collector): State<Arc<Collector>>, Query(wanted): Query<Wanted>) -> Response {
    let kind = match wanted.histograms {
        0 => Kind::Stages,
        _ => Kind::Histograms,
    };
    page(&collector, kind, "application/json").await
}

async fn health(State(collector): State<Arc<Collector>>) -> (StatusCode, Json<Value>) {
    let stalled = collector.stalled().await;
    let (status, word) = if stalled.is_empty() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stalled")
    };
    let answer = json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": collector.uptime().as_secs(),
        "workers": collector.source().workers(),
        "stalled": stalled,
    });
    (status, Json(answer))
}

async fn ready(State(collector): State<Arc<Collector>>) -> (StatusCode, Json<Value>) {
    let status = collector.source().status();
    let code = match status.unready() {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(readiness(&status)))
}

/// What `/ready` says: the answer in a word, the reason in a sentence, and each pool with its backends.
fn readiness(status: &Status) -> Value {
    let why = status.unready();
    let pools = status.pools.iter().map(|pool| {
        json!({
            "name": pool.name,
            "ready": pool.usable() > 0,
            "usable": pool.usable(),
            "backends": pool.backends,
        })
    });
    json!({
        "ready": why.is_none(),
        "why": why,
        "draining": status.draining,
        "starting": status.starting,
        "pools": pools.collect::<Vec<_>>(),
    })
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
