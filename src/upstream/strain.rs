//! How much of a backend's patience a connection has used up since its last message.
//!
//! Mail servers count what leads to nothing, and slow a connection down or end it: Postfix makes each reply wait a second
//! after 10 refusals or 100 RSETs and says 421 after 20 refusals (`smtpd_soft_error_limit`, `smtpd_junk_command_limit`,
//! `smtpd_hard_error_limit`); Exim ends it at the 12th RSET (`smtp_accept_max_nonmail`). The next message on it would
//! pay for that, so a connection retires before. A message that is taken sets Postfix's counts to 0. Of Exim's RSETs it
//! makes the next one free, and those before stay counted.

use crate::smtp::backend_session::Event;

/// Refusals, and RSETs, after which a connection carries nothing more.
const MAX: u32 = 8;

/// What a connection has heard since its last message was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    refusals: u32,
    resets: u32,
    /// A RSET since the last message that was taken, or since the beginning: the first doesn't count.
    reset_once: bool,
}

impl Strain {
    /// Takes note of what the backend said.
    pub fn note(&mut self, event: Event) {
        match event {
            Event::Final(head) | Event::FinalFor(_, head) if head.is_positive() => {
                self.refusals = 0;
                self.reset_once = false;
            }
            Event::Sender(head)
            | Event::Recipient(_, head)
            | Event::Verified(head)
            | Event::Final(head)
            | Event::FinalFor(_, head)
                if !head.is_positive() =>
            {
                self.refusals += 1;
            }
            Event::Reset if self.reset_once => self.resets += 1,
            Event::Reset => self.reset_once = true,
            _ => {}
        }
    }

    /// Whether the backend has refused something since.
    #[must_use]
    pub fn has_refusals(self) -> bool {
        self.refusals > 0
    }

    /// Whether the connection carries nothing more.
    #[must_use]
    pub fn is_worn(self) -> bool {
        self.refusals >= MAX || self.resets >= MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{Status, reply_parse::ReplyHead};

    #[test]
    fn eight_refusals_wear_it_and_a_message_makes_it_new() {
        let no = ReplyHead {
            code: 550,
            status: Status(5, 1, 1),
        };
        let yes = ReplyHead {
            code: 250,
            status: Status(2, 0, 0),
        };
        for event in [Event::Verified(no), Event::Recipient(3, no)] {
            let mut strain = Strain::default();
            for _ in 0..7 {
                strain.note(event);
                strain.note(Event::Recipient(0, yes));
            }
            assert!(!strain.is_worn());
            strain.note(event);
            assert!(strain.is_worn(), "{event:?}");
            strain.note(Event::Final(yes));
            assert_eq!(strain, Strain::default());
        }
    }

    #[test]
    fn resets_are_counted_for_life_but_for_one_a_message() {
        let yes = ReplyHead {
            code: 250,
            status: Status(2, 0, 0),
        };
        let mut strain = Strain::default();
        for _ in 0..100 {
            strain.note(Event::Reset);
            strain.note(Event::Final(yes));
        }
        assert!(!strain.is_worn());
        for _ in 0..4 {
            for _ in 0..3 {
                assert!(!strain.is_worn());
                strain.note(Event::Reset);
            }
            strain.note(Event::Final(yes));
        }
        assert!(strain.is_worn());
    }
}
