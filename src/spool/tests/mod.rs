//! Tests of the spool as a whole. The oracle and its crashes are in `oracle`, the invariants by name in `invariants`.

mod course;
mod fixture;
mod index;
mod invariants;
mod kill;
mod oracle;
mod seeds;
mod threads;
