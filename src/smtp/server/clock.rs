//! When the client must have done what it is waited for. Only the client's time counts: while the shell
//! decides, or waits for a backend, no timer of the client runs.

use crate::smtp::{limits::Timeouts, tick::Tick};

/// The waits of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// The moment of the last step.
    now: Tick,
    /// Since when the client is waited for: the end of the last command, the last piece of a body.
    since: Tick,
    /// The start of the body, moved on by the time that the shell took for itself.
    body: Tick,
    /// The last step said `Read`: the time since then is the client's.
    reading: bool,
}

impl Clock {
    pub fn new(now: Tick) -> Clock {
        Clock {
            now,
            since: now,
            body: now,
            reading: false,
        }
    }

    /// A step begins.
    pub fn enter(&mut self, now: Tick) {
        if !self.reading {
            self.body = Tick(self.body.0.saturating_add(now.micros_since(self.now)));
            self.since = now;
        }
        self.now = self.now.max(now);
    }

    /// A step ends; `reading`: it is the client's turn.
    pub fn leave(&mut self, reading: bool) {
        self.reading = reading;
    }

    /// The client has done what it was waited for.
    pub fn restart(&mut self) {
        self.since = self.now;
    }

    /// A body begins.
    pub fn start_body(&mut self) {
        self.since = self.now;
        self.body = self.now;
    }

    /// When the next command must be complete.
    pub fn command(&self, timeouts: &Timeouts) -> Tick {
        self.since.after(timeouts.command)
    }

    /// When the next piece of a body of which `taken` octets came must be here.
    pub fn body(&self, timeouts: &Timeouts, taken: u64) -> Tick {
        let next = self.since.after(timeouts.data);
        match taken
            .saturating_mul(1_000_000)
            .checked_div(timeouts.body_rate)
        {
            Some(pace) => {
                let slowest = self.body.after(timeouts.data).0.saturating_add(pace);
                next.min(Tick(slowest))
            }
            None => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn the_shells_time_is_not_the_clients() {
        let timeouts = Timeouts::default(); // data 180 s, 500 octets/s
        let mut clock = Clock::new(Tick(0));
        clock.start_body();
        clock.leave(true);
        clock.enter(Tick(10 * SECOND));
        clock.restart();
        assert_eq!(clock.body(&timeouts, 5_000), Tick(190 * SECOND));
        clock.leave(false); // the shell waits for a backend
        clock.enter(Tick(110 * SECOND));
        assert_eq!(clock.body(&timeouts, 5_000), Tick(290 * SECOND));
        clock.leave(true);
        clock.enter(Tick(280 * SECOND));
        clock.restart();
        // 100 s were the shell's: 180 s of grace and 10 s for 5,000 octets from second 100 on
        assert_eq!(clock.body(&timeouts, 5_000), Tick(290 * SECOND));
    }
}
