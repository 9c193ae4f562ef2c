//! Tests of the spool as a whole. The oracle and its crashes are in `oracle`, the invariants by name in
//! `invariants`, the interface that workers use in `handle`.

mod checks;
mod course;
mod fixture;
mod handle;
mod index;
mod invariants;
mod kill;
mod oracle;
mod sealed;
mod seeds;
mod threads;
mod unreadable;
