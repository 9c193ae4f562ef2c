//! Telling a backend about the client, with Postfix's extensions: XCLIENT, after which the backend treats the session as the
//! client's own, and XFORWARD, which is for its log (XCLIENT_README and XFORWARD_README of Postfix).
//!
//! Both take attributes as xtext (RFC 3461 §4), of which only those are sent that the backend offers in its EHLO reply.
//! One that is offered and of which we know no value is sent as unavailable: the backend would else keep the value of
//! the client before, or ours.

use super::{
    super::{extensions::Extensions, reply_parse::ReplyHead},
    BackendError, BackendSession, Event, Phase,
};
use std::ops::BitOr;

/// Octets of a command line at most, with its CRLF.
pub const LINE_MAX: usize = 512;
/// Octets of an attribute's value at most, before it is made xtext; a longer one is told as unavailable.
pub const VALUE_MAX: usize = 255;
/// What stands for a value that isn't known.
const UNAVAILABLE: &[u8] = b"[UNAVAILABLE]";

/// A set of attributes, or one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(pub u16);

impl Attributes {
    /// The client's host name.
    pub const NAME: Attributes = Attributes(1);
    /// Its address; one of IPv6 after `IPV6:`.
    pub const ADDR: Attributes = Attributes(1 << 1);
    /// Its port, in decimal.
    pub const PORT: Attributes = Attributes(1 << 2);
    /// `SMTP` or `ESMTP`.
    pub const PROTO: Attributes = Attributes(1 << 3);
    /// The name in its EHLO.
    pub const HELO: Attributes = Attributes(1 << 4);
    /// The account that it authenticated for.
    pub const LOGIN: Attributes = Attributes(1 << 5);
    /// The address that it connected to.
    pub const DESTADDR: Attributes = Attributes(1 << 6);
    /// The port that it connected to.
    pub const DESTPORT: Attributes = Attributes(1 << 7);
    /// The message's id at the host before this one.
    pub const IDENT: Attributes = Attributes(1 << 8);
    /// `LOCAL` or `REMOTE`.
    pub const SOURCE: Attributes = Attributes(1 << 9);
    /// The name that its address resolves to, whether or not that resolves to the address.
    pub const REVERSE_NAME: Attributes = Attributes(1 << 10);

    /// Each with its name.
    const NAMES: [(Attributes, &[u8]); 11] = [
        (Attributes::NAME, b"NAME"),
        (Attributes::REVERSE_NAME, b"REVERSE_NAME"),
        (Attributes::ADDR, b"ADDR"),
        (Attributes::PORT, b"PORT"),
        (Attributes::PROTO, b"PROTO"),
        (Attributes::HELO, b"HELO"),
        (Attributes::LOGIN, b"LOGIN"),
        (Attributes::DESTADDR, b"DESTADDR"),
        (Attributes::DESTPORT, b"DESTPORT"),
        (Attributes::IDENT, b"IDENT"),
        (Attributes::SOURCE, b"SOURCE"),
    ];

    /// Those that a line of an EHLO reply names after its keyword.
    pub(super) fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Attributes {
        let mut all = Attributes::default();
        for word in words {
            for (attribute, name) in Attributes::NAMES {
                if word.eq_ignore_ascii_case(name) {
                    all = all | attribute;
                }
            }
        }
        all
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Attributes) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Attributes {
    type Output = Attributes;
    fn bitor(self, other: Attributes) -> Attributes {
        Attributes(self.0 | other.0)
    }
}

/// What is known of a client: one attribute each with its plain value.
pub type Facts<'a> = [(Attributes, &'a [u8])];

/// What a backend is told. Its buffers are reused.
#[derive(Clone, Debug, Default)]
pub(super) struct Introduction {
    /// Command lines, rendered; `sent` octets of them have been sent.
    lines: Vec<u8>,
    sent: usize,
    /// They are XFORWARD and go before each MAIL.
    forward: bool,
    /// The name that EHLO says in the client's stead; empty where it's ours.
    hello: Vec<u8>,
}

impl Introduction {
    pub(super) fn memory(&self) -> usize {
        self.lines.capacity() + self.hello.capacity() + size_of::<Introduction>()
    }

    /// What EHLO says instead of our name.
    pub(super) fn hello(&self) -> Option<&[u8]> {
        (!self.hello.is_empty()).then_some(&*self.hello)
    }

    /// The XFORWARD lines and how many they are.
    pub(super) fn forward_lines(&self) -> (&[u8], usize) {
        match self.forward {
            true => (&self.lines, memchr::memchr_iter(b'\n', &self.lines).count()),
            false => (&[], 0),
        }
    }

