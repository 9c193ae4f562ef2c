//! Real HTTP over real sockets.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::http::Listener;
use crate::metrics::{Counter, Recorder, Registry, Scope, Snapshot, Stage};
use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::serialization::Deserializer;
use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

/// Two workers: 0 answers, 1 does when `stalled` is false.
#[derive(Default)]
pub(super) struct Fake {
    snapshots: Mutex<[Snapshot; 2]>,
    /// How often the first one was asked for.
    asked: AtomicU32,
    pub(super) stalled: Mutex<bool>,
    status: Mutex<Status>,
    reload: Mutex<Option<String>>,
    pub(super) rules: Mutex<Arc<Rules>>,
}

impl AdminSource for Fake {
    fn workers(&self) -> usize {
        2
    }
    fn snapshot(&self, worker: usize) -> Answer<Option<Snapshot>> {
        if worker == 1 && *self.stalled.lock().unwrap() {
            return Box::pin(std::future::pending());
        }
        self.asked.fetch_add(u32::from(worker == 0), Relaxed);
        let snapshot = self.snapshots.lock().unwrap()[worker].clone();
        Box::pin(async { Some(snapshot) })
    }
    fn judgements(&self, worker: usize, wanted: &Wanted) -> Answer<Option<Judgements>> {
        let stalled = worker == 1 && *self.stalled.lock().unwrap();
        let known = r#"{"id":"0123456789ABC","time":"2026-11-27T12:00:00Z","client":"192.0.2.7","listener":"mx",
            "from":"<b>@a.example","verdict":"reject","reply":"550 5.7.1 No","check":"rule.no","score":0}"#;
        let is_known = match wanted {
            Wanted::Id(id) => worker == 0 && id == "0123456789ABC",
            Wanted::Latest(_) | Wanted::Differences(_) => worker == 0,
        };
        let judgements = Judgements {
            texts: is_known.then(|| known.into()).into_iter().collect(),
            count: 3,
            max: 5,
            since: Some(1_764_244_800_000_000 + worker as u64),
            missing: 0,
        };
        Box::pin(async move { (!stalled).then_some(judgements) })
    }
    fn status(&self) -> Status {
        self.status.lock().unwrap().clone()
    }
    fn rules(&self) -> Arc<Rules> {
        self.rules.lock().unwrap().clone()
    }
    fn reload(&self) -> Answer<Result<String, String>> {
        let error = self.reload.lock().unwrap().clone();
        Box::pin(async { error.map_or(Ok("applied".to_owned()), Err) })
    }
    fn drain(&self) -> Answer<Result<String, String>> {
        self.status.lock().unwrap().draining = true;
        Box::pin(async { Ok("draining".to_owned()) })
    }
}

fn pool(name: &str, usable: bool) -> PoolStatus {
    PoolStatus {
        name: name.to_owned(),
        backends: vec![BackendStatus {
            address: "10.0.0.1:25".to_owned(),
            usable,
            weight: 1,
            why: if usable { "" } else { "connection refused" }.to_owned(),
            question_refused: String::new(),
        }],
    }
}

/// Runs `work` against a server on a free port; its arguments are the address and the fake.
pub(super) fn with_server<F: Future<Output = ()>>(
    work: impl FnOnce(SocketAddr, Arc<Fake>, Arc<Registry>) -> F,
) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    with_door(listener.into(), Door::Control, |fake, registry| {
        work(address, fake, registry)
    });
}

/// The same for any socket.
pub(super) fn with_door<F: Future<Output = ()>>(
    listener: Listener,
    door: Door,
    work: impl FnOnce(Arc<Fake>, Arc<Registry>) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (fake, registry) = (Arc::new(Fake::default()), Registry::new());
        let collector = Collector::new(fake.clone(), registry.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, door, collector, async {
            let _ = stopped.await;
        }));
        work(fake, registry).await;
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    });
}

/// Status and body.
pub(super) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    more: &str,
) -> (u16, String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    ask_over(stream, method, path, &format!("Host: {address}\r\n{more}")).await
}

