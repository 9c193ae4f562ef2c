//! What a client was refused, with the words that it was told. Bounded: a client that guesses a thousand names must not
//! fill the memory, so the first refusals are kept and the rest are counted.

use crate::{
    policy::CheckId,
    smtp::{Reply, Text},
};

/// Refusals that are kept of a transaction, or of a session outside its transactions; the rest are counted.
pub const REFUSALS_MAX: usize = 50;
/// Octets of a reply's text, and of what was refused, that are kept.
pub const TEXT_MAX: usize = 256;

/// One refusal.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The command, as in `rcpt`; `connect` for the greeting, `session` where the session was
    /// ended without one.
    pub command: &'static str,
    /// What was refused: the recipient, the sender, the HELO name; empty where there is no such thing.
    pub subject: Box<[u8]>,
    /// What the client was told.
    pub reply: Reply,
    /// The check that decided, where one did.
    pub check: Option<CheckId>,
}

impl Refusal {
    /// Keeps a refusal, long texts cut.
    #[must_use]
    pub fn new(
        command: &'static str,
        subject: &[u8],
        reply: &Reply,
        check: Option<CheckId>,
    ) -> Refusal {
        Refusal {
            command,
            subject: subject[..subject.len().min(TEXT_MAX)].into(),
            reply: cut(reply),
            check,
        }
    }
}

fn cut(reply: &Reply) -> Reply {
    let text = reply.text.as_str();
    let text = match text.char_indices().find(|(at, _)| *at >= TEXT_MAX) {
        Some((end, _)) => Text::Owned(text[..end].to_string()),
        None => reply.text.clone(),
    };
    Reply {
        code: reply.code,
        status: reply.status,
        text,
    }
}

/// The refusals of a transaction, or of a session outside its transactions. Without any it owns no memory.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Option<Box<Kept>>);

// Boxed: most sessions have none, and an idle session should own one word for that.
#[derive(Clone, Debug, Default)]
struct Kept {
    first: Vec<Refusal>,
    count: u32,
}

impl Refusals {
    /// Adds one.
    pub fn push(&mut self, refusal: Refusal) {
        let kept = self.0.get_or_insert_default();
        kept.count = kept.count.saturating_add(1);
        if kept.first.len() < REFUSALS_MAX {
            kept.first.push(refusal);
        }
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.as_ref().map_or(0, |kept| kept.count)
    }

    /// Those that were kept, in order.
    #[must_use]
    pub fn kept(&self) -> &[Refusal] {
        self.0.as_ref().map_or(&[], |kept| &kept.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Status;

    #[test]
    fn a_client_that_guesses_for_ever_takes_a_bounded_room() {
        let mut refusals = Refusals::default();
        let text = "é".repeat(400);
        let reply = Reply::owned(550, Status(5, 1, 1), text);
        for _ in 0..1000 {
            refusals.push(Refusal::new("rcpt", &[b'x'; 900], &reply, None));
        }
        assert_eq!(refusals.count(), 1000);
        assert_eq!(refusals.kept().len(), REFUSALS_MAX);
        let last = &refusals.kept()[REFUSALS_MAX - 1];
        assert_eq!(last.subject.len(), TEXT_MAX);
        assert_eq!(last.reply.text.as_str().len(), TEXT_MAX);
    }
}
