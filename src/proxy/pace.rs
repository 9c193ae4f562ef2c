//! How fast streams come, and which of them must go when others wait.
//!
//! A stream holds a connection to a backend for as long as its client sends. While nothing waits for one, a client may be
//! as slow as `timeouts.body_rate` allows. Once others have waited for a few looks in a row, the slowest stream of the
//! worker that is slower than `timeouts.stress_rate` is ended, one at each look. Only the client's time counts: a stream
//! that waits for its backend has no pace. See docs/decisions/0017-slow-streams.md.

use crate::{
    net::Ender,
    smtp::Tick,
    upstream::{Backend, StreamPlace},
};
use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

/// A pace is that of so long a time, and of up to twice as long: what came earlier says nothing about now.
const SPAN: Duration = Duration::from_secs(1);
/// Looks in a row at which others wait before a stream is ended: a moment's queue empties by itself.
const PRESSED_MIN: u32 = 3;

/// One stream's pace.
pub(super) struct Pace {
    backend: Arc<Backend>,
    place: StreamPlace,
    ender: Ender,
    octets: Cell<u64>,
    /// When the count was what: the start of the span that is looked at, and of the one that follows it.
    marks: Cell<[(Tick, u64); 2]>,
    waits_for_backend: Cell<bool>,
    ended: Cell<bool>,
}

impl Pace {
    /// That of a stream that has just got its place and its backend.
    pub fn new(backend: Arc<Backend>, place: StreamPlace, ender: Ender, now: Tick) -> Rc<Pace> {
        Rc::new(Pace {
            backend,
            place,
            ender,
            octets: Cell::new(0),
            marks: Cell::new([(now, 0); 2]),
            waits_for_backend: Cell::new(false),
            ended: Cell::new(false),
        })
    }

    /// So much has come.
    pub fn count(&self, octets: usize) {
        self.octets.set(self.octets.get() + octets as u64);
    }

    /// From here on the backend is waited for.
    pub fn pause(&self) {
        self.waits_for_backend.set(true);
    }

    /// The client has the word again.
    pub fn resume(&self, now: Tick) {
        self.waits_for_backend.set(false);
        self.marks.set([(now, self.octets.get()); 2]);
    }

    /// Whether it was ended for the sake of others.
    pub fn is_ended(&self) -> bool {
        self.ended.get()
    }

    fn is_wanted(&self) -> bool {
        self.place.is_wanted() || self.backend.has_waiters()
    }

    fn rate(&self, now: Tick) -> Option<u64> {
        if self.waits_for_backend.get() || self.ended.get() {
            return None;
        }
        let (rate, marks) = rate(self.marks.get(), now, self.octets.get());
        self.marks.set(marks);
        rate
    }
}

/// Octets a second since the first mark, `None` where that is too short a time; and the marks for the next look.
fn rate(marks: [(Tick, u64); 2], now: Tick, octets: u64) -> (Option<u64>, [(Tick, u64); 2]) {
    let [(begun, from), next] = marks;
    let span = SPAN.as_micros() as u64;
    let micros = now.micros_since(begun);
    let moved = match now.micros_since(next.0) >= span {
        true => [next, (now, octets)],
        false => marks,
    };
    let rate = (micros >= span).then(|| (octets - from).saturating_mul(1_000_000) / micros);
    (rate, moved)
}

/// The streams of one worker.
#[derive(Default)]
pub(super) struct Paces {
    all: RefCell<Vec<Weak<Pace>>>,
    pressed: Cell<u32>,
}

impl Paces {
    /// Adds one. It is forgotten when it is dropped.
    pub fn watch(&self, pace: &Rc<Pace>) {
        self.all.borrow_mut().push(Rc::downgrade(pace));
    }

    /// Ends the slowest stream below `rate_min` octets a second whose connection others wait for; whether there was one.
    /// To be called a few times a second.
    pub fn relieve(&self, now: Tick, rate_min: u64) -> bool {
        let mut all = self.all.borrow_mut();
        if all.is_empty() {
            return false;
        }
        let (mut slowest, mut wanted) = (None, false);
        all.retain(|pace| {
            let Some(pace) = pace.upgrade() else {
                return false;
            };
            let rate = pace.rate(now);
            if pace.is_wanted() {
                wanted = true;
                if let Some(rate) = rate.filter(|rate| *rate < rate_min)
                    && slowest.as_ref().is_none_or(|(least, _)| rate < *least)
                {
                    slowest = Some((rate, pace));
                }
            }
            true
        });
        self.pressed.set(match wanted {
            true => self.pressed.get().saturating_add(1),
            false => 0,
        });
        match slowest {
            Some((_, pace)) if self.pressed.get() >= PRESSED_MIN => {
                pace.ended.set(true);
                pace.ender.end_input(now);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_that_of_the_last_moments() {
        let mut marks = [(Tick(0), 0); 2];
        let mut look = |millis: u64, octets: u64| {
            let (rate, moved) = rate(marks, Tick(millis * 1_000), octets);
            marks = moved;
            rate
        };
        assert_eq!(look(900, 50_000_000), None, "too early to say");
        assert_eq!(look(1_000, 50_000_000), Some(50_000_000));
        assert_eq!(look(1_500, 50_000_000), Some(33_333_333));
        assert_eq!(look(2_000, 50_000_000), Some(25_000_000));
        // A fast start buys no time.
        assert_eq!(look(2_100, 50_000_000), Some(0));
        assert_eq!(look(3_000, 50_004_000), Some(2_000));
        assert_eq!(look(4_000, 50_024_000), Some(12_000));
    }
}
