//! Replies that are slow on purpose: a check has asked for `tarpit`. A session in it costs a timer. It waits with neither a body
//! nor a connection to a backend in its hands, and nothing on loan from the engine, and only so many wait at once
//! (`limits.tarpit`): one that comes when the tarpit is full is answered as usual.

use super::{peer::Pacing, session::Session, transaction::Body};
use crate::{
    metrics::{Counter, Stage},
    net::{now, sleep_until},
};
use std::{io, time::Duration};

/// How often a wait looks whether the process goes down.
const LOOK: Duration = Duration::from_secs(1);

impl Session {
    /// A check has asked for slow replies, or it turned out that the client is known.
    #[cold]
    pub fn set_pacing(&mut self) {
        let most = self.current.site.config.limits.tarpit;
        let (pacing, counter) = match self.peer.judgement.is_slow() {
            false => (None, None),
            true => match self.current.shared.slow_session(most) {
                Some(place) => (Some(Pacing::Slow(place)), Some(Counter::TarpitHeld)),
                None => (Some(Pacing::Full), Some(Counter::TarpitFull)),
            },
        };
        self.peer.pacing = pacing.map(Box::new);
        if let Some(counter) = counter {
            self.context.recorder.count(counter, self.scope, 1);
        }
    }

    /// Whether a reply waits now.
    pub fn is_slow(&self) -> bool {
        matches!(self.peer.pacing.as_deref(), Some(Pacing::Slow(_)))
    }

    /// Sends the replies that are due, each after a wait.
    pub async fn write_slowly(&mut self, last: bool) -> io::Result<()> {
        self.io.input.settle();
        if let Some(due) = self.io.reply_due.take() {
            let recorder = &self.context.recorder;
            recorder.record(Stage::Reply, self.scope, now().micros_since(due));
        }
        let replies = std::mem::take(&mut self.io.out);
        let mut rest = &replies[..];
        while !rest.is_empty() {
            let (reply, later) = rest.split_at(reply_end(rest));
            rest = later;
            self.linger().await;
            self.io.out.extend_from_slice(reply);
            let deadline = self.now.after(self.current.site.config.timeouts.send.0);
            let is_last = last && rest.is_empty();
            self.io
                .write(&self.context, self.scope, deadline, is_last)
                .await?;
            self.io.out.clear();
        }
        self.now = now();
        Ok(())
    }

    /// Waits as long as one reply takes; not while the session holds a body, while places or memory are scarce, or while the
    /// process goes down.
    pub async fn linger(&mut self) {
        let body = self
            .transaction
            .as_deref()
            .map(|transaction| &transaction.body);
        if matches!(body, Some(Body::Window(_) | Body::Streaming(_))) {
            return;
        }
        self.now = now();
        let due = self.now.after(self.current.site.config.timeouts.tarpit.0);
        while self.now < due && !self.context.draining.get() && !self.is_stressed() {
            sleep_until(self.now.after(LOOK).min(due)).await;
            self.now = now();
        }
    }
}

/// The end of the first reply in `out`: its last line has no hyphen after its code (RFC 5321 section 4.2.1).
fn reply_end(out: &[u8]) -> usize {
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\n', &out[from..]) {
        let line = &out[from..];
        from += at + 1;
        if line.get(3) != Some(&b'-') {
            return from;
        }
    }
    out.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart() {
        for (out, wanted) in [
            ("250 Ok\r\n250 Ok\r\n", 8),
            ("250-mx\r\n250-A\r\n250 B\r\n354 Go\r\n", 22),
            ("250-mx\r\n", 8),
            ("2", 1),
        ] {
            assert_eq!(reply_end(out.as_bytes()), wanted, "{out:?}");
        }
    }
}
