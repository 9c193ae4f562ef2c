//! Why a connection to a backend is of no more use.

use super::super::reply_parse::{ReplyError, ReplyHead};

/// Why a connection is of no more use. The backend is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendError {
    /// What it says is no reply.
    Nonsense(ReplyError),
    /// It refused at the greeting.
    Greeting(ReplyHead),
    /// It refused EHLO and HELO, or LHLO.
    Hello(ReplyHead),
    /// TLS is a must, and it doesn't offer STARTTLS. Perhaps an attacker on the path removed the offer.
    NoTls,
    /// TLS is a must, and it refused STARTTLS.
    TlsRefused(ReplyHead),
    /// Bytes came in the clear after its yes to STARTTLS. Read after the handshake they would pass for its own
    /// words (response injection, the twin of CVE-2011-0411).
    Injected,
    /// It refused XCLIENT: us, or the client that it was told of.
    Origin(ReplyHead),
    /// 421: it closes the connection (RFC 5321 §3.8).
    Closing(ReplyHead),
    /// It spoke though nothing had been asked.
    Unasked,
    /// A reply that makes no sense at its place.
    Unexpected(ReplyHead),
    /// RSET failed.
    Reset(ReplyHead),
    /// It waits for something that must not be sent (a body that no recipient may get), or how many replies
    /// are to come can't be known.
    OutOfStep,
}

impl BackendError {
    /// A few words for a log line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BackendError::Nonsense(error) => error.as_str(),
            BackendError::Greeting(_) => "refused at the greeting",
            BackendError::Hello(_) => "refused EHLO",
            BackendError::NoTls => "offers no STARTTLS",
            BackendError::TlsRefused(_) => "refused STARTTLS",
            BackendError::Injected => "said more than it was asked around STARTTLS",
            BackendError::Origin(_) => "refused XCLIENT",
            BackendError::Closing(_) => "closes the connection",
            BackendError::Unasked => "spoke unasked",
            BackendError::Unexpected(_) => "an answer that makes no sense",
            BackendError::Reset(_) => "refused RSET",
            BackendError::OutOfStep => "left in the middle of a body",
        }
    }

    /// The reply that was the reason, where there was one; its text is [`BackendSession::reply`]'s.
    #[must_use]
    pub fn head(self) -> Option<ReplyHead> {
        match self {
            BackendError::Greeting(head)
            | BackendError::Hello(head)
            | BackendError::TlsRefused(head)
            | BackendError::Origin(head)
            | BackendError::Closing(head)
            | BackendError::Unexpected(head)
            | BackendError::Reset(head) => Some(head),
            BackendError::Nonsense(_)
            | BackendError::NoTls
            | BackendError::Injected
            | BackendError::Unasked
            | BackendError::OutOfStep => None,
        }
    }
}
