//! Load, and backends that die under it: nothing is lost, nothing is doubled, no backend gets more connections
//! than it may, and no client hears `250` for a message that nobody has.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, Sink, free_address, need, smtp_source, wait_until},
};
use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::Duration,
};

/// Connections that each backend may get.
const CONNECTIONS: usize = 8;
/// Messages; `GATEPOST_LOAD_MESSAGES` asks for another number.
const MESSAGES: usize = 4000;

/// The local ends of TCP connections to `address` that are up, being set up, or closed by the other side alone: those
/// that a backend's budget must count (Linux, /proc/net/tcp: states 01, 02 and 08).
fn connections_to(address: SocketAddr) -> HashSet<String> {
    let IpAddr::V4(ip) = address.ip() else {
        panic!("{address}")
    };
    let remote = format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(ip.octets()),
        address.port()
    );
    let table = fs::read_to_string("/proc/net/tcp").expect("on Linux");
    let locals = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let to_there = fields.next()? == remote;
        (to_there && matches!(fields.next()?, "01" | "02" | "08")).then_some(local.to_string())
    });
    locals.collect()
}

/// The most connections that were up at once, as far as the table tells.
///
/// It is read while it changes: one that ended and the one that took its place may stand in it side by side. But
/// what stands in two readings, one after the other, was there at the moment between them, all of it at once.
#[derive(Default)]
struct Most {
    last: HashSet<String>,
    most: usize,
}

impl Most {
    fn look(&mut self, address: SocketAddr) {
        let now = connections_to(address);
        self.most = self.most.max(now.intersection(&self.last).count());
        self.last = now;
    }
}

/// Adds up how often each recipient stands in the dumps of a smtp-sink.
fn count_recipients(folder: &std::path::Path, counts: &mut HashMap<String, usize>) {
    for file in fs::read_dir(folder).expect("the dumps") {
        let text = fs::read(file.expect("readable").path()).expect("readable");
        for line in String::from_utf8_lossy(&text).lines() {
            if let Some(recipient) = line.strip_prefix("X-Rcpt-Args: ") {
                *counts.entry(recipient.to_string()).or_default() += 1;
            }
        }
    }
}

/// Two smtp-sinks that write down what they get.
struct Sinks {
    dumps: tempfile::TempDir,
    sinks: Vec<Sink>,
}

impl Sinks {
    /// Starts them. `None`, and a note, where smtp-sink isn't installed.
    fn start() -> Option<Sinks> {
        let dumps = tempfile::tempdir().expect("a folder");
        let mut sinks = Vec::new();
        for name in ["one", "two"] {
            let folder = dumps.path().join(name);
            fs::create_dir(&folder).expect("made");
            // smtp-sink writes as nobody.
            for folder in [dumps.path(), &folder] {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("set");
            }
            let template = format!("{}/%H%M", folder.display());
            sinks.push(Sink::start(free_address(), &["-D", &template])?);
        }
        Some(Sinks { dumps, sinks })
    }

    /// How often each recipient got a message.
    fn counts(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for name in ["one", "two"] {
            count_recipients(&self.dumps.path().join(name), &mut counts);
        }
        counts
    }
}

fn smtp_source_delivers_all(engine: &str) {
    if need("smtp-source").is_none() {
        return;
    }
    let messages = std::env::var("GATEPOST_LOAD_MESSAGES")
        .ok()
        .map_or(MESSAGES, |n| n.parse().expect("a number"));
    let Some(both) = Sinks::start() else {
        return;
    };
    let sinks = &both.sinks;
    let gatepost = Gatepost::start(
        engine,
        &format!(
            "workers = 2\ntrusted = [\"127.0.0.0/8\"]\n[[pool]]\nname = \"cluster\"\nbackends = [\"{}\", \"{}\"]\n\
             connections = {CONNECTIONS}\nlease_wait = \"60s\"\nmessages = 0\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\nrecipients = \"accept\"\n",
            sinks[0].address, sinks[1].address
        ),
    );
    let over = AtomicBool::new(false);
    let begun = std::time::Instant::now();
    let (most, samples) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = [Most::default(), Most::default()];
            let mut samples = 0;
            while !over.load(SeqCst) {
                for (seen, sink) in seen.iter_mut().zip(sinks) {
                    seen.look(sink.address);
                }
                samples += 1;
                thread::sleep(Duration::from_millis(5));
            }
            (seen.map(|seen| seen.most), samples)
        });
        let count = messages.to_string();
        let flags = [
            "-s",
            "100",
            "-m",
            &count,
            "-l",
            "4096",
            "-N",
            "-f",
            "a@sender.example",
            "-t",
            "user@example.net",
        ];
        let (well, errors) = smtp_source(gatepost.smtp, &flags).expect("it is installed");
        over.store(true, SeqCst);
        assert!(well, "{errors}");
        watch.join().expect("it only looks")
    });
    let took = begun.elapsed();
    let counts = both.counts();
    let copies: usize = counts.values().sum();
    eprintln!(
        "{messages} messages in {took:?}: {} recipients, {copies} copies, {most:?} connections at most in {samples} samples, {} KiB",
        counts.len(),
        gatepost.resident_kib()
    );
    assert_eq!((counts.len(), copies), (messages, messages));
    for most in most {
        assert!((1..=CONNECTIONS).contains(&most), "{most}");
    }
    assert_eq!(
        gatepost.metric("gatepost_messages_total", "accepted"),
        messages as f64
    );
    assert_eq!(gatepost.metric("gatepost_panics_total", ""), 0.0);
}

