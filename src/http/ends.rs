//! The two ends of a connection over the network, and which user of this machine the client is.
//!
//! TCP does not say who connects, but the kernel lists each socket with its user: `/proc/net/tcp` and `tcp6` (proc(5),
//! proc_net_tcp.rst of the kernel's documentation). The client's own socket is the one whose addresses are ours the other way
//! round. Reading the list takes a moment on a machine with many sockets, so it is done only where something depends on it.
//!
//! Rejected: asking by netlink (`sock_diag`), which finds one socket at once: its module is not there in every kernel and
//! container, and the list would be needed all the same.

use socket2::SockRef;
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::OnceLock,
};

/// The lists of sockets, of this network namespace. A system without IPv6 has no second one. Not `/proc/net`, which is missing
/// where a service has `ProcSubset=pid`.
const LISTS: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
/// Octets of a list that are read at once.
const READ: usize = 64 * 1024;
/// The state of a connection that neither end has closed (TCP_ESTABLISHED): others may have no owner, and show user 0.
const ESTABLISHED: u8 = 1;
/// The state of a socket that listens (TCP_LISTEN).
const LISTENING: u8 = 10;

/// The two ends of a connection.
#[derive(Debug)]
pub struct Ends {
    client: SocketAddr,
    server: SocketAddr,
    /// Another descriptor of our socket.
    socket: OwnedFd,
    /// What was found out of the client's user.
    user: OnceLock<Option<u32>>,
}

impl Ends {
    /// Of a connection that was accepted from this client. The kernel does not say any more whose one is that was reset.
    pub(super) fn of(stream: &tokio::net::TcpStream, client: SocketAddr) -> io::Result<Ends> {
        Ok(Ends {
            client: plain(client),
            server: plain(stream.local_addr()?),
            socket: stream.as_fd().try_clone_to_owned()?,
            user: OnceLock::new(),
        })
    }

    /// Whether only this machine can be the client: one of the addresses is the loopback's. A local client may have bound
    /// itself to another address of the machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.client.ip().is_loopback() || self.server.ip().is_loopback()
    }

    /// The user that the client's socket belongs to, where it is a socket of this machine and was open when this was first asked:
    /// the owner of a socket does not change. Blocks the first time.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        *self.user.get_or_init(|| self.look_up())
    }

    /// The same where it was found out before. Does not block.
    #[must_use]
    pub fn known_user(&self) -> Option<Option<u32>> {
        self.user.get().copied()
    }

    fn look_up(&self) -> Option<u32> {
        let user = LISTS.into_iter().find_map(|list| {
            let list = File::open(list).ok()?;
            find(
                BufReader::with_capacity(READ, list),
                self.client,
                self.server,
            )
        })?;
        // A client that was reset by now may have given its addresses to another one, of another user.
        self.is_open().then_some(user)
    }

    fn is_open(&self) -> bool {
        SockRef::from(&self.socket).peer_addr().is_ok()
    }
}

/// The users whose server this machine's client at one end of a connection may have reached: the owner of the socket at the other
/// end, once it was accepted, and those of the sockets that listen there. None where the server is on another machine.
///
/// # Errors
/// The kernel's lists can't be read.
pub fn servers(client: SocketAddr, server: SocketAddr) -> io::Result<Vec<u32>> {
    let mut sockets = Vec::new();
    for list in LISTS {
        match File::open(list) {
            Ok(list) => sockets.extend(entries(BufReader::with_capacity(READ, list))),
            // Without IPv6 there is no second one.
            Err(why) if list == LISTS[1] && why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why),
        }
    }
    Ok(reached(&sockets, plain(client), plain(server)))
}

