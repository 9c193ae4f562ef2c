//! The replies that the core itself originates: syntax, sequence, limits, framing. `docs/replies.md` is made
//! of this list and its like in other folders.

pub use super::reply::Known;
use super::status::Status;

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $code:literal $class:literal,$subject:literal,$detail:literal
        $text:literal, $cause:literal, $advice:literal;)*) => {
        $($(#[$doc])* pub const $name: Known = Known {
            code: $code,
            status: Status($class, $subject, $detail),
            text: $text,
            cause: $cause,
            advice: $advice,
        };)*
        /// All of them.
        pub const ALL: &[Known] = &[$($name),*];
    };
}

replies! {
    /// MAIL accepted.
    MAIL_OK = 250 2,1,0 "Ok", "The sender was accepted.", "Nothing.";
    /// RCPT accepted.
    RCPT_OK = 250 2,1,5 "Ok", "The recipient was accepted.", "Nothing.";
    /// RSET, NOOP.
    OK = 250 2,0,0 "Ok", "RSET or NOOP was done.", "Nothing.";
    /// A chunk that is not the last.
    CHUNK_OK = 250 2,0,0 "Ok:", "A BDAT chunk was taken; its size follows.", "Nothing.";
    /// QUIT.
    BYE = 221 2,0,0 "Bye", "The client said QUIT.", "Nothing.";
    /// Not SMTP.
    ALIEN = 221 2,7,0 "This is a mail server. Goodbye", "The client sent an HTTP request, a TLS handshake on a port that begins in clear text, a header field as a command, or a line that doesn't begin with a letter. The connection was closed.", "Connect to the right port: implicit TLS is a listener of its own. A mail server that sends this has lost track of where a message ends.";
    /// STARTTLS accepted.
    TLS_READY = 220 2,0,0 "Ready to start TLS", "STARTTLS was accepted.", "Nothing.";
    /// VRFY.
    VRFY = 252 2,0,0 "Cannot verify, but will try to deliver", "VRFY gets the same answer for every address, so that addresses can't be collected.", "Nothing.";
    /// HELP.
    HELP = 214 2,0,0 "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP\nVRFY HELP QUIT: see RFC 5321 and docs/replies.md", "The client said HELP.", "Nothing.";
    /// Broken line end in a command.
    BARE_NEWLINE = 500 5,5,2 "A line of SMTP ends with CR LF; closing", "A command held a CR without LF or an LF without CR: two systems may see different commands in it. The connection was closed.", "Have the client end its lines with CR LF.";
    /// Command line too long.
    LINE_TOO_LONG = 500 5,5,2 "Line too long", "A command was longer than 512 octets and what its extensions allow (RFC 5321 section 4.5.3.1.4).", "Look for a client that lost track of where a message ends.";
    /// Command line without end.
    LINE_ENDLESS = 500 5,5,2 "Line too long; closing", "A command line was too long and its end didn't come within the limit. The connection was closed.", "Look for a client that lost track of where a message ends.";
    /// Empty line.
    LINE_EMPTY = 500 5,5,2 "Empty line is no command", "An empty line came where a command was due.", "Nothing, unless it happens often.";
    /// Unknown verb.
    UNKNOWN = 500 5,5,2 "Command not recognized", "The proxy does not know this command.", "Look at what the client sends.";
    /// Known verb, not served.
    UNSERVED = 502 5,5,1 "Command not implemented", "EXPN, ETRN, TURN, SEND, SOML and SAML are not served; STARTTLS and BDAT only where they are announced.", "Nothing.";
    /// Hello without name or with a bad one.
    HELLO_SYNTAX = 501 5,5,4 "Syntax: EHLO hostname", "EHLO or HELO came without a name, with a broken address literal, with octets that are not text, or with invisible characters.", "Give the client a host name.";
    /// MAIL's syntax.
    MAIL_SYNTAX = 501 5,5,4 "Syntax: MAIL FROM:<address>", "MAIL came without FROM.", "Correct the client.";
    /// Bad reverse-path.
    SENDER_SYNTAX = 501 5,1,7 "Bad sender address syntax", "The address in MAIL FROM is missing, malformed, longer than RFC 5321 section 4.5.3.1.3 allows, or has a character in its domain that no domain can have, such as one that is invisible.", "Correct the sender address.";
    /// RCPT's syntax.
    RCPT_SYNTAX = 501 5,5,4 "Syntax: RCPT TO:<address>", "RCPT came without TO.", "Correct the client.";
    /// Bad forward-path.
    RECIPIENT_SYNTAX = 501 5,1,3 "Bad recipient address syntax", "The address in RCPT TO is malformed, has no domain, is longer than RFC 5321 section 4.5.3.1.3 allows, or has a character in its domain that no domain can have, such as one that is invisible.", "Correct the recipient address.";
    /// Non-ASCII path without SMTPUTF8.
    NEEDS_UTF8 = 553 5,6,7 "Non-ASCII address needs SMTPUTF8", "An address with characters beyond ASCII came without the SMTPUTF8 parameter of MAIL (RFC 6531).", "Use a client that knows SMTPUTF8, or an ASCII address.";
    /// A parameter that no enabled extension knows.
    PARAMETER_UNKNOWN = 555 5,5,4 "Unsupported parameter", "A parameter of MAIL or RCPT belongs to no extension that was announced.", "Correct the client: it must look at the EHLO reply.";
    /// A parameter twice.
    PARAMETER_TWICE = 501 5,5,4 "Parameter given twice", "A parameter of MAIL or RCPT came more than once.", "Correct the client.";
    /// A parameter's value.
    PARAMETER_VALUE = 501 5,5,4 "Bad parameter value", "The value of a parameter of MAIL or RCPT is malformed.", "Correct the client.";
    /// No arguments wanted.
    NO_ARGUMENTS = 501 5,5,4 "Command takes no argument", "DATA, RSET, STARTTLS or QUIT came with an argument.", "Correct the client.";
    /// VRFY or EXPN without argument.
    VRFY_SYNTAX = 501 5,5,4 "Syntax: VRFY address", "VRFY came without an address.", "Correct the client.";
    /// BDAT's syntax.
    CHUNK_SYNTAX = 501 5,5,4 "Syntax: BDAT size [LAST]", "The size of a BDAT command is missing, not a number, or beyond 64 bits.", "Correct the client.";
    /// RCPT between chunks.
    BODY_BEGUN = 503 5,5,1 "A message is being received", "RCPT came between two BDAT chunks.", "Correct the client: RSET first.";
    /// MAIL without EHLO.
    NEEDS_HELLO = 503 5,5,1 "Send EHLO or HELO first", "A transaction was begun before EHLO or HELO.", "Correct the client.";
    /// Nested MAIL.
    MAIL_NESTED = 503 5,5,1 "Nested MAIL command", "MAIL came while a transaction was open.", "Correct the client: RSET first.";
    /// RCPT without MAIL.
    NEEDS_MAIL = 503 5,5,1 "Need MAIL command", "RCPT came before MAIL was accepted.", "See why MAIL was refused.";
    /// DATA without RCPT.
    NEEDS_RCPT = 503 5,5,1 "Need RCPT command", "DATA or BDAT came outside a transaction with a recipient.", "Correct the client.";
    /// DATA after refused RCPTs.
    NO_RECIPIENTS = 554 5,5,1 "No valid recipients", "DATA or BDAT came after every recipient had been refused.", "See why the recipients were refused.";
    /// DATA and BDAT mixed, or DATA for BINARYMIME.
    WANTS_CHUNKS = 503 5,5,1 "This transaction needs BDAT", "DATA came after BDAT in the same transaction, or for a BINARYMIME message (RFC 3030).", "Correct the client.";
    /// A chunk after a failed one.
    CHUNK_AFTER_ERROR = 503 5,5,1 "An earlier chunk failed; send RSET", "BDAT came after a chunk of the same message had been refused.", "See the first refusal.";
    /// Under a refused connection.
    DENIED = 503 5,7,0 "Access denied", "The connection was refused at the greeting, and yet a command came.", "See the greeting.";
    /// STARTTLS in a transaction.
    TLS_IN_TRANSACTION = 503 5,5,1 "STARTTLS is not allowed in a transaction", "STARTTLS came while a transaction was open.", "Correct the client.";
    /// STARTTLS twice.
    TLS_ACTIVE = 554 5,5,1 "TLS is active already", "STARTTLS came under TLS.", "Correct the client.";
    /// TLS needed.
    NEEDS_TLS = 530 5,7,0 "Must issue a STARTTLS command first", "The listener takes mail under TLS only, and the command is none of EHLO, NOOP, STARTTLS and QUIT (RFC 3207 section 4).", "Switch TLS on in the client.";
    /// A client that hasn't authenticated, where it must.
    AUTH_REQUIRED = 530 5,7,0 "Authentication required", "The listener's role is `submission`; the client has not authenticated and is in none of the `trusted` networks.", "Users switch authentication on in their mail program. Mail from other servers belongs to a listener with `role = \"mx\"`.";
    /// AUTH where there is none.
    AUTH_OFF = 503 5,5,1 "Authentication not enabled", "AUTH came where it is not configured.", "Use the submission service, or no authentication.";
    /// XCLIENT or XFORWARD from an address that may not send it.
    CLAIM_DENIED = 550 5,7,0 "You may not speak for another client", "XCLIENT or XFORWARD came from an address outside the listener's xclient_from or xforward_from, or for a client that an XCLIENT before it has named.", "Put the proxy's address there, if it is one of yours.";
    /// XCLIENT or XFORWARD in a transaction.
    CLAIM_IN_TRANSACTION = 503 5,5,1 "XCLIENT and XFORWARD come before MAIL", "XCLIENT or XFORWARD came while a transaction was open.", "Correct the proxy: it sends RSET first.";
    /// Attributes of XCLIENT or XFORWARD.
    CLAIM_SYNTAX = 501 5,5,4 "Bad attribute or value", "XCLIENT or XFORWARD named an attribute that EHLO doesn't, or a value that is malformed, empty, longer than 255 octets, or not in xtext. Nothing of the command was taken.", "Correct the proxy.";
    /// AUTH: right.
    AUTH_OK = 235 2,7,0 "Authentication successful", "The credentials were right.", "Nothing.";
    /// AUTH's syntax.
    AUTH_SYNTAX = 501 5,5,4 "Syntax: AUTH mechanism [initial-response]", "AUTH came without a mechanism, or with more than a mechanism and an initial response.", "Correct the client.";
    /// AUTH: a mechanism that is not offered.
    AUTH_UNKNOWN = 504 5,5,4 "Unrecognized authentication mechanism", "AUTH named a mechanism that the reply to EHLO doesn't offer.", "Have the client use one that is offered, or add it to the listener's `auth`.";
    /// AUTH: no base64.
    AUTH_BASE64 = 501 5,5,2 "That is no base64", "A line of the authentication exchange is no canonical base64 (RFC 4648 section 4).", "Correct the client.";
    /// AUTH: the client gave up.
    AUTH_CANCELLED = 501 5,7,0 "Authentication cancelled", "The client said `*` in the middle of the exchange (RFC 4954 section 4).", "See the client's own log: it did not accept a challenge.";
    /// AUTH: a line that is too long.
    AUTH_LINE_TOO_LONG = 500 5,5,6 "Authentication exchange line is too long", "A line of the exchange has more than 12,288 octets (RFC 4954 section 4).", "Use a shorter token.";
    /// AUTH without EHLO.
    AUTH_NEEDS_EHLO = 503 5,5,1 "Send EHLO first", "AUTH came before EHLO, or after HELO.", "Correct the client.";
    /// AUTH in a transaction.
    AUTH_IN_TRANSACTION = 503 5,5,1 "AUTH is not allowed in a transaction", "AUTH came while a transaction was open.", "Correct the client.";
    /// AUTH twice.
    AUTH_TWICE = 503 5,5,1 "Already authenticated", "AUTH came after it had succeeded (RFC 4954 section 4).", "Correct the client.";
    /// AUTH without TLS.
    // RFC 4954 §6 has 534 as well: a mechanism that is weaker than the server wants of this user, whatever the connection.
    // No source of ours tells users apart in this way, and a mechanism that a listener doesn't offer gets 504. Postfix says
    // no 534 either.
    AUTH_NEEDS_TLS = 538 5,7,11 "Encryption required for authentication", "AUTH came in clear text on a listener with `auth_requires_tls`.", "Switch TLS on in the client, and change the password: it may have been read on its way.";
    /// Too many recipients.
    TOO_MANY_RECIPIENTS = 452 4,5,3 "Too many recipients", "The message has more recipients than limits.recipients; the earlier ones are kept.", "Nothing: a sending server sends the rest in another transaction.";
    /// Declared too large.
    SIZE_DECLARED = 552 5,3,4 "Message size exceeds limit", "The SIZE parameter of MAIL is beyond limits.message_size.", "Send a smaller message, or raise the limit.";
    /// Grew too large.
    SIZE_EXCEEDED = 552 5,3,4 "Message too large", "The message is larger than limits.message_size.", "Send a smaller message, or raise the limit.";
    /// Bare newline in the message.
    BODY_BARE_NEWLINE = 550 5,6,11 "Message has a bare CR or LF; lines must end with CR LF", "The message holds a CR without LF or an LF without CR: two systems may see different messages in it (SMTP smuggling).", "Have the sender end its lines with CR LF, or set limits.bare_newline to normalize.";
    /// Line of the message too long.
    BODY_LINE_TOO_LONG = 550 5,6,0 "Message has a line that is too long", "A line of the message is longer than limits.line (RFC 5321 allows 1,000 octets).", "Have the sender fold or encode its lines.";
    /// Too many messages.
    TOO_MANY_MESSAGES = 421 4,7,0 "Too many messages in one session; closing", "The session has had limits.messages messages.", "Nothing: a sending server connects again.";
    /// Too many errors.
    TOO_MANY_ERRORS = 421 4,7,0 "Too many errors; closing", "The client has made limits.errors errors since its last good message: 5xx replies, failed logins, and 4xx replies beyond the first 1,000.", "See the replies before.";
    /// Too many junk commands.
    TOO_MUCH_JUNK = 421 4,7,0 "Too many commands without a message; closing", "The session has had limits.junk commands since its last good message that do nothing, or next to nothing: a BDAT of fewer than 64 octets after the first 32 of a message.", "See what the client does; a monitor should say QUIT, and chunks of a message should have some KiB.";
    /// To a client that took too long; the connection is closed.
    TIMED_OUT = 421 4,4,2 "Timeout exceeded; closing", "The client took too long for a command or a body, or sent its body slower than timeouts.body_rate.", "Look for a slow or broken path between the client and here.";
    /// To a session without a message under way, while the process drains.
    SHUTTING_DOWN = 421 4,3,2 "Service is shutting down; try again", "The proxy is being stopped, restarted or drained.", "Nothing: a sending server tries again.";
    /// To a slow stream, while other messages wait for its connection.
    OVERLOADED = 421 4,3,2 "Service is too busy; try again", "A message that streamed to a backend came slower than timeouts.stress_rate while others waited for a connection.", "Nothing, unless it lasts: raise pool.connections, or look for clients that are slow on purpose.";
}

