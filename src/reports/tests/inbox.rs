//! What the threads around the collector wait for, and what they don't.

use super::collecting::{seen, settings};
use crate::{
    metrics::Registry,
    reports::{Inbox, Settings},
};
use std::{
    fs::{self, File, OpenOptions},
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

/// Whether this process has a file open.
fn is_open(file: &Path) -> bool {
    let open = fs::read_dir("/proc/self/fd").expect("Linux has it");
    open.flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == file))
}

#[test]
fn the_disk_is_waited_for_without_a_lock_that_others_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = fs::canonicalize(folder.path()).expect("it is there");
    let large = folder.join("closing-0123456789abcdef");
    // Seen in the middle of it or not: where the file was read before we have looked, it is read again.
    loop {
        fs::create_dir_all(&folder).expect("a folder");
        let other = File::create(folder.join("lock")).expect("created");
        other.try_lock().expect("free");
        let head = "{\"begin\":0,\"end\":1,\"id\":\"0123456789abcdef\"}\n";
        fs::write(&large, head).expect("written");
        // A file with a hole, which takes a while to read.
        let file = OpenOptions::new().write(true).open(&large);
        file.and_then(|file| file.set_len(1 << 40)).expect("made");
        // Until the folder is free the thread reads nothing in it.
        let inbox = inbox(&folder, 1);
        assert!(inbox.give(seen("a.example", "192.0.2.1")));
        while !inbox.queue.is_empty() {
            thread::sleep(Duration::from_millis(10));
        }
        drop(other);
        // At the end of the interval it takes the folder, and waits for the disk.
        while large.exists() && !is_open(&large) {
            thread::sleep(Duration::from_millis(1));
        }
        let is_free = inbox.wanted.try_lock().is_ok() && inbox.answered.try_lock().is_ok();
        let is_waiting = is_open(&large);
        inbox.finish();
        if is_waiting {
            assert!(is_free);
            break;
        }
    }
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
