//! The pure protocol core: bytes to actions, answers to bytes.

pub mod body;
pub mod chunk;
pub mod data;
pub mod envelope;
pub mod extensions;
pub mod header;
pub mod reply;
pub mod scan;
pub mod span;
pub mod status;
pub mod stuff;
pub mod tick;

pub use envelope::Envelope;
pub use extensions::{Capabilities, Extensions};
pub use reply::{Known, Reply, Text};
pub use span::Span;
pub use status::Status;
pub use tick::Tick;