/// What is written most, ready for the wire.
pub(super) mod wire {
    /// [`super::MAIL_OK`].
    pub const MAIL_OK: &[u8] = b"250 2.1.0 Ok\r\n";
    /// [`super::RCPT_OK`].
    pub const RCPT_OK: &[u8] = b"250 2.1.5 Ok\r\n";
    /// [`super::OK`].
    pub const OK: &[u8] = b"250 2.0.0 Ok\r\n";
    /// The intermediate reply to DATA. It has no enhanced code (RFC 2034 §4).
    pub const GO: &[u8] = b"354 End data with <CR><LF>.<CR><LF>\r\n";
    /// [`super::BYE`].
    pub const BYE: &[u8] = b"221 2.0.0 Bye\r\n";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::reply::{LINE_MAX, LINES_MAX};

    #[test]
    fn every_reply_is_sound_and_explained() {
        for known in ALL {
            assert_eq!(
                u16::from(known.status.0),
                known.code / 100,
                "{}",
                known.text
            );
            assert!(!known.cause.is_empty() && !known.advice.is_empty());
            assert!(known.text.lines().count() <= LINES_MAX);
            assert!(known.text.lines().all(|line| line.len() < LINE_MAX - 20));
        }
    }

    #[test]
    fn the_wire_forms_say_the_same() {
        for (known, bytes) in [
            (MAIL_OK, wire::MAIL_OK),
            (RCPT_OK, wire::RCPT_OK),
            (OK, wire::OK),
            (BYE, wire::BYE),
        ] {
            let mut out = Vec::new();
            known.reply().write(&mut out);
            assert_eq!(out, bytes);
        }
    }
}
