//! Answers the authority's challenges by HTTP (http-01, RFC 8555 §8.3), and nothing else: whoever asks for another page
//! gets 404. It faces the internet, so heads, times and connections are few.

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Where a challenge's answer is asked for.
const PLACE: &str = "/.well-known/acme-challenge/";
/// Connections at once on an address; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// Octets of a request's head.
const HEAD_MAX: usize = 8 * 1024;
/// Until a request's head is whole.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection's life; an authority needs a second.
const LIFE: Duration = Duration::from_secs(20);
/// Pause after an accept that failed, most likely for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

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

/// Binds an address of `acme.listen`.
///
/// # Errors
/// Those of binding, in words that name the key and say what to do.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let port = address.port();
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("port {port} is taken; choose another, and have who has it pass on {PLACE}")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("{} is no address of this machine", address.ip())
            }
            io::ErrorKind::PermissionDenied => {
                format!("no permission for port {port}; ports below 1024 need CAP_NET_BIND_SERVICE")
            }
            _ => error.to_string(),
        };
        io::Error::new(
            error.kind(),
            format!("acme.listen = \"{address}\": {advice}"),
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves an address for ever.
///
/// # Errors
/// The listener can't be registered with the runtime.
pub async fn serve(listener: TcpListener, answers: Answers) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return Ok(()); // Never: the semaphore is not closed.
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let answers = answers.clone();
        tokio::spawn(async move {
            // What goes wrong with a connection is its peer's affair.
            let _ = timeout(LIFE, converse(stream, answers)).await;
            drop(permit);
        });
    }
}

async fn converse(stream: TcpStream, answers: Answers) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answer(&request, &answers)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        // A reset behind an answer is as good as an end.
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
            let long = get(&format!("/{}", "x".repeat(HEAD_MAX)));
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
