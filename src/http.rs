//! Serves HTTP/1.1 within limits, for the admin endpoint and for ACME's responder. Runs on the control thread's tokio.
//!
//! Connections are cheap to open and cost nothing to keep silent, so a plain limit would let one client take every
//! place. Here a client address has a few places, and when there is none left, the connection that has been idle
//! longest is closed for the new one: first among those of the address that holds the most, and never one of an address that
//! holds no more than the new one's. A connection whose request is being answered is never closed for another.
//!
//! It must not know what is served: it is given a service and the [`Limits`]. A request over the network has the [`Ends`] of its
//! connection as an extension (an `Arc`).
//!
//! Rejected: axum's own `serve` (it has no limit on the time of a head, on idle time or on connections); a semaphore
//! before `accept` (silent connections hold it for as long as a head may take).

mod ends;
mod listener;

pub use ends::{Ends, servers};
pub use listener::Listener;

use crate::bind_error;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use listener::{Accepting, Wire};
use std::{
    convert::Infallible,
    error::Error,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

/// How long a connection may take to finish when its life, or the server's, ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// Pause after an accept that failed, most likely for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What one endpoint may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one client: an IPv4 address, or a /64 of IPv6.
    pub per_client: usize,
    /// Octets of a request's head.
    pub head: usize,
    /// Until a request's head is whole, idle time before it included.
    pub head_time: Duration,
    /// A connection's life, so that a client that reads one octet a minute does not stay for ever.
    pub life: Duration,
    /// Whether a connection may carry more than one request.
    pub keep_alive: bool,
}

