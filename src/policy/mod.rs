//! The room of `policy`; see the crate's map.
