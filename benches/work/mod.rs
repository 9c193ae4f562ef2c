//! The work that is measured: once by time (criterion) and once by instructions (`instructions.rs`). Both
//! measure the same functions, so that a change in one can be looked up in the other.
#![allow(dead_code)] // each bench uses a part of it

pub mod asked;
pub mod judge;
pub mod parse;
pub mod session;
pub mod text;

/// Octets of a usual message, and of those of `benches/against-haproxy`.
pub const USUAL: usize = 4096;
