//! The room of `upstream`; see the crate's map.
