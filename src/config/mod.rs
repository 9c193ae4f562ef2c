//! The configuration: schema, parsing, checking.
//!
//! It knows files, keys and what a key means to an operator. It must not know what any room does with a value:
//! it imports only `smtp`'s types, so that every room may import it.
//!
//! Rejected: `serde` alone as the judge of a file. It stops at the first mistake and knows no near miss, and an
//! operator with three typos wants three errors. So the document is walked against the schema with its spans
//! first, and only a clean one is deserialized.

pub mod choice;
pub mod schema;
pub mod value;

pub use choice::*;
pub use schema::*;
pub use value::*;
