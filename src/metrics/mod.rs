//! The room of `metrics`; see the crate's map.
