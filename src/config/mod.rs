//! The configuration: schema, parsing, checking.
