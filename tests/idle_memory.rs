//! What an idle session owns, counted at the allocator: the bar is 4 KiB for each, 16 KiB under TLS, and pages of the
//! kernel's and slack of the allocator come on top of what is counted here.
//!
//! Counted, not measured: a size of which most new sessions have one more alive is a session's; what else grew
//! (tables, histograms) is not. `cargo test --test idle_memory -- --nocapture` prints the sizes. The cryptography is C and
//! asks the C library: under TLS all that is in use there has a bound as well.

#![allow(unsafe_code)]

use gatepost::{
    config::{self, Io},
    metrics::Registry,
    net::{self, BindOptions, Bound, Engine},
    policy::Shared,
    proxy::Verifier,
    supervisor::build_site,
    threads::Threads,
    worker::{self, Order, Plan, Worker},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

/// Sizes above this one are not told apart.
const SIZE_MAX: usize = 1 << 16;
/// Sessions before those that are counted: they meet what is made once.
const WARM: usize = 100;
/// Sessions that are counted. Each takes two descriptors, and 1,024 may be all there are.
const COUNTED: usize = 300;
/// Octets on the heap that an idle session may own.
const OWNED_MAX: usize = 2592;
/// The same under TLS.
const OWNED_TLS_MAX: usize = 9_472;
/// Octets that the C library may have given out for such a session, which is what the cryptography has beside the heap
/// above. It has slack of its own.
const GIVEN_TLS_MAX: usize = 12_288;

static ALIVE: [AtomicI64; SIZE_MAX + 1] = [const { AtomicI64::new(0) }; SIZE_MAX + 1];

fn alive(layout: Layout) -> &'static AtomicI64 {
    &ALIVE[layout.size().min(SIZE_MAX)]
}

struct Counting;

// SAFETY: every call is handed to the system's allocator as it came; counting touches no memory of its.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        alive(layout).fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        alive(layout).fetch_sub(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: what another one has alive would be counted.
static ALONE: Mutex<()> = Mutex::new(());

const CONFIG: &str = "
    hostname = 'mx.example.net'
    workers = 1
    [admin]
    listen = 'off'
    [[listener]]
    name = 'mx'
    address = ['127.0.0.1:2525']
    TLS
    [[pool]]
    name = 'cluster'
    backends = ['127.0.0.1:9']
    [[route]]
    domains = ['example.net']
    pool = 'cluster'";

/// How a client begins.
type Begin<'a> = &'a dyn Fn(SocketAddr) -> TcpStream;

/// A worker with one listener, which has these keys more, and where that one is.
fn start(engine: Engine, keys: &str) -> (Worker, SocketAddr) {
    let text = CONFIG.replace("TLS", keys);
    let config = config::parse("test", &text).expect("it is sound").config;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = Bound::new(any, 1024, BindOptions::default()).expect("a port is free");
    let address = bound.address();
    let registry = Registry::new();
    let shared = Arc::new(Shared::new(&config.policy));
    let site = build_site(config, None, &registry, &Default::default(), None).expect("it is sound");
    let plan = Plan {
        connections_max: u32::MAX,
        number: 0,
        workers: 1,
        engine,
        core: None,
        sockets: vec![(0, bound)],
        site: Arc::new(site),
        shared,
        registry,
        helpers: Arc::new(Threads::start("tls", 1, 16).expect("a thread")),
        verifier: Arc::new(Verifier::start().expect("a thread")),
        log: None,
    };
    (worker::start(plan).expect("a thread"), address)
}

/// Reads up to the end of a reply.
fn reply(stream: &mut impl Read) {
    let (mut buffer, mut length) = ([0; 1024], 0);
    loop {
        let read = stream.read(&mut buffer[length..]).expect("a reply");
        assert!(read > 0, "the session ended");
        length += read;
        let last = buffer[..length].rsplitn(3, |octet| *octet == b'\n').nth(1);
        if last.is_some_and(|line| line.get(3) == Some(&b' ')) {
            return;
        }
    }
}

/// A session that has said EHLO.
fn session(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    reply(&mut stream);
    stream
        .write_all(b"EHLO mail.client.example\r\n")
        .expect("it reads");
    reply(&mut stream);
    stream
}

/// A session that has said EHLO under TLS. What the client knows of the handshake is forgotten, so that it isn't counted.
fn secured(address: SocketAddr, config: &Arc<ClientConfig>) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("it listens");
    let name = ServerName::try_from("mx.example.net").expect("a name");
    let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a connection");
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    reply(&mut stream);
    stream
        .write_all(b"EHLO mail.client.example\r\n")
        .expect("it reads");
    reply(&mut stream);
    socket
}

/// Octets that the C library has given out.
fn in_use() -> usize {
    // SAFETY: it reads counters under the allocator's own locks.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// What an idle session owns.
struct Owned {
    /// Octets of the sizes of which each has some.
    counted: usize,
    /// Octets that the C library has given out for each, what grew beside the sessions included.
    given: usize,
}

/// Octets that a session owns: the sizes of which each has some, with how many.
fn owned(engine: Engine, keys: &str, session: Begin<'_>) -> Owned {
    let (worker, address) = start(engine, keys);
    let mut open: Vec<TcpStream> = Vec::with_capacity(WARM + COUNTED);
    let mut before = vec![0; SIZE_MAX + 1];
    open.extend((0..WARM).map(|_| session(address)));
    for (before, alive) in before.iter_mut().zip(&ALIVE) {
        *before = alive.load(Relaxed);
    }
    let given = in_use();
    open.extend((0..COUNTED).map(|_| session(address)));
    let given = in_use().saturating_sub(given) / COUNTED;
    let mut sum = 0;
    for (size, (before, alive)) in before.iter().zip(&ALIVE).enumerate() {
        let each = (alive.load(Relaxed) - before + COUNTED as i64 / 2).div_euclid(COUNTED as i64);
        if each != 0 {
            println!("{engine}: {each} × {size}");
            sum += each.unsigned_abs() as usize * size;
        }
    }
    println!("{engine}: {sum} octets a session, {given} of the C library's");
    drop(open);
    worker
        .orders
        .try_send(Order::Stop)
        .ok()
        .expect("it takes orders");
    worker.thread.join().expect("no panic").expect("no error");
    Owned {
        counted: sum,
        given,
    }
}

/// What this kernel has not is left out.
fn engines() -> impl Iterator<Item = Engine> {
    let probed = [Io::Epoll, Io::Uring, Io::Ring].map(|io| net::probe(io, 1));
    probed.into_iter().flatten().map(|choice| choice.engine)
}

#[test]
fn an_idle_session_owns_little() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for engine in engines() {
        let octets = owned(engine, "", &session).counted;
        assert!(octets <= OWNED_MAX, "{engine}: {octets} octets a session");
    }
}

#[test]
fn an_idle_session_under_tls_owns_little_more() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["mx.example.net".into()]).expect("made");
    let file = folder.path().join("both.pem");
    let both = made.cert.pem() + &made.signing_key.serialize_pem();
    std::fs::write(&file, both).expect("written");
    let file = file.display();
    let keys = format!("tls = 'implicit'\n[[certificate]]\nchain = '{file}'\nkey = '{file}'");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("an anchor");
    for version in [&TLS12, &TLS13] {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        for engine in engines() {
            let Owned { counted, given } = owned(engine, &keys, &|at| secured(at, &config));
            assert!(
                counted <= OWNED_TLS_MAX && given <= GIVEN_TLS_MAX,
                "{engine}: {counted} octets a session, {given} of the C library's"
            );
        }
    }
}
