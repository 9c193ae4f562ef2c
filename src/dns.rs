//! A question to the DNS and its answer, as checks see them. Pure: asking is the business of `lookup`.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// Which records are asked for (RFC 1035 section 3.2.2, RFC 3596).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Names of an address.
    Ptr,
    /// Text.
    Txt,
    /// Hosts that serve (RFC 2782).
    Srv,
}

/// One question: equal ones are asked once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Lower case, A-labels, without the trailing dot, at most 253 octets.
    pub name: Arc<str>,
    /// Which records.
    pub record_type: RecordType,
}

/// The name is left out: it may hold the key of a list that is paid for.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({:?})", self.record_type)
    }
}

/// One record of an answer. Names are in the form of [`Question::name`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A mail exchanger; the null MX of RFC 7505 has an empty `exchange`.
    Mx {
        /// Lower is tried first.
        preference: u16,
        /// The host's name.
        exchange: Arc<str>,
    },
    /// A name of an address.
    Ptr(Arc<str>),
    /// The character strings of a TXT record, joined without anything between them (RFC 7208 section 3.3).
    Txt(Arc<[u8]>),
    /// A host that serves; one without a name says that the service is not offered (RFC 2782).
    Srv {
        /// Those of the lowest are used first.
        priority: u16,
        /// The share among those of the same priority.
        weight: u16,
        /// Where it listens.
        port: u16,
        /// The host's name.
        target: Arc<str>,
    },
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unknown {
    /// It did not come in time.
    Timeout,
    /// Too much was being asked already, or there was no memory for the answer.
    Overload,
    /// The servers failed: SERVFAIL, REFUSED, no server to be reached.
    Broken,
    /// The servers found it forged: its signatures, or those that are missing, don't hold (RFC 4033 section 5).
    Bogus,
    /// It came, and is larger than what is used.
    TooLarge,
}

impl Unknown {
    /// In words, for a log line and `explain`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Unknown::Timeout => "no answer in time",
            Unknown::Overload => "not asked: too many questions",
            Unknown::Broken => "the DNS servers failed",
            Unknown::Bogus => "bogus: DNSSEC validation failed",
            Unknown::TooLarge => "the answer is too large",
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// At least one record of the type asked for.
    Found(Arc<[Record]>),
    /// The name exists and has no record of that type (NODATA).
    NoRecords,
    /// The name does not exist (NXDOMAIN).
    NoName,
    /// It is not known.
    Unknown(Unknown),
}

/// The answers that are there so far.
pub trait Answers {
    /// The answer to `question`, where it has come.
    fn answer(&self, question: &Question) -> Option<&Answer>;
}

/// What a machine says when it has been given the answers that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// It can't go on without these; all of them can be asked at once.
    Need(Vec<Question>),
    /// It is done.
    Done(T),
}
