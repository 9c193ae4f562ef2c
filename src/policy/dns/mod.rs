//! Checks that need nothing but the DNS, as machines that ask no question by themselves.
//!
//! A machine is made from what is known of a client or an envelope. Its `step` is given the answers that are there
//! and says either which questions it still needs, or what it has found. It reads no clock, does no I/O and keeps
//! nothing between two steps, so the same machine runs at the edge, in a replay and in a test. Each one ends after
//! a small named number of rounds, whatever the answers are. A question that was not answered in time has the
//! answer [`crate::dns::Answer::Unknown`]; the shell puts it there.
//!
//! | module | what it knows |
//! |---|---|
//! | [`names`] | domain names as questions, reversed addresses |
//! | [`zone`], [`codes`], [`secret`] | one list: its name, its return codes, its weights |
//! | [`listing`] | is this client, or this name, in the list? |
//! | [`tally`] | the weights of several lists, added up |
//! | [`probe`], [`samples`], [`runaway`] | is the list itself in order? |
//! | [`reverse`], [`generic`] | the names of an address, confirmed forwards; names that look generated |
//! | [`domain`], [`helo`], [`special`] | does a domain exist for mail, and are its exchangers on the internet? |
//! | [`parse`] | the configuration's words for all that |
//!
//! None of them decides anything: thresholds, replies and verdicts belong to the policy.

pub mod codes;
pub mod domain;
pub mod generic;
pub mod helo;
pub mod listing;
pub mod names;
pub mod parse;
pub mod probe;
pub mod reverse;
pub mod runaway;
pub mod samples;
pub mod secret;
pub mod special;
pub mod tally;
#[cfg(test)]
pub(super) mod testing;
pub mod watched;
pub mod zone;
