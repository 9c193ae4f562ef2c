//! What a delivery found out about recipients that had been accepted, remembered until the same message comes again.
//!
//! Where one of several recipients is refused, no recipient gets the message, and its sender is to try again: then that one is
//! refused at RCPT, and the others get the message (`docs/decisions/0001-refused-after-acceptance.md`). A refusal may be about
//! anything, the sender, the client, the size, so what is remembered holds for that message alone. It is known again by its sender and
//! the exact size that it declared, also from another network, since large senders have many; a forger would have to know the size.
//! Where no size was declared, it is known by its client. It is told once: what comes after that asks a backend again.
//!
//! A full mailbox or a message that is too large is told as a refusal for now, since the next message may be a smaller one; so is
//! any refusal where backends judge by the client and only the size tells that it is the same. Where no size was declared, such a
//! refusal for good isn't told at all: the recipient gets a message of its own, and hears the backend itself. One for now is told: told
//! wrongly it costs a try, while a mailbox that is full for days would have a message of its own each second time and hold up the others.

use super::{
    ids::PoolId, message_source::MessageSource, origin::keeps_apart, pools::Pools,
    recipient_key::RecipientKey, reply::BackendReply, verify::is_about_mailbox,
    verify_cache::Known,
};
use crate::{
    client_key,
    net::now,
    smtp::{Status, envelope::Path, reply_parse::ReplyHead},
};
use std::{net::IpAddr, time::Duration};

/// How long a recipient of a message of this size is remembered: longer than senders wait between two tries.
const SIZE_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How a refusal is kept that a learned limit on recipients explains. No other refusal is kept so.
const BY_LIMIT: ReplyHead = ReplyHead {
    code: 552,
    status: Status(5, 5, 3),
};

/// One message, as far as RCPT knows it.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// The pool of its recipients.
    pub pool: PoolId,
    /// The client.
    pub client: IpAddr,
    /// Where it comes from, but for the null sender.
    pub source: Option<MessageSource>,
    /// Its sender.
    pub sender: &'a [u8],
    /// The size that was declared; 0: none.
    pub size: u64,
}

/// What a delivery found out about a recipient.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// What the backend said.
    pub said: &'a BackendReply,
    /// The recipient's place in the envelope.
    pub place: usize,
    /// Others of the message may still get it.
    pub partly: bool,
    /// The backend is one of another pool, to which the message went in the end.
    pub elsewhere: bool,
}

/// What becomes of a recipient that was refused of late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lately {
    /// It is told this.
    Told(BackendReply),
    /// It gets a message of its own.
    Alone,
}

impl Pools {
    /// A refusal of this recipient, which comes after so many others, that the message met when it came before. Forgotten with that.
    #[must_use]
    pub fn refused_lately(
        &self,
        sending: &Sending<'_>,
        recipient: Path<'_>,
        earlier: usize,
    ) -> Option<Lately> {
        let backends = self.backends();
        let refused = backends.verified().refused();
        if !refused.is_used() {
            return None;
        }
        let mut said = refused.take(&key_of(sending, recipient)?, now())?;
        let is_about_room = is_about_room(said.head);
        let head = &mut said.head;
        if *head == BY_LIMIT {
            // The first recipient is within any limit.
            if earlier == 0 {
                return None;
            }
            (head.code, head.status) = (452, Status(4, 5, 3));
        } else if is_about_room && sending.size == 0 && head.is_permanent() {
            return Some(Lately::Alone);
        } else if is_about_room && head.is_permanent() {
            (head.code, head.status.0) = (452, 4);
        } else if head.is_permanent() && sending.size > 0 {
            let local = self.local(sending.pool)?;
            if keeps_apart(local.pool.identity) {
                (head.code, head.status) = (450, put_off(head.status));
            }
        }
        Some(Lately::Told(said))
    }

    /// Remembers that a delivery found this recipient refused, though it had been accepted.
    ///
    /// Where the code is about the mailbox ([`is_about_mailbox`]) that holds for every sender; any other makes us ask
    /// anew. A backend of another pool knows other mailboxes. Where others of the message were taken, it is remembered for the
    /// next try: for a day, or, where no size was declared, for as long as a good answer.
    ///
    /// That a message has too many recipients (452 4.5.3, or 552 5.5.3) says nothing about any of them. It is remembered also where a
    /// limit is known that would split the message: the next try may come from another network, for which none is known.
    pub fn note_refused(&self, sending: &Sending<'_>, recipient: Path<'_>, found: Found<'_>) {
        let (Some(local), Some(key)) = (
            self.local(sending.pool),
            RecipientKey::new(sending.pool, recipient),
        ) else {
            return;
        };
        let mut said = found.said.clone();
        if matches!(said.head.status, Status(4 | 5, 5, 3)) {
            let most = local.pool.recipients_max(sending.source, now());
            // Whatever its code (RFC 5321 §4.5.3.1.10), the sender is to split the message.
            said.head = match most > 0 && found.place >= most as usize {
                true => BY_LIMIT,
                false => ReplyHead {
                    code: 452,
                    status: Status(4, 5, 3),
                },
            };
        }
        let (waits, backends) = (&local.pool.waits, self.backends());
        let verified = backends.verified();
        if is_about_mailbox(said.head.status) && !found.elsewhere {
            let until = now().after(waits.verify_bad);
            verified.learn(&key, Known::Bad(said.clone()), until);
        } else if !found.elsewhere {
            verified.forget(&key);
        }
        if found.partly
            && let Some(key) = key_of(sending, recipient)
        {
            let kept = match sending.size {
                0 => waits.verify_good,
                _ => SIZE_KEPT,
            };
            let trusted = sending.source.is_some_and(|source| source.is_trusted());
            let client = (!trusted).then(|| client_key::address(sending.client));
            let now = now();
            let refused = verified.refused();
            refused.learn(&key, said, client, now, now.after(kept));
        }
    }
}

/// By what a recipient of this message is known again.
fn key_of(sending: &Sending<'_>, recipient: Path<'_>) -> Option<RecipientKey> {
    let client = match sending.size {
        0 => client_key::address(sending.client),
        _ => 0,
    };
    let message = (sending.sender, client, sending.size);
    RecipientKey::again(sending.pool, message, recipient)
}

/// The enhanced code of a refusal that is told as one for now.
fn put_off(status: Status) -> Status {
    match status {
        Status::NONE => Status::NONE,
        Status(_, subject, detail) => Status(4, subject, detail),
    }
}

/// Whether a refusal may be about the size of the message, or about what the mailbox holds already (RFC 3463 §3.3, §3.4).
fn is_about_room(head: ReplyHead) -> bool {
    matches!(
        (head.code, head.status),
        (452 | 552, Status::NONE)
            | (522 | 552, _)
            | (_, Status(4 | 5, 2, 2 | 3) | Status(4 | 5, 3, _))
    )
}
