//! What the end of a transaction tells of those that took part in it, for the messages to come.

use super::{session::Session, transaction::Transaction};
use crate::{
    policy::{Facts, SessionTicket},
    record::Outcome,
    smtp::envelope::Path,
};

/// Remembers what became of a message.
pub(super) fn outcome(session: &Session, transaction: &Transaction, outcome: Outcome) {
    let shared = &session.current.shared;
    let is_known = session.peer.trusted || session.known_as().is_some();
    match (is_known, outcome) {
        (true, Outcome::Accept) => {
            // The envelope is there until the reply is said.
            let envelope = session.server.envelope();
            let paths = envelope.recipients().iter();
            let paths = paths.map(|recipient| envelope.path(recipient.path));
            let site = &session.current.site;
            let others = paths.filter(|path| !site.route(path.domain).1);
            shared.wrote_to(others, session.unix_seconds());
        }
        (false, Outcome::Accept | Outcome::Reject) if shared.counts_messages() => {
            let facts = Facts {
                // The core forgets it with RSET.
                sender: Path::split(&transaction.sender),
                ..session.facts()
            };
            shared.count_message(&facts, outcome == Outcome::Accept);
        }
        _ => {}
    }
}

impl Session {
    /// Whether the client has waited for a greeting before, so that it need not again; or early talk isn't held against it.
    pub fn is_spared_the_wait(&self) -> bool {
        if self.peer.judgement.is_welcome() {
            return true;
        }
        let (pass, shared) = (self.greeting_pass(), &self.current.shared);
        let keys = self.peer.ticket.as_ref().map(SessionTicket::keys);
        pass > 0 && shared.has_waited(keys, self.peer.address, self.unix_seconds())
    }

    /// Remembers a client that has waited, once it was greeted and speaks: one that only looks whether the port is open has
    /// not waited.
    pub fn note_wait(&mut self) {
        let (pass, shared) = (self.greeting_pass(), &self.current.shared);
        if std::mem::take(&mut self.peer.waited) && pass > 0 {
            let keys = self.peer.ticket.as_ref().map(SessionTicket::keys);
            shared.waited(keys, self.peer.address, self.unix_seconds(), pass);
        }
    }

    /// In seconds.
    fn greeting_pass(&self) -> u64 {
        let listener = &self.current.site.listeners[self.listener];
        listener.greeting_pass.as_secs()
    }
}