/// What became of one try.
enum Told {
    Accepted,
    Later,
}

/// A client that comes back with what was deferred.
struct Sender {
    address: SocketAddr,
    client: Option<Client>,
}

impl Sender {
    /// One try: any reply but 2xx, 354 and 4xx is a failure of the test.
    fn try_once(&mut self, recipient: &str) -> Told {
        let client = self
            .client
            .get_or_insert_with(|| Client::hello(self.address));
        for command in [
            "MAIL FROM:<a@sender.example>",
            &format!("RCPT TO:<{recipient}>"),
            "DATA",
            "Subject: x\r\n\r\nx\r\n.",
        ] {
            let reply = client.command(command);
            match reply.as_bytes().first() {
                Some(b'2' | b'3') => {}
                Some(b'4') => {
                    if !reply.starts_with("421") {
                        client.expect("RSET", "250");
                    } else {
                        self.client = None;
                    }
                    return Told::Later;
                }
                _ => panic!("{command}: {reply:?}"),
            }
        }
        Told::Accepted
    }

    /// Tries until it's taken; how often it was told to come again.
    fn send(&mut self, recipient: &str) -> usize {
        let mut later = 0;
        while let Told::Later = self.try_once(recipient) {
            later += 1;
            assert!(later < 1000, "{recipient} is never taken");
            thread::sleep(Duration::from_millis(20));
        }
        later
    }
}

/// Gatepost before two backends, quick to notice that one is back.
fn before_two(engine: &str, backends: &[Backend; 2]) -> Gatepost {
    let keys = "lease_wait = \"2s\"\nhealth = { backoff = \"100ms\", backoff_max = \"300ms\", slow_start = \"0s\" }";
    let config = format!(
        "workers = 2\ntrusted = [\"127.0.0.0/8\"]\n{}recipients = \"accept\"\n[timeouts]\nbackend = \"5s\"\ncommit = \"10s\"\n",
        pool(&[&backends[0], &backends[1]], keys)
    );
    Gatepost::start(engine, &config)
}

/// Every recipient got its message, and a second copy only where a reply was lost with the backend.
fn all_there(gatepost: &Gatepost, backends: &[&Backend], expected: usize) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for backend in backends {
        for message in backend.messages() {
            *counts.entry(message.rcpt[0].clone()).or_default() += 1;
        }
    }
    let copies: usize = counts.values().sum();
    let uncertain = gatepost.metric("gatepost_uncertain_total", "") as usize;
    eprintln!(
        "{} of {expected} messages, {copies} copies, {uncertain} uncertain",
        counts.len()
    );
    assert_eq!(counts.len(), expected);
    assert!(
        copies - expected <= uncertain,
        "{copies} copies, {uncertain} uncertain"
    );
    assert_eq!(gatepost.metric("gatepost_panics_total", ""), 0.0);
}

const SENDERS: usize = 8;
const EACH: usize = 100;

