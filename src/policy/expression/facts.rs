//! The facts that rules can name. To add one: its entry in [`TABLE`].

use super::{
    answers,
    subject::{Missing, Subject},
    types::{TextKind, Type},
};
use crate::{policy::At, smtp::envelope::Path};
use std::ops::ControlFlow;

/// A look-up that a fact comes from. What no rule and no check needs is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The client's name, confirmed forwards.
    ReverseDns,
    /// The lists of `[[policy.dnsbl]]`.
    Dnsbl,
    /// Whether the HELO name has an address.
    HeloDomain,
    /// Whether the sender's domain takes mail.
    SenderDomain,
    /// SPF (RFC 7208).
    Spf,
    /// DKIM (RFC 6376).
    Dkim,
    /// DMARC (RFC 9989), and with it SPF and DKIM.
    Dmarc,
    /// ARC (RFC 8617).
    Arc,
}

type Read<T> = for<'f> fn(&'f Subject<'f>) -> Result<T, Missing>;
/// Reads a text; `None` where there is none.
pub type ReadText = for<'f> fn(&'f Subject<'f>) -> Result<Option<&'f [u8]>, Missing>;
/// Takes the items of a list one by one until it breaks.
pub type Visit<'v, 'f> = &'v mut dyn FnMut(&'f [u8]) -> ControlFlow<()>;
/// Hands the items of a list to the visitor.
pub type ReadTexts = for<'f> fn(&'f Subject<'f>, Visit<'_, 'f>) -> Result<(), Missing>;

/// How a fact is read, and so its type.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "each is a type of `Type`")]
pub enum Reader {
    Bool(Read<bool>),
    Int(Read<i64>),
    Float(Read<f64>),
    Address(Read<std::net::IpAddr>),
    /// In milliseconds.
    Duration(Read<i64>),
    Text(TextKind, ReadText),
    Texts(TextKind, ReadTexts),
}

/// A fact.
pub struct Fact {
    /// Dotted.
    pub name: &'static str,
    /// The earliest stage at which it is known.
    pub stage: At,
    /// The look-up that it comes from.
    pub need: Option<Need>,
    /// Whether there may be none: `has(NAME)` asks. It then reads as an empty text.
    pub optional: bool,
    /// How it is read.
    pub read: Reader,
    /// What it is.
    pub doc: &'static str,
    /// An expression with it, of type bool.
    pub example: &'static str,
}

impl Fact {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self.read {
            Reader::Bool(_) => Type::Bool,
            Reader::Int(_) => Type::Int,
            Reader::Float(_) => Type::Float,
            Reader::Address(_) => Type::Address,
            Reader::Duration(_) => Type::Duration,
            Reader::Text(kind, _) => Type::Text(kind),
            Reader::Texts(kind, _) => Type::Texts(kind),
        }
    }
}

/// The place of a fact in [`TABLE`].
#[must_use]
pub fn find(name: &str) -> Option<u16> {
    let at = TABLE.iter().position(|fact| fact.name == name)?;
    u16::try_from(at).ok()
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn each_str<'f>(items: &'f [Box<str>], visit: Visit<'_, 'f>) {
    let _ = items.iter().try_for_each(|item| visit(item.as_bytes()));
}

fn recipient<'f>(subject: &Subject<'f>) -> Path<'f> {
    subject.facts.recipient.unwrap_or(Path::split(b""))
}

fn each_recipient<'f>(subject: &'f Subject<'f>, visit: Visit<'_, 'f>) {
    if let Some(envelope) = subject.facts.envelope {
        let paths = envelope.recipients().iter();
        let mut paths = paths.map(|recipient| envelope.path(recipient.path).whole);
        let _ = paths.try_for_each(visit);
    }
}

const SPF: TextKind = TextKind::Word(&[
    "pass",
    "fail",
    "softfail",
    "neutral",
    "none",
    "temperror",
    "permerror",
]);
const DKIM: TextKind = TextKind::Word(&[
    "pass",
    "fail",
    "policy",
    "neutral",
    "none",
    "temperror",
    "permerror",
]);
const DMARC: TextKind = TextKind::Word(&["pass", "fail", "none", "temperror", "permerror"]);
const DMARC_POLICY: TextKind = TextKind::Word(&["none", "quarantine", "reject"]);
const ARC: TextKind = TextKind::Word(&["pass", "fail", "none"]);
const RDNS: TextKind = TextKind::Word(&["confirmed", "unconfirmed", "none"]);
const HELO_DOMAIN: TextKind = TextKind::Word(&["ok", "no_name", "no_host", "not_client"]);
const SENDER_DOMAIN: TextKind =
    TextKind::Word(&["ok", "no_name", "no_mail", "null_mx", "unusable"]);
const TLS: TextKind = TextKind::Word(&["TLSv1.2", "TLSv1.3"]);

use At::{Body, Connect, Greeting, Header, Hello, Mail, Rcpt};
use Reader as R;
use TextKind::{Domain, Mailbox, Plain};

