//! The room of `net`; see the crate's map.