/// [`servers`] of these sockets. Of several that listen on a port, the one with the address itself is reached first, then one
/// for all addresses of the family.
fn reached(sockets: &[Entry], client: SocketAddr, server: SocketAddr) -> Vec<u32> {
    // In whatever state: one that has said its last word still reads.
    let accepted = |one: &&Entry| one.local == server && one.remote == client && one.is_owned;
    let at = |ip: IpAddr| {
        let wanted = SocketAddr::new(ip, server.port());
        let listen = sockets
            .iter()
            .filter(move |one| one.local == wanted && one.state == LISTENING);
        listen.map(|one| one.user).collect::<Vec<u32>>()
    };
    let places = [
        server.ip(),
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    let mut users = places
        .into_iter()
        .map(at)
        .find(|users| !users.is_empty())
        .unwrap_or_default();
    users.extend(sockets.iter().filter(accepted).map(|one| one.user));
    users
}

/// The user of the socket from `own` to `other` in a list. One without an inode belongs to no process.
fn find(list: impl BufRead, own: SocketAddr, other: SocketAddr) -> Option<u32> {
    let is_theirs = |one: &Entry| {
        one.local == own && one.remote == other && one.state == ESTABLISHED && one.is_owned
    };
    entries(list).find(is_theirs).map(|one| one.user)
}

/// A socket of a list.
#[derive(Debug)]
struct Entry {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    user: u32,
    /// A process has it. One that was not accepted yet belongs to none, and may show user 0.
    is_owned: bool,
}

impl Entry {
    fn parse(line: &str) -> Option<Entry> {
        // sl local rem st queues timer retransmits uid timeout inode
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (fields.next()?, fields.next()?);
        let state = fields.next()?;
        let (user, inode) = (fields.nth(3)?, fields.nth(1)?);
        Some(Entry {
            local: address(local)?,
            remote: address(remote)?,
            state: u8::from_str_radix(state, 16).ok()?,
            user: user.parse().ok()?,
            is_owned: inode != "0",
        })
    }
}

/// The sockets of a list. A line of anything but text, or an error, ends it.
fn entries(list: impl BufRead) -> impl Iterator<Item = Entry> {
    let lines = list.lines().map_while(Result::ok);
    lines.filter_map(|line| Entry::parse(&line))
}

/// `0100007F:2341`: 32-bit words in the order of the processor, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = words.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match words.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(plain(SocketAddr::new(ip, port)))
}

