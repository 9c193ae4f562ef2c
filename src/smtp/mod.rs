//! The pure protocol core: bytes to actions, answers to bytes.

pub mod body;
pub mod chunk;
pub mod client;
pub mod command;
pub mod data;
pub mod envelope;
pub mod extensions;
pub mod header;
pub mod limits;
pub mod params;
pub mod path;
pub mod replies;
pub mod reply;
pub mod reply_parse;
pub mod scan;
pub mod server;
pub mod span;
pub mod status;
pub mod stuff;
pub mod tick;

pub use body::{BareNewline, BodyFacts};
pub use client::{Client, ClientError, ClientSettings, ClientStep, Event, Load, To, Unsupported};
pub use command::Verb;
pub use envelope::Envelope;
pub use extensions::{Capabilities, Extensions};
pub use limits::{Limits, Timeouts};
pub use reply::{Known, Reply, Text};
pub use reply_parse::{ReplyError, ReplyHead, ReplyLimits, ReplyRef};
pub use server::{Action, Answer, Interrupt, Question, Server, Settings, Step};
pub use span::Span;
pub use status::Status;
pub use tick::Tick;
