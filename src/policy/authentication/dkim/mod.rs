//! DKIM (RFC 6376, RFC 8301, RFC 8463): verification and signing.
//!
//! [`Verification`] takes what others have signed. [`Signers`] are our own keys as the configuration names them, and
//! [`Signing`] makes the fields of one message; [`publish`] is what the DNS has to say of a key.

mod private;
pub mod publish;
mod reason;
mod sign;
mod signers;
#[cfg(test)]
mod tests;
mod verify;

pub use private::{KeyError, KeyKind, PrivateKey};
pub use reason::{Outcome, Reason};
pub use sign::Signing;
pub use signers::{Chosen, Client, Fault, Signer, Signers};
pub use verify::{Dkim, SIGNATURES_MAX, SignatureResult, Verification};
