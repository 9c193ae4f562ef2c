//! Looks at others while a run goes on: processes in /proc, the stages of the proxy under test.

pub mod family;
pub mod processes;
pub mod stages;

pub use processes::{Target, Watcher};
