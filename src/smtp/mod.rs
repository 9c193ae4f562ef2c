//! The pure protocol core: bytes to actions, answers to bytes.
//!
//! [`server`] is one side of a session, [`backend_session`] the other; both are made of the same parts: command lines
//! ([`command`], [`path`], [`params`]), replies ([`reply`], [`reply_parse`]), bodies ([`data`], [`chunk`],
//! [`stuff`], over [`scan`]), and the [`envelope`].
//!
//! It must not know sockets, clocks, configuration, policy or backends: it does no I/O, time is passed in,
//! and whatever is not SMTP is a question to its caller. So one core serves the proxy, the load generator,
//! the fuzzers and the benches, and *any split of the input gives the same actions* can be tested.
//!
//! Rejected: async parsers over a stream. They can be tested only through an executor, each await is a place
//! where a timeout may cut a command in two, and the same code could not run backwards for the client side.

pub mod backend_session;
pub mod body;
pub mod chunk;
pub mod command;
pub mod data;
pub mod domain;
pub mod envelope;
pub mod extensions;
pub mod fields;
pub mod header;
pub mod limits;
pub mod local_part;
mod octets;
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

pub use backend_session::capabilities::Capabilities;
pub use backend_session::{
    BackendError, BackendSession, BackendSettings, BackendStep, Event, Load, To, Unsupported,
};
pub use body::{BareNewline, BodyFacts};
pub use command::Verb;
pub use envelope::Envelope;
pub use extensions::Extensions;
pub use limits::{Limits, Timeouts};
pub use reply::{Known, Reply, Text};
pub use reply_parse::{ReplyError, ReplyHead, ReplyLimits, ReplyRef};
pub use server::{Action, Answer, Interrupt, Question, Server, Settings, Step};
pub use span::Span;
pub use status::Status;
pub use tick::Tick;
