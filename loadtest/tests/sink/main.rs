//! The sink over real sockets: what it takes, how it counts, how it misbehaves, and other people's clients.

#![allow(clippy::unwrap_used)]

mod behaving;
mod command;
mod control;
mod harness;
mod peers;
mod securing;
mod taking;
