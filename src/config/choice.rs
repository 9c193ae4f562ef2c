//! Keys whose value is one word out of a few. One definition gives the type, its spelling in the file and on
//! the command line, and its place in the manual.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines an enum whose variants are words of the file; the first is the default.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $(#[$first_meta:meta])* $first:ident = $first_word:literal,
        $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $(#[$first_meta])* #[default] #[serde(rename = $first_word)] $first,
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every value, in the order of the manual.
            pub const ALL: &'static [$name] = &[$name::$first, $($name::$variant,)*];

            /// The word that the file uses.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $name::$first => $first_word,
                    $($name::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(word: &str) -> Result<$name, String> {
                $name::ALL.iter().copied().find(|value| value.as_str() == word).ok_or_else(|| {
                    let words: Vec<_> = $name::ALL.iter().map(|value| value.as_str()).collect();
                    format!("`{word}` is none of {}", words.join(", "))
                })
            }
        }
    };
}

choice! {
    /// The I/O engine.
    Io {
        /// `ring` where the kernel lets us, epoll otherwise; the log says which, and why.
        Auto = "auto",
        /// A loop of our own on io_uring (Linux 6.1), or the start fails.
        Ring = "ring",
        /// io_uring through tokio-uring (Linux 5.19), or the start fails.
        Uring = "uring",
        /// epoll.
        Epoll = "epoll",
    }
}

choice! {
    /// Whether the kernel holds the process to what it needs.
    Sandbox {
        /// Landlock (files, ports) and seccomp (system calls), as far as the kernel has them; the log says what is on.
        Auto = "auto",
        /// Neither.
        Off = "off",
    }
}

choice! {
    /// What a listener is for.
    Role {
        /// Takes mail from strangers for our own domains.
        Mx = "mx",
        /// Takes mail from our users for any domain; the client must be trusted, or authenticate.
        Submission = "submission",
    }
}

choice! {
    /// Who speaks TLS on a listener.
    ListenerTls {
        /// Nobody.
        None = "none",
        /// Who asks for it with STARTTLS.
        Starttls = "starttls",
        /// Everybody, after STARTTLS; before it mail gets 530. Not for an `mx` listener that strangers use: some of
        /// them can't.
        Required = "required",
        /// Everybody, from the first octet on (port 465, RFC 8314).
        Implicit = "implicit",
    }
}

choice! {
    /// Whether clients show a certificate.
    ClientCertificates {
        /// They are not asked.
        Off = "off",
        /// They are asked. Whatever they show is taken; only names in a certificate of `client_ca` are believed.
        Optional = "optional",
        /// No session without one of `client_ca`.
        Required = "required",
    }
}

choice! {
    /// A version of TLS.
    TlsVersion {
        /// TLS 1.2 (RFC 5246), with authenticated ciphers and forward secrecy alone.
        V12 = "1.2",
        /// TLS 1.3 (RFC 8446).
        V13 = "1.3",
    }
}

choice! {
    /// What a pool's backends speak.
    Protocol {
        /// SMTP (RFC 5321).
        Smtp = "smtp",
        /// LMTP (RFC 2033): one final reply a recipient.
        Lmtp = "lmtp",
    }
}

choice! {
    /// Whether connections to backends speak TLS.
    PoolTls {
        /// Where the backend offers STARTTLS and the handshake succeeds; else in the clear. Certificates are not looked
        /// at. Who only listens learns nothing; who stands between can take the offer away.
        Opportunistic = "opportunistic",
        /// Never.
        None = "none",
        /// Always, or the backend counts as failed; certificates are not looked at.
        Required = "required",
        /// Always, with a certificate that is in force, leads to a trust anchor and holds the backend's name.
        Verify = "verify",
    }
}

choice! {
    /// How backends are told who the client is.
    PoolIdentity {
        /// Not at all: a backend sees our address, and the client's in the Received field.
        None = "none",
        /// By Postfix's XCLIENT, where a backend offers it: the backend treats the session as the client's own.
        Xclient = "xclient",
        /// By Postfix's XFORWARD, where a backend offers it: for its log alone.
        Xforward = "xforward",
        /// By a PROXY header of version 1, which every connection begins with.
        ProxyV1 = "proxy-v1",
        /// By a PROXY header of version 2.
        ProxyV2 = "proxy-v2",
    }
}

