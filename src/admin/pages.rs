//! Pages that cost milliseconds to make: one that was made serves all that ask while it is made, and for about a second where many
//! ask.
//!
//! A monitor that asks now and then gets what is true at that moment: [`BURST`] pages are made whenever they are asked for, and
//! one more is allowed each [`EVERY`].

use axum::body::Bytes;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How often a page is made at most, in the long run; so old it may be where it is asked for more often.
pub const EVERY: Duration = Duration::from_secs(1);
/// So many may be made at once after a pause.
pub const BURST: u32 = 8;

/// The page as it was made last.
#[derive(Debug, Default)]
struct Made {
    /// The page, and when it was ready.
    text: Option<(Bytes, Instant)>,
    /// When all that was made would have been paid for, at one each [`EVERY`].
    paid: Option<Instant>,
}

impl Made {
    /// The page for a request that came at this moment, without making it anew.
    fn shared(&mut self, came: Instant, now: Instant) -> Option<Bytes> {
        let paid = self.paid.unwrap_or(now).max(now);
        if let Some((text, ready)) = &self.text
            && (*ready >= came || paid > now + EVERY * (BURST - 1))
        {
            return Some(text.clone());
        }
        self.paid = Some(paid + EVERY);
        None
    }
}

/// One page.
#[derive(Debug, Default)]
pub struct Page(Mutex<Made>);

impl Page {
    /// The page for a request that comes now; made anew by `make` if need be.
    pub async fn get(&self, make: impl Future<Output = String>) -> Bytes {
        let came = Instant::now();
        // Those that come while it is made wait here, and get it.
        let mut made = self.0.lock().await;
        if let Some(text) = made.shared(came, Instant::now()) {
            return text;
        }
        let text = Bytes::from(make.await);
        made.text = Some((text.clone(), Instant::now()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        cell::Cell,
        future::poll_fn,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    #[test]
    fn a_flood_has_it_made_once_a_second() {
        let (mut made, start) = (Made::default(), Instant::now());
        let mut count = 0;
        let flood = |made: &mut Made, count: &mut u32, at: Instant| {
            for step in 0..100 {
                let now = at + Duration::from_micros(step);
                if made.shared(now, now).is_none() {
                    *count += 1;
                    made.text = Some((Bytes::new(), now));
                }
            }
        };
        flood(&mut made, &mut count, start);
        assert_eq!(count, BURST);
        flood(&mut made, &mut count, start + EVERY / 2);
        assert_eq!(count, BURST);
        for seconds in 1..=5 {
            flood(&mut made, &mut count, start + EVERY * seconds + EVERY / 10);
            assert_eq!(count, BURST + seconds);
        }
    }

    #[test]
    fn all_that_ask_while_it_is_made_get_the_same() {
        let (page, count, is_open) = (Page::default(), Cell::new(0), Cell::new(false));
        let make = async || {
            count.set(count.get() + 1);
            poll_fn(|_| match is_open.get() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            format!("page {}", count.get())
        };
        let mut cx = Context::from_waker(Waker::noop());
        let mut asked: Vec<Pin<Box<dyn Future<Output = Bytes>>>> = Vec::new();
        for _ in 0..50 {
            let mut one = Box::pin(page.get(make()));
            assert!(one.as_mut().poll(&mut cx).is_pending());
            asked.push(one);
        }
        is_open.set(true);
        for one in &mut asked {
            assert_eq!(one.as_mut().poll(&mut cx), Poll::Ready("page 1".into()));
        }
        let later = pin!(page.get(make()));
        assert_eq!(later.poll(&mut cx), Poll::Ready("page 2".into()));
    }
}
