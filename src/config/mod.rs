//! The configuration: schema, parsing, checking.
//!
//! It knows files, keys and what a key means to an operator. It must not know what any room does with a value:
//! it imports only `smtp`'s types, so that every room may import it.
//!
//! Rejected: `serde` alone as the judge of a file. It stops at the first mistake and knows no near miss, and an
//! operator with three typos wants three errors. So the document is walked against the schema with its spans
//! first, and only a clean one is deserialized.

mod check;
pub mod choice;
mod difference;
mod document;
pub mod effect;
pub mod entry;
mod environment;
mod file;
mod files;
mod hidden;
mod kind;
mod later;
mod nearest;
mod overrides;
mod parse;
mod problem;
mod quoted;
mod recipients;
mod reference;
pub mod schema;
mod secret;
mod shape;
mod sources;
mod syntax;
mod urls;
pub mod value;

pub use choice::*;
pub use difference::{InForce, difference};
pub use effect::*;
pub use file::open_file;
pub use nearest::nearest;
pub use overrides::Overrides;
use parse::lay_over;
pub use parse::{ConfigSource, Draft, Loaded, draft, load, named_secrets, parse};
pub use problem::{Problem, Severity};
pub use recipients::RecipientSet;
pub use reference::{reference, schema_text, show};
pub use schema::*;
pub use secret::{SECRET_MAX, read_plainly, read_secret, secret_files, set_reader};
pub use value::*;
