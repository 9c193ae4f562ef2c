//! Reports from what was seen, by a collector whose time the tests say.

mod collecting;
mod format;
mod inbox;
mod links;
