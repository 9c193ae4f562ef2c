//! Places for messages that hold a connection while they are still coming.
//!
//! A message that lies in memory holds a connection for as long as the backend needs; one that streams holds it for as
//! long as its client likes. So streams of strangers have no more than half of a pool's connections, and those of one
//! address no more than a quarter: the rest is always there for mail that lies ready. Clients that are trusted are
//! counted and never refused. Which stream must go when others wait is decided above, where the octets are seen to come.

use rustc_hash::FxHashMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// The streams of one pool, of all workers. A reload keeps it.
#[derive(Debug, Default)]
pub struct Streams {
    state: Mutex<State>,
    waiting: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    all: u32,
    /// By the key of a client that is not trusted.
    clients: FxHashMap<u128, u32>,
}

/// Half of so many connections, and a quarter; at least one.
fn shares(connections: u32) -> (u32, u32) {
    ((connections / 2).max(1), (connections / 4).max(1))
}

impl Streams {
    /// A place, where the pool has `connections` in all. `client` is the key of one that has a share, `None` of one that
    /// is trusted. `None`: there is no place now.
    #[must_use]
    pub fn enter(self: &Arc<Self>, client: Option<u128>, connections: u32) -> Option<StreamPlace> {
        let (half, quarter) = shares(connections);
        let mut state = self.lock();
        if let Some(key) = client {
            let held = state.clients.get(&key).copied().unwrap_or(0);
            if state.all >= half || held >= quarter {
                return None;
            }
            state.clients.insert(key, held + 1);
        }
        state.all += 1;
        Some(StreamPlace {
            streams: Arc::clone(self),
            client,
        })
    }

    /// Counts one that waits for a place until the value is dropped.
    #[must_use]
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Relaxed);
        Waiting(Arc::clone(self))
    }

    /// Whether any waits for a place.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain numbers: a panic elsewhere can't have torn them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's place; dropping it gives it back.
#[derive(Debug)]
pub struct StreamPlace {
    streams: Arc<Streams>,
    client: Option<u128>,
}

impl StreamPlace {
    /// Whether others wait for such a place.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.streams.has_waiters()
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut state = self.streams.lock();
        state.all -= 1;
        let Some(key) = self.client else {
            return;
        };
        if let Some(held) = state.clients.get_mut(&key) {
            *held -= 1;
            if *held == 0 {
                state.clients.remove(&key);
            }
        }
    }
}

/// See [`Streams::wait`].
#[derive(Debug)]
pub struct Waiting(Arc<Streams>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_quarter_and_strangers_have_half() {
        let streams = Arc::new(Streams::default());
        let enter = |client| streams.enter(client, 8);
        let place = |client| enter(client).expect("a place");
        let one = [place(Some(1)), place(Some(1))];
        assert!(enter(Some(1)).is_none(), "its quarter is taken");
        let _two = [place(Some(2)), place(Some(2))];
        assert!(enter(Some(3)).is_none(), "half is taken");
        let trusted = enter(None).expect("never refused");
        drop(one);
        assert!(enter(Some(3)).is_some());
        drop(trusted);
        assert_eq!(
            streams.lock().clients.len(),
            1,
            "those that have gone are forgotten"
        );
        assert_eq!(streams.lock().all, 2);
    }

    #[test]
    fn a_pool_of_one_connection_streams_all_the_same() {
        let streams = Arc::new(Streams::default());
        let one = streams.enter(Some(1), 1).expect("there is always one");
        assert!(streams.enter(Some(2), 1).is_none());
        assert!(!one.is_wanted());
        let waiting = streams.wait();
        assert!(one.is_wanted());
        drop(waiting);
        assert!(!one.is_wanted());
    }
}
