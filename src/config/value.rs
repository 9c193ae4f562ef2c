//! Values that TOML has no type for: durations (`30s`), sizes (`25MiB`), secrets.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{borrow::Cow, time::Duration};

/// A duration, written `250ms`, `30s`, `5m`, `1h`, `7d`, or a sum of them: `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// So many seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Time {
        Time(Duration::from_secs(secs))
    }
    /// So many milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }
}

/// A size in octets, written `512`, `64KiB`, `25MiB`, `1GiB` (or with `KB`, `MB`, `GB` for powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);
