//! XCLIENT and XFORWARD: what a proxy in front says of the client that it speaks for.
//!
//! Both are Postfix's (XCLIENT_README, XFORWARD_README): attributes in xtext (RFC 3461 §4), given in as many commands
//! as they need. XCLIENT makes the session that of the client, from the greeting on; XFORWARD tells readers of the
//! log where the next message came from. The shell knows which addresses may send them ([`Server::grant`]).
//!
//! XCLIENT takes that right away, and the shell grants it anew where the address that was named has it, as Postfix does.
//! Some proxies only pass on what their client says after they have named it (nginx's mail proxy): a second XCLIENT would be the
//! client's own. Others need two commands for one client, so the next command may still be an XCLIENT with PORT, HELO and PROTO.
//!
//! A login holds until the next XCLIENT, which must name it again, as Postfix has it: a proxy that goes on to another
//! client and doesn't name its login must not lend it that of the one before. Different from Postfix: what XCLIENT said
//! of name, greeting and protocol is forgotten by the next XCLIENT that doesn't follow directly on it.

use super::{Server, State, Tally, auth::Login, interface::Question};
use crate::decimal::parse_decimal;
use crate::smtp::{
    command::is_blank, extensions::Extensions, limits::DOMAIN_MAX, octets::is_odd,
    params::from_xtext, replies, replies::wire,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a proxy may say, as EHLO names it.
pub(super) const XCLIENT: &[u8] = b"XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";
/// The same for XFORWARD.
pub(super) const XFORWARD: &[u8] = b"XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE";

/// A value, as far as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum XclientValue<T> {
    /// Nothing was said of it.
    #[default]
    Unsaid,
    /// `[UNAVAILABLE]` or `[TEMPUNAVAIL]`: the proxy doesn't know either.
    Unknown,
    /// This is it.
    Is(T),
}

impl<T> XclientValue<T> {
    /// The value, where it was told.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            XclientValue::Is(value) => Some(value),
            XclientValue::Unsaid | XclientValue::Unknown => None,
        }
    }
}

/// What a proxy said of its client. Texts are clean UTF-8 of at most 255 octets; those that stand in Received fields
/// and log lines have the characters that would mean something there replaced, as a HELO name has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XclientAttributes {
    /// NAME: the client's host name.
    pub name: XclientValue<Box<[u8]>>,
    /// ADDR: the client's address.
    pub address: XclientValue<IpAddr>,
    /// PORT: the client's port.
    pub port: XclientValue<u16>,
    /// PROTO: ESMTP rather than SMTP.
    pub esmtp: XclientValue<bool>,
    /// HELO: the client's name in HELO or EHLO.
    pub hello: XclientValue<Box<[u8]>>,
    /// LOGIN: the account that the client has authenticated as. XCLIENT only.
    pub login: XclientValue<Box<[u8]>>,
    /// DESTADDR: where the client connected to. XCLIENT alone.
    pub server_address: XclientValue<IpAddr>,
    /// DESTPORT. XCLIENT alone.
    pub server_port: XclientValue<u16>,
    /// IDENT: the message's id at the sender. XFORWARD alone.
    pub ident: XclientValue<Box<[u8]>>,
    /// SOURCE: the message came from another host rather than this one. XFORWARD alone.
    pub remote: XclientValue<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AttributeCommand {
    XClient,
    XForward,
}

impl XclientAttributes {
    /// Adds the attributes of one command; `None` where any of them is wrong.
    fn read(&mut self, text: &[u8], kind: AttributeCommand) -> Option<()> {
        let mut words = text.split(|byte| is_blank(*byte));
        let mut words = words.by_ref().filter(|word| !word.is_empty()).peekable();
        words.peek()?;
        for word in words {
            let equals = memchr::memchr(b'=', word)?;
            let mut room = [0; DOMAIN_MAX];
            let name = word[..equals].to_ascii_uppercase();
            let value = match &*name {
                b"LOGIN" => login(&word[equals + 1..], &mut room)?,
                _ => from_xtext(&word[equals + 1..], &mut room)?,
            };
            self.set(&name, value, kind)?;
        }
        Some(())
    }

    fn set(&mut self, name: &[u8], value: &[u8], kind: AttributeCommand) -> Option<()> {
        let client = kind == AttributeCommand::XClient;
        match name {
            b"NAME" => self.name = known(value, tame)?,
            b"ADDR" => self.address = known(value, address)?,
            b"PORT" => self.port = known(value, port)?,
            b"PROTO" => self.esmtp = known(value, |v| one_of(v, b"ESMTP", b"SMTP"))?,
            b"HELO" => self.hello = known(value, tame)?,
            b"LOGIN" if client => self.login = known(value, |v| Some(v.into()))?,
            b"DESTADDR" if client => self.server_address = known(value, address)?,
            b"DESTPORT" if client => self.server_port = known(value, port)?,
            b"IDENT" if !client => self.ident = known(value, tame)?,
            b"SOURCE" if !client => {
                self.remote = known(value, |v| one_of(v, b"REMOTE", b"LOCAL"))?;
            }
            _ => return None,
        }
        Some(())
    }
}