pub(super) async fn ask_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    more: &str,
) -> (u16, String, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = ask(address, "GET", path, "").await;
    (status, body)
}

fn recorded(recorder: &Recorder) -> Snapshot {
    recorder.record(Stage::Banner, Scope::NONE, 40);
    recorder.count(Counter::Panics, Scope::NONE, 1);
    recorder.snapshot()
}

/// A histogram as the histogram log and `/stages?histograms=1` hold it.
fn histogram(text: &str) -> hdrhistogram::Histogram<u64> {
    let octets = STANDARD.decode(text).unwrap();
    Deserializer::new().deserialize(&mut &octets[..]).unwrap()
}

#[test]
fn metrics_of_all_workers_are_merged() {
    with_server(async |address, fake, registry| {
        let workers = [registry.worker(), registry.worker()];
        *fake.snapshots.lock().unwrap() = [recorded(&workers[0]), recorded(&workers[1])];
        let (status, head, body) = ask(address, "GET", "/metrics", "").await;
        assert_eq!(status, 200);
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        assert!(
            body.contains("\ngatepost_stage_seconds_count{stage=\"banner\"} 2\n"),
            "{body}"
        );
        assert!(body.contains("\ngatepost_panics_total 2\n"));
        assert!(body.contains("\ngatepost_worker_stalled{worker=\"1\"} 0\n"));
        let (_, body) = get(address, "/stages").await;
        let stages: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(stages["stages"][0]["stage"], "banner");
        assert_eq!(stages["stages"][0]["p99.99"], 40);
        assert!(stages["stages"][0].get("histogram").is_none());
        let (_, body) = get(address, "/stages?histograms=1").await;
        let stages: serde_json::Value = serde_json::from_str(&body).unwrap();
        for holder in [&stages["stages"][0], &stages["stages"][0]["scopes"][0]] {
            let histogram = histogram(holder["histogram"].as_str().unwrap());
            assert_eq!((histogram.len(), histogram.max()), (2, 40));
        }
    });
}

#[test]
fn a_stalled_worker_is_told_and_keeps_what_it_said() {
    with_server(async |address, fake, registry| {
        let workers = [registry.worker(), registry.worker()];
        *fake.snapshots.lock().unwrap() = [recorded(&workers[0]), recorded(&workers[1])];
        assert_eq!(get(address, "/health").await.0, 200);
        get(address, "/metrics").await;
        *fake.stalled.lock().unwrap() = true;
        let (_, body) = get(address, "/metrics").await;
        assert!(
            body.contains("\ngatepost_worker_stalled{worker=\"1\"} 1\n"),
            "{body}"
        );
        assert!(body.contains("\ngatepost_stage_seconds_count{stage=\"banner\"} 2\n"));
        let (status, body) = get(address, "/health").await;
        assert_eq!(status, 503);
        assert!(body.contains("\"stalled\":[1]"), "{body}");
    });
}

#[test]
fn ready_needs_a_usable_backend_in_each_pool_and_no_drain() {
    with_server(async |address, fake, _| {
        assert_eq!(get(address, "/ready").await.0, 503);
        fake.status.lock().unwrap().pools = vec![pool("a", true), pool("b", false)];
        let (status, body) = get(address, "/ready").await;
        assert_eq!(status, 503);
        let why = "no usable backend in pool b (10.0.0.1:25: connection refused)";
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["why"], why);
        assert_eq!(answer["pools"][0]["usable"], 1);
        assert_eq!(answer["pools"][1]["ready"], false);
        assert_eq!(
            answer["pools"][1]["backends"][0]["why"],
            "connection refused"
        );
        fake.status.lock().unwrap().pools = vec![pool("a", true)];
        assert_eq!(get(address, "/ready").await.0, 200);
        let (status, _, _) = ask(address, "POST", "/drain", "Content-Length: 0\r\n").await;
        assert_eq!(status, 202);
        let (status, body) = get(address, "/ready").await;
        assert_eq!(status, 503);
        assert!(body.contains("\"why\":\"draining\""), "{body}");
    });
}

