//! Requests of several users of this machine.

#![allow(clippy::unwrap_used)]

use super::{
    AdminSource,
    tests::{ask_over, with_server},
};
use nix::unistd::{Uid, geteuid, setfsuid};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use tokio::net::TcpSocket;

const GUARDED: [(&str, &str); 5] = [
    ("POST", "/drain"),
    ("POST", "/reload"),
    ("GET", "/explain"),
    ("GET", "/explain/0123456789ABC"),
    ("GET", "/shadow"),
];

/// Asks as a user of this machine, from an address of it; only root can be another user.
async fn ask_as(
    user: Uid,
    from: IpAddr,
    place: SocketAddr,
    (method, path): (&str, &str),
) -> (u16, String) {
    // Of this thread alone: the socket's user is the one that makes it.
    let before = setfsuid(user);
    let socket = TcpSocket::new_v4().unwrap();
    setfsuid(before);
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    let stream = socket.connect(place).await.unwrap();
    let (status, _, body) = ask_over(stream, method, path, &format!("Host: {place}\r\n")).await;
    (status, body)
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
