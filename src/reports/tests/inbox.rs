//! What the threads around the collector wait for, and what they don't.

use super::collecting::{seen, settings};
use crate::{
    metrics::Registry,
    reports::{Inbox, Settings},
};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

/// An inbox whose thread runs.
fn inbox(folder: &Path, interval: u64) -> Arc<Inbox> {
    let inbox = Inbox::new(Settings {
        interval,
        ..settings(folder)
    });
    inbox.attend(&Registry::new()).expect("a thread");
    inbox
}

#[test]
fn the_disk_is_waited_for_without_a_lock_that_others_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("closing-0123456789abcdef");
    let other = File::create(folder.path().join("lock")).expect("created");
    other.try_lock().expect("free");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    // Until the folder is free the thread reads nothing in it.
    let inbox = inbox(folder.path(), 1);
    assert!(inbox.give(seen("a.example", "192.0.2.1")));
    while !inbox.queue.is_empty() {
        thread::sleep(Duration::from_millis(10));
    }
    drop(other);
    // At the end of the interval it takes the folder, and waits for a disk that does not answer.
    let disk = loop {
        let mut options = OpenOptions::new();
        let opened = options
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&fifo);
        match opened {
            Ok(disk) => break disk,
            // No reader yet.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    assert!(inbox.wanted.try_lock().is_ok());
    assert!(inbox.answered.try_lock().is_ok());
    fs::remove_file(&fifo).expect("there");
    drop(disk);
    inbox.finish();
}

#[test]
fn a_message_that_comes_after_the_end_of_the_thread_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = inbox(folder.path(), 86_400);
    assert!(inbox.give(seen("a.example", "192.0.2.1")));
    let thread = inbox.thread.lock().expect("no panic").take();
    inbox.queue.send(None).expect("it runs");
    thread.expect("it runs").join().expect("no panic");
    assert!(!inbox.give(seen("a.example", "192.0.2.1")));
}
