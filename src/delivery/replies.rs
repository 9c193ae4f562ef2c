//! From what a backend said to a reply of ours: the one place where that happens (INV-REPLY), and the replies that a
//! delivery originates itself.
//!
//! What a backend says is never passed on as bytes: code, enhanced code and text are parsed, judged and
//! written anew. A code that tells of our setup rather than of the message becomes a 451, because a 5xx would
//! make the sender give up mail that is sound (`docs/decisions/0005-backend-codes.md`).

use super::outcome::{Ending, Outcome, Step};
use crate::{
    smtp::{Envelope, Known, Reply, Status, backend_session::Unsupported, envelope::BodyKind},
    upstream::{BackendReply, LeaseError, reply::start_of},
};

/// Octets of a backend's text that a client gets to see.
const TEXT_MAX: usize = 400;

/// The reply to a client for what a backend answered at this step.
#[must_use]
// INV-REPLY
pub fn reply_of(said: &BackendReply, step: Step) -> Reply {
    let text = text_of(said.text());
    match said.head.code {
        // Too many recipients is no word about this one (RFC 5321 §4.5.3.1.10: 552 is to be read as 452).
        552 if step == Step::Recipient && matches!(said.head.status, Status(4 | 5, 5, 3)) => {
            Reply::owned(452, Status(4, 5, 3), text.into())
        }
        // 421 closes the backend's connection, not the client's.
        421 => Reply::owned(451, Status(4, 3, 2), text.into()),
        code @ 400..=499 => Reply::owned(code, status_for(said, 4), text.into()),
        code if is_about_setup(said, step) => BACKEND_CONFUSED.with(&format!("{code} {text}")),
        code @ (550..=554 | 556..=559) => Reply::owned(code, status_for(said, 5), text.into()),
        522 => Reply::owned(552, status_for(said, 5), text.into()),
        // A code that is none of SMTP's, for the message itself: 541, 571 and the like of content filters.
        500..=599 => Reply::owned(554, status_for(said, 5), text.into()),
        code => BACKEND_CONFUSED.with(&format!("{code} {text}")),
    }
}

/// Whether a permanent code speaks of the conversation between Gatepost and the backend, which the sender has no part in.
/// After the end of data it speaks of the message, unless it is about the command (BDAT is one) or asks for AUTH.
fn is_about_setup(said: &BackendReply, step: Step) -> bool {
    let class = |status: Status| (status.0, status.1);
    match (said.head.code, step) {
        (530 | 535 | 538, _) => true,
        (500..=504, Step::Message) => {
            said.head.status == Status::NONE || class(said.head.status) == (5, 5)
        }
        (_, Step::Message) => false,
        (500..=504 | 521 | 523..=549 | 555, _) => true,
        (code, _) => !(550..=559).contains(&code) && code != 522,
    }
}

/// The backend's enhanced code where it fits the code's class, else the plainest one of the class.
fn status_for(said: &BackendReply, class: u8) -> Status {
    match said.head.status {
        status if status.0 == class && (status.1, status.2) != (0, 0) => status,
        _ => match (class, said.head.code) {
            (4, 450) => Status(4, 2, 0),
            (4, 452) => Status(4, 3, 1),
            (5, 550) => Status(5, 1, 0),
            (5, 552) => Status(5, 3, 4),
            (5, 553) => Status(5, 1, 3),
            (class, _) => Status(class, 0, 0),
        },
    }
}

fn text_of(text: &str) -> &str {
    match start_of(text.trim(), TEXT_MAX) {
        "" => "Refused",
        text => text,
    }
}

impl Outcome {
    /// What a client is told of it, whose envelope this is.
    ///
    /// # Errors
    /// The reply to a message that no backend took; where a backend took it, the reply is the caller's.
    pub fn told(&self, envelope: &Envelope) -> Result<(), Reply> {
        Err(match &self.ending {
            Ending::Accepted(_) => return Ok(()),
            Ending::Refused(step, said) => reply_of(said, *step),
            Ending::Recipients => self.of_recipients(envelope),
            Ending::Unsupported(why) => unsupported(*why, envelope),
            Ending::Lapsed(Unsupported::EightBit) => NO_LONGER_EIGHT_BIT.reply(),
            Ending::Lapsed(_) => LAPSED.reply(),
            Ending::NoConnection(LeaseError::Timeout | LeaseError::Busy) => BUSY.reply(),
            Ending::NoConnection(_) => DOWN.reply(),
            Ending::Lost(_) => LOST.reply(),
            Ending::Uncertain(_) => UNCERTAIN.reply(),
        })
    }

