//! The stages of a session whose latency is measured.
//!
//! One definition makes the enum, the names in every export and the manual.

use super::scope::Kind;

macro_rules! stages {
    ($( $variant:ident $name:literal $kind:ident $doc:literal; )+) => {
        /// A stage of a session. Its samples are microseconds, from 0 to one hour.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Stage {
            $( #[doc = $doc] $variant, )+
        }

        impl Stage {
            /// All stages in the order of a session.
            pub const ALL: &'static [Stage] = &[$( Stage::$variant, )+];
            /// Number of stages.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in exports: the label `stage` and the tag in the histogram log.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $( Stage::$variant => $name, )+ }
            }

            /// What is measured, from when to when.
            #[must_use]
            pub fn doc(self) -> &'static str {
                match self { $( Stage::$variant => $doc, )+ }
            }

            /// The kind of scope it is recorded under.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $( Stage::$variant => Kind::$kind, )+ }
            }
        }
    };
}

stages! {
    Banner "banner" Listener "From accept to the banner in the reply buffer, with the checks at connect.";
    Handshake "tls_handshake" Listener "TLS handshake with a client, implicit or after STARTTLS.";
    Hello "command_hello" Listener "EHLO, HELO or LHLO: from the line read to the reply in the buffer.";
    Mail "command_mail" Listener "MAIL: from the line read to the reply in the buffer.";
    Rcpt "command_rcpt" Listener "RCPT: from the line read to the reply in the buffer, with a verification of the recipient.";
    Data "command_data" Listener "DATA: from the line read to the 354 in the buffer, with a wait for body memory.";
    Bdat "command_bdat" Listener "BDAT: from the line read to the chunk being taken, with a wait for body memory.";
    Rset "command_rset" Listener "RSET.";
    Noop "command_noop" Listener "NOOP.";
    Vrfy "command_vrfy" Listener "VRFY.";
    Expn "command_expn" Listener "EXPN.";
    Help "command_help" Listener "HELP.";
    Quit "command_quit" Listener "QUIT.";
    StartTls "command_starttls" Listener "STARTTLS: up to the 220 in the buffer; the handshake is `tls_handshake`.";
    Auth "command_auth" Listener "AUTH: from a line of the client read to the reply in the buffer, with the wait of a failure.";
    Other "command_other" Listener "Any other command, also one that is none.";
    Check "check" Check "One look of one check. The looks of one question in sixteen are timed.";
    Lookup "lookup_wait" Listener "Waiting for the answers to what the checks ask, where they were not all there.";
    Verify "verify" Pool "Verification of a recipient, from the cache or by asking a backend.";
    Window "window_wait" Listener "Waiting for body memory before the body may come.";
    Body "body" Listener "Arrival of a body: from its first octet to its end.";
    LeaseHit "lease_hit" Backend "Taking a warm connection from the pool.";
    LeaseConnect "lease_connect" Backend "Opening a connection to a backend: connect, greeting, TLS, EHLO.";
    LeaseWait "lease_wait" Pool "Waiting for a connection because the budget of the backends was spent.";
    Envelope "backend_envelope" Backend "From the envelope sent to the last reply to it (354 or that of the last RCPT).";
    Stream "backend_body" Backend "From the first octet of a body sent to a backend to the last before its end.";
    Commit "commit" Backend "From the end of data sent to a backend to its final reply.";
    Reply "final_reply" Listener "From the backend's final reply to the client's reply written to the socket.";
    Transaction "transaction" Listener "A whole transaction: from MAIL read to its final reply written.";
    Session "session" Listener "A whole session: from accept to close.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_distinct_and_fit_for_a_label() {
        let names: HashSet<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
        assert_eq!(names.len(), Stage::COUNT);
        for name in names {
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
        }
    }

    #[test]
    fn the_number_of_a_stage_is_its_place() {
        for (place, stage) in Stage::ALL.iter().enumerate() {
            assert_eq!(*stage as usize, place);
        }
    }
}