/// A login in xtext, or as it is: nginx's mail proxy writes it without encoding, so a `+` that begins no code and a `=`
/// are themselves.
fn login<'a>(text: &[u8], room: &'a mut [u8]) -> Option<&'a [u8]> {
    let code = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
    let mut encoded = Vec::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        let begins_code = || {
            text.get(at + 1..at + 3)
                .is_some_and(|two| two.iter().all(code))
        };
        match byte {
            b'+' if !begins_code() => encoded.extend_from_slice(b"+2B"),
            b'=' => encoded.extend_from_slice(b"+3D"),
            byte => encoded.push(*byte),
        }
    }
    from_xtext(&encoded, room)
}

/// A value, or that there is none.
fn known<T>(value: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<XclientValue<T>> {
    let unknown = [&b"[UNAVAILABLE]"[..], b"[TEMPUNAVAIL]"];
    if unknown.iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return Some(XclientValue::Unknown);
    }
    read(value).map(XclientValue::Is)
}

fn tame(value: &[u8]) -> Option<Box<[u8]>> {
    let tame = |byte: &u8| if is_odd(*byte) { b'?' } else { *byte };
    Some(value.iter().map(tame).collect())
}

/// `192.0.2.7`, or `IPV6:2001:db8::7`.
fn address(value: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(value).ok()?;
    match text.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPV6:") => {
            Some(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?).to_canonical())
        }
        _ => Some(IpAddr::V4(text.parse::<Ipv4Addr>().ok()?)),
    }
}

fn port(value: &[u8]) -> Option<u16> {
    u16::try_from(parse_decimal(value)?).ok()
}

fn one_of(value: &[u8], yes: &[u8], no: &[u8]) -> Option<bool> {
    let is = |word| value.eq_ignore_ascii_case(word);
    (is(yes) || is(no)).then(|| is(yes))
}

/// Whether XCLIENT only adds to what the one before it has named: what a client may say of itself, should a proxy pass it on.
fn completes(arguments: &[u8]) -> bool {
    let mut left = XclientAttributes::default();
    let is_read = left.read(arguments, AttributeCommand::XClient).is_some();
    let unsaid = XclientAttributes::default();
    (left.port, left.hello, left.esmtp) = (
        unsaid.port.clone(),
        unsaid.hello.clone(),
        unsaid.esmtp.clone(),
    );
    is_read && left == unsaid
}

impl Server {
    /// Allows this session XCLIENT, XFORWARD, or both; other extensions are not granted. Holds until an XCLIENT: at
    /// [`Question::Client`] the shell says what the client that is named has.
    pub fn grant(&mut self, extensions: Extensions) {
        self.granted = extensions.common(Extensions::XCLIENT | Extensions::XFORWARD);
    }

    /// What XCLIENT has said of the client; asked about with [`Question::Client`].
    #[must_use]
    pub fn xclient_attributes(&self) -> Option<&XclientAttributes> {
        self.xclient.as_deref()
    }

    /// What XFORWARD has said of the next message, which is thereby told.
    pub fn take_forwarded(&mut self) -> Option<Box<XclientAttributes>> {
        self.forwarded.take()
    }

