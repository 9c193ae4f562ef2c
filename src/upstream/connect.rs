//! Opening a connection: TCP, a PROXY header where the pool wants one, greeting, EHLO.

use super::{
    backend::Backend, budget::Permit, caller::Caller, conn::Conn, health::Trouble, pool::Pool,
};
use crate::{
    metrics::Counter,
    net::Stream,
    smtp::{
        Tick,
        client::{Client, ClientError, Event},
    },
};
use std::{io, sync::Arc};

/// Why a connection could not be opened.
#[derive(Debug)]
pub(super) struct ConnectError {
    pub(super) trouble: Trouble,
    pub(super) counter: Counter,
}

/// Connects to the permit's backend, reads its greeting and its capabilities; all until `due`. `caller` is whose
/// connection it is to be, where a PROXY header says so.
pub(super) async fn connect(
    pool: &Pool,
    permit: Permit,
    caller: Option<&Caller<'_>>,
    due: Tick,
) -> Result<Box<Conn>, ConnectError> {
    let backend: Arc<Backend> = Arc::clone(permit.backend());
    let stream = match Stream::connect(backend.address(), due).await {
        Ok(stream) => stream,
        Err(error) => return Err(no_connection(&error)),
    };
    let client = Client::new(Arc::clone(&pool.client));
    let mut conn = Conn::new(stream, client, permit);
    let begun = match conn.announce(pool, caller, due).await {
        Ok(()) => conn.next(due).await,
        Err(trouble) => Err(trouble),
    };
    match begun {
        Ok(Event::Ready) if conn.is_clean() => {
            backend.seen.set(conn.client.capabilities());
            Ok(conn)
        }
        // It talks behind its EHLO reply, or says something that is no part of a beginning.
        Ok(_) => Err(ConnectError {
            trouble: Trouble::Nonsense,
            counter: Counter::ConnectProtocol,
        }),
        Err(trouble) => Err(ConnectError {
            trouble: about_caller(&conn, trouble),
            counter: counter_of(&conn, trouble),
        }),
    }
}

/// The same trouble, or the client's part in it: a backend that was told of one turns it away as it likes.
pub(super) fn about_caller(conn: &Conn, trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Lost | Trouble::Unavailable | Trouble::Nonsense if conn.owner.is_some() => {
            Trouble::Caller
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
    ConnectError { trouble, counter }
}

fn has_no_descriptor(error: &io::Error) -> bool {
    // EMFILE, ENFILE and ENOBUFS have no kind of their own; the numbers are those of Linux.
    matches!(error.raw_os_error(), Some(23 | 24 | 105))
}

fn counter_of(conn: &Conn, trouble: Trouble) -> Counter {
    match (trouble, conn.failure()) {
        (Trouble::Timeout, _) => Counter::ConnectTimeout,
        (Trouble::Unavailable, Some(ClientError::Hello(_))) => Counter::ConnectHello,
        (Trouble::Unavailable, _) => Counter::ConnectGreeting,
        (Trouble::Nonsense, _) => Counter::ConnectProtocol,
        _ => Counter::ConnectRefused,
    }
}
