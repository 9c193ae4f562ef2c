//! Gatepost: an SMTP edge proxy. The map of the house.
//!
//! ```text
//! main → cli → supervisor → worker, admin, acme → http, proxy → record, reports, lookup, delivery → policy, upstream → net → tls, threads, state, smtp, metrics
//! ```

pub mod acme;
pub mod admin;
pub mod auth;
pub mod bind_error;
pub mod characters;
pub mod client_key;
pub mod config;
pub mod decimal;
pub mod delivery;
pub mod dns;
pub mod files;
pub mod http;
pub mod log;
pub mod lookup;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod policy;
pub mod process;
pub mod proxy;
pub mod proxy_protocol;
pub mod quickstart;
pub mod record;
pub mod reports;
pub mod smtp;
pub mod spool;
pub mod state;
pub mod supervisor;
pub mod threads;
pub mod tls;
pub mod upstream;
pub mod worker;
