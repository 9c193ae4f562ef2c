//! The join: one client's session on one side, backends on the other, verdicts in between.
//!
//! This room awaits; it does not parse (`smtp`), decide (`policy`) or know an engine (`net`). The way of a
//! message: [`connection`] drives the server machine and asks policy; [`transaction`] keeps the body and the
//! verdicts; `commit` has `delivery` hand it to a backend; [`trace`] writes the log line.
//!
//! Rejected: a third state machine that joins server and client. Two machines and short async code read as
//! the story goes; a joint machine was the 1,000-line function again.

mod access;
mod ask;
mod asking;
mod authenticate;
mod body;
mod candidate;
mod commit;
pub mod connection;
mod context;
pub mod explain;
mod fixups;
mod inquire;
mod io;
mod judge;
mod known;
mod login;
pub mod message_id;
mod origin;
mod pace;
mod payload;
mod peer;
mod profiles;
pub mod received;
mod recipient;
pub mod reference;
mod refused;
mod remember;
pub mod replies;
mod report;
mod results;
mod secure;
mod session;
mod shadow;
mod sign;
mod signed;
mod site;
mod status;
pub mod tarpit;
mod told;
pub mod trace;
pub mod transaction;
mod turn;
mod verifier;
pub mod window;

pub use candidate::Shadow;
pub use connection::serve;
pub use context::{Connection, Context, Current, Kept};
pub use site::{ListenerSite, Parts, Site};
pub use verifier::Verifier;