    /// The next line that is to be sent.
    fn next_line(&mut self) -> Option<&[u8]> {
        let from = self.sent;
        let end = memchr::memchr(b'\n', self.lines.get(from..)?)?;
        self.sent = from + end + 1;
        self.lines.get(from..self.sent)
    }
}

impl BackendSession {
    /// Tells the backend by XCLIENT that the session is this client's, and says EHLO anew, as the client where its name
    /// can be said ([`Event::Ready`] follows). False, and nothing is written, where the backend doesn't offer it, or
    /// the connection isn't clean. A connection may be introduced again, for another client.
    pub fn introduce(&mut self, facts: &Facts<'_>, hello: &[u8], out: &mut Vec<u8>) -> bool {
        let offered = self.capabilities.xclient;
        if !self.is_clean() || offered == Attributes::default() {
            return false;
        }
        let introduction = self.introduction.get_or_insert_default();
        render(b"XCLIENT", offered, facts, introduction);
        introduction.forward = false;
        if hello.len() <= VALUE_MAX && hello.iter().all(u8::is_ascii_graphic) {
            introduction.hello.extend_from_slice(hello);
        }
        match introduction.next_line() {
            Some(line) => out.extend_from_slice(line),
            None => return false,
        }
        self.phase = Phase::Introduce;
        true
    }

    /// From now on each [`BackendSession::open`] tells by XFORWARD, ahead of MAIL, that the message is from this client. False
    /// where the backend doesn't offer it. No facts end it.
    pub fn forward(&mut self, facts: &Facts<'_>) -> bool {
        let offered = self.capabilities.xforward;
        let offers = self.capabilities.extensions.has(Extensions::XFORWARD);
        if facts.is_empty() || !offers || offered == Attributes::default() {
            if let Some(introduction) = &mut self.introduction {
                introduction.lines.clear();
                introduction.forward = false;
            }
            return false;
        }
        let introduction = self.introduction.get_or_insert_default();
        render(b"XFORWARD", offered, facts, introduction);
        introduction.forward = true;
        true
    }

    /// Whether the backend refused an XFORWARD of this transaction. The message goes its way without.
    #[must_use]
    pub fn forward_refused(&self) -> bool {
        self.transaction.forward_refused
    }

    /// The answer to a line of XCLIENT. It greets anew where it agrees; the next line, or EHLO, follows.
    pub(super) fn hear_introduced(
        &mut self,
        head: ReplyHead,
        quiet: bool,
        out: &mut Vec<u8>,
    ) -> Option<Event> {
        if head.code == 421 {
            return Some(self.fail(BackendError::Closing(head)));
        }
        if head.code / 100 != 2 {
            return Some(self.fail(BackendError::Origin(head)));
        }
        if !quiet {
            return Some(self.fail(BackendError::Unasked));
        }
        match self.introduction.as_mut().and_then(|i| i.next_line()) {
            Some(line) => out.extend_from_slice(line),
            None => {
                self.phase = Phase::Ehlo;
                self.say_hello(out);
            }
        }
        None
    }
}

/// An attribute as it is sent: its name, and its value where that is known and not too long.
#[derive(Clone, Copy)]
struct Word<'a> {
    name: &'static [u8],
    value: Option<&'a [u8]>,
}

impl Word<'_> {
    /// Octets of ` NAME=value`.
    fn octets(&self) -> usize {
        let value = match self.value {
            Some(value) => value.iter().map(|c| if is_plain(*c) { 1 } else { 3 }).sum(),
            None => UNAVAILABLE.len(),
        };
        1 + self.name.len() + 1 + value
    }

    fn push(&self, out: &mut Vec<u8>) {
        out.push(b' ');
        out.extend_from_slice(self.name);
        out.push(b'=');
        match self.value {
            Some(value) => push_xtext(value, out),
            None => out.extend_from_slice(UNAVAILABLE),
        }
    }
}

