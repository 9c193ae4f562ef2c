//! A certificate by ACME (RFC 8555), so that a small site needs no other program for it: the account, the order, the
//! answers to the authority's challenges, the files, and when to do it again.
//!
//! It lives on the control thread, on that thread's tokio. It must not know what uses the certificate: it is given an
//! [`Install`] that puts one in force.
//!
//! The rules that keep an authority's patience: nothing is ordered that could not be stored, no more than
//! [`ORDERS_PER_HOUR`] orders are made in any hour, also over restarts, and each failure doubles the wait.
//!
//! Rejected: a challenge by TLS (tls-alpn-01), which is asked for at port 443, where a mail server has nothing else to
//! do; keys that live on over a renewal (a peer that pins keys would have to be told of them before).

mod certificate;
mod client;
mod order;
mod responder;
mod schedule;
mod service;
mod store;

pub use certificate::Certificate;
pub use responder::Challenges;
pub use schedule::ORDERS_PER_HOUR;
pub use service::{Acme, Install};
