//! Tells the service manager how it goes (`sd_notify(3)`), where there is one. Nothing depends on its hearing.

use sd_notify::NotifyState;
use std::sync::OnceLock;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(states) {
        crate::log::say!(Debug, "the service manager doesn't listen: {why}");
    }
}

/// It serves: at the start, and when a reload is over, whatever came of it.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It goes down.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The control loop goes round. Call it once a second or so; it is told on where a watchdog was asked for.
pub fn alive() {
    static WATCHED: OnceLock<bool> = OnceLock::new();
    if *WATCHED.get_or_init(|| sd_notify::watchdog_enabled().is_some()) {
        tell(&[NotifyState::Watchdog]);
    }
}
