//! The room of `admin`; see the crate's map.
