//! What the service says of itself: started, reloaded, a backend ejected. Rare lines, on standard error.

use std::sync::atomic::{AtomicU8, Ordering};

/// How much a line matters; a level shows itself and those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is broken and needs a person.
    Error = 0,
    /// Something is wrong and handled.
    Warn = 1,
    /// Milestones.
    Info = 2,
    /// For whoever hunts a fault.
    Debug = 3,
}

static SHOWN: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Shows lines up to `level` from now on.
pub fn set_level(level: Level) {
    SHOWN.store(level as u8, Ordering::Relaxed);
}

/// Whether a line of this level is shown.
#[must_use]
pub fn shows(level: Level) -> bool {
    level as u8 <= SHOWN.load(Ordering::Relaxed)
}

/// Writes one line to standard error; use it through [`say!`](crate::log::say).
pub fn write(level: Level, text: &str) {
    let name = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    // One write, so that lines of several threads don't mix; control characters can't come through.
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("gatepost {name}: {clean}\n").as_bytes(),
    );
}

/// `say!(Info, "listening on {address}")`: one line about the service, if its level is shown.
#[macro_export]
#[doc(hidden)]
macro_rules! __say {
    ($level:ident, $($text:tt)*) => {
        if $crate::log::shows($crate::log::Level::$level) {
            $crate::log::write_service_line($crate::log::Level::$level, &format!($($text)*));
        }
    };
}
pub use crate::__say as say;
