//! Bytes arrive, whole and in order, whatever the sizes and speeds.

use super::*;

#[test]
fn echo_under_concurrency() {
    on_each_engine(|| async {
        let mut listener = listen();
        let address = listener.address();
        spawn(async move {
            while let Ok(Some((stream, _))) = listener.accept().await {
                spawn(echo(stream));
            }
        });
        let (done, mut wait) = mailbox::mailbox(64);
        for client in 0..64u8 {
            let done = done.clone();
            spawn(async move {
                let mut stream = Stream::connect(address, soon()).await.unwrap();
                let mut out = Vec::new();
                for round in 0..30u8 {
                    let len = 1 + usize::from(client) * usize::from(round) * 7;
                    out.extend((0..len).map(|i| i as u8 ^ client ^ round));
                    let expected = out.clone();
                    let (sent, back) = stream.send(out).await;
                    sent.unwrap();
                    assert!(back.is_empty() && back.capacity() >= len);
                    out = back;
                    assert!(recv_exact(&mut stream, len).await == expected);
                }
                done.try_send(()).unwrap();
            });
        }
        for _ in 0..64 {
            wait.recv().await.unwrap();
        }
    });
}

#[test]
fn what_the_peer_has_not_read_waits_in_the_callers_buffer() {
    on_each_engine(|| async {
        const SIZE: usize = 24 << 20;
        let (client, server) = pair().await;
        let (done, mut wait) = mailbox::mailbox(2);
        for (mut stream, seed) in [(client, 1u8), (server, 77)] {
            let done = done.clone();
            // Both send much before they read anything: neither side's kernel buffers hold it.
            spawn(async move {
                let out: Vec<u8> = (0..SIZE).map(|i| (i / 1000) as u8 ^ seed).collect();
                if seed == 1 {
                    stream.send(out).await.0.unwrap();
                    let got = recv_exact(&mut stream, SIZE).await;
                    assert!(
                        got.iter()
                            .enumerate()
                            .all(|(i, b)| *b == (i / 1000) as u8 ^ 77)
                    );
                } else {
                    let got = recv_exact(&mut stream, SIZE).await;
                    assert!(
                        got.iter()
                            .enumerate()
                            .all(|(i, b)| *b == (i / 1000) as u8 ^ 1)
                    );
                    sleep(Duration::from_millis(20)).await;
                    stream.send(out).await.0.unwrap();
                }
                done.try_send(()).unwrap();
            });
        }
        wait.recv().await.unwrap();
        wait.recv().await.unwrap();
    });
}

#[test]
fn a_half_closed_stream_still_gets_the_answer() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        client.send(b"last question".to_vec()).await.0.unwrap();
        client.finish();
        assert_eq!(recv_exact(&mut server, 13).await, b"last question");
        assert!(server.recv().await.unwrap().is_none());
        assert!(
            server.recv().await.unwrap().is_none(),
            "the end stays the end"
        );
        server.send(b"answer".to_vec()).await.0.unwrap();
        server.close();
        assert_eq!(recv_exact(&mut client, 6).await, b"answer");
        assert!(client.recv().await.unwrap().is_none());
    });
}

/// Listeners on `[::]` and `0.0.0.0` with the same port. The kernel chooses it for IPv6, so over IPv4 it may belong to a
/// connection of another program, open or in TIME_WAIT: then the next one is tried.
fn wildcards_of_one_port() -> (Listener, Listener) {
    for _ in 0..100 {
        let six = listen_on("[::]:0".parse().unwrap());
        let same = SocketAddr::new("0.0.0.0".parse().unwrap(), six.address().port());
        match Bound::new(same, 16, BindOptions::default()) {
            Ok(four) => return (six, Listener::adopt(four).unwrap()),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}"),
        }
    }
    panic!("no port of a hundred is free in both families");
}

#[test]
fn ipv6_has_its_own_port_space() {
    on_each_engine(|| async {
        let mut six = listen_on("[::1]:0".parse().unwrap());
        let address = six.address();
        // The wildcard of one family does not take the other's connections.
        let (_any, mut four) = wildcards_of_one_port();
        let client = Stream::connect(address, soon()).await.unwrap();
        let (server, peer) = six.accept().await.unwrap().unwrap();
        assert_eq!(peer, client.local().unwrap());
        assert_eq!(server.peer(), peer);
        assert_eq!(server.local().unwrap(), address);
        let to_four = SocketAddr::new("127.0.0.1".parse().unwrap(), four.address().port());
        let client = Stream::connect(to_four, soon()).await.unwrap();
        let (_, peer) = four.accept().await.unwrap().unwrap();
        assert_eq!(peer, client.local().unwrap());
        assert!(peer.is_ipv4());
    });
}

#[test]
// INV-READ
fn a_dropped_read_loses_nothing() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        for round in 0..20u8 {
            let limit = now().after(Duration::from_millis(1));
            assert!(timeout_at(limit, server.recv()).await.is_none());
            client.send(vec![round; 3]).await.0.unwrap();
            assert_eq!(recv_exact(&mut server, 3).await, [round; 3]);
        }
    });
}

#[test]
fn a_quiet_stream_can_move_to_another_worker() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        client.send(b"a".to_vec()).await.0.unwrap();
        assert_eq!(recv_exact(&mut server, 1).await, b"a");
        assert!(server.is_quiet());
        let fd = server.into_fd().unwrap();
        let engine = engines().pop().unwrap();
        let thread = std::thread::spawn(move || {
            run_worker(engine, None, || async {
                let mut server = Stream::from_fd(fd).unwrap();
                server.set_deadline(soon());
                assert_eq!(recv_exact(&mut server, 1).await, b"b");
                server.send(b"c".to_vec()).await.0.unwrap();
            })
            .unwrap();
        });
        client.send(b"b".to_vec()).await.0.unwrap();
        assert_eq!(recv_exact(&mut client, 1).await, b"c");
        assert!(client.recv().await.unwrap().is_none());
        thread.join().unwrap();
    });
}

#[test]
fn a_stream_with_a_read_in_flight_or_unread_bytes_loses_none_by_moving() {
    on_each_engine(|| async {
        for bytes in [&b""[..], b"unread"] {
            let (mut client, mut server) = pair().await;
            let limit = now().after(Duration::from_millis(1));
            assert!(timeout_at(limit, server.recv()).await.is_none());
            client.send(bytes.to_vec()).await.0.unwrap();
            eventually("they are there", || bytes.is_empty() || !server.is_quiet()).await;
            // Out, or refused and still usable; either way the bytes are.
            let mut server = match server.into_fd() {
                Ok(fd) => Stream::from_fd(fd).unwrap(),
                Err(server) => server,
            };
            server.set_deadline(soon());
            client.send(b"!".to_vec()).await.0.unwrap();
            let all = [bytes, b"!"].concat();
            assert_eq!(recv_exact(&mut server, all.len()).await, all);
        }
    });
}

#[test]
fn quiet_means_neither_bytes_nor_an_end() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        assert!(client.is_quiet());
        server.send(b"421 bye".to_vec()).await.0.unwrap();
        eventually("bytes show", || !client.is_quiet()).await;
        assert_eq!(recv_exact(&mut client, 7).await, b"421 bye");
        assert!(client.is_quiet());
        server.close();
        eventually("the end shows", || !client.is_quiet()).await;
    });
}

#[test]
fn a_refused_connection_is_an_error() {
    on_each_engine(|| async {
        let address = listen().address();
        let error = Stream::connect(address, soon()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}
