//! DKIM (RFC 6376, RFC 8301, RFC 8463): verification.

mod reason;
#[cfg(test)]
mod tests;
mod verify;

pub use reason::{Outcome, Reason};
pub use verify::{Dkim, SIGNATURES_MAX, SignatureResult, Verification};
