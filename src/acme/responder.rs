//! Answers the authority's challenges by HTTP (http-01, RFC 8555 §8.3), and nothing else: a request for any other page
//! gets 404.

use crate::{
    config,
    http::{self, Limits},
    log::say,
};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    service::service_fn,
};
use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// The pause between two tries to bind an address.
const AGAIN: Duration = Duration::from_secs(1);
/// Where a challenge's answer is asked for.
const PLACE: &str = "/.well-known/acme-challenge/";
/// It faces the internet, and an authority needs one short connection from each of a few places.
const LIMITS: Limits = Limits {
    connections: 32,
    per_client: 8,
    head: 8 * 1024,
    head_time: Duration::from_secs(5),
    life: Duration::from_secs(10),
    keep_alive: false,
};

/// The answers to the challenges of the order under way, by token.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<HashMap<String, String>>>);

/// An answer that is given as long as this is kept.
#[derive(Debug)]
pub struct Given {
    answers: Answers,
    token: String,
}

impl Answers {
    /// Answers `token` with `text` from now on.
    #[must_use]
    pub fn give(&self, token: &str, text: &str) -> Given {
        let token = token.to_string();
        self.all().insert(token.clone(), text.to_string());
        let answers = self.clone();
        Given { answers, token }
    }

    fn get(&self, token: &str) -> Option<String> {
        self.all().get(token).cloned()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        // A panic while a token was put in leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.answers.all().remove(&self.token);
    }
}

/// The sockets that challenges are answered on. Mail doesn't wait for them: an address that can't be bound at the start is tried
/// again until it can.
#[derive(Debug, Default)]
pub struct Challenges {
    open: Vec<TcpListener>,
    /// Those that could not be bound, each with the reason.
    missing: Vec<(SocketAddr, String)>,
}

impl Challenges {
    /// Binds the addresses of `acme.listen`, where ACME is wanted. Ports below 1024 are root's. What can't be bound is told.
    #[must_use]
    pub fn bind(settings: &config::Acme) -> Challenges {
        let mut challenges = Challenges::default();
        for address in settings.listen.iter().filter(|_| settings.is_on()) {
            match bind(*address) {
                Ok(listener) => challenges.open.push(listener),
                Err(why) => {
                    say!(
                        Error,
                        "{why}; mail is served, but no certificate can be ordered through it, and it is tried again each second"
                    );
                    challenges.missing.push((*address, why.to_string()));
                }
            }
        }
        challenges
    }

    /// The ports that are still to be bound.
    pub fn missing_ports(&self) -> impl Iterator<Item = u16> {
        self.missing.iter().map(|(address, _)| address.port())
    }

    /// Answers, in tasks that go on for ever.
    pub fn serve(self, answers: &Answers, tasks: &mut JoinSet<()>) {
        for listener in self.open {
            tasks.spawn(answered(listener, answers.clone()));
        }
        for (address, why) in self.missing {
            let answers = answers.clone();
            tasks.spawn(async move {
                let listener = had(address, why).await;
                say!(Info, "acme: challenges are answered on {address}");
                answered(listener, answers).await;
            });
        }
    }
}

async fn answered(listener: TcpListener, answers: Answers) {
    if let Err(why) = serve(listener, answers).await {
        say!(Error, "acme: challenges can't be answered: {why}");
    }
}

/// The socket, once it can be bound. A new reason is told.
async fn had(address: SocketAddr, why: String) -> TcpListener {
    let mut told = why;
    loop {
        sleep(AGAIN).await;
        match bind(address) {
            Ok(listener) => return listener,
            Err(why) => {
                let why = why.to_string();
                if why != told {
                    say!(Error, "{why}; it is tried again each second");
                    told = why;
                }
            }
        }
    }
}

/// Binds an address of `acme.listen`.
///
/// # Errors
/// Those of binding, in words that name the key and say what to do.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let instead = format!("choose another, and have the server on that port forward {PLACE} to it");
    http::bind("acme.listen", address, &instead)
}

/// Serves an address for ever.
///
/// # Errors
/// The listener can't be registered with the runtime.
async fn serve(listener: TcpListener, answers: Answers) -> io::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &answers);
        async move { Ok(answer) }
    });
    http::serve(listener, LIMITS, service, std::future::pending()).await
}

fn answer(request: &Request<Incoming>, answers: &Answers) -> Response<Full<Bytes>> {
    let asked = matches!(*request.method(), Method::GET | Method::HEAD);
    let token = request.uri().path().strip_prefix(PLACE).filter(|_| asked);
    let text = token.and_then(|token| answers.get(token));
    let status = match text {
        Some(_) => StatusCode::OK,
        None => StatusCode::NOT_FOUND,
    };
    let body = text.unwrap_or_else(|| "Only ACME challenges are answered here\n".into());
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        // A reset after an answer is as good as an end.
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    #[test]
    fn answers_its_challenges_and_nothing_else() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
            let address = listener.local_addr().expect("bound");
            let answers = Answers::default();
            tokio::spawn(serve(listener, answers.clone()));
            let given = answers.give("t0k", "t0k.thumb");
            let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: mx.example.net\r\n\r\n");
            let found = ask(address, &get(&format!("{PLACE}t0k"))).await;
            assert!(found.starts_with("HTTP/1.1 200 "), "{found}");
            assert!(found.ends_with("\r\n\r\nt0k.thumb"), "{found}");
            let others = [
                get("/"),
                get(PLACE),
                get(&format!("{PLACE}t0k/..")),
                get(&format!("{PLACE}T0K")),
                format!("POST {PLACE}t0k HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
            ];
            for request in others {
                let found = ask(address, &request).await;
                assert!(found.starts_with("HTTP/1.1 404 "), "{request}{found}");
                assert!(!found.contains("thumb"), "{found}");
            }
            let long = get(&format!("/{}", "x".repeat(LIMITS.head)));
            let found = ask(address, &long).await;
            assert!(!found.starts_with("HTTP/1.1 200 "), "{found}");
            drop(given);
            let found = ask(address, &get(&format!("{PLACE}t0k"))).await;
            assert!(found.starts_with("HTTP/1.1 404 "), "{found}");
        });
    }

    #[test]
    fn a_taken_port_is_told() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
        let address = first.local_addr().expect("bound");
        let told = bind(address).expect_err("it is taken").to_string();
        assert!(
            told.contains("acme.listen = ") && told.contains(PLACE),
            "{told}"
        );
    }
}
