//! SPF: whether a domain's owner lets this client use the domain in MAIL FROM or HELO (RFC 7208).
//!
//! [`Spf`] is the `check_host()` function of section 4 as a machine: [`Spf::step`] is given the answers that are there
//! and says which questions it needs, or the result. It does no I/O and reads no clock. A call goes on where the last
//! one stopped: an answer is used once, and may be forgotten as soon as the next questions are asked.
//!
//! - `machine` walks through the records: terms in order, `include`, `redirect`. `explanation` looks up that of a `fail`.
//! - `mechanisms` decides if one mechanism matches, `reverse` knows the client's validated names (`ptr`, `%{p}`).
//! - `record` finds the record among the TXT records and checks all of it, `term` parses one term, `macros` expands.
//! - `name` turns text into names to ask for, `report` writes header fields.
//!
//! `machine`, `mechanisms`, `explanation` and `reverse` name each other in a circle: they are one machine, in four files for
//! their length, and nothing of it is used from outside but [`Spf`].
//!
//! # What is bounded
//! All that a sender or a domain's owner chooses: see the constants below. A record is not copied, and its terms are
//! parsed as they are reached, so the memory of a check is its inputs and a few words for each nested `include`. One
//! check uses [`QUESTIONS_MAX`] answers at most, so it ends, whatever they are.
//!
//! # Where the RFC leaves a choice
//! - A target that can't be a name (an empty or too long label, a character outside ASCII, no dot) does not exist
//!   (section 4.8): `a`, `mx`, `ptr`, `exists` don't match, `include` and `redirect` are permerror.
//! - A void look-up is a *term* that finds nothing, as section 4.6.4 words it. So the hosts of an `mx` count once, and
//!   only if none of them has an address of the client's family; the names in `%{p}` don't count.
//! - A match among the hosts of an `mx` counts, even if the address of another host is not known.
//! - An address of the client in `%{i}` has capital hexadecimal digits. The names that are asked for are lower case.
//! - `%{s}` and `%{l}` of a local part outside ASCII never match (RFC 8616 section 4).
//!
//! # Rejected
//! - *A recursive function that is run from the start each time*: a record would be parsed and counted anew with every
//!   answer, and an answer that left the cache meanwhile would be asked for again, without end.
//! - *Asking ahead for all terms of a record*: the questions of the terms after a match are load for the servers of
//!   others (section 4.6.4), and up to a hundred for one message.

mod explanation;
mod machine;
mod macros;
mod mechanisms;
mod name;
mod record;
mod report;
mod result;
mod reverse;
mod subject;
mod term;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use machine::Spf;
pub use report::{write_method_result, write_received_spf};
pub use result::{Identity, ResultCode, SpfResult};
pub use subject::Subject;

/// Terms that ask the DNS, in all records of a check (section 4.6.4). One more is permerror.
pub const LOOKUPS_MAX: u8 = 10;
/// Terms that may find nothing, in all records of a check (section 4.6.4). One more is permerror.
pub const VOID_LOOKUPS_MAX: u8 = 2;
/// Hosts of one `mx` (section 4.6.4). One more is permerror.
pub const MX_HOSTS_MAX: usize = 10;
/// Names of the client that are looked at; further ones are ignored (section 4.6.4).
pub const PTR_NAMES_MAX: usize = 10;
/// Octets of a record or an explanation. A longer record is permerror, a longer explanation is none.
pub const RECORD_OCTETS_MAX: usize = 8192;
/// Octets of an explanation after its macros are expanded; the rest is cut.
pub const EXPLANATION_OCTETS_MAX: usize = 512;
/// Octets of the mechanism in a result; the rest is cut.
pub const MECHANISM_OCTETS_MAX: usize = 128;
/// Octets of the problem in a result; the rest is cut.
pub const PROBLEM_OCTETS_MAX: usize = 256;
/// Octets of a sender or a HELO name. One that is longer has no policy: the result is none.
pub const SENDER_OCTETS_MAX: usize = 512;
/// Questions of one check, also if answers are forgotten: the first record, ten `mx` with their hosts, the client's names
/// with their addresses, the explanation.
pub const QUESTIONS_MAX: usize =
    1 + LOOKUPS_MAX as usize * (1 + MX_HOSTS_MAX) + (1 + PTR_NAMES_MAX) + 1;
