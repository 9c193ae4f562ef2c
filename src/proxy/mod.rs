//! The room of `proxy`; see the crate's map.
