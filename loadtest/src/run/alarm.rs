//! Wakes a worker when its next message is due, to some ten microseconds.
//!
//! The timers of the engines are for deadlines and come a millisecond or two late, which would stand in every latency.
//! So each worker of an open loop has a thread beside it that sleeps from one message to the next, with the slack of the
//! kernel's timers turned off. It goes through a copy of the worker's list and carries nothing: a wake that is missed
//! loses no message.

use super::{arrivals::Arrivals, dispatcher::Shared};
use gatepost::net::{
    self,
    mailbox::{Receiver, mailbox},
};
use std::{io, num::NonZeroU64, sync::Arc, thread, time::Duration};

/// Wakes are not closer than this: above 5,000 messages a second of one worker, several begin at once, this late at most.
const CLOSEST: Duration = Duration::from_micros(200);
/// How long the thread sleeps at most before it looks whether the run is over.
const LONGEST: Duration = Duration::from_millis(100);

/// Starts the thread. A wake comes with each message that is due; the mailbox closes after the last.
///
/// # Errors
/// There is no thread to be had.
pub fn start(shared: Arc<Shared>, mut arrivals: Arrivals) -> io::Result<Receiver<()>> {
    let (wake, woken) = mailbox(1);
    thread::Builder::new().name("alarm".into()).spawn(move || {
        // Where that is refused, wakes come 50 µs later: worse, not wrong.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        while let Some(next) = arrivals.peek() {
            let left = next.at.since(net::now());
            if !left.is_zero() {
                thread::sleep(left.min(LONGEST));
            }
            if shared.is_ending() {
                return;
            }
            let now = net::now();
            if arrivals.skip_due(now) == 0 {
                continue;
            }
            // Full: a wake is on its way, and will see this message too.
            let _ = wake.try_send(());
            let close = arrivals
                .peek()
                .is_some_and(|next| next.at.since(now) < CLOSEST);
            if close {
                thread::sleep(CLOSEST);
            }
        }
    })?;
    Ok(woken)
}
