//! The policy's promise that a message which nothing matches costs no allocation, counted.

#![allow(unsafe_code)] // a global allocator can't be written without

use gatepost::{
    config,
    policy::{At, Facts, Inquiry, Judgement, Policy, Shared},
    record::{
        BackendSaid, Client, ENTRY_ROOM, Findings, Mail, Outcome, Recipients, Record, Refusal,
        Refusals, Ring, Times, Told, explanation,
    },
    smtp::{Reply, Status, Tick, envelope::Path},
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

#[test]
// INV-ALLOC
fn an_explanation_that_is_kept_allocates_nothing() {
    let policy = "[helo.unqualified]\nscore = 2.0\nthen = 'score'";
    let config: config::Policy = toml::from_str(policy).expect("a policy");
    let policy = Policy::build(&config, "mx.ours.example").unwrap_or_else(|f| panic!("{f:?}"));
    let (shared, mut judgement) = (Shared::new(&config), Judgement::new());
    let facts = Facts {
        hello: b"localhost",
        ..Facts::of(IpAddr::from([192, 0, 2, 7]), Tick(1))
    };
    assert!(
        policy
            .ask(At::Hello, &facts, &shared, &mut judgement)
            .is_accept()
    );
    assert_eq!(judgement.hits().len(), 1);
    let (mut recipients, mut refusals) = (Recipients::default(), Refusals::default());
    recipients.push(b"somebody@ours.example");
    let reply = Reply::fixed(550, Status(5, 1, 1), "No \"such\" user");
    refusals.push(Refusal::new("rcpt", b"nobody@ours.example", &reply, None));
    let told = Told::new(&Reply::fixed(250, Status(2, 0, 0), ""), None);
    let inquiry = Inquiry::default();
    let record = |now: u64| Record {
        id: *b"0123456789ABC",
        now: Tick(now),
        client: Client {
            listener: "mx",
            address: IpAddr::from([192, 0, 2, 7]),
            name: None,
            rdns: None,
            via: None,
            front: None,
            helo: Some(b"localhost"),
            login: None,
            auth: None,
            tls: None,
        },
        mail: Some(Mail {
            origin: None,
            sender: b"someone@client.example",
            spf: None,
            dkim: None,
            dmarc: None,
            arc: None,
            signed: None,
            recipients: &recipients,
            size: Some(1200),
            outcome: Outcome::Accept,
            told: Some(&told),
            backend: Some("pool/192.0.2.1:25"),
            backend_tls: None,
            backend_said: Some(BackendSaid {
                code: 250,
                status: Status(2, 0, 0),
                text: "Ok: queued as \"1\"".into(),
            }),
            started: Tick(0),
            times: Times::default(),
        }),
        refusals: &refusals,
        findings: Findings {
            judgement: &judgement,
            policy: &policy,
            listener: 0,
            inquiry: Some(&inquiry),
        },
        end: None,
        shadow: None,
        session_us: 0,
    };
    let mut ring = Ring::new(16);
    let mut keep = |now: u64| {
        ring.keep(*b"0123456789ABC", now, |out| {
            explanation::pack(&record(now), now, out);
            assert!(out.len() < ENTRY_ROOM);
        });
    };
    (0..40).for_each(&mut keep);
    let before = COUNT.get();
    (40..200).for_each(&mut keep);
    assert_eq!(COUNT.get() - before, 0);
}
