//! Against Postfix's smtp-sink.

use super::*;
use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

struct Sink(Child);

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sink on a port that was free a moment ago; `None` with the reason printed where there is none.
fn sink(options: &[&str]) -> Option<(Sink, String)> {
    let places = ["/usr/sbin/smtp-sink", "/usr/lib/postfix/sbin/smtp-sink"];
    let Some(program) = places.iter().find(|p| std::path::Path::new(p).exists()) else {
        println!("skipped: smtp-sink (package postfix) is not installed");
        return None;
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
    let child = Command::new(program)
        .args(["-u", &user])
        .args(options)
        .args([&format!("inet:{address}"), "100"])
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let sink = Sink(child);
    for _ in 0..500 {
        if TcpStream::connect(&address).is_ok() {
            return Some((sink, address));
        }
        thread::sleep(Duration::from_millis(10));
    }
    println!("skipped: smtp-sink does not listen");
    None
}

async fn many(address: String) {
    let mut config = config(&[]);
    config.pool[0].backends = vec![crate::config::Backend::Address(address)];
    config.pool[0].connections = 4;
    let backends = build(&config);
    let (pools, pool) = pools(&backends).await;
    let done = Rc::new(RefCell::new(0));
    for _ in 0..16 {
        let (pools, done) = (Rc::clone(&pools), Rc::clone(&done));
        net::spawn(async move {
            for _ in 0..25 {
                deliver(&pools, pool).await;
                *done.borrow_mut() += 1;
            }
        });
    }
    until(|| *done.borrow() == 400).await;
    assert!(pools.idle() <= 4);
    let answer = pools
        .verify(pool, (b"", None), Path::split(b"joe@example.net"), soon())
        .await;
    assert_eq!(answer, Verification::Accepted);
    pools.drain();
    until(|| backends.view(now())[0].connections == 0).await;
}

#[test]
fn four_hundred_messages_over_four_connections() {
    // As it is, without PIPELINING, and without ESMTP.
    for options in [&[][..], &["-p"], &["-e"]] {
        for engine in engines() {
            let Some((_sink, address)) = sink(options) else {
                return;
            };
            Worker::start(engine, || many(address)).join();
        }
    }
}
