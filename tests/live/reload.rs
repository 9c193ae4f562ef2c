//! A reload that is refused, that waits, or that can't do everything; and the signals meanwhile.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, http, wait_until},
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

/// A shell's command that leaves the process a pipe that nothing is ever written to.
const PIPE: &str = "f=$(mktemp -u); mkfifo \"$f\"; exec 5<>\"$f\"; rm \"$f\"";

fn list(file: &str) -> String {
    format!("[[policy.client_list]]\nname = \"slow\"\nfiles = [\"{file}\"]\n")
}

fn change(gatepost: &Gatepost, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(gatepost.file()).expect("there");
    // At once: a reload that reads meanwhile gets the one or the other.
    let beside = gatepost.file().with_extension("new");
    fs::write(&beside, change(&text)).expect("written");
    fs::rename(beside, gatepost.file()).expect("in one folder");
}

fn reload(gatepost: &Gatepost) -> (u16, String) {
    http(gatepost.admin, "POST", "/reload")
}

#[test]
fn a_reload_that_waits_holds_nothing_up() {
    let backend = Backend::good(free_address());
    // The pipe stands in no folder that the sandbox would let it read.
    let config = format!("[process]\nsandbox = \"off\"\n{}", pool(&[&backend], ""));
    let mut gatepost = Gatepost::start_behind(PIPE, "epoll", &config);
    let sound = fs::read_to_string(gatepost.file()).expect("there");
    change(&gatepost, |text| format!("{text}\n{}", list("/dev/fd/5")));
    gatepost.process.signal("HUP");
    wait_until("it says so", || {
        gatepost.errors().contains("takes long").then_some(())
    });
    // A later one takes its place.
    fs::write(gatepost.file(), sound).expect("written");
    assert_eq!(reload(&gatepost).0, 200);
    wait_until("it says so", || {
        gatepost
            .errors()
            .contains("replaced by a later reload")
            .then_some(())
    });
    let mut client = Client::hello(gatepost.smtp);
    assert!(
        client
            .send("a@sender.example", &["b@example.net"], "x\r\n")
            .starts_with("250")
    );
    change(&gatepost, |text| format!("{text}\n{}", list("/dev/fd/5")));
    gatepost.process.signal("HUP");
    gatepost.process.signal("TERM");
    let status = wait_until("it ends", || {
        gatepost.process.0.try_wait().expect("a child")
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_is_no_file_is_refused_with_words() {
    let backend = Backend::good(free_address());
    let gatepost = Gatepost::start("epoll", &pool(&[&backend], ""));
    let fifo = gatepost.folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let fifo = fifo.display().to_string();
    change(&gatepost, |text| format!("{text}\n{}", list(&fifo)));
    let (status, answer) = reload(&gatepost);
    assert_eq!(status, 422, "{answer}");
    assert!(answer.contains("it is a FIFO"), "{answer}");
}

#[test]
fn what_takes_a_restart_is_said_each_time() {
    let backend = Backend::good(free_address());
    let gatepost = Gatepost::start("epoll", &pool(&[&backend], ""));
    change(&gatepost, |text| text.replace("workers = 1", "workers = 2"));
    for _ in 0..2 {
        let (status, answer) = reload(&gatepost);
        assert_eq!(status, 200, "{answer}");
        assert!(
            answer.contains("`workers` needs a restart: 1 stays"),
            "{answer}"
        );
    }
    change(&gatepost, |text| text.replace("workers = 2", "workers = 1"));
    let (_, answer) = reload(&gatepost);
    assert!(!answer.contains("needs a restart"), "{answer}");
}

#[test]
fn a_refused_file_sets_no_level() {
    let backend = Backend::good(free_address());
    let gatepost = Gatepost::start("epoll", &pool(&[&backend], ""));
    let sound = fs::read_to_string(gatepost.file()).expect("there");
    change(&gatepost, |text| {
        let quiet = text.replace("level = \"debug\"", "level = \"error\"");
        format!(
            "{quiet}\n[[credentials]]\nname = \"gone\"\nsource = \"file\"\nfile = \"/no/such/file\"\n"
        )
    });
    assert_eq!(reload(&gatepost).0, 422);
    fs::write(gatepost.file(), sound).expect("written");
    assert_eq!(reload(&gatepost).0, 200);
    wait_until("it says so", || {
        gatepost.errors().contains("info: reloaded").then_some(())
    });
}

/// A table with a list that takes a while to read.
fn large_list(gatepost: &Gatepost) -> String {
    let large = gatepost.folder.path().join("large");
    let lines: String = (0..200_000u32)
        .map(|i| format!("10.{}.{}.{}\n", i >> 16, (i >> 8) & 255, i & 255))
        .collect();
    fs::write(&large, lines).expect("written");
    list(&large.display().to_string())
}

/// Several at once (as many as the endpoint looks up users for), of a configuration that takes a while to read: each asker hears the
/// truth, and the newest file is in force.
#[test]
fn however_many_reloads_come_at_once_the_newest_file_is_in_force() {
    let backend = Backend::good(free_address());
    let gatepost = Gatepost::start("epoll", &pool(&[&backend], ""));
    let slow = large_list(&gatepost);
    change(&gatepost, |text| {
        format!("{text}\n{slow}").replace("edge.example", "edge-0.example")
    });
    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let gatepost = &gatepost;
        let asked: Vec<_> = (1..=5)
            .map(|number| {
                change(gatepost, |text| {
                    let before = format!("edge-{}.example", number - 1);
                    text.replace(&before, &format!("edge-{number}.example"))
                });
                // In this order: each is sent once the one before is.
                let mut stream = TcpStream::connect(gatepost.admin).expect("it listens");
                let request = format!(
                    "POST /reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    gatepost.admin
                );
                stream.write_all(request.as_bytes()).expect("sent");
                scope.spawn(move || {
                    let mut text = String::new();
                    stream.read_to_string(&mut text).expect("an answer");
                    let status = text.split(' ').nth(1).expect("a status");
                    (status.parse().expect("a number"), text)
                })
            })
            .collect();
        let answers = asked.into_iter();
        answers.map(|one| one.join().expect("it ends")).collect()
    });
    for (status, answer) in answers {
        assert_eq!(status, 200, "{answer}");
    }
    let greeting = Client::silent(gatepost.smtp).reply();
    assert!(greeting.contains("edge-5.example"), "{greeting}");
    let applied = gatepost.metric("gatepost_reloads_total", "result=\"applied\"");
    let refused = gatepost.metric("gatepost_reloads_total", "result=\"refused\"");
    assert_eq!(refused, 0.0);
    assert!((2.0..=5.0).contains(&applied), "{applied}");
}

/// Signals instead of requests, more of them than readers that there may be.
#[test]
fn a_storm_of_hangups_ends_with_the_newest_file() {
    let backend = Backend::good(free_address());
    let gatepost = Gatepost::start("epoll", &pool(&[&backend], ""));
    let slow = large_list(&gatepost);
    change(&gatepost, |text| format!("{text}\n{slow}"));
    for _ in 0..8 {
        gatepost.process.signal("HUP");
    }
    change(&gatepost, |text| {
        text.replace("edge.example", "next.example")
    });
    gatepost.process.signal("HUP");
    wait_until("the newest is in force", || {
        let greeting = Client::silent(gatepost.smtp).reply();
        greeting.contains("next.example").then_some(())
    });
    assert!(
        !gatepost.errors().contains("nothing was changed"),
        "{}",
        gatepost.errors()
    );
}
