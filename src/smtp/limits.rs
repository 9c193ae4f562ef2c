//! What a session may not exceed: counts, sizes and waits. Each has a name here, a key in the
//! configuration and a reply that says so (INV-LIMIT: overload has a reply, never a growth).

use super::extensions::Extensions;
use std::time::Duration;

/// Octets of a command line with its CRLF, without extensions (RFC 5321 §4.5.3.1.4).
pub const COMMAND_LINE: usize = 512;
/// The longest command line that any enabled extension can make: what a session buffers at most.
pub const COMMAND_LINE_MAX: usize = 2_048;
/// Octets of a line of AUTH with its CRLF (RFC 4954 §4), the command's own included: tokens are long, and not every client
/// counts to 512 before it sends one with the command.
pub const AUTH_LINE_MAX: usize = 12_288;
/// Octets within which a longer one must end.
pub const AUTH_RESYNC: usize = 2 * AUTH_LINE_MAX;
/// Octets of a domain (RFC 5321 §4.5.3.1.2); also of a HELO name.
pub const DOMAIN_MAX: usize = 255;
/// Octets of a path with its brackets (RFC 5321 §4.5.3.1.3). A local part has no limit of its own: the 64 octets of
/// §4.5.3.1.1 are what all must take, and forwarders (SRS) and lists (VERP) write more.
pub const PATH_MAX: usize = 256;
/// Refusals that ask the client to come again, since its last good message, before more of them count as errors. As many
/// as Postfix's `smtpd_recipient_overshoot_limit`: a sender with a long list is not an attacker, but one that never
/// stops is.
pub const DEFERRALS_MAX: u32 = 1_000;

/// Counts and sizes of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Recipients of one message; more get 452 4.5.3 and the earlier ones are kept.
    pub recipients: u32,
    /// Octets of a line of a message with its CRLF; a longer one is 550 at the end of data.
    pub line: u32,
    /// Messages of one session; the next MAIL gets 421. 0: no limit.
    pub messages: u32,
    /// Errors of the client ([`Tally::errors`](super::server::Tally::errors)) before 421 and close; a message that was
    /// taken sets the count to 0. 0: no limit.
    pub errors: u32,
    /// Commands that do nothing, or next to nothing, before 421 and close; counted like `errors`. 0: no limit.
    pub junk: u32,
    /// Octets of a command line that is too long within which its CRLF must come: it is answered with 500
    /// and the session goes on after it. Without a CRLF in so many octets the session is closed.
    pub resync: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            recipients: 1_000,
            line: 8_192,
            messages: 0,
            errors: 20,
            junk: 100,
            resync: 12_288,
        }
    }
}

/// How long a session waits for its client. What the shell waits for (a verdict, a backend) is not the
/// core's to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From one reply to the end of the next command: a byte now and then doesn't extend it.
    pub command: Duration,
    /// Until the next piece of a body.
    pub data: Duration,
    /// Slowest body in octets a second, averaged, after the first `data`. 0: no limit.
    pub body_rate: u64,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            command: Duration::from_secs(300),
            data: Duration::from_secs(180),
            body_rate: 500,
        }
    }
}

/// Octets by which the enabled extensions lengthen MAIL: SIZE (RFC 1870 §3), BODY (RFC 6152 §2), SMTPUTF8
/// (RFC 6531 §3.1), RET and ENVID (RFC 3461 §4), AUTH (RFC 4954 §5), REQUIRETLS (RFC 8689 §2).
#[must_use]
pub fn mail_line_max(offered: Extensions) -> usize {
    let mut max = COMMAND_LINE;
    for (extension, octets) in [
        (Extensions::SIZE, 26),
        (Extensions::EIGHTBITMIME, 17),
        (Extensions::SMTPUTF8, 10),
        (Extensions::DSN, 128),
        (Extensions::AUTH, 500),
        (Extensions::REQUIRETLS, 11),
    ] {
        if offered.has(extension) {
            max += octets;
        }
    }
    max
}

/// Octets of a RCPT line: NOTIFY takes 28 and ORCPT 507 more (RFC 3461 §4).
#[must_use]
pub fn rcpt_line_max(offered: Extensions) -> usize {
    let dsn = if offered.has(Extensions::DSN) { 535 } else { 0 };
    COMMAND_LINE + dsn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_holds_the_longest_line() {
        let all = Extensions(u32::MAX);
        assert!(mail_line_max(all) <= COMMAND_LINE_MAX && rcpt_line_max(all) <= COMMAND_LINE_MAX);
        assert_eq!(mail_line_max(Extensions::NONE), COMMAND_LINE);
    }
}
