//! Where in a session something can be made to happen: the places at which the sink speaks, and those at which it can
//! hang up.

use std::{fmt, str::FromStr};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// How many there are.
            pub const COUNT: usize = $name::ALL.len();

            /// Its word in flags and summaries.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<$name, String> {
                $name::ALL.iter().copied().find(|one| one.as_str() == word).ok_or_else(|| {
                    let words: Vec<_> = $name::ALL.iter().map(|one| one.as_str()).collect();
                    format!(concat!("`{}` is no ", $what, "; there are {}"), word, words.join(", "))
                })
            }
        }
    };
}

words! {
    /// A place where the sink speaks.
    Point, "point of a session" {
        /// The greeting.
        Connect = "connect",
        /// The reply to EHLO, HELO or LHLO.
        Hello = "hello",
        /// The reply to STARTTLS.
        StartTls = "starttls",
        /// The first octets of a TLS handshake. What is said instead is no TLS.
        Handshake = "handshake",
        /// The reply to the credentials of AUTH.
        Auth = "auth",
        /// The reply to MAIL.
        Mail = "mail",
        /// The reply to RCPT.
        Rcpt = "rcpt",
        /// The reply to DATA, and to each BDAT that is not the last.
        Data = "data",
        /// The reply to the end of a message; with LMTP each of those.
        Body = "body",
    }
}

words! {
    /// A place where the sink can hang up without a word.
    Cut, "place to hang up" {
        /// Instead of the greeting.
        Connect = "connect",
        /// Instead of the reply to EHLO, HELO or LHLO.
        Hello = "hello",
        /// Instead of the reply to STARTTLS.
        StartTls = "starttls",
        /// Instead of a TLS handshake.
        Handshake = "handshake",
        /// Instead of the reply to the credentials of AUTH.
        Auth = "auth",
        /// Instead of the reply to MAIL.
        Mail = "mail",
        /// Instead of the reply to RCPT.
        Rcpt = "rcpt",
        /// Instead of the reply to DATA, or to a BDAT that is not the last.
        Data = "data",
        /// Behind the first piece of a message.
        Middle = "body-middle",
        /// Behind the end of a message, which is not taken.
        Commit = "before-commit",
        /// Behind the end of a message, which is taken and counted: only the reply is lost.
        Reply = "before-reply",
    }
}

words! {
    /// What a client did that it must not do. The session goes on all the same.
    Fault, "fault" {
        /// A command that is none, or has wrong arguments.
        Syntax = "syntax",
        /// A command at the wrong time.
        Sequence = "sequence",
        /// It sent on without PIPELINING being announced.
        Pipelining = "pipelining not announced",
        /// It sent on after STARTTLS in the clear.
        Injection = "octets behind STARTTLS",
        /// BDAT without CHUNKING being announced.
        Chunking = "chunking not announced",
        /// A parameter of MAIL or RCPT that was not announced, or is wrong.
        Parameter = "parameter not announced",
        /// 8-bit octets in a message that was not declared `BODY=8BITMIME`.
        EightBit = "8 bits undeclared",
        /// A CR without LF, or an LF without CR, in a message or a command.
        BareNewline = "bare newline",
        /// A line of more than 1,000 octets in a message (RFC 5321 §4.5.3.1.6).
        LongLine = "line too long",
    }
}

impl Point {
    /// Where it hangs up instead of speaking here, except after a message.
    #[must_use]
    pub const fn cut(self) -> Option<Cut> {
        match self {
            Point::Connect => Some(Cut::Connect),
            Point::Hello => Some(Cut::Hello),
            Point::StartTls => Some(Cut::StartTls),
            Point::Handshake => Some(Cut::Handshake),
            Point::Auth => Some(Cut::Auth),
            Point::Mail => Some(Cut::Mail),
            Point::Rcpt => Some(Cut::Rcpt),
            Point::Data => Some(Cut::Data),
            Point::Body => None,
        }
    }
}