    /// Whether some of these recipients may still get the message: others were taken, or were only put off.
    #[must_use]
    pub fn is_partly_refused(&self, recipients: usize) -> bool {
        let is_put_off =
            |(_, said): &(usize, BackendReply)| reply_of(said, Step::Recipient).is_transient();
        let put_off = self.refused.iter().filter(|one| is_put_off(one)).count();
        self.refused.len() < recipients || (put_off > 0 && put_off < self.refused.len())
    }

    /// Where all recipients were refused for good, or all were put off, the first refusal is told. Else no one reply is
    /// true for all of them: they may come again, and those that are refused hear it at RCPT.
    fn of_recipients(&self, envelope: &Envelope) -> Reply {
        let recipients = envelope.recipients();
        let Some((place, said)) = self.refused.first() else {
            return LOST.reply();
        };
        let reply = reply_of(said, Step::Recipient);
        match recipients.get(*place) {
            Some(recipient) if self.is_partly_refused(recipients.len()) => {
                let path = String::from_utf8_lossy(envelope.path(recipient.path).whole);
                SOME_REFUSED.with(&format!("<{path}> {reply}"))
            }
            _ => reply,
        }
    }
}

/// The reply where no backend can take this message at all.
fn unsupported(why: Unsupported, envelope: &Envelope) -> Reply {
    match why {
        // The client declared it, so the session had offered it. The next one will know better.
        Unsupported::EightBit if envelope.params().body == BodyKind::EightBitMime => {
            NO_LONGER_EIGHT_BIT.reply()
        }
        Unsupported::Size => TOO_LARGE_BEHIND.reply(),
        Unsupported::EightBit | Unsupported::Binary => NO_EIGHT_BIT.reply(),
        Unsupported::Utf8 => NO_UTF8.reply(),
        Unsupported::RequireTls | Unsupported::Malformed => MALFORMED.reply(),
        Unsupported::Busy => LOST.reply(),
    }
}

/// Every backend tried failed, or there is none.
pub const DOWN: Known = Known {
    code: 451,
    status: Status(4, 4, 1),
    text: "The mail system behind this one can't be reached now, try again later",
    cause: "No backend of the recipient's pool took a connection, greeted and answered EHLO in time.",
    advice: "The sender tries again by itself. The operator looks at the backends and at gatepost_backend_up.",
};

/// No connection came free in time.
pub const BUSY: Known = Known {
    code: 451,
    status: Status(4, 3, 2),
    text: "The mail system behind this one is busy, try again later",
    cause: "All connections that the pool may hold carried messages for longer than lease_wait.",
    advice: "The sender tries again by itself. The operator raises `connections`, or adds a backend.",
};

/// A backend failed in the middle.
pub const LOST: Known = Known {
    code: 451,
    status: Status(4, 4, 2),
    text: "The connection to the mail system behind this one was lost, try again later",
    cause: "A backend closed the connection, fell silent or stopped speaking SMTP before it had the whole message.",
    advice: "The sender tries again by itself; the message was not delivered.",
};

/// A backend failed after it had the whole message.
pub const UNCERTAIN: Known = Known {
    code: 451,
    status: Status(4, 4, 2),
    text: "The mail system behind this one did not confirm the message, try again later",
    cause: "A backend had the whole message and was lost before its reply: whether it delivered is unknown.",
    advice: "The sender tries again by itself; the recipient may get the message twice.",
};

/// Some recipients were refused by the backend when the message was sent.
pub const SOME_REFUSED: Known = Known {
    code: 451,
    status: Status(4, 5, 3),
    text: "A recipient was refused after all, try again; refused:",
    cause: "A recipient that had been accepted was refused by the backend once the message was sent. No recipient got it; the refusal is remembered, so that at the next try this recipient is refused at RCPT and the others get the message.",
    advice: "Nothing: a mail server tries again by itself.",
};

/// The backend refuses what we say, for a reason that isn't the sender's.
pub const BACKEND_CONFUSED: Known = Known {
    code: 451,
    status: Status(4, 3, 5),
    text: "The mail system behind this one does not take our mail; it said:",
    cause: "Before the end of the message a backend answered with a code that means a wrong setup (500 to 504, 521, 530, 535 and the like), not a wrong message; or after it, that the command is unknown or AUTH is wanted.",
    advice: "The operator looks at the backend's setup: it must take mail from Gatepost without AUTH, and as many commands as a message needs.",
};

/// No backend takes messages as large.
pub const TOO_LARGE_BEHIND: Known = Known {
    code: 552,
    status: Status(5, 3, 4),
    text: "The mail system behind this one takes no message as large",
    cause: "The message is larger than the SIZE that the backend offers.",
    advice: "The sender sends a smaller message.",
};

