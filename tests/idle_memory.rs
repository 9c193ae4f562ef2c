//! What an idle session owns, counted at the allocator: the bar is 4 KiB for each, and pages of the kernel's and
//! slack of the allocator come on top of what is counted here.
//!
//! Counted, not measured: a size of which most new sessions have one more alive is a session's; what else grew
//! (tables, histograms) is not. `cargo test --test idle_memory -- --nocapture` prints the sizes.

#![allow(unsafe_code)]

use gatepost::{
    config::{self, Io},
    metrics::Registry,
    net::{self, BindOptions, Bound, Engine},
    policy::Shared,
    supervisor::build_site,
    threads::Threads,
    worker::{self, Order, Plan, Worker},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
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
const OWNED_MAX: usize = 2560;

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

const CONFIG: &str = "
    hostname = 'mx.example.net'
    workers = 1
    [admin]
    listen = 'off'
    [[listener]]
    name = 'mx'
    address = ['127.0.0.1:2525']
    [[pool]]
    name = 'cluster'
    backends = ['127.0.0.1:9']
    [[route]]
    domains = ['example.net']
    pool = 'cluster'";

/// A worker with one listener, and where that one is.
fn start(engine: Engine) -> (Worker, SocketAddr) {
    let config = config::parse("test", CONFIG).expect("it is sound").config;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = Bound::new(any, 1024, BindOptions::default()).expect("a port is free");
    let address = bound.address();
    let registry = Registry::new();
    let shared = Arc::new(Shared::new(&config.policy));
    let site = build_site(config, None, &registry).expect("it is sound");
    let plan = Plan {
        number: 0,
        engine,
        core: None,
        sockets: vec![(0, bound)],
        site: Arc::new(site),
        shared,
        registry,
        helpers: Arc::new(Threads::start("tls", 1, 16).expect("a thread")),
        log: None,
    };
    (worker::start(plan).expect("a thread"), address)
}

/// Reads up to the end of a reply.
fn reply(stream: &mut TcpStream) {
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

/// Octets that a session owns: the sizes of which each has some, with how many.
fn owned(engine: Engine) -> usize {
    let (worker, address) = start(engine);
    let mut open: Vec<TcpStream> = Vec::with_capacity(WARM + COUNTED);
    let mut before = vec![0; SIZE_MAX + 1];
    open.extend((0..WARM).map(|_| session(address)));
    for (before, alive) in before.iter_mut().zip(&ALIVE) {
        *before = alive.load(Relaxed);
    }
    open.extend((0..COUNTED).map(|_| session(address)));
    let mut sum = 0;
    for (size, (before, alive)) in before.iter().zip(&ALIVE).enumerate() {
        let each = (alive.load(Relaxed) - before + COUNTED as i64 / 2).div_euclid(COUNTED as i64);
        if each != 0 {
            println!("{engine}: {each} × {size}");
            sum += each.unsigned_abs() as usize * size;
        }
    }
    println!("{engine}: {sum} octets a session");
    drop(open);
    worker
        .orders
        .try_send(Order::Stop)
        .ok()
        .expect("it takes orders");
    worker.thread.join().expect("no panic").expect("no error");
    sum
}

#[test]
fn an_idle_session_owns_little() {
    // What this kernel has not is left out.
    let probed = [Io::Epoll, Io::Uring, Io::Ring].map(net::probe);
    let engines = probed.into_iter().flatten().map(|choice| choice.engine);
    for engine in engines {
        let octets = owned(engine);
        assert!(octets <= OWNED_MAX, "{engine}: {octets} octets a session");
    }
}
