//! A backend's reply, as the client gets it.
//!
//! What a backend says is never passed on as bytes: code, enhanced code and text are parsed, judged and
//! written anew. A code that tells of our setup rather than of the message becomes a 451, because a 5xx would
//! make the sender give up mail that is sound.

use super::replies;
use crate::smtp::{Reply, Status, client::Unsupported, reply_parse::ReplyRef};

/// Octets of a backend's text that a client gets to see.
const TEXT_MAX: usize = 400;

/// The reply for a refusal by a backend (a 4xx or 5xx, at whatever stage).
#[must_use]
pub fn refusal(said: ReplyRef<'_>) -> Reply {
    refused(said.to_reply())
}

/// The same for a reply that was kept for a while.
#[must_use]
pub fn refused(said: Reply) -> Reply {
    let text = text_of(said.text.as_str());
    match said.code {
        // 421 closes the backend's connection, not the client's.
        421 => Reply::owned(451, Status(4, 3, 2), text),
        400..=499 => Reply::owned(said.code, status_for(&said, 4), text),
        500..=504 | 521 | 523..=549 | 555 => {
            replies::BACKEND_CONFUSED.with(&format!("{} {text}", said.code))
        }
        550..=559 => Reply::owned(said.code, status_for(&said, 5), text),
        522 => Reply::owned(552, status_for(&said, 5), text),
        code => replies::BACKEND_CONFUSED.with(&format!("{code} {text}")),
    }
}

/// The reply where the backend can't take this message at all.
#[must_use]
pub fn unsupported(why: Unsupported) -> Reply {
    match why {
        Unsupported::Size => replies::TOO_LARGE_BEHIND.reply(),
        Unsupported::EightBit | Unsupported::Binary => replies::NO_EIGHT_BIT.reply(),
        Unsupported::Utf8 => replies::NO_UTF8.reply(),
        Unsupported::RequireTls | Unsupported::Malformed => replies::MALFORMED.reply(),
        Unsupported::Busy => crate::upstream::replies::LOST.reply(),
    }
}

/// The backend's enhanced code where it fits the code's class, else the plainest one of the class.
fn status_for(said: &Reply, class: u8) -> Status {
    match said.status {
        status if status.0 == class && (status.1, status.2) != (0, 0) => status,
        _ => match (class, said.code) {
            (4, 450) => Status(4, 2, 0),
            (4, 452) => Status(4, 3, 1),
            (5, 550) => Status(5, 1, 0),
            (5, 552) => Status(5, 3, 4),
            (5, 553) => Status(5, 1, 3),
            (class, _) => Status(class, 0, 0),
        },
    }
}

fn text_of(text: &str) -> String {
    let text = text.trim();
    match text
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at > TEXT_MAX)
    {
        Some(end) => text[..end].to_string(),
        None if text.is_empty() => "Refused".into(),
        None => text.to_string(),
    }
}
