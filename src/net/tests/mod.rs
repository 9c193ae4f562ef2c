//! Each test runs on every engine; those that the kernel refuses are skipped, with the reason in the output.

mod end;
mod flood;
mod gather;
mod listener;
mod stream;
mod time;
mod tls;

use super::*;
use crate::config::Io;
use std::{
    future::Future,
    net::SocketAddr,
    sync::mpsc,
    time::{Duration, Instant},
};

/// The engines that can run here.
pub fn engines() -> Vec<Engine> {
    let probed = [Io::Epoll, Io::Uring, Io::Ring].map(|io| probe(io, 1));
    let sound = probed.into_iter().filter_map(|result| match result {
        Ok(choice) => Some(choice.engine),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    });
    sound.collect()
}

/// Runs `test` on a thread of its own for each engine. A test that hangs fails with its name.
pub fn on_each_engine<F: Future<Output = ()> + 'static>(test: fn() -> F) {
    on_these_engines(engines(), test);
}

pub fn on_these_engines<F: Future<Output = ()> + 'static>(
    engines: impl IntoIterator<Item = Engine>,
    test: fn() -> F,
) {
    for engine in engines {
        println!("engine: {engine}");
        let (done, wait) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            run_worker(engine, None, test).unwrap();
            done.send(()).unwrap();
        });
        match wait.recv_timeout(Duration::from_secs(60)) {
            Ok(()) => thread.join().unwrap(),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs on {engine}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                std::panic::resume_unwind(thread.join().unwrap_err());
            }
        }
    }
}

/// A deadline that no sound test meets.
pub fn soon() -> crate::smtp::tick::Tick {
    now().after(Duration::from_secs(30))
}

/// A listener on a loopback port of the kernel's choice.
pub fn listen() -> Listener {
    listen_on("127.0.0.1:0".parse().unwrap())
}

pub fn listen_on(address: SocketAddr) -> Listener {
    Listener::adopt(Bound::new(address, 1024, BindOptions::default()).unwrap()).unwrap()
}

/// Both ends of a connection.
pub async fn pair() -> (Stream, Stream) {
    let mut listener = listen();
    let client = Stream::connect(listener.address(), soon()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap().unwrap();
    server.set_deadline(soon());
    (client, server)
}

/// Exactly `len` octets.
pub async fn recv_exact(stream: &mut Stream, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend_from_slice(&stream.recv().await.unwrap().expect("more to come"));
    }
    assert_eq!(bytes.len(), len);
    bytes
}

/// Sends back what comes until the end of input.
pub async fn echo(mut stream: Stream) {
    let mut out = Vec::new();
    while let Ok(Some(chunk)) = stream.recv().await {
        out.extend_from_slice(&chunk);
        drop(chunk);
        let (sent, back) = stream.send(out).await;
        if sent.is_err() {
            return;
        }
        out = back;
    }
}

/// Sends and awaits `count` echoes.
pub async fn talk(stream: &mut Stream, count: usize) {
    let mut out = Vec::new();
    for turn in 0..count {
        out.extend_from_slice(&[turn as u8; 64]);
        let (sent, back) = stream.send(out).await;
        sent.unwrap();
        out = back;
        assert_eq!(recv_exact(stream, 64).await, [turn as u8; 64]);
    }
}

/// Descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Waits until `done` says so: for what happens behind our back.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
