//! Gatepost as a whole: the built program between real clients and backends, on both I/O engines.

mod acme;
mod auth;
mod backend;
mod capacity;
mod certificates;
mod client;
mod clients;
mod control;
mod credentials;
mod delivery;
mod endpoint;
mod failures;
mod harness;
mod identity;
mod judging;
mod load;
mod pebble;
mod peers;
mod postfix;
mod resources;
mod rights;
mod secure_client;
mod submission;
mod tls;
mod tls_behind;
mod who;
