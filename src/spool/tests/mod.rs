//! Tests of the spool as a whole. The oracle and its crashes are in `oracle`, the invariants by name in
//! `invariants`, the interface that workers use in `handle`.

mod checks;
mod contents;
mod course;
mod faults;
mod fixture;
mod handle;
mod index;
mod invariants;
mod kill;
mod oracle;
mod random;
mod sealed;
mod seeds;
mod simulator;
mod threads;
mod unreadable;
