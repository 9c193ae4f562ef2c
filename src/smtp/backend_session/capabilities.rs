//! What a server offers: its EHLO (or LHLO) reply read (RFC 5321 §4.1.1.1).

use super::{super::extensions::Extensions, identity::Attributes};
use crate::decimal::parse_decimal;

/// What a server's EHLO reply said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The extensions offered.
    pub extensions: Extensions,
    /// The largest message in octets; 0 where SIZE named no limit, or was not offered.
    pub size_max: u64,
    /// RCPTMAX of LIMITS; 0 where none was named.
    pub recipients_max: u32,
    /// MAILMAX of LIMITS; 0 where none was named.
    pub messages_max: u32,
    /// How a client may authenticate.
    pub mechanisms: Mechanisms,
    /// What XCLIENT may tell.
    pub xclient: Attributes,
    /// What XFORWARD may tell.
    pub xforward: Attributes,
}

/// Mechanisms of AUTH (RFC 4954 §3), of those by which a password or a token can be handed on. No other is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(u8);

impl Mechanisms {
    const NAMES: [&str; 4] = ["PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"];

    /// Whether the one with this name is offered.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        self.0 & Mechanisms::bit(name.as_bytes()) != 0
    }

    fn bit(name: &[u8]) -> u8 {
        let mut names = Mechanisms::NAMES.iter();
        let place = names.position(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        place.map_or(0, |place| 1 << place)
    }
}

/// Keywords without which nothing would change for us are not kept.
const KEYWORDS: &[(&str, Extensions)] = &[
    ("PIPELINING", Extensions::PIPELINING),
    ("SIZE", Extensions::SIZE),
    ("8BITMIME", Extensions::EIGHTBITMIME),
    ("SMTPUTF8", Extensions::SMTPUTF8),
    ("CHUNKING", Extensions::CHUNKING),
    ("BINARYMIME", Extensions::BINARYMIME),
    ("ENHANCEDSTATUSCODES", Extensions::ENHANCEDSTATUSCODES),
    ("DSN", Extensions::DSN),
    ("STARTTLS", Extensions::STARTTLS),
    ("AUTH", Extensions::AUTH),
    ("LIMITS", Extensions::LIMITS),
    ("REQUIRETLS", Extensions::REQUIRETLS),
    ("XCLIENT", Extensions::XCLIENT),
    ("XFORWARD", Extensions::XFORWARD),
];

/// Reads the text of an EHLO reply, lines parted by `\n`; the first one is the server's name. Unknown
/// keywords and parameters that make no sense are passed over, as the RFC asks.
#[must_use]
pub fn parse(text: &[u8]) -> Capabilities {
    let mut capabilities = Capabilities::default();
    for line in text.split(|c| *c == b'\n').skip(1) {
        // `AUTH=LOGIN` is an old spelling of `AUTH LOGIN`, which some servers add for old clients.
        let mut words = line
            .split(|c| matches!(c, b' ' | b'\t' | b'='))
            .filter(|word| !word.is_empty());
        let Some(keyword) = words.next() else {
            continue;
        };
        let known = KEYWORDS
            .iter()
            .find(|(name, _)| keyword.eq_ignore_ascii_case(name.as_bytes()));
        let Some((_, extension)) = known else {
            continue;
        };
        capabilities.extensions = capabilities.extensions | *extension;
        match *extension {
            Extensions::SIZE => capabilities.size_max = words.next().map_or(0, limit),
            // There may be a line of each spelling.
            Extensions::AUTH => {
                capabilities.mechanisms.0 |= words.fold(0, |all, name| all | Mechanisms::bit(name));
            }
            Extensions::XCLIENT => capabilities.xclient = Attributes::parse(words),
            Extensions::XFORWARD => capabilities.xforward = Attributes::parse(words),
            Extensions::LIMITS => read_limits(line, &mut capabilities),
            _ => {}
        }
    }
    capabilities
}

/// `LIMITS MAILMAX=100 RCPTMAX=50` (RFC 9422 §4).
fn read_limits(line: &[u8], capabilities: &mut Capabilities) {
    for named in line.split(|c| *c == b' ').skip(1) {
        let Some(at) = memchr::memchr(b'=', named) else {
            continue;
        };
        let (name, value) = (&named[..at], limit(&named[at + 1..]));
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        if name.eq_ignore_ascii_case(b"MAILMAX") {
            capabilities.messages_max = value;
        } else if name.eq_ignore_ascii_case(b"RCPTMAX") {
            capabilities.recipients_max = value;
        }
    }
}

/// A limit; 0 ("no limit named") where it is no number, or one so large that it limits nothing.
fn limit(digits: &[u8]) -> u64 {
    parse_decimal(digits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keywords_in_any_case_and_their_parameters() {
        let text = b"mx.example PIPELINING\nsize 1000\npipelining\nX-WHATEVER a b\n8BITMIME\n\n\
            AUTH=LOGIN\nLIMITS RCPTMAX=50 MAILMAX=7 FOO=1\nCHUNKING";
        let seen = parse(text);
        let wanted = Extensions::SIZE
            | Extensions::PIPELINING
            | Extensions::EIGHTBITMIME
            | Extensions::AUTH
            | Extensions::LIMITS
            | Extensions::CHUNKING;
        assert_eq!(seen.extensions, wanted);
        assert_eq!(seen.size_max, 1000);
        assert_eq!((seen.recipients_max, seen.messages_max), (50, 7));
    }

    #[test]
    fn reads_the_mechanisms_of_both_spellings() {
        let seen =
            parse(b"x\nAUTH PLAIN CRAM-MD5 login\nAUTH=XOAUTH2\nAUTHOR OAUTHBEARER").mechanisms;
        assert!(seen.has("PLAIN") && seen.has("LOGIN") && seen.has("XOAUTH2"));
        assert!(!seen.has("OAUTHBEARER") && !seen.has("CRAM-MD5") && !seen.has(""));
        assert_eq!(parse(b"AUTH PLAIN\nAUTH").mechanisms, Mechanisms::default());
    }

    #[test]
    fn reads_what_may_be_told_of_a_client() {
        let seen = parse(b"x\nXCLIENT NAME addr LOGIN WHATEVER\nXFORWARD");
        assert!(
            seen.extensions
                .has(Extensions::XCLIENT | Extensions::XFORWARD)
        );
        assert_eq!(
            seen.xclient,
            Attributes::NAME | Attributes::ADDR | Attributes::LOGIN
        );
        assert_eq!(seen.xforward, Attributes::default());
    }

    #[test]
    fn the_name_is_no_keyword_and_nonsense_numbers_are_no_limit() {
        assert_eq!(parse(b"PIPELINING"), Capabilities::default());
        assert_eq!(parse(b"x\nSIZE 12x").size_max, 0);
        assert_eq!(parse(b"x\nSIZE").size_max, 0);
        assert_eq!(parse(b"x\nSIZE 99999999999999999999999").size_max, 0);
    }
}