/// The address alone, an IPv4-mapped one as the IPv4 address that it stands for.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::listener::Accepting;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// The words of an address as this processor's kernel writes them.
    fn shown(address: &str) -> String {
        let address = at(address);
        let octets = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let words: String = octets
            .chunks_exact(4)
            .map(|word| {
                let word = word.try_into().expect("four octets");
                format!("{:08X}", u32::from_ne_bytes(word))
            })
            .collect();
        format!("{words}:{:04X}", address.port())
    }

    fn line(local: &str, remote: &str, state: &str, user: u32, inode: u32) -> String {
        let (local, remote) = (shown(local), shown(remote));
        format!(
            "   7: {local} {remote} {state} 00000000:00000000 02:000A7D8C 00000000  {user}        0 {inode} 2 00000000ab 20 4 30 10 -1\n"
        )
    }

    #[test]
    fn the_clients_own_open_socket_is_found() {
        let (client, server) = ("127.0.0.1:40000", "127.0.0.1:9025");
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n";
        let user = |lines: &[String]| {
            let list = head.to_string() + &lines.concat();
            find(list.as_bytes(), at(client), at(server))
        };
        let ours = line(server, client, "01", 0, 11);
        assert_eq!(user(std::slice::from_ref(&ours)), None, "our own end");
        for (state, inode, found) in [
            ("01", 12, Some(1000)),
            ("01", 0, None),
            ("04", 12, None),
            ("06", 0, None),
        ] {
            let theirs = line(client, server, state, 1000, inode);
            assert_eq!(user(&[ours.clone(), theirs]), found, "{state} {inode}");
        }
        let others = [
            line("127.0.0.1:40001", server, "01", 0, 12),
            line("127.0.0.2:40000", server, "01", 0, 12),
            line(client, "127.0.0.1:9026", "01", 0, 12),
        ];
        assert_eq!(user(&others), None);
        let mapped = line(
            "[::ffff:127.0.0.1]:40000",
            "[::ffff:127.0.0.1]:9025",
            "01",
            7,
            12,
        );
        assert_eq!(user(&[mapped]), Some(7));
        assert_eq!(
            user(&["\n".into(), "x y z\n".into(), "   7: 1:2 3:4\n".into()]),
            None
        );
        let (client, server) = ("[::1]:40000", "[::1]:9025");
        let list = line(client, server, "01", 8, 12);
        assert_eq!(find(list.as_bytes(), at(client), at(server)), Some(8));
    }

    #[test]
    fn the_server_that_is_reached_is_the_nearest_that_listens() {
        let (client, server) = ("127.0.0.1:40000", "127.0.0.1:9025");
        let zero = "0.0.0.0:0";
        let users = |lines: &[String]| {
            let sockets: Vec<Entry> = entries(lines.concat().as_bytes()).collect();
            reached(&sockets, at(client), at(server))
        };
        let own = line(server, zero, "0A", 7, 11);
        let all = line("0.0.0.0:9025", zero, "0A", 8, 12);
        let both = line("[::]:9025", "[::]:0", "0A", 9, 13);
        let none: [u32; 0] = [];
        assert_eq!(users(&[]), none);
        assert_eq!(users(&[both.clone(), all.clone(), own.clone()]), [7]);
        assert_eq!(users(&[both.clone(), all]), [8]);
        assert_eq!(users(&[both]), [9]);
        let others = [
            line("127.0.0.1:9026", zero, "0A", 1, 11),
            line("127.0.0.2:9025", zero, "0A", 1, 11),
            line(client, server, "01", 1, 14),
        ];
        assert_eq!(users(&others), none);
        // The other end tells whose process has accepted, where that is done.
        for (inode, told) in [(0, &[7][..]), (15, &[7, 5])] {
            let accepted = line(server, client, "01", 5, inode);
            assert_eq!(users(&[own.clone(), accepted]), told);
        }
        // Also where it listens no more and has closed its side.
        assert_eq!(users(&[line(server, client, "05", 5, 15)]), [5]);
    }

    #[test]
    fn words_that_are_no_address_are_none() {
        for text in [
            "",
            ":",
            "0100007F",
            "0100007F:",
            "0100007F:12345",
            "7F:1",
            "é00007F:1",
            "+100007F:1",
        ] {
            let read = address(text);
            assert!(read.is_none_or(|it| it.port() == 1), "{text}: {read:?}");
        }
    }

    #[test]
    fn a_client_that_was_reset_is_no_user() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("bound");
            let place = listener.local_addr().expect("bound");
            let client = std::net::TcpStream::connect(place).expect("it listens");
            let (stream, _) = listener.accept().await.expect("connected");
            let [ends, later] = [(); 2].map(|()| {
                Ends::of(&stream, client.local_addr().expect("open")).expect("connected")
            });
            let own = rustix::process::geteuid().as_raw();
            assert!(ends.is_local() && ends.is_open());
            assert_eq!(ends.known_user(), None);
            assert_eq!(ends.user(), Some(own));
            SockRef::from(&client)
                .set_linger(Some(std::time::Duration::ZERO))
                .expect("an open socket");
            drop(client);
            assert!(!later.is_open());
            assert_eq!(later.user(), None);
            assert_eq!(ends.known_user(), Some(Some(own)), "asked once");
        });
    }

    #[test]
    fn a_connection_that_was_reset_in_the_queue_is_no_fault_of_the_listener() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let any = "127.0.0.1:0".parse().expect("an address");
            let listener = crate::http::bind("test", any, "").expect("bound");
            let place = listener.local_addr().expect("bound");
            let listener = Accepting::from_std(listener.into()).expect("registered");
            let client = std::net::TcpStream::connect(place).expect("it listens");
            let linger = Some(std::time::Duration::ZERO);
            SockRef::from(&client).set_linger(linger).expect("open");
            drop(client);
            let accepted = listener.accept().await;
            assert!(accepted.is_ok_and(|(_, peer, _)| peer.is_loopback()));
        });
    }
}
