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
    /// What `[policy]` holds where nothing is written.
    Preset {
        /// Nothing is refused for what the DNS says.
        Relaxed = "relaxed",
        /// Several signs of a bad sender refuse.
        Balanced = "balanced",
        /// One sign is enough.
        Strict = "strict",
    }
}

choice! {
    /// When a check that needs answers decides.
    DecideAt {
        /// At the first recipient: the answers come while the client talks on, clients that log in are spared, and the log has
        /// sender and recipient.
        Rcpt = "rcpt",
        /// Before the greeting, where what it needs is known by then.
        Connect = "connect",
        /// At HELO or EHLO.
        Helo = "helo",
        /// At MAIL.
        Mail = "mail",
    }
}

choice! {
    /// What a list of names is asked about.
    DnsblOf {
        /// The domain of the sender.
        Sender = "sender",
        /// The name in HELO.
        Helo = "helo",
        /// The names of the client's address.
        Rdns = "rdns",
    }
}

choice! {
    /// A kind of address.
    AddressFamily {
        /// IPv4.
        V4 = "ipv4",
        /// IPv6.
        V6 = "ipv6",
    }
}

choice! {
    /// What shows that a name is used by its owner.
    Proof {
        /// DMARC passes.
        Dmarc = "dmarc",
        /// A DKIM signature of the name is valid.
        Dkim = "dkim",
        /// SPF passes.
        Spf = "spf",
        /// The name of the client's address leads back to it.
        Fcrdns = "fcrdns",
    }
}

choice! {
    /// The I/O engine.
    Io {
        /// `ring` where the kernel allows it, otherwise `epoll`; the log says which, and why.
        Auto = "auto",
        /// Gatepost's own loop on io_uring (Linux 6.1). The start fails where the kernel does not allow it.
        Ring = "ring",
        /// io_uring through tokio-uring (Linux 5.19). The start fails where the kernel does not allow it.
        Uring = "uring",
        /// epoll, which every kernel has.
        Epoll = "epoll",
    }
}

choice! {
    /// Whether the kernel restricts the process.
    Sandbox {
        /// Use Landlock (files, ports) and seccomp (system calls) as far as the kernel has them; the log says what is
        /// in force.
        Auto = "auto",
        /// Use neither.
        Off = "off",
    }
}

choice! {
    /// What a listener is for.
    Role {
        /// Receives mail from any client for our own domains.
        Mx = "mx",
        /// Receives mail of our users for any domain. A client must be trusted or authenticate.
        Submission = "submission",
    }
}

choice! {
    /// Which connections of a listener use TLS.
    ListenerTls {
        /// No TLS.
        None = "none",
        /// TLS is offered with STARTTLS; clients may also send in clear text.
        Starttls = "starttls",
        /// TLS with STARTTLS is required; mail without it gets 530. Don't use it on an `mx` listener that is open to
        /// the internet: some servers there have no TLS.
        Required = "required",
        /// TLS from the first octet on (port 465, RFC 8314).
        Implicit = "implicit",
    }
}

choice! {
    /// Whether clients are asked for a certificate.
    ClientCertificates {
        /// They are not asked.
        Off = "off",
        /// They are asked. A session goes on with any certificate or none; only names in a certificate issued by
        /// `client_ca` count.
        Optional = "optional",
        /// They are asked. A session needs a certificate issued by `client_ca`.
        Required = "required",
    }
}

choice! {
    /// A version of TLS.
    TlsVersion {
        /// TLS 1.2 (RFC 5246) and later. Of 1.2 only ciphers with authentication (AEAD) and forward secrecy are used.
        V12 = "1.2",
        /// TLS 1.3 (RFC 8446) only.
        V13 = "1.3",
    }
}

choice! {
    /// The protocol of a pool's backends.
    Protocol {
        /// SMTP (RFC 5321).
        Smtp = "smtp",
        /// LMTP (RFC 2033), with one final reply for each recipient.
        Lmtp = "lmtp",
    }
}

choice! {
    /// Whether connections to backends use TLS.
    PoolTls {
        /// Use TLS where the backend offers STARTTLS and the handshake succeeds, otherwise clear text. Certificates are
        /// not checked. Protects against eavesdropping, not against an attacker who strips STARTTLS.
        Opportunistic = "opportunistic",
        /// Never use TLS.
        None = "none",
        /// Always use TLS; a backend without it counts as failed. Certificates are not checked.
        Required = "required",
        /// Always use TLS, with a valid certificate that leads to a trust anchor and holds the backend's name.
        Verify = "verify",
    }
}

choice! {
    /// How backends are told about the client.
    PoolIdentity {
        /// The backend is not told: it sees Gatepost's address, and the client's in the Received field.
        None = "none",
        /// With Postfix's XCLIENT, where the backend offers it. The backend treats the session as the client's own.
        Xclient = "xclient",
        /// With Postfix's XFORWARD, where the backend offers it. The backend only logs it.
        Xforward = "xforward",
        /// With a PROXY header of version 1 at the start of each connection.
        ProxyV1 = "proxy-v1",
        /// The same, version 2.
        ProxyV2 = "proxy-v2",
    }
}

choice! {
    /// How a backend is chosen.
    Balance {
        /// Pick two different ones at random by weight, and take the less loaded of them.
        LeastLoaded = "least-loaded",
        /// Send the same recipient to the same backend while that backend is up and not silent.
        HashRecipient = "hash-recipient",
        /// Take the first in the list that is up and not silent: of one that lets messages wait for ten seconds, and four
        /// times longer than it usually does, the others take over all but a message now and then.
        FirstAvailable = "first-available",
    }
}

