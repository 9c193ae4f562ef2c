//! How streams end: deadlines, resets, closing, and what is left behind.

use super::*;
use std::io::ErrorKind;

/// Closes with a reset.
fn abort(stream: Stream) {
    let fd = stream.into_fd().unwrap();
    socket2::SockRef::from(&fd)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn a_read_ends_at_its_deadline_and_last_words_pass() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        let start = now();
        server.set_deadline(start.after(Duration::from_millis(30)));
        assert_eq!(server.recv().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(now().since(start) >= Duration::from_millis(30));
        server.send(b"421 too slow".to_vec()).await.0.unwrap();
        assert_eq!(recv_exact(&mut client, 12).await, b"421 too slow");
        server.set_deadline(soon());
        assert_eq!(
            server.recv().await.unwrap_err().kind(),
            ErrorKind::TimedOut,
            "it stays so"
        );
    });
}

#[test]
fn a_deadline_that_was_moved_away_ends_nothing() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        for later in [soon(), crate::smtp::tick::Tick::FAR] {
            server.set_deadline(now().after(Duration::from_millis(10)));
            server.set_deadline(later);
            // Time for a sweep at the moment that stood first.
            sleep(Duration::from_millis(100)).await;
            client.send(b"x".to_vec()).await.0.unwrap();
            assert_eq!(recv_exact(&mut server, 1).await, b"x");
        }
    });
}

#[test]
fn a_blocked_send_ends_at_its_deadline() {
    on_each_engine(|| async {
        let (client, mut server) = pair().await;
        server.set_deadline(now().after(Duration::from_millis(50)));
        let (sent, back) = server.send(vec![7; 32 << 20]).await;
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(back.is_empty());
        let (sent, _) = server.send(b"more".to_vec()).await;
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(client);
    });
}

#[test]
fn a_connect_ends_at_its_deadline() {
    on_each_engine(|| async {
        // A full queue: the kernel drops what else wants in, and the client waits.
        let address = "127.0.0.1:0".parse().unwrap();
        let bound = Bound::new(address, 0, BindOptions::default()).unwrap();
        let mut open = Vec::new();
        loop {
            let limit = now().after(Duration::from_millis(200));
            match Stream::connect(bound.address(), limit).await {
                Ok(stream) => open.push(stream),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    break;
                }
            }
            assert!(open.len() < 10, "the queue is never full");
        }
    });
}

#[test]
fn a_reset_is_an_error_and_not_an_end() {
    on_each_engine(|| async {
        let (client, mut server) = pair().await;
        abort(client);
        assert_eq!(
            server.recv().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        let (sent, _) = server.send(b"hello?".to_vec()).await;
        assert!(sent.is_err(), "and no signal");
    });
}

#[test]
fn a_reset_ends_a_blocked_send() {
    on_each_engine(|| async {
        let (client, mut server) = pair().await;
        spawn(async move {
            sleep(Duration::from_millis(20)).await;
            abort(client);
        });
        let (sent, _) = server.send(vec![7; 32 << 20]).await;
        let kind = sent.unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{kind:?}"
        );
    });
}

#[test]
fn a_lingering_close_delivers_the_last_reply_past_unread_input() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        spawn(async move {
            server.send(b"552 too much".to_vec()).await.0.unwrap();
            server
                .close_lingering(64 << 20, Duration::from_secs(20))
                .await;
        });
        // All of this is unread when the reply is sent; a plain close would reset it away.
        client.send(vec![b'x'; 8 << 20]).await.0.unwrap();
        client.finish();
        assert_eq!(recv_exact(&mut client, 12).await, b"552 too much");
        assert!(client.recv().await.unwrap().is_none());
    });
}

#[test]
fn last_bytes_arrive_with_the_end_of_the_connection() {
    on_each_engine(|| async {
        for length in [10, 8 << 20] {
            let (mut client, mut server) = pair().await;
            client.send(b"QUIT".to_vec()).await.0.unwrap();
            assert_eq!(recv_exact(&mut server, 4).await, b"QUIT");
            spawn(async move {
                server.send_last(vec![b'x'; length]).await.0.unwrap();
            });
            assert_eq!(recv_exact(&mut client, length).await.len(), length);
            assert!(client.recv().await.unwrap().is_none());
        }
    });
}

#[test]
fn a_lingering_close_is_bounded_by_time_and_by_octets() {
    on_each_engine(|| async {
        let (mut silent, server) = pair().await;
        server
            .close_lingering(1 << 20, Duration::from_millis(30))
            .await;
        assert!(silent.recv().await.unwrap().is_none());
        let (mut chatty, server) = pair().await;
        spawn(server.close_lingering(1 << 20, Duration::from_secs(20)));
        // Far more than is swallowed: the rest meets a closed socket.
        assert!(chatty.send(vec![b'x'; 64 << 20]).await.0.is_err());
    });
}

#[test]
fn a_dropped_stream_is_closed_even_with_a_read_in_flight() {
    on_each_engine(|| async {
        let (mut client, mut server) = pair().await;
        let limit = now().after(Duration::from_millis(1));
        assert!(timeout_at(limit, server.recv()).await.is_none());
        drop(server);
        assert!(
            client.recv().await.unwrap().is_none(),
            "the peer sees the end"
        );
    });
}

#[test]
fn a_send_dropped_half_way_is_never_followed_by_another() {
    on_each_engine(|| async {
        let (_client, mut server) = pair().await;
        let limit = now().after(Duration::from_millis(5));
        assert!(
            timeout_at(limit, server.send(vec![7; 32 << 20]))
                .await
                .is_none()
        );
        assert!(server.send(b"x".to_vec()).await.0.is_err());
    });
}

/// Ten thousand sessions, ended in every way there is: no descriptor, no deadline and no buffer is left.
#[test]
fn descriptors_are_flat_after_ten_thousand_aborted_sessions() {
    on_each_engine(|| async {
        let mut listener = listen();
        let address = listener.address();
        let stopper = listener.stopper();
        spawn(async move {
            while let Ok(Some((mut stream, _))) = listener.accept().await {
                spawn(async move {
                    stream.set_deadline(now().after(Duration::from_secs(5)));
                    while let Ok(Some(chunk)) = stream.recv().await {
                        // Now and then the session itself gives up, with a read in flight.
                        if chunk[0] == b'd' {
                            let _ = timeout_at(now(), stream.recv()).await;
                            return;
                        }
                    }
                });
            }
        });
        let before = descriptors();
        for round in 0..10_000 / 50 {
            let mut streams = Vec::new();
            for _ in 0..50 {
                streams.push(Stream::connect(address, soon()).await.unwrap());
            }
            for (i, mut stream) in streams.into_iter().enumerate() {
                match (i + round) % 5 {
                    0 => abort(stream),
                    1 => stream.close(),
                    2 => {
                        let _ = timeout_at(now(), stream.recv()).await;
                    }
                    3 => {
                        stream.send(b"MAIL FR".to_vec()).await.0.unwrap();
                        abort(stream);
                    }
                    _ => {
                        stream.send(b"d".to_vec()).await.0.unwrap();
                        assert!(stream.recv().await.ok().flatten().is_none());
                    }
                }
            }
        }
        eventually("all are closed", || descriptors() <= before).await;
        stopper.stop();
    });
    assert_eq!(panics(), 0);
}
