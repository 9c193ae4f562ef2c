//! What a check came to (RFC 7208 section 2.6), and why.

use std::sync::Arc;

/// The result itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResultCode {
    /// The client may use the domain.
    Pass,
    /// The client may not use it.
    Fail,
    /// The client probably may not.
    SoftFail,
    /// The owner says nothing of this client.
    Neutral,
    /// There is no domain to check, or it has no record.
    None,
    /// An answer from the DNS is not known: a later try may go better.
    TempError,
    /// The record can't be understood, or asks for too much.
    PermError,
}

impl ResultCode {
    /// The word for it in header fields.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ResultCode::Pass => "pass",
            ResultCode::Fail => "fail",
            ResultCode::SoftFail => "softfail",
            ResultCode::Neutral => "neutral",
            ResultCode::None => "none",
            ResultCode::TempError => "temperror",
            ResultCode::PermError => "permerror",
        }
    }
}

/// Which of the client's names gave the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// MAIL FROM (section 2.4).
    MailFrom,
    /// EHLO or HELO (section 2.3); also for the null reverse-path, whose sender is `postmaster` at the HELO name.
    Helo,
}

impl Identity {
    /// The word for it in header fields.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Identity::MailFrom => "mailfrom",
            Identity::Helo => "helo",
        }
    }
}

/// The result of a check. A copy of it allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpfResult {
    /// What it came to.
    pub code: ResultCode,
    /// Which identity was checked.
    pub identity: Identity,
    /// `local-part@domain` of that identity, as the client wrote it, at most
    /// [`SENDER_OCTETS_MAX`](super::SENDER_OCTETS_MAX) octets and one.
    pub sender: Arc<str>,
    /// The domain whose record was asked for, in the form of [`Question::name`](crate::dns::Question::name). Where there
    /// can't be a record it is what the client wrote, printable ASCII alone, at most 255 octets; it may be empty.
    pub domain: Arc<str>,
    /// The term that matched, as it stands in the record of the domain or of its `redirect`: `-all`, `include:a.example`.
    /// Visible ASCII, at most [`MECHANISM_OCTETS_MAX`](super::MECHANISM_OCTETS_MAX) octets. `None` where none matched.
    pub mechanism: Option<Arc<str>>,
    /// The owner's explanation of a `fail` (section 6.2), expanded: printable ASCII, at most
    /// [`EXPLANATION_OCTETS_MAX`](super::EXPLANATION_OCTETS_MAX) octets. A stranger wrote it: quote it as theirs.
    pub explanation: Option<Arc<str>>,
    /// What made a permerror or a temperror: printable ASCII, at most
    /// [`PROBLEM_OCTETS_MAX`](super::PROBLEM_OCTETS_MAX) octets.
    pub problem: Option<Arc<str>>,
    /// Terms that asked the DNS.
    pub lookups: u8,
    /// Of these, the ones that found nothing.
    pub void_lookups: u8,
}

/// The octets as printable ASCII, cut; others become `?`.
pub(super) fn printable(octets: &[u8], octets_max: usize) -> String {
    let shown = |octet: &u8| match octet {
        b' '..=b'~' => char::from(*octet),
        _ => '?',
    };
    octets.iter().take(octets_max).map(shown).collect()
}