crate::on_all_engines! {
    fn load_of_smtp_source_is_delivered_once(engine) {
        smtp_source_delivers_all(engine);
    }

    fn load_survives_the_death_of_one_backend(engine) {
        let backends = [Backend::good(free_address()), Backend::good(free_address())];
        let gatepost = before_two(engine, &backends);
        let done = AtomicUsize::new(0);
        let later: usize = thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS).map(|name| {
                let (address, done) = (gatepost.smtp, &done);
                scope.spawn(move || {
                    let mut sender = Sender { address, client: None };
                    (0..EACH).map(|number| {
                        let later = sender.send(&format!("{name}-{number}@example.net"));
                        done.fetch_add(1, SeqCst);
                        later
                    }).sum::<usize>()
                })
            }).collect();
            wait_until("a part is through", || (done.load(SeqCst) > SENDERS * EACH / 4).then_some(()));
            backends[0].stop();
            senders.into_iter().map(|thread| thread.join().expect("no sender failed")).sum()
        });
        eprintln!("{later} times told to come again");
        all_there(&gatepost, &[&backends[0], &backends[1]], SENDERS * EACH);
        assert!(backends[1].with_messages(<[_]>::len) > backends[0].with_messages(<[_]>::len));
    }

    fn load_meets_no_backend_and_then_both_again(engine) {
        let backends = [Backend::good(free_address()), Backend::good(free_address())];
        let gatepost = before_two(engine, &backends);
        let (done, dead, deferred) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
        let back = thread::scope(|scope| {
            for name in 0..SENDERS {
                let (address, done, dead, deferred) = (gatepost.smtp, &done, &dead, &deferred);
                scope.spawn(move || {
                    let mut sender = Sender { address, client: None };
                    for number in 0..EACH {
                        loop {
                            let was_dead = dead.load(SeqCst);
                            let told = sender.try_once(&format!("{name}-{number}@example.net"));
                            match told {
                                // Dead before and after: nobody can have taken it.
                                Told::Accepted => assert!(!(was_dead && dead.load(SeqCst)), "250 without a backend"),
                                Told::Later => {
                                    deferred.fetch_add(1, SeqCst);
                                    thread::sleep(Duration::from_millis(20));
                                    continue;
                                }
                            }
                            break;
                        }
                        done.fetch_add(1, SeqCst);
                    }
                });
            }
            wait_until("a part is through", || (done.load(SeqCst) > SENDERS * EACH / 4).then_some(()));
            backends.iter().for_each(Backend::stop);
            dead.store(true, SeqCst);
            let seen = deferred.load(SeqCst);
            wait_until("all are told to come again", || (deferred.load(SeqCst) > seen + 4 * SENDERS).then_some(()));
            assert_eq!(gatepost.get("/ready").0, 503);
            dead.store(false, SeqCst);
            backends.each_ref().map(|backend| Backend::good(backend.address))
        });
        eprintln!("{deferred:?} times told to come again");
        let mut sender = Sender { address: gatepost.smtp, client: None };
        let mut extra = 0;
        wait_until("both are used again", || {
            sender.send(&format!("extra-{extra}@example.net"));
            extra += 1;
            back.iter().all(|backend| backend.with_messages(|messages| !messages.is_empty())).then_some(())
        });
        let all = [&backends[0], &backends[1], &back[0], &back[1]];
        all_there(&gatepost, &all, SENDERS * EACH + extra);
    }

    fn load_goes_round_a_backend_that_freezes(engine) {
        let Some(both) = Sinks::start() else { return };
        let keys = "health = { backoff = \"100ms\", backoff_max = \"300ms\" }";
        let list = format!("\"{}\", \"{}\"", both.sinks[0].address, both.sinks[1].address);
        let gatepost = Gatepost::start(engine, &format!(
            "workers = 2\ntrusted = [\"127.0.0.0/8\"]\n[[pool]]\nname = \"cluster\"\nbackends = [{list}]\n{keys}\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\nrecipients = \"accept\"\n\
             [timeouts]\nconnect = \"500ms\"\nbackend = \"500ms\"\ncommit = \"500ms\"\n"
        ));
        let done = AtomicUsize::new(0);
        let later: usize = thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS).map(|name| {
                let (address, done) = (gatepost.smtp, &done);
                scope.spawn(move || {
                    let mut sender = Sender { address, client: None };
                    (0..EACH).map(|number| {
                        let later = sender.send(&format!("{name}-{number}@example.net"));
                        done.fetch_add(1, SeqCst);
                        later
                    }).sum::<usize>()
                })
            }).collect();
            wait_until("a part is through", || (done.load(SeqCst) > SENDERS * EACH / 4).then_some(()));
            both.sinks[0].process.signal("STOP");
            senders.into_iter().map(|thread| thread.join().expect("no sender failed")).sum()
        });
        both.sinks[0].process.signal("CONT");
        let uncertain = gatepost.metric("gatepost_uncertain_total", "") as usize;
        let counts = both.counts();
        let copies: usize = counts.values().sum();
        eprintln!("{later} times told to come again, {copies} copies, {uncertain} uncertain");
        assert_eq!(counts.len(), SENDERS * EACH);
        assert!(copies - counts.len() <= uncertain);
    }
}
