//! The pure protocol core: bytes to actions, answers to bytes.

pub mod body;
pub mod chunk;
pub mod client;
pub mod data;
pub mod envelope;
pub mod extensions;
pub mod header;
pub mod reply;
pub mod reply_parse;
pub mod scan;
pub mod span;
pub mod status;
pub mod stuff;
pub mod tick;

pub use client::{Client, ClientError, ClientSettings, ClientStep, Event, Load, To, Unsupported};
pub use envelope::Envelope;
pub use extensions::{Capabilities, Extensions};
pub use reply::{Known, Reply, Text};
pub use reply_parse::{ReplyError, ReplyHead, ReplyLimits, ReplyRef};
pub use span::Span;
pub use status::Status;
pub use tick::Tick;
