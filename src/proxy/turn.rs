//! A message that is cut to some of its recipients: which of them have had their turn (see [`Turn`]).

use super::{session::Session, transaction::Transaction};
use crate::{
    client_key,
    smtp::{Envelope, Reply, Status, Tick, server::Answer},
    upstream::{MessageKey, Turn},
};

impl Session {
    /// Refuses the latest recipient, which is to come in another message: this one is cut.
    pub fn cut(&mut self, reply: Reply) -> Answer {
        self.with_turn(Turn::cut);
        Answer::Refuse(reply)
    }

    /// Refuses the latest recipient by what it met when the message came before. If that was for now, the next try asks the others
    /// first.
    pub fn refuse_again(&mut self, reply: Reply) -> Answer {
        if reply.status == Status(4, 5, 3) {
            return self.cut(reply);
        }
        if reply.is_transient() {
            let now = self.now;
            self.with_turn(|turn, recipient| turn.put_off_told(recipient, &reply, now));
        }
        Answer::Refuse(reply)
    }

    /// The answer to the latest recipient, if it has had its turn.
    pub fn recall_turn(&mut self) -> Option<Answer> {
        let turns = self.current.site.backends.turns();
        if !turns.may_know(&self.message_key()) {
            return None;
        }
        let now = self.now;
        let said = self.with_turn(|turn, recipient| turn.told(recipient, now));
        said.flatten().map(|said| Answer::Refuse((*said).clone()))
    }

    /// Lends the latest recipient and the turn of its transaction, which begins here unless it has begun.
    pub fn with_turn<T>(&mut self, look: impl FnOnce(&mut Turn, &[u8]) -> T) -> Option<T> {
        let envelope = self.server.envelope();
        let (last, earlier) = envelope.recipients().split_last()?;
        let begin = || {
            let turns = self.current.site.backends.turns();
            let mut turn = turns.begin(self.message_key());
            for recipient in earlier {
                turn.ask(envelope.path(recipient.path).whole);
            }
            Box::new(turn)
        };
        let begun = match &self.transaction {
            Some(transaction) if transaction.turn.is_none() => Some(begin()),
            _ => None,
        };
        let transaction = self.transaction.as_mut()?;
        let turn = transaction.turn.take().or(begun)?;
        let turn = transaction.turn.insert(turn);
        Some(look(turn, envelope.path(last.path).whole))
    }

    fn message_key(&self) -> MessageKey<'_> {
        let envelope = self.server.envelope();
        let client = client_key::address(self.peer.address);
        MessageKey {
            sender: envelope.sender().whole,
            size: envelope.params().size,
            client,
            network: client_key::prefix_of(client),
        }
    }
}

impl Transaction {
    /// The client is told this in the end, or in place of it. Where that is for now, the recipients of a message that was cut have had
    /// their turn.
    pub fn end_turn(&mut self, envelope: &Envelope, reply: &Reply, now: Tick) {
        if let Some(turn) = &mut self.turn
            && reply.is_transient()
            // This ends a session, and at RCPT none ends.
            && reply.code != 421
        {
            let recipients = envelope.recipients().iter();
            let paths = recipients.map(|recipient| envelope.path(recipient.path).whole);
            turn.put_off(paths, reply, now);
        }
    }
}