/// Binds the address that the configuration gives at `key`; `instead` is what else to do where its port is in use.
///
/// # Errors
/// Those of binding, in the words of [`bind_error`].
pub fn bind(key: &str, address: SocketAddr, instead: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .map_err(|error| bind_error::explain(key, address, &error, instead))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `stop` is ready, then lets requests under way finish (5 s at most).
///
/// # Errors
/// The listener can't be registered with the runtime.
pub async fn serve<S, B>(
    listener: impl Into<Listener>,
    limits: Limits,
    service: S,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let listener = Accepting::from_std(listener.into())?;
    let places = Arc::new(Places::default());
    let (stopping, stopped) = watch::channel(());
    let accept = async {
        loop {
            let Ok((stream, peer, ends)) = listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            let (service, stopped) = (service.clone(), stopped.clone());
            places.give(peer, limits, |place| {
                let talk = converse((stream, ends), limits, service, place, stopped);
                tokio::spawn(talk).abort_handle()
            });
            // So that a request that has come with its connection is read before later connections take the place.
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop((listener, stopped));
    let _ = stopping.send(());
    // Every connection holds a receiver until it is done.
    let _ = timeout(FAREWELL, stopping.closed()).await;
    Ok(())
}

/// One connection, until its peer, its life or the server ends it.
async fn converse<S, B>(
    (stream, ends): (Box<dyn Wire>, Option<Arc<Ends>>),
    limits: Limits,
    service: S,
    place: Place,
    mut stopped: watch::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let place = Arc::new(place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        place.set_busy(true);
        if let Some(ends) = &ends {
            request.extensions_mut().insert(Arc::clone(ends));
        }
        let answer = service.call(request);
        let place = Arc::clone(&place);
        async move {
            let answer = answer.await;
            place.set_busy(false);
            answer
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_buf_size(limits.head)
            .keep_alive(limits.keep_alive)
            .serve_connection(TokioIo::new(stream), service)
    );
    // An error of a connection concerns its peer alone.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(limits.life) => {}
        _ = stopped.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(FAREWELL, connection).await;
}

/// The connections of an endpoint.
#[derive(Debug, Default)]
struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    all: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    client: IpAddr,
    /// Since when nothing of it is being answered; `None`: something is.
    idle: Option<Instant>,
    task: AbortHandle,
}

/// A connection's entry; removed when this is dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Places {
    /// Starts a connection's task, or drops what would have been it where all places are busy.
    fn give(
        self: &Arc<Self>,
        address: IpAddr,
        limits: Limits,
        start: impl FnOnce(Place) -> AbortHandle,
    ) {
        let client = client(address);
        let mut taken = self.lock();
        if !taken.make_room(client, limits) {
            return;
        }
        let number = taken.next;
        taken.next += 1;
        let places = Arc::clone(self);
        // Under the lock, so that the task can't give its place back before it has it.
        let task = start(Place { places, number });
        taken.all.push(Entry {
            number,
            client,
            idle: Some(Instant::now()),
            task,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        // Nothing panics between two states of the list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Whether there is a place for this client, if need be by closing an idle connection.
    fn make_room(&mut self, client: IpAddr, limits: Limits) -> bool {
        let held = self.held_by(client);
        let full = held >= limits.per_client;
        if !full && self.all.len() < limits.connections {
            return true;
        }
        let idle = self.all.iter().filter_map(|entry| {
            let since = entry.idle?;
            let of_it = self.held_by(entry.client);
            let may_go = entry.client == client || !full && of_it > held;
            may_go.then_some((of_it, since, entry.number))
        });
        // Of the client that holds the most, the one that has been idle longest.
        let goes = idle.max_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
        let Some((_, _, number)) = goes else {
            return false;
        };
        if let Some(entry) = self.remove(number) {
            entry.task.abort();
        }
        true
    }

    fn held_by(&self, client: IpAddr) -> usize {
        self.all.iter().filter(|e| e.client == client).count()
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let at = self.all.iter().position(|e| e.number == number)?;
        Some(self.all.swap_remove(at))
    }
}

impl Place {
    fn set_busy(&self, busy: bool) {
        let mut taken = self.places.lock();
        let entry = taken.all.iter_mut().find(|e| e.number == self.number);
        if let Some(entry) = entry {
            entry.idle = (!busy).then(Instant::now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.places.lock().remove(self.number);
    }
}

/// What counts as one client: a host of IPv6 has all addresses of its /64.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use hyper::body::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpSocket, TcpStream},
        sync::Notify,
    };

    const LIMITS: Limits = Limits {
        connections: 6,
        per_client: 4,
        head: 8 * 1024,
        head_time: Duration::from_secs(60),
        life: Duration::from_secs(60),
        keep_alive: true,
    };

    /// Answers 200; a request for `/wait` once `gate` is opened.
    async fn with_server<F: Future<Output = ()>>(
        work: impl FnOnce(SocketAddr, Arc<Notify>, Arc<AtomicUsize>) -> F,
    ) {
        let listener = bind("test", SocketAddr::from(([127, 0, 0, 1], 0)), "").expect("bound");
        let address = listener.local_addr().expect("bound");
        let (gate, waiting) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (opened, counted) = (Arc::clone(&gate), Arc::clone(&waiting));
        let service = service_fn(move |request: Request<Incoming>| {
            let (gate, waiting) = (Arc::clone(&opened), Arc::clone(&counted));
            async move {
                if request.uri().path() == "/wait" {
                    let _ = waiting.fetch_add(1, SeqCst);
                    gate.notified().await;
                }
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("yes")))
            }
        });
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, LIMITS, service, async {
            let _ = stopped.await;
        }));
        work(address, gate, waiting).await;
        drop(stop);
        let ended = serving.await.expect("no panic");
        ended.expect("it served");
    }

    fn run<F: Future<Output = ()>>(
        work: impl FnOnce(SocketAddr, Arc<Notify>, Arc<AtomicUsize>) -> F,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(with_server(work));
    }

    /// A connection from 127.0.0.`last`.
    async fn connect(address: SocketAddr, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        let from = SocketAddr::from(([127, 0, 0, last], 0));
        socket.bind(from).expect("the loopback has them all");
        socket.connect(address).await.expect("it listens")
    }

    async fn say(stream: &mut TcpStream, path: &str) {
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Whether an answer comes, rather than the end.
    async fn is_answered(stream: &mut TcpStream) -> bool {
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.is_ok() && head == *b"HTTP/1.1 200"
    }

    async fn ask(address: SocketAddr, last: u8) -> bool {
        let mut stream = connect(address, last).await;
        say(&mut stream, "/").await;
        is_answered(&mut stream).await
    }

    #[test]
    fn silent_connections_of_one_client_stop_nobody() {
        run(async |address, _, _| {
            let mut silent = Vec::new();
            for _ in 0..20 {
                silent.push(connect(address, 2).await);
            }
            assert!(ask(address, 3).await, "another client");
            assert!(ask(address, 2).await, "the same client");
            // The first ones went for the last ones.
            let first = &mut silent[0];
            assert!(!is_answered(first).await);
            let last = silent.last_mut().expect("twenty");
            say(last, "/").await;
            assert!(is_answered(last).await);
        });
    }

    #[test]
    fn the_client_with_the_most_connections_pays_for_a_new_one() {
        run(async |address, _, _| {
            let mut early = connect(address, 9).await;
            let mut many = Vec::new();
            for last in [2, 2, 2, 3, 3] {
                many.push(connect(address, last).await);
            }
            for last in 20..30 {
                assert!(ask(address, last).await, "127.0.0.{last}");
            }
            say(&mut early, "/").await;
            assert!(is_answered(&mut early).await, "it had one connection");
        });
    }

    #[test]
    fn a_client_with_many_connections_closes_none_of_one_with_few() {
        run(async |address, gate, waiting| {
            let mut few = connect(address, 9).await;
            let mut many = Vec::new();
            for last in [2, 2, 2, 3, 3] {
                let mut stream = connect(address, last).await;
                say(&mut stream, "/wait").await;
                many.push(stream);
            }
            while waiting.load(SeqCst) < many.len() {
                tokio::task::yield_now().await;
            }
            for last in [2, 3, 3, 2, 3] {
                assert!(!ask(address, last).await, "127.0.0.{last}");
            }
            say(&mut few, "/").await;
            assert!(is_answered(&mut few).await, "its only one");
            gate.notify_waiters();
        });
    }

    #[test]
    fn what_is_being_answered_is_not_closed_for_another() {
        run(async |address, gate, waiting| {
            let mut asking = Vec::new();
            for last in [2, 2, 2, 2, 3, 3] {
                let mut stream = connect(address, last).await;
                say(&mut stream, "/wait").await;
                asking.push(stream);
            }
            while waiting.load(SeqCst) < asking.len() {
                tokio::task::yield_now().await;
            }
            assert!(!ask(address, 4).await, "no place is left");
            gate.notify_waiters();
            for stream in &mut asking {
                assert!(is_answered(stream).await);
            }
            assert!(ask(address, 4).await, "idle ones go for it");
        });
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(client(ip("2001:db8::1")), client(ip("2001:db8::ffff:1")));
        assert_ne!(client(ip("2001:db8::1")), client(ip("2001:db8:0:1::1")));
        assert_eq!(client(ip("::ffff:192.0.2.7")), ip("192.0.2.7"));
    }
}
