//! More than was asked for: peers that send to sessions which don't read, more streams than buffers, sessions that keep
//! what they were lent, wakes from everywhere.

use super::*;
use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{self, AtomicBool, Ordering::SeqCst},
    },
    thread,
};

/// Octet `i` of what a seed stands for.
fn octet(i: usize, seed: u8) -> u8 {
    (i / 253) as u8 ^ (i % 253) as u8 ^ seed
}

fn octets(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| octet(i, seed)).collect()
}

/// Resident octets of this process. The test runner gives each test its own.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Sends `len` octets in pieces, so that what is not sent needs no memory here.
async fn send_much(mut stream: Stream, len: usize) {
    let mut sent = 0;
    let mut piece = Vec::new();
    while sent < len {
        let end = (sent + (64 << 10)).min(len);
        piece.extend((sent..end).map(|i| octet(i, 9)));
        let (result, back) = stream.send(piece).await;
        result.unwrap();
        (piece, sent) = (back, end);
    }
    stream.finish();
    // The reader closes when it has all.
    assert!(stream.recv().await.unwrap().is_none());
}

/// A hostile client sends while its session waits for something else: it meets a wall soon, and loses nothing.
#[test]
// INV-LIMIT
fn what_nobody_reads_stays_with_the_sender() {
    on_each_engine(|| async {
        const LEN: usize = 100 << 20;
        let (client, mut server) = pair().await;
        // The session has read before, so a receive may be armed.
        let limit = now().after(Duration::from_millis(2));
        assert!(timeout_at(limit, server.recv()).await.is_none());
        let before = resident();
        spawn(send_much(client, LEN));
        sleep(Duration::from_millis(300)).await;
        let grown = resident().saturating_sub(before);
        assert!(grown < 24 << 20, "{grown} octets are held unread");
        let mut at = 0;
        while let Some(chunk) = server.recv().await.unwrap() {
            for (i, byte) in chunk.iter().enumerate() {
                assert_eq!(*byte, octet(at + i, 9), "octet {}", at + i);
            }
            at += chunk.len();
            // Now and then it is busy again, and the peer fills what it may.
            if at % 97 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(at, LEN);
    });
}

/// Octets that come one by one while nobody reads are kept together: each by itself would cost many times its size.
#[test]
fn octets_that_come_one_by_one_are_kept_together() {
    on_each_engine(|| async {
        const LEN: usize = 1_000;
        let mut listener = listen();
        let address = listener.address();
        let sender = thread::spawn(move || {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            socket.set_nodelay(true).unwrap();
            for i in 0..LEN {
                std::io::Write::write_all(&mut socket, &[octet(i, 5)]).unwrap();
                // The receiver has a turn for each.
                thread::sleep(Duration::from_micros(100));
            }
        });
        let (mut stream, _) = listener.accept().await.unwrap().unwrap();
        stream.set_deadline(soon());
        // A receive is armed from here on.
        let mut got = stream.recv().await.unwrap().unwrap().to_vec();
        let limit = now().after(Duration::from_millis(1));
        if let Some(more) = timeout_at(limit, stream.recv()).await {
            got.extend_from_slice(&more.unwrap().unwrap());
        }
        while !sender.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(20)).await;
        let mut chunks = 0;
        while let Some(chunk) = stream.recv().await.unwrap() {
            got.extend_from_slice(&chunk);
            chunks += 1;
        }
        assert_eq!(got, octets(LEN, 5));
        assert!(chunks <= 4, "{chunks} pieces are kept");
    });
}

/// Whose bytes are always there already takes turns with the others.
#[test]
fn who_sends_in_bulk_leaves_turns_to_the_others() {
    on_each_engine(|| async {
        const PIECE: usize = 1 << 20;
        // It sends for as long as the others talk. Who gets all of this has left no turn to them.
        const PIECES_MAX: usize = 8 << 10;
        let mut listener = listen();
        let address = listener.address();
        let is_enough = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_enough);
        let sender = thread::spawn(move || {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            let piece = vec![7; PIECE];
            for sent in 0..PIECES_MAX {
                if ends.load(SeqCst) {
                    return sent * PIECE;
                }
                std::io::Write::write_all(&mut socket, &piece).unwrap();
            }
            PIECES_MAX * PIECE
        });
        let (mut bulk, _) = listener.accept().await.unwrap().unwrap();
        bulk.set_deadline(soon());
        let got = Rc::new(Cell::new(0));
        let (counted, all) = (Rc::clone(&got), sync::Latch::new());
        let over = all.clone();
        spawn(async move {
            // Compared as a whole: octet by octet takes seconds where tests are not optimised.
            let sevens = vec![7; CHUNK_MAX];
            while let Some(chunk) = bulk.recv().await.unwrap() {
                assert!(*chunk == sevens[..chunk.len()]);
                counted.set(counted.get() + chunk.len());
            }
            over.set();
        });
        let (mut client, server) = pair().await;
        client.set_deadline(soon());
        spawn(echo(server));
        talk(&mut client, 20).await;
        assert!(got.get() < PIECES_MAX * PIECE, "the bulk came first");
        is_enough.store(true, SeqCst);
        all.wait().await;
        assert_eq!(got.get(), sender.join().unwrap());
    });
}

