//! The control port: HTTP for people (`curl`) and for `gatepost-load run --sink-control`.
//!
//! On a thread and a runtime of its own: it answers also while every worker stands still. It has no password, so it
//! belongs on the loopback; what a web page made a browser send is refused.

use super::{behaviour::Changes, shared::Shared, summary::Summary};
use crate::stamp::RunId;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::{runtime, sync::oneshot};

/// Octets of a request's body.
const BODY_MAX: usize = 64 * 1024;
/// The longest stall that can be asked for at once: an hour.
const STALL_MAX_MS: u64 = 3_600_000;

const INDEX: &str = "\
gatepost-load sink
GET  /summary         counts, rates, latency
GET  /tally?run=HEX   what arrived of a run, by number
POST /reset           count from zero, forget all runs
GET  /behaviour       how it behaves
POST /behaviour       change that: JSON with the names and texts of the flags, {\"delay\": \"body=50ms\"}
POST /stall?ms=1000   read and answer nothing for so long
";

/// The running control port. Dropping it stops it.
pub(super) struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was printed where it happened.
            let _ = thread.join();
        }
    }
}

/// Binds and serves. Errors: those of binding, with the address.
pub(super) fn start(address: SocketAddr, shared: Arc<Shared>) -> io::Result<Server> {
    let listener = gatepost::http::bind("--control", address, "choose another")?;
    let address = listener.local_addr()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("sink-control".into())
        .spawn(move || runtime.block_on(serve(listener, shared, stopped)))?;
    Ok(Server {
        address,
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    let router = Router::new()
        .route("/", get(async || INDEX))
        .route("/summary", get(summary))
        .route("/tally", get(tally))
        .route("/reset", post(reset))
        .route("/behaviour", get(behaviour).post(change))
        .route("/stall", post(stall))
        .fallback(async || (StatusCode::NOT_FOUND, "No such page; see GET /\n"))
        .layer(middleware::from_fn(guard))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(shared);
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("gatepost-load: the control port ended: {error}"),
    };
    tokio::select! {
        _ = axum::serve(listener, router).into_future() => {}
        _ = stopped => {}
    }
}

/// A page on any site can make a browser on this machine POST to the loopback. A browser says so with `Origin`.
async fn guard(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        let why = "Not from a web page: this request has an Origin header\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    next.run(request).await
}

async fn summary(State(shared): State<Arc<Shared>>) -> Response {
    Json(Summary::of(&shared)).into_response()
}

#[derive(Deserialize)]
struct WhichRun {
    run: String,
}

async fn tally(State(shared): State<Arc<Shared>>, Query(which): Query<WhichRun>) -> Response {
    let Ok(run) = which.run.parse::<RunId>() else {
        let why = format!("`{}` is no run: 16 hex digits\n", which.run);
        return (StatusCode::BAD_REQUEST, why).into_response();
    };
    let found = shared.tallies().tally(run);
    match found {
        Some(tally) => Json(tally).into_response(),
        None => {
            let why = format!("Nothing of run {run} has arrived\n");
            (StatusCode::NOT_FOUND, why).into_response()
        }
    }
}

async fn reset(State(shared): State<Arc<Shared>>) -> Response {
    shared.reset();
    Json(Summary::of(&shared)).into_response()
}

async fn behaviour(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.behaviour()).into_response()
}

async fn change(State(shared): State<Arc<Shared>>, body: String) -> Response {
    match serde_json::from_str::<Changes>(&body) {
        Ok(changes) => Json(shared.change(changes)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

#[derive(Deserialize)]
struct Stall {
    ms: u64,
}

async fn stall(State(shared): State<Arc<Shared>>, Query(Stall { ms }): Query<Stall>) -> Response {
    if ms > STALL_MAX_MS {
        let why = format!("at most {STALL_MAX_MS} ms\n");
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    shared.stall(Duration::from_millis(ms));
    Json(serde_json::json!({ "ms": ms })).into_response()
}
