//! The spool and the one room below it, compiled without the rest of the program.

#[path = "../../../src/spool/mod.rs"]
pub mod spool;
#[path = "../../../src/threads.rs"]
pub mod threads;