/// Many more streams with much unread than there are buffers; one that is answered lives among them.
#[test]
fn streams_that_are_not_read_do_not_stop_the_others() {
    on_each_engine(|| async {
        const STREAMS: usize = 700;
        let mut listener = listen();
        let address = listener.address();
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for i in 0..STREAMS {
            let client = Stream::connect(address, soon()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap().unwrap();
            server.set_deadline(soon());
            let limit = now();
            assert!(timeout_at(limit, server.recv()).await.is_none());
            clients.push((client, i as u8));
            servers.push((server, i as u8));
        }
        for (client, seed) in &mut clients {
            client.send(octets(12_000, *seed)).await.0.unwrap();
        }
        sleep(Duration::from_millis(20)).await;
        let (mut client, server) = pair().await;
        spawn(echo(server));
        for round in 0..100u8 {
            client.send(vec![round; 100]).await.0.unwrap();
            assert_eq!(recv_exact(&mut client, 100).await, [round; 100]);
        }
        for (server, seed) in &mut servers {
            assert!(recv_exact(server, 12_000).await == octets(12_000, *seed));
        }
    });
}

/// Sessions that keep their chunks can't dry up what the others receive into.
#[test]
fn chunks_that_are_kept_do_not_stop_the_others() {
    on_each_engine(|| async {
        const STREAMS: usize = 600;
        let mut listener = listen();
        let address = listener.address();
        let mut kept = Vec::new();
        for i in 0..STREAMS {
            let mut client = Stream::connect(address, soon()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap().unwrap();
            server.set_deadline(soon());
            let seed = i as u8;
            client.send(octets(1000, seed)).await.0.unwrap();
            let chunk = server.recv().await.unwrap().unwrap();
            kept.push((client, server, chunk, seed));
        }
        let (mut client, server) = pair().await;
        spawn(echo(server));
        client.send(octets(200_000, 3)).await.0.unwrap();
        assert!(recv_exact(&mut client, 200_000).await == octets(200_000, 3));
        for (_, _, chunk, seed) in &kept {
            assert!(**chunk == octets(1000, *seed)[..chunk.len()]);
        }
    });
}

/// All streams get bytes in one turn of the loop, which has not buffers for all.
#[test]
fn more_streams_than_buffers_get_their_bytes() {
    on_each_engine(|| async {
        const STREAMS: usize = 1500;
        let mut listener = listen();
        let address = listener.address();
        let mut clients = Vec::new();
        let count = Rc::new(Cell::new(0));
        for i in 0..STREAMS {
            clients.push((Stream::connect(address, soon()).await.unwrap(), i as u8));
            let (mut server, _) = listener.accept().await.unwrap().unwrap();
            server.set_deadline(soon());
            let count = Rc::clone(&count);
            spawn(async move {
                assert!(recv_exact(&mut server, 9000).await == octets(9000, i as u8));
                count.set(count.get() + 1);
            });
        }
        // Each sends at once, without a turn of the loop between them.
        for (client, seed) in &mut clients {
            client.send(octets(9000, *seed)).await.0.unwrap();
        }
        eventually("all have theirs", || count.get() == STREAMS).await;
    });
    assert_eq!(panics(), 0);
}

/// Eight threads wake eight tasks as fast as they can; no wake is lost.
#[test]
fn wakes_from_many_threads_all_arrive() {
    on_each_engine(|| async {
        const THREADS: usize = 8;
        const EACH: usize = 20_000;
        let (done, mut wait) = mailbox::mailbox(THREADS);
        let mut threads = Vec::new();
        for _ in 0..THREADS {
            let (sender, mut receiver) = mailbox::mailbox::<usize>(16);
            threads.push(thread::spawn(move || {
                for mut n in 0..EACH {
                    while let Err(mailbox::SendError::Full(back)) = sender.try_send(n) {
                        n = back;
                        thread::yield_now();
                    }
                }
            }));
            let done = done.clone();
            spawn(async move {
                let mut expected = 0;
                while let Some(n) = receiver.recv().await {
                    assert_eq!(n, expected);
                    expected += 1;
                    if n % 7 == 0 {
                        yield_now().await;
                    }
                }
                assert_eq!(expected, EACH);
                done.try_send(()).unwrap();
            });
        }
        for _ in 0..THREADS {
            wait.recv().await.unwrap();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(panics(), 0);
}

/// Wakers that outlive their task, and their worker, wake nobody.
#[test]
fn a_waker_may_outlive_its_worker() {
    for engine in engines() {
        let wakes = Arc::new(AtomicBool::new(false));
        let (give, take) = mpsc::channel();
        let stop = Arc::clone(&wakes);
        let thread = thread::spawn(move || {
            let wakers: Vec<std::task::Waker> = take.iter().collect();
            while !stop.load(atomic::Ordering::Relaxed) {
                wakers.iter().for_each(std::task::Waker::wake_by_ref);
            }
        });
        for _ in 0..20 {
            let give = give.clone();
            run_worker(engine, None, || async move {
                for _ in 0..50 {
                    let give = give.clone();
                    spawn(std::future::poll_fn(move |cx| {
                        give.send(cx.waker().clone()).unwrap();
                        std::task::Poll::Ready(())
                    }));
                }
                sleep(Duration::from_millis(1)).await;
            })
            .unwrap();
        }
        drop(give);
        // Others run while the dead are called.
        run_worker(engine, None, || async {
            let (mut client, server) = pair().await;
            spawn(echo(server));
            for _ in 0..200 {
                client.send(b"ping".to_vec()).await.0.unwrap();
                assert_eq!(recv_exact(&mut client, 4).await, b"ping");
            }
        })
        .unwrap();
        wakes.store(true, atomic::Ordering::Relaxed);
        thread.join().unwrap();
    }
}

/// A task that never waits does not keep the loop from its sockets and timers. (tokio-uring does not pass this: it looks
/// at its ring only when no task is ready.)
#[test]
fn a_busy_task_lets_the_others_live() {
    let sound = |engine: &Engine| !matches!(engine, Engine::Uring(_));
    on_these_engines(engines().into_iter().filter(sound), || async {
        let stop = Rc::new(Cell::new(false));
        let seen = Rc::clone(&stop);
        spawn(async move {
            while !seen.get() {
                yield_now().await;
            }
        });
        let (mut client, server) = pair().await;
        spawn(echo(server));
        for round in 0..50u8 {
            client.send(vec![round; 10]).await.0.unwrap();
            assert_eq!(recv_exact(&mut client, 10).await, [round; 10]);
        }
        sleep(Duration::from_millis(5)).await;
        stop.set(true);
    });
}

/// A session whose input is always ready receives no more than its budget, and what else may fill a poll or two, before
/// another one hears of what came for it.
#[test]
// INV-TURN
fn input_that_is_always_ready_keeps_to_its_budget() {
    on_each_engine(|| async {
        const OCTETS_MAX: usize = 64 << 20;
        let mut listener = listen();
        let mut peer = std::net::TcpStream::connect(listener.address()).unwrap();
        peer.set_nonblocking(true).unwrap();
        let (mut flooded, _) = listener.accept().await.unwrap().unwrap();
        flooded.set_deadline(soon());
        let (mut client, mut other) = pair().await;
        let heard = Rc::new(Cell::new(false));
        let hears = Rc::clone(&heard);
        spawn(async move {
            recv_exact(&mut other, 1).await;
            hears.set(true);
        });
        let piece = vec![7; 1 << 20];
        // The peer fills what the reader has made room for, so there is always more, whatever the time that passes.
        let mut read_on = async || {
            let _ = std::io::Write::write(&mut peer, &piece);
            flooded.recv().await.unwrap().unwrap().len()
        };
        let mut got = 0;
        while got < 4 << 20 {
            got += read_on().await;
        }
        client.send(vec![1]).await.0.unwrap();
        got = 0;
        while !heard.get() && got < OCTETS_MAX {
            got += read_on().await;
        }
        assert!(got <= 4 * budget::OCTETS, "{got} octets came first");
    });
}
