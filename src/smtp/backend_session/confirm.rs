//! Whether the yes that was heard was the answer to the end of the body.
//!
//! Replies are matched to commands by counting (RFC 2920 §3.1). A backend that answers one command twice shifts the count,
//! and where the end of the body went ahead of the other replies (BDAT), its yes to RCPT passes for its yes to the message.
//! Of the replies that SMTP has, one says by itself what it answers: that to EHLO, whose lines name extensions (RFC 5321
//! §4.1.1.1). So EHLO is said again, and where its answer is the next thing that comes, the yes was the last word before
//! it. EHLO leaves a session as RSET does (§4.1.4).
//!
//! A few servers refuse a second EHLO (503). That refusal may as well be the one of the message, so QUIT follows: 221 is no
//! answer to anything else either, and where it comes next, the refusal was the answer to EHLO.
//!
//! Where the body goes by DATA none of this is needed: 354 is no answer to anything else.
//!
//! Rejected: NOOP or RSET for EHLO. Their 250 looks like those that are in question, so each finds out one reply too many and no
//! second one. QUIT at once: 221 is as clear, and costs the connection.

use super::{
    super::{extensions::Extensions, reply_parse::ReplyHead},
    BackendError, BackendSession, Event, Phase, capabilities,
};

impl BackendSession {
    /// After a positive final reply: asks whether that was the answer to the end of the body. [`Event::Ready`] says that it
    /// was, and the connection is clean, [`Event::Bye`] that it was, and the connection is over. Until then, and where the
    /// connection fails instead, the message is uncertain.
    pub fn confirm(&mut self, out: &mut Vec<u8>) {
        if !self.is_clean() {
            self.fail(BackendError::OutOfStep);
            return;
        }
        self.transaction.doubt();
        self.phase = Phase::Confirm;
        self.push_hello(out);
    }

    /// The next reply after that.
    pub(super) fn hear_confirmed(&mut self, head: ReplyHead, out: &mut Vec<u8>) -> Option<Event> {
        if head.code == 421 {
            return Some(self.fail(BackendError::Closing(head)));
        }
        // About the command itself (RFC 5321 §4.2.1).
        if matches!(head.code, 500..=509) {
            self.phase = Phase::ConfirmByQuit;
            out.extend_from_slice(b"QUIT\r\n");
            return None;
        }
        let offered = capabilities::parse(self.replies.reply().text());
        if !head.is_positive() || offered.extensions == Extensions::NONE {
            return Some(self.fail(BackendError::Unexpected(head)));
        }
        self.capabilities = offered;
        self.transaction.settle();
        self.phase = Phase::Idle;
        Some(Event::Ready)
    }

    /// The next reply after QUIT, where EHLO was refused as a command.
    pub(super) fn hear_left(&mut self, head: ReplyHead) -> Event {
        if head.code != 221 {
            return self.fail(BackendError::Unexpected(head));
        }
        self.transaction.settle();
        self.phase = Phase::Failed(BackendError::Closing(head));
        Event::Bye
    }

    /// Whether a reply has begun to come and has not ended.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        self.replies.is_midway()
    }

    /// Has the bodies of the transactions to come go by DATA also where CHUNKING is offered, or no longer so.
    pub fn avoid_chunks(&mut self, avoid: bool) {
        self.chunkless = avoid;
    }
}
