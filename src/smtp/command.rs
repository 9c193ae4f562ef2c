//! A line to a command: the verb and where its arguments are. No heap, no copy.
//!
//! Only the verb is decided here; `path` and `params` read the arguments, `server` knows the sequence.

use crate::decimal::parse_decimal;

/// A command's verb (RFC 5321 §4.1.1 and extensions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verb {
    /// HELO.
    Helo,
    /// EHLO.
    Ehlo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// BDAT (RFC 3030).
    Bdat,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth,
    /// XCLIENT (Postfix).
    XClient,
    /// XFORWARD (Postfix).
    XForward,
    /// Known, and not served: ETRN, TURN, SEND, SOML, SAML.
    Unserved,
    /// GET, POST, CONNECT, or a field of a message header: not SMTP at all.
    Alien,
    /// Anything else.
    #[default]
    Unknown,
}

impl Verb {
    /// How many there are.
    pub const COUNT: usize = 19;

    /// All of them, in the order of their numbers.
    pub const ALL: [Verb; Verb::COUNT] = [
        Verb::Helo,
        Verb::Ehlo,
        Verb::Mail,
        Verb::Rcpt,
        Verb::Data,
        Verb::Bdat,
        Verb::Rset,
        Verb::Noop,
        Verb::Vrfy,
        Verb::Expn,
        Verb::Help,
        Verb::Quit,
        Verb::StartTls,
        Verb::Auth,
        Verb::XClient,
        Verb::XForward,
        Verb::Unserved,
        Verb::Alien,
        Verb::Unknown,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Helo => "helo",
            Verb::Ehlo => "ehlo",
            Verb::Mail => "mail",
            Verb::Rcpt => "rcpt",
            Verb::Data => "data",
            Verb::Bdat => "bdat",
            Verb::Rset => "rset",
            Verb::Noop => "noop",
            Verb::Vrfy => "vrfy",
            Verb::Expn => "expn",
            Verb::Help => "help",
            Verb::Quit => "quit",
            Verb::StartTls => "starttls",
            Verb::Auth => "auth",
            Verb::XClient => "xclient",
            Verb::XForward => "xforward",
            Verb::Unserved => "unserved",
            Verb::Alien => "alien",
            Verb::Unknown => "unknown",
        }
    }

    /// The verb of a token, in any case.
    fn of(token: &[u8]) -> Verb {
        let mut upper = [0u8; 8];
        let Some(room) = upper.get_mut(..token.len()) else {
            return Verb::of_odd(token);
        };
        room.copy_from_slice(token);
        room.make_ascii_uppercase();
        match &*room {
            b"HELO" => Verb::Helo,
            b"EHLO" => Verb::Ehlo,
            b"MAIL" => Verb::Mail,
            b"RCPT" => Verb::Rcpt,
            b"DATA" => Verb::Data,
            b"BDAT" => Verb::Bdat,
            b"RSET" => Verb::Rset,
            b"NOOP" => Verb::Noop,
            b"VRFY" => Verb::Vrfy,
            b"EXPN" => Verb::Expn,
            b"HELP" => Verb::Help,
            b"QUIT" => Verb::Quit,
            b"STARTTLS" => Verb::StartTls,
            b"AUTH" => Verb::Auth,
            b"XCLIENT" => Verb::XClient,
            b"XFORWARD" => Verb::XForward,
            b"ETRN" | b"TURN" | b"ATRN" | b"SEND" | b"SOML" | b"SAML" => Verb::Unserved,
            b"GET" | b"POST" | b"CONNECT" => Verb::Alien,
            _ => Verb::of_odd(token),
        }
    }

    /// A token that is no verb: a header field's name (a message sent as commands, as smuggling leaves it;
    /// Postfix hangs up on it too) or plain nonsense.
    fn of_odd(token: &[u8]) -> Verb {
        if token.contains(&b':') {
            Verb::Alien
        } else {
            Verb::Unknown
        }
    }
}

/// A line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Its verb.
    pub verb: Verb,
    /// What follows the verb, without blanks at either end.
    pub arguments: &'a [u8],
}

impl<'a> Command<'a> {
    /// Takes a line (without its CRLF) apart at its first blank.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Command<'a> {
        // Verbs are short: a search by vectors would take longer to begin than this to end.
        let end = line.iter().position(|byte| is_blank(*byte));
        let end = end.unwrap_or(line.len());
        Command {
            verb: Verb::of(&line[..end]),
            arguments: trim(&line[end..]),
        }
    }
}

/// The size and the LAST of a BDAT command (RFC 3030 §2); `None` where they are wrong.
#[must_use]
pub fn chunk(arguments: &[u8]) -> Option<(u64, bool)> {
    let end = memchr::memchr2(b' ', b'\t', arguments).unwrap_or(arguments.len());
    let last = match trim(&arguments[end..]) {
        b"" => false,
        word if word.eq_ignore_ascii_case(b"LAST") => true,
        _ => return None,
    };
    Some((parse_decimal(&arguments[..end])?, last))
}

/// Whether it separates the words of a command.
#[must_use]
pub const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without blanks at either end.
#[must_use]
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_each_verb_in_any_case() {
        for verb in Verb::ALL {
            assert_eq!(Verb::ALL[verb as usize], verb);
            let served = !matches!(verb, Verb::Unserved | Verb::Alien | Verb::Unknown);
            if served {
                assert_eq!(Command::parse(verb.as_str().as_bytes()).verb, verb);
                let upper = verb.as_str().to_uppercase();
                assert_eq!(Command::parse(upper.as_bytes()).verb, verb);
            }
        }
        assert_eq!(Command::parse(b"Subject: hi").verb, Verb::Alien);
        assert_eq!(
            Command::parse(b"GET / HTTP/1.1"),
            Command {
                verb: Verb::Alien,
                arguments: b"/ HTTP/1.1"
            }
        );
        assert_eq!(Command::parse(b"MAILX FROM:<>").verb, Verb::Unknown);
        assert_eq!(Command::parse(b"noop \t x  y ").arguments, b"x  y");
    }

    #[test]
    fn reads_chunk_sizes() {
        assert_eq!(chunk(b"0 LAST"), Some((0, true)));
        assert_eq!(chunk(b"10"), Some((10, false)));
        assert_eq!(chunk(b"18446744073709551615 last"), Some((u64::MAX, true)));
        for bad in [
            &b""[..],
            b"LAST",
            b"-1",
            b"+1",
            b"1x",
            b"0x10",
            b"18446744073709551616",
            b"000000000000000000001",
            b"1 LAST 2",
            b"1 FIRST",
        ] {
            assert_eq!(chunk(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
