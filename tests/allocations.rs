//! The policy's promise that a message which nothing matches costs no allocation, counted.

#![allow(unsafe_code)] // a global allocator can't be written without

use gatepost::{
    config,
    policy::{At, Facts, Judgement, Policy, Shared},
    smtp::{Tick, envelope::Path},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::IpAddr,
};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system's allocator as it came; counting touches no memory of its.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const POLICY: &str = r#"
    client_list = [{ name = 'blocked', entries = ['198.51.100.0/24'] }]
    helo_list = [{ name = 'names', entries = ['bad.example', '/^dyn-/'] }]
    sender_list = [{ name = 'bad', entries = ['bad.example', '.dyn.example', 'a@b.example', '/[0-9]{9}@/'] }]
    recipient_list = [{ name = 'closed', entries = ['noreply@ours.example'] }]
    [sender_rate]
    messages = 1000
    [[list]]
    name = 'friends'
    entries = ['198.51.100.0/24', 'friend.example', '.friend.example']
    [[rule]]
    name = 'terms'
    when = 'helo == "mx.example.net" && !client.trusted || under(sender.domain, "bad.example") || sender in list("friends")'
    then = 'reject'
    [[rule]]
    name = 'recipient'
    when = 'recipient.local.lowerAscii() == "spam" || rate([client.address, sender.domain], 1000, "1m")'
    then = 'reject'
    [[rule]]
    name = 'subject'
    when = 'header("Subject").matches("(?i)casino") || headers("Received").size() > 30 || message.size > bytes("1MiB")'
    score = 1.0
    [[header]]
    name = 'date'
    field = 'Date'
    when = 'absent'
    [[header]]
    name = 'pills'
    field = 'Subject'
    pattern = 'cheap +pills|lottery'"#;

#[test]
// INV-ALLOC
fn a_message_that_nothing_matches_allocates_nothing() {
    let config: config::Policy = toml::from_str(POLICY).expect("a policy");
    let policy = Policy::build(&config, "mx.ours.example").unwrap_or_else(|f| panic!("{f:?}"));
    let shared = Shared::new(&config);
    let mut judgement = Judgement::new();
    let mut message = |now: u64| {
        let facts = Facts {
            hello: b"mail.client.example",
            sender: Path::split(b"Someone@client.example"),
            recipient: Some(Path::split(b"somebody@ours.example")),
            recipient_is_ours: true,
            size: 4096,
            header: b"Date: now\r\nSubject: one line\r\n and another\r\n\r\n",
            ..Facts::of(IpAddr::from([192, 0, 2, 7]), Tick(now))
        };
        for at in [
            At::Connect,
            At::Hello,
            At::Mail,
            At::Answers,
            At::Rcpt,
            At::Header,
            At::Body,
        ] {
            assert!(policy.ask(at, &facts, &shared, &mut judgement).is_accept());
        }
    };
    message(0); // patterns make their scratch memory on their first use
    let before = COUNT.get();
    for now in 1..100 {
        message(now);
    }
    assert_eq!(COUNT.get() - before, 0);
}
