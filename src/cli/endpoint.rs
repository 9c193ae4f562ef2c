//! A question to the admin endpoint of a running process.

use super::output::{exit, harmless};
use gatepost::{config::AdminListen, http, process::user};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
        sockopt::socket_peercred,
    },
    process::geteuid,
};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long the endpoint may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause before a Unix socket whose queue is full is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// Octets of an answer that are read.
const ANSWER_MAX: u64 = 16 << 20;

/// Where the endpoint is, and the token that it asks for.
pub struct Endpoint {
    pub listen: AdminListen,
    pub token: Option<Vec<u8>>,
    /// The user that the process runs as, by its configuration. Any user of a machine can listen where the process should, while it
    /// is down: the token goes to this one, to root, and to the user that asks, and no other is believed.
    pub user: Option<u32>,
}

/// What it answered. Characters that a terminal would obey are escaped as in JSON.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Endpoint {
    /// Asks for a page. Errors: the exit code, and what to tell.
    pub fn get(&self, path: &str) -> Result<Answer, (u8, String)> {
        let place = self.listen.to_string();
        let failed = |why: io::Error| {
            let why = format!(
                "the admin endpoint at {place} does not answer: {why}; name it with --admin, or its configuration with -c"
            );
            (exit::UNAVAILABLE, why)
        };
        let answer = match &self.listen {
            AdminListen::Off => {
                let why = "the configuration has no admin endpoint (`admin.listen = \"off\"`)";
                return Err((exit::UNAVAILABLE, why.into()));
            }
            AdminListen::At(address) => {
                let address = reachable(*address);
                let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
                self.meant(|| of_network(&stream))?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
                self.ask(stream, &address.to_string(), path)
            }
            AdminListen::Unix(file) => {
                let stream = connect_unix(file).map_err(failed)?;
                self.meant(|| Ok(vec![socket_peercred(&stream)?.uid.as_raw()]))?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
                self.ask(stream, "localhost", path)
            }
        };
        let answer = answer.map_err(failed)?;
        match answer.status {
            401 => {
                let why = "the admin endpoint asks for its token: name its configuration with -c";
                Err((exit::UNAVAILABLE, why.into()))
            }
            403 | 500.. => Err((
                exit::UNAVAILABLE,
                format!(
                    "the admin endpoint at {place} refuses: {}",
                    answer.body.trim()
                ),
            )),
            _ => Ok(answer),
        }
    }

    /// Whether a server of these users of the machine is asked and believed, and gets the token; of none, it is on another machine.
    /// Where there is no token, and the configuration doesn't say which user the process runs as, another user's is asked with a
    /// warning: a service manager may have started it so. Errors: the exit code, and what to tell.
    fn meant(&self, users: impl FnOnce() -> io::Result<Vec<u32>>) -> Result<(), (u8, String)> {
        let place = self.listen.to_string();
        let advice =
            "let it listen on a Unix socket (admin.listen = \"unix:/run/gatepost/admin.sock\")";
        let users = match users() {
            Ok(users) => users,
            // Nothing is sent to it that it should not know.
            Err(_) if self.token.is_none() => return Ok(()),
            Err(why) => {
                let why = format!(
                    "which user listens on {place} can't be found out ({why}), so it is not sent the token; {advice}"
                );
                return Err((exit::UNAVAILABLE, why));
            }
        };
        let is_right =
            |user: u32| user == 0 || user == geteuid().as_raw() || Some(user) == self.user;
        let Some(other) = users.into_iter().find(|user| !is_right(*user)) else {
            return Ok(());
        };
        let other = user::name(other);
        let is_believed = self.token.is_none() && self.user.is_none();
        let what = match (&self.token, is_believed) {
            (Some(_), _) => "it is not sent the token",
            (None, false) => "it is not asked",
            (None, true) => "what it answers may not be gatepost's",
        };
        let why = format!(
            "the socket on {place} belongs to the user {other}, which is neither root, nor process.user, nor the user that \
             asks: {what}. Where {other} is not the user of gatepost, it has taken its place; else name it in \
             process.user, ask as that user, or {advice}"
        );
        if is_believed {
            eprintln!("gatepost: warning: {}", harmless(&why));
            return Ok(());
        }
        Err((exit::UNAVAILABLE, why))
    }

    fn ask(&self, mut stream: impl Read + Write, host: &str, path: &str) -> io::Result<Answer> {
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n"
        )
        .into_bytes();
        if let Some(token) = &self.token {
            request.extend_from_slice(b"Authorization: Bearer ");
            request.extend_from_slice(token);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request)?;
        let mut octets = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut octets)?;
        let text = String::from_utf8_lossy(&octets);
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "that is no answer in HTTP");
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(strange)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Answer {
            status: status.ok_or_else(strange)?,
            body: harmless(body),
        })
    }
}

/// Connects to a Unix socket. A server that accepts nothing leaves its queue full, and the kernel would have a caller wait for ever.
fn connect_unix(file: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(file)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let due = Instant::now() + PATIENCE;
    loop {
        match connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::AGAIN) if Instant::now() < due => sleep(PAUSE),
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(why) => return Err(why.into()),
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The users that the server of a connection may be of. Of the loopback there is one: where the kernel tells of none, it is in
/// another network namespace, and nothing is known of it.
fn of_network(stream: &TcpStream) -> io::Result<Vec<u32>> {
    let server = stream.peer_addr()?;
    let users = http::servers(stream.local_addr()?, server)?;
    match users.is_empty() && server.ip().to_canonical().is_loopback() {
        true => Err(io::Error::other("the kernel lists no such socket")),
        false => Ok(users),
    }
}

/// An endpoint that listens on all addresses is asked on the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
