//! A session in steady state allocates nothing: after a warm-up every command and every message runs in the
//! memory that the session has.

use gatepost::smtp::{Action, Answer, Reply, Server, Settings, Status, Tick};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; beside it only a counter is raised.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUND: &[u8] = b"EHLO client.example\r\nNOOP\r\nRSET\r\n\
    MAIL FROM:<sender@b.example> SIZE=100 BODY=8BITMIME ENVID=x RET=HDRS\r\n\
    RCPT TO:<first@d.example> NOTIFY=NEVER ORCPT=rfc822;first@d.example\r\n\
    RCPT TO:<second@d.example>\r\nRCPT TO:<refused@d.example>\r\nDATA\r\n\
    Subject: x\r\n\r\n..dot\r\ntext \xe2\x82\xac\r\n.\r\n\
    MAIL FROM:<>\r\nRCPT TO:<first@d.example>\r\nBDAT 5\r\nabc\r\nBDAT 3 LAST\r\nx\r\n\
    VRFY x\r\nHELP\r\nMAIL FROM:<a@b.example>\r\nRSET\r\nHELO client.example\r\nXYZZY\r\n";

fn feed(server: &mut Server, mut input: &[u8], out: &mut Vec<u8>) {
    loop {
        let step = server.step(Tick(1), input, out);
        input = &input[step.consumed..];
        let answer = match step.action {
            Action::Read => return,
            Action::Ask(_) => {
                let last = server.envelope().recipients().last();
                match last.map(|last| server.envelope().path(last.path).local) {
                    Some(b"refused") => {
                        Answer::Refuse(Reply::fixed(550, Status(5, 1, 1), "No such user"))
                    }
                    _ => Answer::Accept,
                }
            }
            Action::End => Answer::AcceptWith(Reply::fixed(250, Status(2, 0, 0), "Ok")),
            Action::Body(_) | Action::Insert(_) | Action::Refused(_) => continue,
            other => panic!("unexpected {other:?}"),
        };
        server.answer(answer, out);
    }
}

#[test]
// INV-ALLOC
fn a_session_in_steady_state_allocates_nothing() {
    let mut server = Server::new(Arc::new(Settings::new("mx.example")), Tick(0));
    let mut out = Vec::new();
    let mut round = |split: usize| {
        out.clear();
        ROUND
            .chunks(split)
            .for_each(|piece| feed(&mut server, piece, &mut out));
    };
    for split in [ROUND.len(), 1] {
        round(split);
    }
    let before = COUNT.get();
    for split in [ROUND.len(), 1, 7, 100, ROUND.len()] {
        round(split);
    }
    assert_eq!(COUNT.get() - before, 0);
    assert_eq!(server.tally().messages, 14);
}
