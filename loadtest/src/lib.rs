//! `gatepost-load`: loads SMTP servers and proxies, plays the backend, and tells what became of each message.
//!
//! ```text
//! main → compare → run, sink, report, watch → result, ledger, stamp, tls → gatepost's net, smtp, tls
//! ```
//!
//! - [`run`] sends: open loop (each message has an intended start, and latency counts from it) or closed loop.
//! - [`sink`] takes: counts, verifies, delays, refuses, as it is told.
//! - [`ledger`] joins the two: what was acknowledged, what arrived, what was lost, what came twice.
//! - [`watch`] looks at others while a run goes on: processes in /proc, the proxy's `/stages`.
//! - [`result`] is all that is known of a run; [`report`] makes text, JSON, HdrHistogram logs and a page of it.
//! - [`tls`] makes certificates, and clients and servers of TLS that do as they are told.
//! - [`compare`] does all of this to several proxies in turns.
//!
//! It must not know the proxy's insides: it speaks SMTP to a port, and HTTP to what a server shows of itself.

pub mod compare;
pub mod ledger;
pub mod report;
pub mod result;
pub mod run;
pub mod sink;
pub mod stamp;
pub mod tls;
pub mod watch;
