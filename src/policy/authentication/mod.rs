//! Authentication of mail: DKIM (RFC 6376), DMARC (RFC 9989 to 9991), ARC (RFC 8617), and the field that tells of them
//! (RFC 8601).
//!
//! Everything here is pure. The time is passed in as seconds since 1970 ([`UnixTime`]), DNS is a matter of
//! [`Question`](crate::dns::Question)s and answers, and nothing waits. One message goes through it like this:
//!
//! 1. The header section is complete: [`dkim::Verification::new`] and [`arc::Verification::new`] find the signatures,
//!    hash the fields that they cover, and say in one [`BodyHashes`] which hashes of the body they need.
//! 2. `missing` names the keys that are not there yet.
//! 3. The body passes [`BodyHashes::update`] in any pieces. Each octet is hashed at most twice (once a canonical form),
//!    however many signatures there are, and nothing of it is kept.
//! 4. `jobs` gives the mathematics that is left to do: each signature of DKIM for itself, a chain of ARC in the order in which it
//!    is verified, up to the first failure. [`Work`] is both, does it, and knows how long it takes. It is `Send`, so it may run
//!    on another thread.
//! 5. `finish` puts hashes and mathematics together; [`dmarc::step`] weighs the results; [`results::Results`] writes them.
//!
//! [`Message`] goes through this for one message.
//!
//! # Rejected
//! - *The `mail-auth` crate*: it can't be compiled without a DNS client, reads the system's clock, needs the whole
//!   message in memory to verify, and its relaxed body is wrong for bodies that end in white space. What it would leave
//!   to us is more than what it would take over.
//! - *A hash for each `l=`*: eight signatures would make the body be hashed eight times. One hash a canonical form runs on,
//!   and is copied where an `l=` ends.

pub mod arc;
mod body;
mod canonical;
mod check;
mod crypto;
pub mod dkim;
pub mod dmarc;
mod key;
mod message;
mod names;
pub mod results;
mod sealed;
mod signature;
mod tags;
mod work;

pub use body::{BodyDigests, BodyHashes};
pub use canonical::Canonical;
pub use crypto::{Algorithm, Job, Verified};
pub use message::{Message, Wanted};
pub use names::under;
pub use work::Work;

/// Seconds since 1970, without leap seconds.
pub type UnixTime = u64;

/// Our clock may be late by this much against a signer's (RFC 6376 §3.5, `t=`: "MAY consider").
pub const CLOCK_SKEW_SECONDS_MAX: u64 = 300;