choice! {
    /// How a backend is picked.
    Balance {
        /// The less loaded of two picked at random by weight.
        LeastLoaded = "least-loaded",
        /// The same recipient goes to the same backend, as long as that one is up.
        HashRecipient = "hash-recipient",
        /// The first of the list that is up.
        FirstAvailable = "first-available",
    }
}

choice! {
    /// Where credentials are checked.
    CredentialSource {
        /// A file of accounts on this machine.
        File = "file",
        /// Dovecot, by the protocol of its auth client socket: passwords and tokens.
        Dovecot = "dovecot",
        /// An HTTP endpoint, by the protocol of nginx's `auth_http`: passwords and tokens.
        Http = "http",
        /// The AUTH of a pool's backends: passwords and tokens.
        Backend = "backend",
        /// An OAuth token introspection endpoint (RFC 7662): tokens only.
        Introspection = "introspection",
    }
}

choice! {
    /// A way to authenticate.
    AuthMechanism {
        /// Name and password in one line (RFC 4616).
        Plain = "plain",
        /// Name and password in two lines, for old programs.
        Login = "login",
        /// The password is proved and never sent (RFC 7677); for accounts in a `file`.
        ScramSha256 = "scram-sha-256",
        /// The same, bound to the TLS session below; under TLS alone.
        ScramSha256Plus = "scram-sha-256-plus",
        /// An OAuth token (RFC 7628).
        OauthBearer = "oauthbearer",
        /// An OAuth token, as Google and Microsoft began it.
        Xoauth2 = "xoauth2",
    }
}

choice! {
    /// Which addresses an authenticated client may send as.
    SenderIdentity {
        /// Those that its account owns.
        Strict = "strict",
        /// Any in the domains of those.
        Domain = "domain",
        /// Any.
        Off = "off",
    }
}

choice! {
    /// Which recipients of a route are taken.
    Recipients {
        /// Ask the backend at RCPT, and remember the answer.
        Verify = "verify",
        /// Take every recipient; the backend's refusal comes only with the message.
        Accept = "accept",
    }
}

choice! {
    /// What a check does once it matches.
    Then {
        /// Refuse for good (5xx).
        Reject = "reject",
        /// Refuse for now (4xx).
        Defer = "defer",
        /// Refuse and close the connection (421, or the reply given).
        Close = "close",
        /// Add `score` to the message's score and go on.
        Score = "score",
        /// Take it, and skip the checks that follow in this stage.
        Accept = "accept",
    }
}

choice! {
    /// Whether a check is in force.
    Mode {
        /// In force.
        On = "on",
        /// Only record what it would have done.
        Shadow = "shadow",
        /// Not asked at all.
        Off = "off",
    }
}

choice! {
    /// What a header rule looks for.
    HeaderTest {
        /// The field's body matches `pattern`.
        Matches = "matches",
        /// The field is there.
        Present = "present",
        /// The field is missing.
        Absent = "absent",
    }
}

choice! {
    /// What happens to a message with a bare CR or LF.
    BareNewline {
        /// Read it to its true end, then 550 5.6.11.
        Reject = "reject",
        /// Make each of them a CRLF; a line that becomes a lone dot is stuffed.
        Normalize = "normalize",
    }
}

choice! {
    /// The form of a log line.
    LogFormat {
        /// `key=value` pairs.
        Logfmt = "logfmt",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// The least important message that is still logged.
    LogLevel {
        /// Starts, stops, reloads, backends that go and come.
        Info = "info",
        /// Only what somebody has to look at.
        Warn = "warn",
        /// Only what makes the service fail.
        Error = "error",
        /// Everything, for the search of a fault.
        Debug = "debug",
    }
}

choice! {
    /// When a client hears that it is refused at connect.
    LogRejected {
        /// At once, in place of the greeting.
        AtOnce = "at-once",
        /// At RCPT, so that the log has the sender and the recipient.
        Delayed = "delayed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_as_it_is_written() {
        for value in Balance::ALL {
            assert_eq!(value.to_string().parse::<Balance>().as_ref(), Ok(value));
        }
        assert_eq!(
            "urng".parse::<Io>(),
            Err("`urng` is none of auto, ring, uring, epoll".into())
        );
    }
}
