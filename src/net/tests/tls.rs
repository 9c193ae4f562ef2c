//! TLS on streams: both sides of a handshake, what passes, and how it ends.

use super::*;
use crate::{
    threads::Threads,
    tls::{Acceptor, Connector, Verify, testing::identity},
};
use crossbeam::channel::Sender;
use rustls::pki_types::ServerName;
use std::{
    cell::Cell, future::poll_fn, io::ErrorKind, net::TcpListener, rc::Rc, sync::Arc, task::Poll,
};

fn acceptor() -> Acceptor {
    Acceptor::new(&identity(&["mx.example.net"])).unwrap()
}

fn connector() -> Connector {
    let name = ServerName::try_from("mx.example.net").unwrap();
    Connector::new(&Verify::Nothing, name, None).unwrap()
}

/// Both ends of a connection that speaks TLS.
async fn tls_pair() -> (Stream, Stream) {
    let (client, server) = pair().await;
    greeted(client, server).await
}

/// Both ends after the handshake.
async fn greeted(mut client: Stream, mut server: Stream) -> (Stream, Stream) {
    let (connector, acceptor) = (connector(), acceptor());
    let mut connect = Box::pin(client.connect_tls(&connector));
    let mut accept = Box::pin(server.accept_tls(&acceptor));
    let mut accepted = false;
    poll_fn(|cx| {
        if !accepted && let Poll::Ready(result) = accept.as_mut().poll(cx) {
            result.unwrap();
            accepted = true;
        }
        connect.as_mut().poll(cx).map(Result::unwrap)
    })
    .await;
    drop(connect);
    // Its Finished goes with what it says next, or the next time that it listens.
    let limit = now().after(Duration::from_millis(1));
    assert!(timeout_at(limit, client.recv()).await.is_none());
    if !accepted {
        accept.await.unwrap();
    } else {
        drop(accept);
    }
    (client, server)
}

/// Hands on what one says to the other, octet by octet.
async fn dribble(mut from: Stream, mut to: Stream) {
    while let Ok(Some(chunk)) = from.recv().await {
        for octet in chunk.iter() {
            if to.send(vec![*octet]).await.0.is_err() {
                return;
            }
            yield_now().await;
        }
    }
    to.finish();
}

/// A second stream of the same connection, for another task.
fn twin(stream: Stream) -> (Stream, Stream) {
    let fd = stream.into_fd().unwrap();
    let other = fd.try_clone().unwrap();
    (
        Stream::from_fd(fd).unwrap(),
        Stream::from_fd(other).unwrap(),
    )
}

#[test]
fn a_mebibyte_comes_back() {
    on_each_engine(|| async {
        const LEN: usize = 1 << 20;
        let (mut client, server) = tls_pair().await;
        spawn(echo(server));
        for len in [1, 16_384, 16_385, 70_000, LEN] {
            let out: Vec<u8> = (0..len).map(|i| (i / 251) as u8).collect();
            let expected = out.clone();
            // The echo's kernel buffers and its one chunk don't hold it all: each piece is fetched before the next.
            for piece in out.chunks(60_000) {
                let (sent, back) = client.send(piece.to_vec()).await;
                sent.unwrap();
                assert!(back.is_empty() && back.capacity() >= piece.len());
                let at = piece.as_ptr() as usize - out.as_ptr() as usize;
                let got = recv_exact(&mut client, piece.len()).await;
                assert!(got == expected[at..at + piece.len()]);
            }
        }
    });
}

#[test]
fn both_sides_know_what_was_agreed() {
    on_each_engine(|| async {
        let (client, server) = tls_pair().await;
        let (ours, theirs) = (server.tls().unwrap(), client.tls().unwrap());
        assert_eq!(ours.version, "TLSv1.3");
        assert_eq!(ours.cipher, theirs.cipher);
        assert!(ours.cipher.starts_with("TLS_"), "{}", ours.cipher);
        assert_eq!(ours.sni.as_deref(), Some("mx.example.net"));
        assert!(!ours.resumed);
        assert!(ours.peer_names.is_empty());
        assert!(ours.exporter.is_some());
        assert_eq!(ours.exporter, theirs.exporter);
    });
}