/// Writes the offered ones of the attributes as command lines.
///
/// Where they need several, ADDR and LOGIN are in the last: after an XCLIENT with ADDR, Postfix asks whether that client may
/// say XCLIENT, and each XCLIENT without LOGIN makes it forget the login.
fn render(verb: &[u8], offered: Attributes, facts: &Facts<'_>, into: &mut Introduction) {
    let word = |(attribute, name): (Attributes, &'static [u8])| {
        let value = facts.iter().find(|(of, _)| *of == attribute);
        let value = value.map_or(&b""[..], |(_, value)| value);
        let known = !value.is_empty() && value.len() <= VALUE_MAX;
        let value = known.then_some(value);
        // With CRLF.
        let fits = verb.len() + Word { name, value }.octets() + 2 <= LINE_MAX;
        let value = value.filter(|_| fits);
        (attribute, Word { name, value })
    };
    let is_last = |attribute: Attributes| (Attributes::ADDR | Attributes::LOGIN).has(attribute);
    let offers = |(attribute, _): &(Attributes, &'static [u8])| offered.has(*attribute);
    let words = || Attributes::NAMES.into_iter().filter(offers).map(word);
    let whole: usize = words().map(|(_, word)| word.octets()).sum();
    let Introduction {
        lines, sent, hello, ..
    } = into;
    lines.clear();
    hello.clear();
    *sent = 0;
    let mut begun = 0;
    let mut push = |words: &[Word<'_>]| {
        let more: usize = words.iter().map(Word::octets).sum();
        if lines.is_empty() || lines.len() - begun + more + 2 > LINE_MAX {
            if !lines.is_empty() {
                lines.extend_from_slice(b"\r\n");
            }
            begun = lines.len();
            lines.extend_from_slice(verb);
        }
        words.iter().for_each(|word| word.push(lines));
    };
    if verb.len() + whole + 2 <= LINE_MAX {
        words().for_each(|(_, word)| push(&[word]));
    } else {
        words()
            .filter(|(attribute, _)| !is_last(*attribute))
            .for_each(|(_, word)| push(&[word]));
        let mut last: Vec<Word<'_>> = words()
            .filter(|(attribute, _)| is_last(*attribute))
            .map(|(_, word)| word)
            .collect();
        let octets: usize = last.iter().map(Word::octets).sum();
        if let [address, login] = &mut last[..]
            && verb.len() + octets + 2 > LINE_MAX
        {
            login.value = None;
            // No address is as long.
            address.value = address.value.filter(|value| value.len() < 64);
        }
        if !last.is_empty() {
            push(&last);
        }
    }
    if !lines.is_empty() {
        lines.extend_from_slice(b"\r\n");
    }
}

/// Whether xtext leaves an octet as it is.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_graphic() && octet != b'+' && octet != b'='
}

/// Appends octets as xtext (RFC 3461 §4): no blank and no control character is left in it.
fn push_xtext(octets: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &octet in octets {
        if is_plain(octet) {
            out.push(octet);
        } else {
            out.extend_from_slice(&[
                b'+',
                DIGITS[usize::from(octet >> 4)],
                DIGITS[usize::from(octet & 15)],
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(offered: Attributes, facts: &Facts<'_>) -> Vec<String> {
        let mut introduction = Introduction::default();
        render(b"XCLIENT", offered, facts, &mut introduction);
        let text = String::from_utf8(introduction.lines).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with("\r\n"));
        text.split_terminator("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn what_is_offered_is_told_and_what_is_unknown_is_said_to_be() {
        let offered = Attributes::NAME | Attributes::ADDR | Attributes::HELO;
        let facts: &Facts<'_> = &[
            (Attributes::HELO, b"a+b=c d\r\nQUIT\xff"),
            (Attributes::ADDR, b"192.0.2.7"),
            (Attributes::PORT, b"4711"),
        ];
        assert_eq!(
            rendered(offered, facts),
            ["XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 HELO=a+2Bb+3Dc+20d+0D+0AQUIT+FF"]
        );
        assert!(rendered(Attributes::default(), facts).is_empty());
    }

    #[test]
    fn no_line_is_longer_than_it_may_be() {
        let all = Attributes(0x7ff);
        for (length, octet) in [
            (255, b'x'),
            (200, 0xff),
            (160, b'+'),
            (165, b' '),
            (256, b'x'),
        ] {
            let long = vec![octet; length];
            let facts: Vec<(Attributes, &[u8])> = Attributes::NAMES
                .iter()
                .map(|(attribute, _)| (*attribute, &*long))
                .collect();
            let lines = rendered(all, &facts);
            assert!(
                lines.iter().all(|line| line.len() + 2 <= LINE_MAX),
                "{lines:?}"
            );
            let told: usize = lines.iter().map(|line| line.matches('=').count()).sum();
            assert_eq!(told, 11, "each once: {lines:?}");
        }
    }

    #[test]
    fn of_several_lines_the_last_has_address_and_login() {
        let long = [b'x'; 200];
        let facts: &Facts<'_> = &[
            (Attributes::NAME, &long),
            (Attributes::ADDR, b"192.0.2.7"),
            (Attributes::HELO, &long),
            (Attributes::LOGIN, &long),
            (Attributes::DESTPORT, b"25"),
        ];
        let lines = rendered(Attributes(0x7ff), facts);
        let last = lines.last().expect("some");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(last.contains(" ADDR=192.0.2.7 LOGIN=xxx"), "{last}");
        assert!(!lines[0].contains(" ADDR=") && !lines[0].contains(" LOGIN="));
    }
}