choice! {
    /// Where credentials are checked.
    CredentialSource {
        /// A file of accounts on this machine.
        File = "file",
        /// Dovecot, over the protocol of its auth client socket: passwords and tokens.
        Dovecot = "dovecot",
        /// An HTTP endpoint, over the protocol of nginx's `auth_http`: passwords and tokens.
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
        /// User name and password in one line (RFC 4616).
        Plain = "plain",
        /// User name and password in two lines, for old programs.
        Login = "login",
        /// Proves the password without sending it (RFC 7677). For accounts in a `file`.
        ScramSha256 = "scram-sha-256",
        /// The same, bound to the TLS session; under TLS only.
        ScramSha256Plus = "scram-sha-256-plus",
        /// An OAuth token (RFC 7628).
        OauthBearer = "oauthbearer",
        /// An OAuth token, in the older format of Google and Microsoft.
        Xoauth2 = "xoauth2",
    }
}

choice! {
    /// Which addresses an authenticated client may send as.
    SenderIdentity {
        /// Addresses that the account owns.
        Strict = "strict",
        /// Any address in the domains of those.
        Domain = "domain",
        /// Any address.
        Off = "off",
    }
}

choice! {
    /// Whose messages a key signs.
    DkimClient {
        /// Clients that have logged in, also as a proxy said by XCLIENT.
        Authenticated = "authenticated",
        /// Clients in `trusted` networks, or with a certificate of `client_trusted`.
        Trusted = "trusted",
    }
}

choice! {
    /// How header and body of a message are made canonical before they are signed.
    Canonicalization {
        /// White space may change on the way, in both.
        RelaxedRelaxed = "relaxed/relaxed",
        /// White space may change in the header alone.
        RelaxedSimple = "relaxed/simple",
        /// It may in the body alone.
        SimpleRelaxed = "simple/relaxed",
        /// Nothing may change.
        SimpleSimple = "simple/simple",
    }
}

choice! {
    /// Which recipients of a route are accepted.
    Recipients {
        /// Ask the backend at RCPT, and remember the answer (`timeouts.verify_good`, `verify_bad`).
        Verify = "verify",
        /// Accept every recipient. The backend can refuse only when the message is sent.
        Accept = "accept",
    }
}

choice! {
    /// For which clients a profile holds.
    Class {
        /// For those of the listeners that name it, or for the recipients of the routes that do.
        Named = "named",
        /// Clients that are neither trusted nor logged in.
        Stranger = "stranger",
        /// Clients that have logged in, from MAIL on.
        Authenticated = "authenticated",
        /// Clients in `trusted` networks, or with a certificate of `client_trusted`.
        Trusted = "trusted",
        /// Clients whose address is in `list`, or whose certificate has a name of `certificates`.
        Partner = "partner",
    }
}

choice! {
    /// What a check does on a match.
    Then {
        /// Refuse for good (5xx).
        Reject = "reject",
        /// Refuse for now (4xx); the client tries again later.
        Defer = "defer",
        /// Refuse and close the connection (421, or the reply given).
        Close = "close",
        /// Add `score` to the message's score and go on.
        Score = "score",
        /// Refuse nothing, and end the lists or rules of this kind.
        Accept = "accept",
        /// Write a word on the message for its readers, and go on.
        Tag = "tag",
        /// Answer this client slowly from here on, and go on.
        Tarpit = "tarpit",
        /// Ask the greylist, whatever the score: refuse for now what comes for the first time, and go on otherwise.
        Greylist = "greylist",
        /// Hand the message to the pool for suspicious mail instead of its own, where nothing refuses it.
        Quarantine = "quarantine",
        /// Say 250 and deliver the message nowhere, where nothing refuses it. In `[[policy.rule]]` alone.
        Discard = "discard",
    }
}

choice! {
    /// Whether a check is in force.
    Mode {
        /// In force.
        On = "on",
        /// Only log what it would have done.
        Shadow = "shadow",
        /// Not looked at.
        Off = "off",
    }
}

choice! {
    /// What a header rule looks for.
    HeaderTest {
        /// The field's text matches `pattern`.
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
        /// Read the message to its real end, then refuse it with 550 5.6.11.
        Reject = "reject",
        /// Replace each by CRLF. Where that makes a line of one dot, the dot is doubled.
        Normalize = "normalize",
    }
}

choice! {
    /// The form of a log line.
    LogFormat {
        /// `key=value` pairs.
        Logfmt = "logfmt",
        /// One JSON object on each line.
        Json = "json",
    }
}

choice! {
    /// The least important message that is still logged.
    LogLevel {
        /// Starts, stops, reloads, backends that fail and come back.
        Info = "info",
        /// Only what an administrator has to look at.
        Warn = "warn",
        /// Only what makes the service fail.
        Error = "error",
        /// Everything, to find a fault.
        Debug = "debug",
    }
}

choice! {
    /// When a client is told that it is refused at connect, HELO or MAIL.
    LogRejected {
        /// At once: instead of the greeting, or in reply to HELO or MAIL.
        AtOnce = "at-once",
        /// Greet the client, accept these commands, and refuse it at RCPT.
        Delayed = "delayed",
    }
}

choice! {
    /// Who keeps forged answers of the DNS out (DNSSEC).
    Dnssec {
        /// What the servers say is believed.
        Off = "off",
        /// The servers in `servers` validate, and nobody can change what they say on its way here. An answer that they find
        /// forged is no answer; zones without signatures are believed as before. A server that does not validate is told in
        /// the service log and in `gatepost_dns_servers_not_validating`.
        Resolver = "resolver",
    }
}

choice! {
    /// Which messages get a header field that says why they were treated so.
    ExplainHeader {
        /// None.
        None = "none",
        /// Those with a score other than 0, or with a tag.
        Tagged = "tagged",
        /// All.
        All = "all",
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
