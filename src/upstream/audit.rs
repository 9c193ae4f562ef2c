//! Whether the final reply of a lease's message is the answer to its end: see [`super::in_step`].

use super::{
    error::Broken,
    health::Trouble,
    in_step::{is_cut_short, is_farewell, is_of_addresses, may_be_refusal},
    lease::Lease,
};
use crate::smtp::{
    backend_session::{BackendError, Event},
    reply_parse::ReplyHead,
};
use std::time::Duration;

/// How long a backend may take to confirm a yes.
const CONFIRM: Duration = Duration::from_secs(10);

/// What is to be made of a final reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// It is one.
    Sound,
    /// It may be the answer to something else: [`Lease::confirm`] finds out.
    Open,
    /// More was said than was asked: whether the message was taken is not known.
    Failed(Broken),
}

impl Lease {
    /// Looks at the final reply that was just heard. Costs no system call.
    pub fn audit(&mut self, head: ReplyHead) -> Audit {
        let surplus = self.conn().surplus();
        let (is_more, farewell) = (!surplus.is_empty(), is_farewell(surplus));
        let may_be_refusal = may_be_refusal(surplus);
        let is_cut_short = is_cut_short(surplus);
        let chunks = self.session().sends_chunks();
        if is_more && !farewell {
            self.pools.said_too_much(&self.local, self.place);
            // After 354 nothing has shifted, and the first reply is the one to the end, unless what follows is a filter's or a
            // server's other opinion.
            let is_sure = !head.is_positive() || (!chunks && !may_be_refusal);
            return match is_sure {
                true => Audit::Sound,
                false => Audit::Failed(self.doubt()),
            };
        }
        let in_step = &self.backend().in_step;
        if head.is_positive() && is_cut_short {
            // It proves nothing, and what follows it may be the refusal of the message.
            in_step.unconfirmed(self.now());
            return Audit::Failed(self.doubt());
        }
        if !head.is_positive() || !chunks || in_step.trusts(head, self.begun()) {
            return Audit::Sound;
        }
        match is_more {
            // It can't be asked any more. Many close after each message, and few of those say too much.
            true if !is_of_addresses(head) => Audit::Sound,
            true => {
                in_step.unconfirmed(self.now());
                Audit::Failed(self.doubt())
            }
            false => Audit::Open,
        }
    }

    /// Asks whether the yes that was just heard was the answer to the end of the message: a send and a receive, two where
    /// the backend refuses a second EHLO.
    ///
    /// # Errors
    /// It was not, or the backend did not say: the message is uncertain.
    pub async fn confirm(&mut self, yes: ReplyHead) -> Result<(), Broken> {
        let due = self.now().after(self.local.pool.waits.reply.min(CONFIRM));
        let conn = self.conn_mut();
        conn.session.confirm(&mut conn.out);
        let trouble = match conn.next(due).await {
            Ok(event) => {
                match is_farewell(self.conn().surplus()) {
                    true => self.backend().in_step.confirmed(yes, self.now()),
                    // This yes holds, and no other one.
                    false => self.pools.said_too_much(&self.local, self.place),
                }
                // It would not hear EHLO again, and has answered QUIT.
                self.broken = event == Event::Bye;
                return Ok(());
            }
            Err(trouble) => trouble,
        };
        // As in `audit`. A filter that dies over the body is mostly seen to be reset, or has said yes to RCPT last.
        let leaves = match trouble {
            Trouble::Lost => self.conn().has_closed() && !self.session().is_midway(),
            Trouble::Unavailable => true,
            _ => false,
        };
        if leaves && !is_of_addresses(yes) {
            // Nothing was confirmed: the next yes is asked about again.
            self.broken = true;
            return Ok(());
        }
        match trouble {
            Trouble::Nonsense => self.pools.said_too_much(&self.local, self.place),
            _ => self.backend().in_step.unconfirmed(self.now()),
        }
        let broken = self.broke(trouble);
        self.take_note(&broken);
        Err(broken)
    }

    /// Whether what was heard over this connection shows that its replies don't fit our commands.
    pub(super) fn is_out_of_step(&self) -> bool {
        // No server refuses RSET: that was the answer to RCPT.
        let refused_reset = matches!(self.conn().failure(), Some(BackendError::Reset(_)));
        if refused_reset {
            self.pools.said_too_much(&self.local, self.place);
        }
        refused_reset || self.conn().said_too_much()
    }

    /// Whether what was heard shows that the backend's replies don't fit our commands.
    #[must_use]
    pub fn has_shifted(&self) -> bool {
        self.conn().has_shifted()
    }

    /// The message may have been taken or not.
    fn doubt(&mut self) -> Broken {
        let broken = Broken {
            uncertain: true,
            stale: false,
            ..self.broke(Trouble::Nonsense)
        };
        self.take_note(&broken);
        broken
    }
}