/// `name, stage, need, reader: doc, example`; a `?` after the name says that there may be none.
macro_rules! facts {
    ($($name:literal $(? $optional:tt)?, $stage:expr, $need:expr, $read:expr => $doc:literal, $example:literal;)*) => {
        /// All facts, in the order of the manual.
        pub const TABLE: &[Fact] = &[$(Fact {
            name: $name,
            stage: $stage,
            need: $need,
            optional: false $(|| facts!(@yes $optional))?,
            read: $read,
            doc: $doc,
            example: $example,
        }),*];
    };
    (@yes $optional:tt) => { true };
}

facts! {
    "listener", Connect, None, R::Text(Plain, |s| Ok(Some(s.facts.listener.as_bytes()))) =>
        "The name of the listener.", "listener == \"mx\"";
    "client.address", Connect, None, R::Address(|s| Ok(s.facts.client)) =>
        "The client's IP address; where PROXY or XCLIENT names it, that one.",
        "client.address in cidr(\"192.0.2.0/24\", \"2001:db8::/32\")";
    "client.trusted", Connect, None, R::Bool(|s| Ok(s.facts.trusted)) =>
        "The client is in a `trusted` network.", "!client.trusted";
    "client.sessions", Connect, None, R::Int(|s| Ok(s.facts.sessions.client.into())) =>
        "Sessions that the client's address (IPv6: its /64) has open, this one included.",
        "client.sessions > 20";
    "client.early_talk", Greeting, None, R::Bool(|s| Ok(s.facts.signals.before_greeting || s.facts.signals.past_sync)) =>
        "The client has sent before it was its turn.", "client.early_talk && !client.trusted";
    "client.name" ?y, Connect, Some(Need::ReverseDns), R::Text(Domain, answers::client_name) =>
        "The client's name in reverse DNS, if its address is among the name's addresses.",
        "under(client.name, \"example.net\")";
    "rdns", Connect, Some(Need::ReverseDns), R::Text(RDNS, answers::rdns) =>
        "What reverse DNS has for the client's address: a name that leads back to it, only names that don't, no name.",
        "rdns == \"none\"";
    "rdns.generic", Connect, Some(Need::ReverseDns), R::Bool(answers::rdns_generic) =>
        "The client's name looks generated, as `pool-192-0-2-7.isp.example`.", "rdns.generic && !tls";
    "dnsbl_hits", Connect, Some(Need::Dnsbl), R::Int(|s| answers::block_lists(s).map(|all| whole(all.count() as u64))) =>
        "How many lists of `policy.dnsbl` have the client's address, or a name that it uses. Lists with a negative \
         `score` are not counted, nor are those that gave no answer. Where no list gave one, it is unknown.", "dnsbl_hits >= 2";
    "dnsbl.zone" ?y, Connect, Some(Need::Dnsbl), R::Text(Domain, |s| answers::block_lists(s).map(|mut all| all.next())) =>
        "The name of the first of them, in the order of the configuration.", "dnsbl.zone == \"bl.example.org\"";
    "dnsbl.zones", Connect, Some(Need::Dnsbl), R::Texts(Domain, |s, visit| {
        answers::block_lists(s).map(|mut all| { let _ = all.try_for_each(visit); })
    }) =>
        "The names of all of them.", "\"bl.example.org\" in dnsbl.zones";
    "dnsbl.score", Connect, Some(Need::Dnsbl), R::Float(answers::dnsbl_score) =>
        "The scores of all lists of `policy.dnsbl` that have the client, added up; those that let in are negative.",
        "dnsbl.score >= 5";
    "reputation.client", Connect, None, R::Float(|s| Ok(s.shared.reputation_of_client(s.facts))) =>
        "What has come from the client's network (/24, IPv6 /48): from -1, all its messages were refused, to 1, all were \
         accepted; 0 where nothing is known. A few messages tell little: (accepted - refused) / (accepted + refused + 4), of \
         which half is forgotten in each `policy.reputation.half_life`. Refused is what gets a permanent refusal as a whole, \
         by a check or by the backend.", "reputation.client < -0.5";
    "score", Connect, None, R::Float(|s| Ok(s.score)) =>
        "The scores of all checks and rules before this one, added up.", "score >= 4.5";
    "helo", Hello, None, R::Text(Domain, |s| Ok(Some(s.facts.hello))) =>
        "The name or address literal of EHLO or HELO.", "helo == \"mx.example.net\" && !client.trusted";
    "helo_domain", Hello, Some(Need::HeloDomain), R::Text(HELO_DOMAIN, answers::helo_domain) =>
        "What the DNS has for the HELO name: see the keys of `policy.helo_domain`.", "helo_domain == \"no_name\"";
    "tls", Mail, None, R::Bool(|s| Ok(s.facts.tls.is_some())) =>
        "The connection is encrypted.", "!tls";
    "tls.version" ?y, Mail, None, R::Text(TLS, |s| Ok(s.facts.tls.map(str::as_bytes))) =>
        "The version of TLS, if there is TLS.", "tls.version == \"TLSv1.2\"";
    "tls.names", Mail, None, R::Texts(Domain, |s, visit| { each_str(s.facts.certificate, visit); Ok(()) }) =>
        "The names in the client's certificate, if it has shown one that was verified.",
        "\"mail.partner.example\" in tls.names";
    "auth.account" ?y, Mail, None, R::Text(Plain, |s| Ok(s.facts.authenticated.map(str::as_bytes))) =>
        "The account that the client has logged in as.", "has(auth.account)";
    "sender", Mail, None, R::Text(Mailbox, |s| Ok(Some(s.facts.sender.whole))) =>
        "The address of MAIL FROM; empty for bounces.", "sender == \"news@example.com\"";
    "sender.domain", Mail, None, R::Text(Domain, |s| Ok(Some(s.facts.sender.domain))) =>
        "The domain of the sender; empty for bounces.", "sender.domain in list(\"partners\")";
    "sender.local", Mail, None, R::Text(Plain, |s| Ok(Some(s.facts.sender.local))) =>
        "What stands before the `@` of the sender.", "sender.local.startsWith(\"bounce-\")";
    "sender_domain", Mail, Some(Need::SenderDomain), R::Text(SENDER_DOMAIN, answers::sender_domain) =>
        "What the DNS has for the sender's domain: see the keys of `policy.sender_domain`. For bounces `ok`.",
        "sender_domain in [\"no_name\", \"null_mx\"]";
    "message.declared_size", Mail, None,
        R::Int(|s| Ok(whole(s.facts.envelope.map_or(s.facts.size, |envelope| envelope.params().size)))) =>
        "The octets that SIZE= of MAIL FROM says; 0 where it says none.", "message.declared_size > bytes(\"10MiB\")";
    "spf", Mail, Some(Need::Spf), R::Text(SPF, answers::spf) =>
        "The result of SPF for the sender (for bounces: for the HELO name).", "spf == \"fail\"";
    "reputation.domain", Mail, Some(Need::Spf), R::Float(answers::reputation_of_domain) =>
        "The same of the sender's domain (for bounces: of the HELO name), where SPF passes for it; otherwise 0, for the name may \
         be forged.", "reputation.domain > 0.8";
    "recipient", Rcpt, None, R::Text(Mailbox, |s| Ok(Some(recipient(s).whole))) =>
        "The address of RCPT TO. A rule that reads it is judged for each recipient.",
        "recipient == \"postmaster@example.net\"";
    "recipient.domain", Rcpt, None, R::Text(Domain, |s| Ok(Some(recipient(s).domain))) =>
        "The domain of the recipient.", "recipient.domain == \"example.net\"";
    "recipient.local", Rcpt, None, R::Text(Plain, |s| Ok(Some(recipient(s).local))) =>
        "What stands before the `@` of the recipient.", "recipient.local.lowerAscii() == \"abuse\"";
    "recipient.ours", Rcpt, None, R::Bool(|s| Ok(s.facts.recipient_is_ours)) =>
        "The recipient's domain is in a route or in `domains`.", "!recipient.ours";
    "recipients", Header, None, R::Texts(Mailbox, |s, visit| { each_recipient(s, visit); Ok(()) }) =>
        "All recipients that were accepted.", "recipients.size() > 50";
    "message.size", Body, None, R::Int(|s| Ok(whole(s.facts.size))) =>
        "The octets of the message.", "message.size > bytes(\"25MiB\")";
    "dkim", Body, Some(Need::Dkim), R::Text(DKIM, answers::dkim) =>
        "The best result of the DKIM signatures.", "dkim != \"pass\"";
    "dkim.domains", Body, Some(Need::Dkim), R::Texts(Domain, |s, visit| {
        answers::dkim_domains(s).map(|mut all| { let _ = all.try_for_each(visit); })
    }) =>
        "The domains of the DKIM signatures that hold.", "\"example.com\" in dkim.domains";
    "dmarc", Body, Some(Need::Dmarc), R::Text(DMARC, answers::dmarc) =>
        "The result of DMARC.", "dmarc == \"fail\" && dmarc.policy == \"reject\"";
    "dmarc.policy" ?y, Body, Some(Need::Dmarc), R::Text(DMARC_POLICY, answers::dmarc_policy) =>
        "What the domain in From asks for where DMARC fails, if it has a record.", "dmarc.policy == \"reject\"";
    "dmarc.author" ?y, Body, Some(Need::Dmarc), R::Text(Domain, answers::dmarc_author) =>
        "The domain in From, if there is one and no second.", "dmarc.author in list(\"partners\")";
    "arc", Body, Some(Need::Arc), R::Text(ARC, answers::arc) =>
        "The result of ARC.", "arc == \"pass\"";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_optional_ones_can_be_asked_for() {
        let mut names = HashSet::new();
        for fact in TABLE {
            assert!(names.insert(fact.name), "{}", fact.name);
            if fact.optional {
                // Only texts have an empty value to read as.
                assert!(matches!(fact.read, Reader::Text(..)), "{}", fact.name);
            }
            assert!(fact.doc.ends_with('.'), "{}", fact.name);
        }
        assert!(TABLE.len() < usize::from(u16::MAX));
    }
}
