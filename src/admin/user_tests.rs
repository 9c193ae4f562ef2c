//! Requests of several users of this machine.

#![allow(clippy::unwrap_used)]

use super::{
    AdminSource, Collector, Door,
    routes::router_for,
    server::LIMITS,
    tests::{Fake, ask_over, with_server},
    users::Users,
};
use crate::{http, metrics::Registry};
use hyper_util::service::TowerToHyperService;
use nix::unistd::{Uid, geteuid, setfsuid};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::yield_now,
};

const GUARDED: [(&str, &str); 5] = [
    ("POST", "/drain"),
    ("POST", "/reload"),
    ("GET", "/explain"),
    ("GET", "/explain/0123456789ABC"),
    ("GET", "/shadow"),
];

/// Connects as a user of this machine, from an address of it; only root can be another user.
async fn connect(user: Uid, from: IpAddr, place: SocketAddr) -> TcpStream {
    // Of this thread alone: the socket's user is the one that makes it.
    let before = setfsuid(user);
    let socket = TcpSocket::new_v4().unwrap();
    setfsuid(before);
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect(place).await.unwrap()
}

async fn ask_as(
    user: Uid,
    from: IpAddr,
    place: SocketAddr,
    (method, path): (&str, &str),
) -> (u16, String) {
    let stream = connect(user, from, place).await;
    let (status, _, body) = ask_over(stream, method, path, &format!("Host: {place}\r\n")).await;
    (status, body)
}

/// Asks, on a connection that may ask again.
async fn say(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// The status of the next answer, the rest of which may be left out. `None`: the connection ended.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.ok()?;
    let mut rest = [0; 4096];
    let _ = stream.read(&mut rest).await.ok()?;
    std::str::from_utf8(&start[9..]).unwrap().parse().ok()
}

/// A server of which the test decides when users are looked up.
fn with_users<F: Future<Output = ()>>(work: impl FnOnce(SocketAddr, Arc<Users>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = http::bind("test", any, "").unwrap();
        let place = listener.local_addr().unwrap();
        let users = Arc::new(Users::new());
        let collector = Collector::new(Arc::new(Fake::default()), Registry::new());
        let pages = router_for(collector, Door::Control, Arc::clone(&users));
        let (stop, stopped) = oneshot::channel::<()>();
        let pages = TowerToHyperService::new(pages);
        let server = tokio::spawn(http::serve(listener, LIMITS, pages, async {
            let _ = stopped.await;
        }));
        work(place, users).await;
        drop(stop);
        server.await.unwrap().unwrap();
    });
}

/// An address of this machine that is none of the loopback's, where it has a network. Nothing is sent.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[test]
fn another_user_of_this_machine_looks_and_changes_nothing() {
    if !geteuid().is_root() {
        eprintln!("left out: only root can be another user");
        return;
    }
    with_server(async |place, fake, _| {
        let from = [
            Ipv4Addr::LOCALHOST.into(),
            Ipv4Addr::new(127, 0, 0, 9).into(),
        ];
        for from in from.into_iter().chain(outer_address()) {
            for user in [1, 65534].map(Uid::from_raw) {
                for path in ["/metrics", "/stages", "/health", "/"] {
                    let (status, _) = ask_as(user, from, place, ("GET", path)).await;
                    assert_eq!(status, 200, "{path} of {user} from {from}");
                }
                for asked in GUARDED {
                    let (status, body) = ask_as(user, from, place, asked).await;
                    assert_eq!(status, 403, "{asked:?} of {user} from {from}");
                    assert!(body.contains("admin.token"), "{body}");
                }
                let mut stream = connect(user, from, place).await;
                say(&mut stream, "/shadow").await;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 403"), "then the end: {answer}");
            }
            assert!(!fake.status().draining);
            let (status, _) = ask_as(Uid::from_raw(0), from, place, GUARDED[3]).await;
            assert_eq!(status, 200, "root's, from {from}");
        }
    });
}

#[test]
fn the_user_of_the_process_may_do_everything() {
    with_server(async |place, fake, _| {
        let from = Ipv4Addr::LOCALHOST.into();
        let asked = [GUARDED[3], GUARDED[0]];
        for (asked, expected) in asked.into_iter().zip([200, 202]) {
            let (status, body) = ask_as(geteuid(), from, place, asked).await;
            assert_eq!(status, expected, "{asked:?}: {body}");
        }
        assert!(fake.status().draining);
    });
}

#[test]
// INV-LIMIT
fn connections_whose_user_is_looked_up_leave_room_for_others() {
    with_users(async |place, users| {
        let held = users.hold();
        let mut flood = Vec::new();
        for _ in 0..2 {
            for last in 2..=4 {
                for _ in 0..LIMITS.per_client {
                    let from = Ipv4Addr::new(127, 0, 0, last).into();
                    let mut stream = connect(geteuid(), from, place).await;
                    say(&mut stream, "/explain").await;
                    flood.push(stream);
                    yield_now().await;
                }
                for last in [last, 99] {
                    let from = Ipv4Addr::new(127, 0, 0, last).into();
                    let (status, _) = ask_as(geteuid(), from, place, ("GET", "/health")).await;
                    assert_eq!(status, 200, "from 127.0.0.{last}");
                }
            }
        }
        assert_eq!(users.under_way(), 5);
        drop(held);
        let mut answers = Vec::new();
        for stream in &mut flood {
            answers.push(status(stream).await);
        }
        let count = |wanted| answers.iter().filter(|it| **it == wanted).count();
        assert_eq!((count(Some(200)), count(Some(503))), (5, flood.len() - 5));
    });
}

#[test]
fn the_user_of_a_connection_is_looked_up_once() {
    with_users(async |place, users| {
        let from = Ipv4Addr::LOCALHOST.into();
        let mut stream = connect(geteuid(), from, place).await;
        say(&mut stream, "/shadow").await;
        assert_eq!(status(&mut stream).await, Some(200));
        while users.under_way() > 0 {
            yield_now().await;
        }
        let _held = users.hold();
        say(&mut stream, "/shadow").await;
        assert_eq!(status(&mut stream).await, Some(200));
    });
}

#[test]
fn a_client_that_goes_keeps_no_place_among_those_that_wait() {
    with_users(async |place, users| {
        let held = users.hold();
        let mut flood = Vec::new();
        for _ in 0..5 {
            let mut stream = connect(geteuid(), Ipv4Addr::LOCALHOST.into(), place).await;
            say(&mut stream, "/explain").await;
            flood.push(stream);
        }
        while users.under_way() < 5 {
            yield_now().await;
        }
        drop(flood);
        while users.under_way() > 0 {
            yield_now().await;
        }
        drop(held);
    });
}
