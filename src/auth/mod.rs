//! Who is it, and which addresses are theirs? AUTH on submission (RFC 4954): mechanisms, credential sources, and what
//! slows down those who guess.
//!
//! What it must not know: streams, sessions, backends' health. It is asked with an [`Attempt`] and says an
//! [`Outcome`].

mod attempt;
pub mod remote;

pub use attempt::{Account, Attempt, Credential, Mechanism, Outcome, Secret};