    /// Why XCLIENT and XFORWARD are refused now.
    fn claim_refusal(&self, extension: Extensions) -> Option<&'static replies::Known> {
        if !self.granted.has(extension) {
            Some(&replies::CLAIM_DENIED)
        } else if self.envelope.has_sender() || self.transfer.is_active() {
            Some(&replies::CLAIM_IN_TRANSACTION)
        } else {
            None
        }
    }

    pub(super) fn xclient(&mut self, arguments: &[u8], out: &mut Vec<u8>) {
        if let Some(known) = self.claim_refusal(Extensions::XCLIENT)
            && !(self.claiming && completes(arguments))
        {
            self.claiming = false;
            self.refuse_known(known, out);
            return;
        }
        let mut xclient = self.xclient.clone().unwrap_or_default();
        if !self.claiming {
            *xclient = XclientAttributes {
                address: xclient.address,
                port: xclient.port,
                server_address: xclient.server_address,
                server_port: xclient.server_port,
                ..XclientAttributes::default()
            };
        }
        xclient.login = XclientValue::Unsaid;
        if xclient.read(arguments, AttributeCommand::XClient).is_none() {
            self.refuse_known(&replies::CLAIM_SYNTAX, out);
            return;
        }
        self.begin_anew(&xclient);
        self.xclient = Some(xclient);
        self.claiming = true;
        self.state = State::Asked(Question::Client);
    }

    /// The session is another client's: as new, but for what the connection is (TLS).
    fn begin_anew(&mut self, xclient: &XclientAttributes) {
        self.reset();
        self.granted = Extensions::NONE;
        self.login = Login::No;
        self.greeted.text.clear();
        // Postfix takes MAIL at once after an XCLIENT that named HELO.
        if let Some(hello) = xclient.hello.value() {
            self.greeted.text.extend_from_slice(hello);
        }
        self.greeted.esmtp =
            xclient.esmtp != XclientValue::Is(false) && !self.greeted.text.is_empty();
        self.forwarded = None;
        self.signals = super::Signals::NONE;
        self.tally = Tally {
            verbs: self.tally.verbs,
            errors_total: self.tally.errors_total,
            ..Tally::default()
        };
    }

    pub(super) fn xforward(&mut self, arguments: &[u8], out: &mut Vec<u8>) {
        if let Some(known) = self.claim_refusal(Extensions::XFORWARD) {
            self.refuse_known(known, out);
            return;
        }
        let mut forwarded = self.forwarded.clone().unwrap_or_default();
        if forwarded
            .read(arguments, AttributeCommand::XForward)
            .is_none()
        {
            self.refuse_known(&replies::CLAIM_SYNTAX, out);
            return;
        }
        self.forwarded = Some(forwarded);
        out.extend_from_slice(wire::OK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, kind: AttributeCommand) -> Option<XclientAttributes> {
        let mut xclient = XclientAttributes::default();
        xclient.read(text.as_bytes(), kind).map(|()| xclient)
    }

    #[test]
    fn attributes_of_a_client() {
        let text = "name=spike.example ADDR=IPV6:::FFFF:192.0.2.7 PORT=0  PROTO=smtp HELO=a(b) \
            LOGIN=bob+40example.net DESTADDR=[unavailable] DESTPORT=[TEMPUNAVAIL]";
        let xclient = read(text, AttributeCommand::XClient).expect("sound");
        let expected = XclientAttributes {
            name: XclientValue::Is((*b"spike.example").into()),
            address: XclientValue::Is(IpAddr::from([192, 0, 2, 7])),
            port: XclientValue::Is(0),
            esmtp: XclientValue::Is(false),
            hello: XclientValue::Is((*b"a?b?").into()),
            login: XclientValue::Is((*b"bob@example.net").into()),
            server_address: XclientValue::Unknown,
            server_port: XclientValue::Unknown,
            ..XclientAttributes::default()
        };
        assert_eq!(xclient, expected);
        let forward = read("IDENT=4bXyz SOURCE=LOCAL", AttributeCommand::XForward).expect("sound");
        assert_eq!(forward.remote, XclientValue::Is(false));
    }

    #[test]
    fn a_login_may_come_without_its_encoding() {
        for (text, login) in [
            ("amy+2Btag@example.net", "amy+tag@example.net"),
            ("amy+tag@example.net", "amy+tag@example.net"),
            ("amy=x+y=z@example.net", "amy=x+y=z@example.net"),
            ("amy+", "amy+"),
            ("amy+2@example.net", "amy+2@example.net"),
            ("amy+2b@example.net", "amy+2b@example.net"),
        ] {
            let xclient = read(&format!("LOGIN={text}"), AttributeCommand::XClient).expect(text);
            assert_eq!(xclient.login, XclientValue::Is(login.as_bytes().into()));
        }
        for text in ["", "a+0Db", "a+FFb", "\u{e9}", "a\u{1}"] {
            assert_eq!(
                read(&format!("LOGIN={text}"), AttributeCommand::XClient),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn attributes_that_are_wrong() {
        for text in [
            "",
            "NAME",
            "NAME=",
            "=x",
            "FOO=x",
            "IDENT=x",
            "ADDR=2001:db8::7",
            "ADDR=IPV6:192.0.2.7",
            "ADDR=192.0.2.007",
            "ADDR=[192.0.2.7]",
            "PORT=65536",
            "PORT=+1",
            "PROTO=LMTP",
            "NAME=a+0Db",
            "NAME=a+",
            "NAME=a+FFb",
            "NAME=\u{e9}",
            "NAME=ok ADDR=x",
        ] {
            assert_eq!(read(text, AttributeCommand::XClient), None, "{text}");
        }
        for (login, value) in [
            ("bob+tag@d", "bob+tag@d"),
            ("bob+2Btag@d", "bob+tag@d"),
            ("bob+ab@d", "bob+ab@d"),
            ("bob=x@d", "bob=x@d"),
            ("bob+7fb+ff", "bob+7fb+ff"),
        ] {
            let xclient =
                read(&format!("LOGIN={login}"), AttributeCommand::XClient).expect("sound");
            assert_eq!(xclient.login, XclientValue::Is(value.as_bytes().into()));
        }
        for text in ["LOGIN=a+0Ab+ff", "LOGIN="] {
            assert_eq!(read(text, AttributeCommand::XClient), None, "{text}");
        }
        assert_eq!(read("LOGIN=bob", AttributeCommand::XForward), None);
        assert!(
            read(
                &format!("NAME={}", "x".repeat(255)),
                AttributeCommand::XClient
            )
            .is_some()
        );
        assert_eq!(
            read(
                &format!("NAME={}", "x".repeat(256)),
                AttributeCommand::XClient
            ),
            None
        );
    }
}
