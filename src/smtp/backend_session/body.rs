//! The body on its way out, and the ways to leave a transaction.

use super::{
    Abort, BackendError, BackendSession, Phase,
    transaction::{Kind, Transaction},
};
use crate::decimal::push_decimal;

impl BackendSession {
    /// Whether [`BackendSession::body`] may be called: at once after `open` where the body goes by BDAT with
    /// PIPELINING, else after [`super::Event::Go`]. It is false while too many chunks are unanswered, and
    /// without PIPELINING until each has been.
    #[must_use]
    pub fn takes_body(&self) -> bool {
        self.phase == Phase::Transaction && self.transaction.takes_body(self.pipelines())
    }

    /// Says whether the search for dots may be spared in the pieces that follow: no line of the payload of this
    /// transaction begins with one, to their end. A wrong call changes the message, and may end it early; so it is
    /// said from [`BodyFacts::is_undotted`] alone.
    ///
    /// [`BodyFacts::is_undotted`]: crate::smtp::body::BodyFacts::is_undotted
    pub fn undotted(&mut self, none: bool) {
        self.transaction.undotted = none;
    }

    /// Whether the body of this transaction goes by BDAT: each call of [`BackendSession::body`] then is a chunk.
    #[must_use]
    pub fn sends_chunks(&self) -> bool {
        self.transaction.chunks
    }

    /// Appends the next pieces of the payload: with dots stuffed (DATA), or as one chunk (BDAT); `last`
    /// ends it. No pieces and not `last` appends nothing. After a refusal it does nothing.
    ///
    /// The payload is canonical: lines end in CRLF. A payload that doesn't end in CRLF (it may come by
    /// BDAT) gets one where it goes by DATA, which can't be ended otherwise.
    ///
    /// A body that comes before [`BackendSession::takes_body`] fails the connection: what is lost must show.
    pub fn body(&mut self, pieces: &[&[u8]], last: bool, out: &mut Vec<u8>) {
        if self.phase != Phase::Transaction || !self.transaction.is_live() {
            return;
        }
        if !self.transaction.chunks {
            if !self.takes_body() {
                self.fail(BackendError::OutOfStep);
                return;
            }
            let Transaction {
                stuff, undotted, ..
            } = &mut self.transaction;
            for piece in pieces {
                match undotted {
                    true => stuff.append_undotted(piece, out),
                    false => stuff.append(piece, out),
                }
            }
            if last {
                self.transaction.stuff.finish(out);
            }
            self.transaction.count_piece(last);
            return;
        }
        let octets: usize = pieces.iter().map(|piece| piece.len()).sum();
        if octets == 0 && !last {
            return;
        }
        if self.transaction.is_committing() || !self.transaction.takes_chunk(self.pipelines()) {
            self.fail(BackendError::OutOfStep);
            return;
        }
        out.extend_from_slice(b"BDAT ");
        push_decimal(octets as u64, out);
        out.extend_from_slice(if last { b" LAST\r\n" } else { b"\r\n" });
        for piece in pieces {
            out.extend_from_slice(piece);
        }
        self.transaction.count_piece(last);
    }

    /// Leaves the transaction so that the backend delivers nothing of it, and the connection is clean if
    /// that can be had: with a RSET, unless a body by DATA is open or the terminator was sent. Replies
    /// that are still due are read and not told.
    pub fn abort(&mut self, out: &mut Vec<u8>) -> Abort {
        match self.phase {
            Phase::Transaction => {
                if !self.transaction.abandon() {
                    self.fail(BackendError::OutOfStep);
                    return Abort::Close;
                }
            }
            Phase::Idle if self.is_clean() => {
                self.transaction.begin(Kind::Reset, true);
                self.transaction.abandon();
                self.phase = Phase::Transaction;
            }
            Phase::Failed(_) => return Abort::Close,
            _ => {
                self.fail(BackendError::OutOfStep);
                return Abort::Close;
            }
        }
        self.send_reset(out);
        Abort::Reset
    }

    /// The same, for one that steps on in either case: [`super::Event::Reset`] or
    /// [`super::Event::Failed`] follows. On an idle connection it asks whether the backend is alive.
    pub fn reset(&mut self, out: &mut Vec<u8>) {
        let _ = self.abort(out);
    }

    /// Says goodbye where that is possible; a connection that is in the middle of something is only to be
    /// closed. [`super::Event::Bye`] follows, for one that waits for it.
    pub fn quit(&mut self, out: &mut Vec<u8>) {
        if self.is_idle() {
            out.extend_from_slice(b"QUIT\r\n");
            self.phase = Phase::Quit;
        } else {
            self.fail(BackendError::OutOfStep);
        }
    }
}
