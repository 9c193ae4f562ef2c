//! Lists: of networks, of names and addresses, and the files that they are read from.

pub(super) mod asked;
pub(super) mod file;
pub(super) mod lower;
pub(super) mod named;
pub(super) mod names;
pub(super) mod networks;