#[test]
fn a_reload_says_what_happened() {
    with_server(async |address, fake, _| {
        let (status, _, body) = ask(address, "POST", "/reload", "").await;
        assert_eq!((status, body.contains("applied")), (200, true));
        *fake.reload.lock().unwrap() = Some("line 3: unknown key".to_owned());
        let (status, _, body) = ask(address, "POST", "/reload", "").await;
        assert_eq!((status, body.contains("line 3: unknown key")), (422, true));
    });
}

#[test]
fn a_web_page_can_not_drain_and_a_get_changes_nothing() {
    with_server(async |address, fake, _| {
        let (status, ..) = ask(address, "POST", "/drain", "Origin: http://evil.example\r\n").await;
        assert_eq!(status, 403);
        assert_eq!(get(address, "/drain").await.0, 405);
        assert!(!fake.status().draining);
        assert_eq!(get(address, "/nothing").await.0, 404);
        assert!(get(address, "/").await.1.contains("/metrics"));
    });
}

#[test]
fn a_huge_head_is_refused() {
    with_server(async |address, _, _| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n").await;
        let _ = stream.write_all(&[b'a'; 64 * 1024]).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await; // Either 431, 400 or a reset: never a page.
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    });
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let mut idle = None;
    with_server(async |address, _, _| {
        idle = Some(std::net::TcpStream::connect(address).unwrap());
        assert_eq!(get(address, "/").await.0, 200);
    });
    let left = io::Read::read(&mut idle.unwrap(), &mut [0; 1]);
    assert!(!matches!(left, Ok(1..)), "closed without a word: {left:?}");
}

#[test]
fn a_request_under_a_name_of_another_is_refused() {
    with_server(async |address, fake, _| {
        let ask_as = async |method: &str, path: &str, host: &str| {
            let stream = TcpStream::connect(address).await.unwrap();
            ask_over(stream, method, path, &format!("Host: {host}\r\n")).await
        };
        for path in ["/metrics", "/stages", "/ready", "/"] {
            let (status, _, body) = ask_as("GET", path, "rebound.example:9025").await;
            assert_eq!(status, 403, "{path}");
            assert!(body.contains("admin.hosts"), "{body}");
        }
        assert_eq!(ask_as("POST", "/drain", "rebound.example").await.0, 403);
        assert!(!fake.status().draining);
        assert_eq!(ask_as("GET", "/metrics", "localhost:9025").await.0, 200);
        let mut config = crate::config::Config::default();
        config.admin.hosts = vec!["rebound.example".into()];
        *fake.rules.lock().unwrap() = Arc::new(Rules::build(&config).unwrap());
        assert_eq!(ask_as("GET", "/metrics", "rebound.example").await.0, 200);
    });
}

#[test]
fn a_change_needs_the_token_where_there_is_one() {
    with_server(async |address, fake, _| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = crate::config::Config::default();
        config.admin.token.file = folder.path().join("token");
        assert!(Rules::build(&config).is_err(), "no such file");
        std::fs::write(&config.admin.token.file, "s3cret\n").unwrap();
        *fake.rules.lock().unwrap() = Arc::new(Rules::build(&config).unwrap());
        let (status, head, _) = ask(address, "POST", "/drain", "").await;
        assert_eq!(status, 401);
        assert!(head.contains("www-authenticate: bearer"), "{head}");
        assert!(!fake.status().draining);
        assert_eq!(get(address, "/metrics").await.0, 200, "shown without it");
        let shown = "Authorization: Bearer s3cret\r\n";
        assert_eq!(ask(address, "POST", "/drain", shown).await.0, 202);
    });
}

#[test]
fn others_see_what_is_measured_and_change_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    with_door(listener.into(), Door::Public, async |fake, _| {
        for path in ["/metrics", "/stages", "/health"] {
            assert_eq!(get(address, path).await.0, 200, "{path}");
        }
        assert_eq!(get(address, "/ready").await.0, 503, "no pool yet");
        for path in ["/drain", "/reload"] {
            assert_eq!(ask(address, "POST", path, "").await.0, 404, "{path}");
        }
        assert!(!get(address, "/").await.1.contains("/drain"));
        assert!(!fake.status().draining);
    });
}

