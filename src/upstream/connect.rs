//! Opening a connection: TCP, a PROXY header where the pool wants one, TLS at once or by STARTTLS, greeting, EHLO.
//!
//! Where TLS is opportunistic and the handshake fails, a second connection is opened that doesn't ask for it. Where it is
//! a must nothing is said in the clear but EHLO and STARTTLS. The handshake has its share of the time: one that hangs
//! must leave some for the connection in the clear.

use super::{
    conn::Conn, health::Trouble, origin::Origin, pool::Pool, pooling::budget::Permit,
    reply::BackendReply,
};
use crate::{
    config::PoolTls,
    log::say,
    metrics::Counter,
    net::{Stream, now},
    smtp::{
        Tick,
        backend_session::{BackendError, BackendSession, Event},
    },
};
use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// A backend that greeted us within this time, and is full now, is full for the moment.
const GREETED_LATELY: Duration = Duration::from_secs(1);

/// Why a connection could not be opened.
#[derive(Debug)]
pub(super) struct ConnectError {
    pub(super) trouble: Trouble,
    pub(super) counter: Counter,
    /// What the system or the backend said of it.
    pub(super) detail: Option<String>,
}

/// A connection that could not be opened: why, and the right to another.
struct Failure {
    error: ConnectError,
    /// The handshake failed, for this reason.
    handshake: Option<io::Error>,
    permit: Permit,
}

/// Connects to the permit's backend, reads its greeting and its capabilities; all until `due`. `origin` is whose
/// connection it is to be, where a PROXY header says so. With the connection comes what it speaks.
pub(super) async fn connect(
    pool: &Pool,
    permit: Permit,
    origin: Option<&Origin<'_>>,
    due: Tick,
) -> Result<(Box<Conn>, Counter), ConnectError> {
    let failure = match attempt(pool, permit, origin, true, due).await {
        Ok(conn) => {
            let spoken = match conn.stream.tls() {
                None => Counter::BackendClear,
                Some(facts) if facts.version == "TLSv1.3" => Counter::BackendTls13,
                Some(_) => Counter::BackendTls12,
            };
            if spoken != Counter::BackendClear {
                conn.permit.backend().insecure.store(false, Relaxed);
            }
            return Ok((conn, spoken));
        }
        Err(failure) => failure,
    };
    let backend = failure.permit.backend();
    let falls_back = failure.handshake.is_some() && pool.security.mode == PoolTls::Opportunistic;
    if failure.error.trouble == Trouble::Tls && !backend.insecure.swap(true, Relaxed) {
        let (label, why) = (&backend.label, &failure.handshake);
        let why = why
            .as_ref()
            .map_or("not offered, or refused".into(), io::Error::to_string);
        let then = if falls_back {
            "; it's talked to in the clear"
        } else {
            ""
        };
        say!(Warn, "{label}: no TLS: {why}{then}");
    }
    if !falls_back {
        return Err(failure.error);
    }
    let conn = attempt(pool, failure.permit, origin, false, due).await;
    conn.map(|conn| (conn, Counter::BackendFallback))
        .map_err(|failure| failure.error)
}

/// One connection. `secures`: whether TLS is asked for where the pool wants it.
async fn attempt(
    pool: &Pool,
    permit: Permit,
    origin: Option<&Origin<'_>>,
    secures: bool,
    due: Tick,
) -> Result<Box<Conn>, Failure> {
    let stream = match Stream::connect(permit.backend().address(), due).await {
        Ok(stream) => stream,
        Err(error) => {
            return Err(Failure {
                error: no_connection(&error),
                handshake: None,
                permit,
            });
        }
    };
    let session = match secures {
        true if pool.security.implicit => BackendSession::over_tls(Arc::clone(&pool.session)),
        true => BackendSession::new(Arc::clone(&pool.session)),
        false => BackendSession::new(Arc::clone(&pool.clear)),
    };
    let mut conn = Conn::new(stream, session, permit);
    let mut handshake = None;
    let begun = begin(pool, &mut conn, origin, &mut handshake, due).await;
    match begun {
        Ok(()) => {
            let backend = conn.permit.backend();
            let now = now();
            backend.seen.set(conn.session.capabilities(), now);
            backend.greeted_at.store(now.0, Relaxed);
            backend
                .budget
                .has_taken(backend.idle() + backend.leases() + 1);
            Ok(conn)
        }
        Err(trouble) => Err(Failure {
            error: ConnectError {
                trouble: match is_at_its_limit(&conn) {
                    true => Trouble::Full,
                    false => about_origin(&conn, trouble),
                },
                counter: counter_of(&conn, trouble),
                detail: conn.last_words(),
            },
            handshake,
            permit: conn.drop_for_permit(),
        }),
    }
}