/// 8-bit data as the session, or the backends of late, had offered to take, and backends that turn out to lack 8BITMIME.
pub const NO_LONGER_EIGHT_BIT: Known = Known {
    code: 451,
    status: Status(4, 3, 5),
    text: "The mail system behind this one takes no 8-bit data, come again in a new session",
    cause: "The message has 8-bit data, declared because the session offered 8BITMIME, or undeclared while the backends offered it within the last day; none of them offers it now.",
    advice: "The sender tries again by itself. One that declared the data converts the message then; one that didn't sends it unchanged, and is refused (554) where the backends haven't offered 8BITMIME for a day.",
};

/// A message as the backends could take until of late.
pub const LAPSED: Known = Known {
    code: 451,
    status: Status(4, 3, 5),
    text: "The mail system behind this one can't take such a message now, try again later",
    cause: "The message needs SMTPUTF8, or a SIZE, that a backend of the recipient's pool offered within the last day, and none of them offers it now.",
    advice: "The sender tries again by itself. The operator finds out why EHLO at the backend says less than before.",
};

/// 8-bit data and a backend without 8BITMIME.
pub const NO_EIGHT_BIT: Known = Known {
    code: 554,
    status: Status(5, 6, 3),
    text: "The mail system behind this one takes no 8-bit data",
    cause: "The message has 8-bit data and the backend does not offer 8BITMIME.",
    advice: "The sender encodes the message (quoted-printable or base64).",
};

/// An internationalised address and a backend without SMTPUTF8.
pub const NO_UTF8: Known = Known {
    code: 553,
    status: Status(5, 6, 7),
    text: "The mail system behind this one takes no internationalised addresses",
    cause: "The message needs SMTPUTF8 and the backend does not offer it.",
    advice: "The sender uses an ASCII address.",
};

/// An envelope that must not reach a backend.
pub const MALFORMED: Known = Known {
    code: 550,
    status: Status(5, 5, 4),
    text: "The envelope can't be passed on",
    cause: "An address or a parameter holds what no backend may be sent.",
    advice: "The sender corrects the address.",
};

/// All of them.
pub const ALL: &[Known] = &[
    DOWN,
    BUSY,
    LOST,
    UNCERTAIN,
    SOME_REFUSED,
    BACKEND_CONFUSED,
    TOO_LARGE_BEHIND,
    NO_LONGER_EIGHT_BIT,
    LAPSED,
    NO_EIGHT_BIT,
    NO_UTF8,
    MALFORMED,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::reply_parse::ReplyHead;

    fn said(code: u16, status: Status) -> BackendReply {
        BackendReply::new(ReplyHead { code, status }, "Message refused")
    }

    #[test]
    fn after_the_end_of_data_a_permanent_code_is_permanent_whichever() {
        let (spam, none) = (Status(5, 7, 1), Status::NONE);
        for (code, status, step, wanted) in [
            (550, spam, Step::Message, "550 5.7.1"),
            (571, spam, Step::Message, "554 5.7.1"),
            (541, Status(5, 6, 0), Step::Message, "554 5.6.0"),
            (523, Status(5, 2, 3), Step::Message, "554 5.2.3"),
            (521, none, Step::Message, "554 5.0.0"),
            (577, none, Step::Message, "554 5.0.0"),
            (555, spam, Step::Message, "554 5.7.1"),
            (500, spam, Step::Message, "554 5.7.1"),
            (522, none, Step::Message, "552 5.0.0"),
            (559, spam, Step::Message, "559 5.7.1"),
            // About the command or the session.
            (500, none, Step::Message, "451 4.3.5"),
            (503, Status(5, 5, 1), Step::Message, "451 4.3.5"),
            (530, Status(5, 7, 0), Step::Message, "451 4.3.5"),
            // Before the end of data.
            (521, none, Step::Sender, "451 4.3.5"),
            (571, spam, Step::Recipient, "451 4.3.5"),
            (530, none, Step::Sender, "451 4.3.5"),
            (503, none, Step::Data, "451 4.3.5"),
            (550, spam, Step::Recipient, "550 5.7.1"),
            // Temporary ones.
            (421, Status(4, 3, 2), Step::Message, "451 4.3.2"),
            (471, Status(4, 7, 1), Step::Message, "471 4.7.1"),
        ] {
            let told = reply_of(&said(code, status), step).to_string();
            assert!(
                told.starts_with(wanted),
                "{code} {status} at {step:?}: {told}"
            );
        }
    }
}