#[test]
fn a_unix_socket_serves_its_owner_and_replaces_one_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let admin = crate::config::Admin {
        listen: format!("unix:{}", path.display()).parse().unwrap(),
        ..crate::config::Admin::default()
    };
    let place = places(&admin).pop().unwrap();
    drop(place.bind(None).unwrap());
    let (door, listener) = (place.door(), place.bind(None).unwrap());
    assert_eq!(door, Door::Local);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let error = place.bind(None).unwrap_err().to_string();
    assert!(error.contains("is another gatepost running"), "{error}");
    with_door(listener, door, async |fake, _| {
        let connect = async || tokio::net::UnixStream::connect(&path).await.unwrap();
        let (status, ..) = ask_over(connect().await, "GET", "/metrics", "Host: any\r\n").await;
        assert_eq!(status, 200);
        let (status, ..) = ask_over(connect().await, "POST", "/drain", "Host: any\r\n").await;
        assert_eq!(status, 202);
        assert!(fake.status().draining);
    });
}

fn bind_at(address: &str) -> io::Result<Listener> {
    let admin = crate::config::Admin {
        listen: address.parse().unwrap(),
        ..crate::config::Admin::default()
    };
    places(&admin).pop().unwrap().bind(None)
}

#[test]
fn a_taken_port_is_told_with_the_key_and_advice() {
    let first = bind_at("127.0.0.1:0").unwrap();
    let error = bind_at(&first.to_string()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(
        error.to_string().starts_with("admin.listen = \"127.0.0.1:"),
        "{error}"
    );
    assert!(
        error.to_string().contains("is another gatepost running"),
        "{error}"
    );
    let error = bind_at("192.0.2.1:9025").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("192.0.2.1 is no address of this machine"),
        "{error}"
    );
}

#[test]
fn an_address_that_others_reach_is_warned_of() {
    for (address, warned) in [
        ("127.0.0.1:1", false),
        ("[::1]:1", false),
        ("[::ffff:127.0.0.1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("192.0.2.1:1", true),
    ] {
        assert_eq!(
            exposure(address.parse().unwrap(), false).is_some(),
            warned,
            "{address}"
        );
        assert_eq!(exposure(address.parse().unwrap(), true), None, "a token");
    }
}

#[test]
fn the_histogram_log_is_written_at_its_interval_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hlog");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (fake, registry) = (Arc::new(Fake::default()), Registry::new());
        let worker = registry.worker();
        fake.snapshots.lock().unwrap()[0] = recorded(&worker);
        let collector = Collector::new(fake.clone(), registry);
        let log = Histograms::new(&path);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let panics = |error: io::Error| panic!("{error}");
        let mut run = pin!(log.run(collector, Duration::from_millis(1), stopped, panics));
        let text = || std::fs::read_to_string(&path).unwrap_or_default();
        while !text().contains("Tag=banner,") {
            let _ = tokio::time::timeout(Duration::from_millis(20), run.as_mut()).await;
        }
        fake.snapshots.lock().unwrap()[0] = recorded(&worker);
        stop.send(()).unwrap();
        run.await;
        assert_eq!(text().matches("Tag=banner,").count(), 2);
    });
}

#[test]
fn a_flood_of_requests_asks_the_workers_once_a_second() {
    with_server(async |address, fake, _| {
        let start = Instant::now();
        for path in ["/metrics", "/stages", "/stages?histograms=1"] {
            for _ in 0..50 {
                let (status, _, body) = ask(address, "GET", path, "").await;
                assert_eq!((status, body.is_empty()), (200, false), "{path}");
            }
        }
        let seconds = u32::try_from(start.elapsed().as_secs()).unwrap() + 1;
        let asked = fake.asked.load(Relaxed);
        assert!(asked <= 3 * (pages::BURST + seconds), "{asked}");
    });
}
