//! Why a connection to a backend is of no more use.

use super::super::reply_parse::{ReplyError, ReplyHead};

/// Why a connection is of no more use. The backend is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// What it says is no reply.
    Nonsense(ReplyError),
    /// It refused at the greeting.
    Greeting(ReplyHead),
    /// It refused EHLO and HELO, or LHLO.
    Hello(ReplyHead),
    /// TLS is a must, and it doesn't offer STARTTLS. Perhaps somebody between us took the offer away.
    NoTls,
    /// TLS is a must, and it refused STARTTLS.
    TlsRefused(ReplyHead),
    /// Bytes came in the clear behind its yes to STARTTLS. Read after the handshake they would pass for its own
    /// words (response injection, the twin of CVE-2011-0411).
    Injected,
    /// It refused XCLIENT: us, or the client that it was told of.
    Caller(ReplyHead),
    /// 421: it closes the connection (RFC 5321 §3.8).
    Closing(ReplyHead),
    /// It spoke though nothing had been asked.
    Unasked,
    /// A reply that makes no sense at its place.
    Unexpected(ReplyHead),
    /// RSET failed.
    Reset(ReplyHead),
    /// It waits for something that must not be sent (a body nobody may receive), or how many replies
    /// are to come can't be known.
    OutOfStep,
}

impl ClientError {
    /// A few words for a log line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ClientError::Nonsense(error) => error.as_str(),
            ClientError::Greeting(_) => "refused at the greeting",
            ClientError::Hello(_) => "refused EHLO",
            ClientError::NoTls => "offers no STARTTLS",
            ClientError::TlsRefused(_) => "refused STARTTLS",
            ClientError::Injected => "bytes behind the reply to STARTTLS",
            ClientError::Caller(_) => "refused XCLIENT",
            ClientError::Closing(_) => "closes the connection",
            ClientError::Unasked => "spoke unasked",
            ClientError::Unexpected(_) => "an answer that makes no sense",
            ClientError::Reset(_) => "refused RSET",
            ClientError::OutOfStep => "left in the middle of a body",
        }
    }

    /// The reply that was the reason, where there was one; its text is [`Client::reply`]'s.
    #[must_use]
    pub fn head(self) -> Option<ReplyHead> {
        match self {
            ClientError::Greeting(head)
            | ClientError::Hello(head)
            | ClientError::TlsRefused(head)
            | ClientError::Caller(head)
            | ClientError::Closing(head)
            | ClientError::Unexpected(head)
            | ClientError::Reset(head) => Some(head),
            ClientError::Nonsense(_)
            | ClientError::NoTls
            | ClientError::Injected
            | ClientError::Unasked
            | ClientError::OutOfStep => None,
        }
    }
}