/// From the connection to the session that is open.
async fn begin(
    pool: &Pool,
    conn: &mut Conn,
    origin: Option<&Origin<'_>>,
    handshake: &mut Option<io::Error>,
    due: Tick,
) -> Result<(), Trouble> {
    conn.announce(pool, origin, due).await?;
    let mut secures = conn.session.is_secured();
    loop {
        if std::mem::take(&mut secures) {
            // Where a second connection may follow, half of the time that is left is for this one.
            let left = due.since(now());
            let until = match pool.security.mode {
                PoolTls::Opportunistic if due != Tick::FAR => now().after(left / 2),
                _ => due,
            };
            let place = pool.place(conn.permit.backend().id);
            let connector = place.and_then(|place| pool.security.connector(place));
            let connector = connector.ok_or(Trouble::Tls)?;
            if let Err(why) = conn.secure(connector, until).await {
                *handshake = Some(why);
                return Err(Trouble::Tls);
            }
        }
        match conn.next(due).await? {
            Event::Ready if conn.is_clean() => return Ok(()),
            Event::StartTls if conn.is_read() => secures = true,
            // It says more after its EHLO reply, or something that is no part of a beginning.
            _ => return Err(Trouble::Nonsense),
        }
    }
}

/// Whether a backend greeted with a 4xx because it has as many connections of ours as it takes, and not because it is ill:
/// others of ours carry mail at this moment, or are about to (Postfix's `smtpd_client_connection_count_limit` is 50 by
/// default). Then no more are opened for now. What it says of a client that it was told of may be about that client.
fn is_at_its_limit(conn: &Conn) -> bool {
    let head = match conn.failure() {
        Some(BackendError::Greeting(head) | BackendError::Hello(head)) => head,
        Some(BackendError::Closing(head)) => head,
        _ => return false,
    };
    let backend = conn.permit.backend();
    // Those that are being closed don't carry mail any more, but the backend still counts them.
    let (working, counted) = (backend.idle() + backend.leases(), backend.greeted());
    if !head.is_transient() || conn.owner.is_some() {
        return false;
    }
    if working == 0 {
        // Others that are being opened may be those that it takes: it refuses one at once, and greets the others after
        // it has looked their address up, as Exim does. It may also still count connections that we have just closed,
        // as Exim does until it has seen their processes end.
        let greeted = Tick(backend.greeted_at.load(Relaxed));
        let lately = greeted != Tick::default() && now().since(greeted) < GREETED_LATELY;
        return backend.budget.used() > 1 || lately;
    }
    if backend.budget.learn(counted, now()) {
        let said = BackendReply::from(conn.session.reply());
        let label = &backend.label;
        say!(
            Info,
            "{label}: it takes no more than {counted} connections now; it said: {said}"
        );
    }
    true
}

/// The same trouble, or the client's part in it: a backend that was told of one turns it away as it likes. It may also look
/// the client's address up before it greets, in a DNS zone that doesn't answer. So where it says nothing, it is asked
/// whether it works without that client.
pub(super) fn about_origin(conn: &Conn, trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Timeout if conn.owner.is_some() => {
            conn.permit.backend().health.suspect(now());
            Trouble::Origin
        }
        Trouble::Lost | Trouble::Unavailable | Trouble::Nonsense if conn.owner.is_some() => {
            Trouble::Origin
        }
        trouble => trouble,
    }
}

fn no_connection(error: &io::Error) -> ConnectError {
    use io::ErrorKind as Kind;
    let (trouble, counter) = match error.kind() {
        Kind::TimedOut => (Trouble::Timeout, Counter::ConnectTimeout),
        Kind::ConnectionRefused | Kind::ConnectionReset => {
            (Trouble::Connect, Counter::ConnectRefused)
        }
        Kind::HostUnreachable | Kind::NetworkUnreachable => {
            (Trouble::Connect, Counter::ConnectUnreachable)
        }
        // No local port is left.
        Kind::AddrNotAvailable | Kind::OutOfMemory => (Trouble::Ours, Counter::ConnectUnreachable),
        _ if has_no_descriptor(error) => (Trouble::Ours, Counter::ConnectUnreachable),
        _ => (Trouble::Connect, Counter::ConnectOther),
    };
    ConnectError {
        trouble,
        counter,
        detail: Some(error.to_string()),
    }
}

fn has_no_descriptor(error: &io::Error) -> bool {
    // EMFILE, ENFILE and ENOBUFS have no kind of their own; the numbers are those of Linux.
    matches!(error.raw_os_error(), Some(23 | 24 | 105))
}

fn counter_of(conn: &Conn, trouble: Trouble) -> Counter {
    match (trouble, conn.failure()) {
        (Trouble::Tls, _) => Counter::ConnectTls,
        (Trouble::Timeout, _) => Counter::ConnectTimeout,
        (Trouble::Unavailable, Some(BackendError::Hello(_))) => Counter::ConnectHello,
        (Trouble::Unavailable, _) => Counter::ConnectGreeting,
        (Trouble::Nonsense, _) => Counter::ConnectProtocol,
        _ => Counter::ConnectRefused,
    }
}

/// What a backend said to XCLIENT where it refuses the client that it names: 554, as it would have greeted that client
/// (RFC 5321 §3.1). It had greeted us, so this is about the client alone. Any other refusal may as well be about us (550: we
/// may not say XCLIENT).
pub(super) fn refusal(conn: &Conn) -> Option<BackendReply> {
    match conn.failure() {
        Some(BackendError::Origin(head)) if head.code == 554 => Some(conn.session.reply().into()),
        _ => None,
    }
}