#[test]
fn plaintext_behind_the_handshake_is_not_lost() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        spawn(async move {
            client.connect_tls(&connector()).await.unwrap();
            // Leaves in one piece with the client's Finished.
            client.send(b"EHLO a".to_vec()).await.0.unwrap();
            assert_eq!(recv_exact(&mut client, 3).await, b"250");
            client.close();
        });
        server.accept_tls(&acceptor()).await.unwrap();
        assert_eq!(recv_exact(&mut server, 6).await, b"EHLO a");
        server.send(b"250".to_vec()).await.0.unwrap();
        assert!(server.recv().await.unwrap().is_none());
    });
}

#[test]
fn records_that_come_octet_by_octet_are_whole() {
    on_each_engine(|| async {
        let (client, near) = pair().await;
        let (far, server) = pair().await;
        let ((near_in, near_out), (far_in, far_out)) = (twin(near), twin(far));
        spawn(dribble(near_in, far_out));
        spawn(dribble(far_in, near_out));
        let (mut client, server) = greeted(client, server).await;
        spawn(echo(server));
        for len in [1, 900, 20_000] {
            let out = vec![len as u8; len];
            client.send(out.clone()).await.0.unwrap();
            assert!(recv_exact(&mut client, len).await == out);
        }
    });
}

#[test]
fn a_stream_that_is_cut_is_an_error() {
    on_each_engine(|| async {
        let (mut client, mut server) = tls_pair().await;
        client.send(b"half a message".to_vec()).await.0.unwrap();
        // Without a close_notify.
        drop(client);
        assert_eq!(recv_exact(&mut server, 14).await, b"half a message");
        for _ in 0..2 {
            let error = server.recv().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    });
}

#[test]
fn each_way_to_end_says_so() {
    on_each_engine(|| async {
        for way in ["close", "last", "finish", "lingering"] {
            let (mut client, mut server) = tls_pair().await;
            server.send(b"221".to_vec()).await.0.unwrap();
            match way {
                "close" => server.close(),
                "last" => {
                    server.send_last(b" bye".to_vec()).await.0.unwrap();
                    drop(server);
                }
                "finish" => {
                    server.finish();
                    let (sent, _) = server.send(b"more".to_vec()).await;
                    assert_eq!(sent.unwrap_err().kind(), ErrorKind::BrokenPipe);
                    spawn(async move {
                        assert!(server.recv().await.unwrap().is_none());
                    });
                }
                _ => spawn(server.close_lingering(1 << 20, Duration::from_secs(20))),
            }
            let len = if way == "last" { 7 } else { 3 };
            recv_exact(&mut client, len).await;
            assert!(client.recv().await.unwrap().is_none(), "{way}");
            assert!(client.recv().await.unwrap().is_none(), "{way}: it stays so");
            client.close();
        }
    });
}

#[test]
fn a_handshake_ends_at_its_deadline() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        server.set_deadline(now().after(Duration::from_millis(30)));
        let error = server.accept_tls(&acceptor()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(server.tls().is_none());
        client.set_deadline(now().after(Duration::from_millis(30)));
        let error = client.connect_tls(&connector()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn what_is_no_tls_is_refused_with_an_alert() {
    on_each_engine(|| async {
        for noise in [
            &b"EHLO mail.client.example\r\n"[..],
            &[0; 300],
            &[0x16; 40_000],
        ] {
            let (mut client, mut server) = pair().await;
            client.send(noise.to_vec()).await.0.unwrap();
            let error = server.accept_tls(&acceptor()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(error.get_ref().unwrap().is::<rustls::Error>());
            spawn(server.close_lingering(1 << 20, Duration::from_secs(20)));
            assert_eq!(recv_exact(&mut client, 7).await[0], 21, "an alert");
        }
    });
}

#[test]
fn octets_that_do_not_decrypt_end_the_stream() {
    on_each_engine(|| async {
        let (mut client, mut server) = tls_pair().await;
        client.send(b"fine".to_vec()).await.0.unwrap();
        assert_eq!(recv_exact(&mut server, 4).await, b"fine");
        // Past TLS, into the socket.
        client.tls = None;
        client
            .send(vec![
                0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
                19, 20,
            ])
            .await
            .0
            .unwrap();
        for _ in 0..2 {
            let error = server.recv().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        let (sent, _) = server.send(b"250".to_vec()).await;
        assert!(sent.is_err());
    });
}

/// Has new keys go before what is sent next.
fn renew_keys(stream: &mut Stream) {
    let tls = stream.tls.as_mut().unwrap();
    tls.connection.refresh_traffic_keys().unwrap();
}

#[test]
// INV-TURN
fn records_without_plaintext_have_an_end() {
    on_each_engine(|| async {
        const EACH: usize = 31;
        const ROUNDS: usize = 100;
        let (mut client, mut server) = tls_pair().await;
        spawn(async move {
            for _ in 0..ROUNDS {
                (0..EACH).for_each(|_| renew_keys(&mut client));
                if client.send(b"a".to_vec()).await.0.is_err() {
                    break;
                }
            }
            while let Ok(Some(_)) = client.recv().await {}
        });
        let mut got = 0;
        let error = loop {
            match server.recv().await {
                Ok(chunk) => got += chunk.expect("more to come").len(),
                Err(error) => break error,
            }
        };
        assert!(got <= 256 / EACH, "{got} rounds went through");
        assert_eq!(crate::tls::failure(&error), "tls_empty_records");
        let again = server.recv().await.unwrap_err();
        assert_eq!(crate::tls::failure(&again), "tls_empty_records");
    });
}

#[test]
fn new_keys_now_and_then_and_short_records_are_fine() {
    on_each_engine(|| async {
        const ROUNDS: usize = 600;
        let (mut client, mut server) = tls_pair().await;
        spawn(async move {
            for _ in 0..ROUNDS {
                renew_keys(&mut client);
                client.send(vec![7; 4096]).await.0.unwrap();
                for _ in 0..10 {
                    client.send(vec![7]).await.0.unwrap();
                }
            }
            while let Ok(Some(_)) = client.recv().await {}
        });
        recv_exact(&mut server, ROUNDS * 4106).await;
        server.close();
    });
}

#[test]
fn a_connection_under_tls_does_not_move() {
    on_each_engine(|| async {
        let (mut client, server) = tls_pair().await;
        let mut server = server.into_fd().unwrap_err();
        client.send(b"still here".to_vec()).await.0.unwrap();
        assert_eq!(recv_exact(&mut server, 10).await, b"still here");
    });
}

#[test]
fn quiet_under_tls_means_neither_records_nor_parts_of_one() {
    on_each_engine(|| async {
        let (mut client, mut server) = tls_pair().await;
        server.send(b"220 hello".to_vec()).await.0.unwrap();
        eventually("a record shows", || !client.is_quiet()).await;
        assert_eq!(recv_exact(&mut client, 9).await, b"220 hello");
        assert!(client.is_quiet());
        // A part of a record, which a read takes in and keeps.
        server.tls = None;
        server.send(vec![0x17, 3, 3]).await.0.unwrap();
        let limit = now().after(Duration::from_millis(20));
        assert!(timeout_at(limit, client.recv()).await.is_none());
        assert!(!client.is_quiet());
    });
}

#[test]
fn what_nobody_reads_under_tls_stays_with_the_sender() {
    on_each_engine(|| async {
        const LEN: usize = 40 << 20;
        let (mut client, mut server) = tls_pair().await;
        spawn(async move {
            for i in 0..LEN >> 16 {
                client.send(vec![i as u8; 1 << 16]).await.0.unwrap();
            }
            client.finish();
            while let Ok(Some(_)) = client.recv().await {}
        });
        // It reads a little, then is busy elsewhere, then reads the rest.
        let first = server.recv().await.unwrap().unwrap();
        assert!(first.len() <= CHUNK_MAX);
        let mut at = first.len();
        drop(first);
        sleep(Duration::from_millis(100)).await;
        let tls = server.tls.as_ref().unwrap();
        assert!(
            tls.held() <= 2 * CHUNK_MAX,
            "{} octets are held",
            tls.held()
        );
        while let Some(chunk) = server.recv().await.unwrap() {
            assert!(
                chunk
                    .iter()
                    .enumerate()
                    .all(|(i, octet)| *octet == ((at + i) >> 16) as u8)
            );
            at += chunk.len();
        }
        assert_eq!(at, LEN);
    });
}

/// One thread that computes handshakes, for which as many may wait; it begins once the sender is dropped.
fn one_helper(waiting_max: usize) -> (Arc<Threads>, Sender<()>) {
    let helpers = Arc::new(Threads::start("test", 1, waiting_max).unwrap());
    let (open, gate) = crossbeam::channel::bounded(0);
    let (begun, begins) = crossbeam::channel::bounded(1);
    let given = helpers.run(move || {
        begun.send(()).unwrap();
        let _ = gate.recv();
    });
    assert!(given.is_ok());
    // It waits in the thread, not in the queue.
    begins.recv().unwrap();
    offload(Arc::clone(&helpers));
    (helpers, open)
}

#[test]
fn others_go_on_while_a_handshake_is_computed() {
    on_each_engine(|| async {
        let (_helpers, open) = one_helper(8);
        let (client, server) = pair().await;
        let done = Rc::new(Cell::new(false));
        let (mut plain, peer) = pair().await;
        spawn(echo(peer));
        spawn({
            let done = Rc::clone(&done);
            async move {
                let (mut client, server) = greeted(client, server).await;
                spawn(echo(server));
                client.send(b"secret".to_vec()).await.0.unwrap();
                assert_eq!(recv_exact(&mut client, 6).await, b"secret");
                done.set(true);
            }
        });
        for _ in 0..100 {
            plain.send(b"plain".to_vec()).await.0.unwrap();
            assert_eq!(recv_exact(&mut plain, 5).await, b"plain");
        }
        assert!(!done.get(), "nobody has computed it yet");
        drop(open);
        eventually("the handshake is over", || done.get()).await;
    });
}

#[test]
fn of_too_many_handshakes_those_with_clients_are_refused() {
    on_each_engine(|| async {
        let (helpers, open) = one_helper(1);
        assert!(helpers.run(|| ()).is_ok(), "the one that may wait");
        let (mut client, mut server) = pair().await;
        spawn(async move {
            let error = client.connect_tls(&connector()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        });
        let error = server.accept_tls(&acceptor()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert_eq!(crate::tls::failure(&error), "tls_busy");

        // A backend, which has its own thread.
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = backend.local_addr().unwrap();
        let backend = std::thread::spawn(move || {
            let (mut socket, _) = backend.accept().unwrap();
            let mut connection = acceptor().begin().unwrap();
            while connection.is_handshaking() {
                connection.complete_io(&mut socket).unwrap();
            }
        });
        let mut client = Stream::connect(address, soon()).await.unwrap();
        client.connect_tls(&connector()).await.unwrap();
        // With what it says, its Finished.
        client.send(b"EHLO a".to_vec()).await.0.unwrap();
        backend.join().unwrap();
        drop(open);
    });
}

#[test]
fn a_session_may_go_while_its_handshake_waits() {
    on_each_engine(|| async {
        let (_helpers, open) = one_helper(8);
        let (mut client, mut server) = pair().await;
        let (connector, acceptor) = (connector(), acceptor());
        let limit = now().after(Duration::from_millis(20));
        let mut connect = Box::pin(client.connect_tls(&connector));
        let mut accept = Box::pin(server.accept_tls(&acceptor));
        let both = poll_fn(|cx| {
            assert!(connect.as_mut().poll(cx).is_pending());
            accept.as_mut().poll(cx)
        });
        assert!(timeout_at(limit, both).await.is_none());
        drop((connect, accept));
        drop((client, server, open));
        // The thread is none the worse for it.
        let (mut client, server) = tls_pair().await;
        spawn(echo(server));
        client.send(b"next".to_vec()).await.0.unwrap();
        assert_eq!(recv_exact(&mut client, 4).await, b"next");
    });
}
