//! A recipient: whether the policy lets it pass, where its route sends it, and what the backends say of it.

use super::{known::Asked, replies, session::Session, site::Site};
use crate::{
    delivery::{
        Step,
        replies::{LAPSED, NO_UTF8, reply_of},
    },
    metrics::Counter,
    policy::{At, CheckId},
    smtp::{
        Reply,
        envelope::{Path, PathSpan},
        server::Answer,
    },
    upstream::{Lately, MessageSource, Needs, PoolId, Route, Sending, Verification},
};

impl Session {
    pub async fn ask_rcpt(&mut self) -> Answer {
        let answer = self.judge_rcpt().await;
        let counter = match &answer {
            Answer::Accept | Answer::AcceptWith(_) => Counter::RecipientAccepted,
            Answer::Refuse(reply) | Answer::Close(reply) if reply.is_transient() => {
                Counter::RecipientDeferred
            }
            _ => Counter::RecipientRejected,
        };
        self.context.recorder.count(counter, self.scope, 1);
        if let Some(transaction) = &mut self.transaction {
            let envelope = self.server.envelope();
            let last = envelope.recipients().last();
            if let (Answer::Accept | Answer::AcceptWith(_), Some(last)) = (&answer, last) {
                let path = envelope.path(last.path).whole;
                transaction.recipients.push(path);
                if let Some(turn) = &mut transaction.turn {
                    turn.ask(path);
                }
            }
        }
        answer
    }

    async fn judge_rcpt(&mut self) -> Answer {
        match self.place_rcpt().await {
            Ok((pool, place)) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.route(pool, place);
                }
                Answer::Accept
            }
            Err(refused) => refused,
        }
    }

    /// The pool that the latest recipient goes to, and its place in the envelope; or the answer to it.
    async fn place_rcpt(&mut self) -> Result<(PoolId, usize), Answer> {
        if let Some(refused) = self.postponed() {
            return Err(refused);
        }
        let envelope = self.server.envelope();
        let octets = envelope.memory();
        if let Some(transaction) = &mut self.transaction
            && !transaction.keeps_envelope(octets)
        {
            return Err(Answer::Refuse(replies::NO_MEMORY.reply()));
        }
        let Some(recipient) = envelope.recipients().last() else {
            return Err(Answer::Refuse(replies::NO_ROUTE.reply()));
        };
        let path = recipient.path;
        let (route, ours) = self.current.site.route(envelope.path(path).domain);
        let earlier = envelope.recipients().len() - 1;
        // A recipient that is not ours is refused by the profile that holds.
        if let Some(route) =
            route.filter(|_| ours || self.peer.trusted || self.known_as().is_some())
        {
            self.take_profile(&route, earlier)?;
        }
        // Of a client that is known nothing is waited for: it is judged before its first recipient, ours or not.
        if ours || self.peer.trusted || self.known_as().is_some() {
            self.judge_answers().await?;
        }
        let answer = self.judge(Asked {
            recipient: Some(path),
            ours,
            ..Asked::at(At::Rcpt)
        });
        if !matches!(answer, Answer::Accept) {
            return Err(answer);
        }
        let placed = self.place_judged(route, path, earlier).await;
        if placed.is_err() {
            // It gets no message, and must not count for those that do.
            self.peer.judgement.take_back_recipient();
        }
        placed
    }

    /// The same for one that the policy has let pass.
    async fn place_judged(
        &mut self,
        route: Option<Route>,
        path: PathSpan,
        earlier: usize,
    ) -> Result<(PoolId, usize), Answer> {
        if earlier > 0 && self.peer.judgement.recipient_differs() {
            return Err(self.cut(replies::OTHER_ROUTE.reply()));
        }
        let Some(route) = route else {
            return Err(Answer::Refuse(replies::NO_ROUTE.reply()));
        };
        let site = &self.current.site;
        if !site.may_be(&route, self.server.envelope().path(path)) {
            self.decided = Some(CheckId::RECIPIENTS);
            return Err(Answer::Refuse(replies::UNLISTED.reply()));
        }
        let transaction_pool = self.transaction.as_ref().and_then(|t| t.pool());
        let other = transaction_pool.is_some_and(|pool| pool != route.pool);
        let alone = self.transaction.as_ref().is_some_and(|t| t.alone);
        if earlier > 0 && (other || alone || site.is_lmtp(route.pool)) {
            return Err(self.cut(replies::OTHER_ROUTE.reply()));
        }
        if self.is_too_many(route.pool, earlier) {
            return Err(self.cut(replies::TOO_MANY_HERE.reply()));
        }
        if let Some(reply) = self.is_too_large(route.pool) {
            return Err(Answer::Refuse(reply));
        }
        let alone = self.recall_rcpt(&route, path, earlier)?;
        self.verify_rcpt(&route, path).await?;
        if let Some(transaction) = &mut self.transaction {
            transaction.alone = alone;
        }
        Ok((route.pool, earlier))
    }

    /// The first recipient's route decides by which profile a message is judged.
    fn take_profile(&mut self, route: &Route, earlier: usize) -> Result<(), Answer> {
        let profile = self.current.site.profiles.of_route(route);
        if self.route_profile == profile {
            return Ok(());
        }
        if earlier > 0 {
            return Err(self.cut(replies::OTHER_ROUTE.reply()));
        }
        self.route_profile = profile;
        if let Some(transaction) = &mut self.transaction {
            // What was asked has been judged by another one, for a recipient that was refused.
            transaction.answers_judged = false;
        }
        self.peer.judgement.forget_answers();
        Ok(())
    }

    /// What a recipient met when the same message came before is told, or it is to be alone: true. Also where a route takes every
    /// recipient.
    fn recall_rcpt(
        &mut self,
        route: &Route,
        path: PathSpan,
        earlier: usize,
    ) -> Result<bool, Answer> {
        if let Some(told) = self.recall_turn() {
            return Err(told);
        }
        let recipient = self.server.envelope().path(path);
        let sending = self.sending(route.pool);
        let pools = &self.context.pools;
        match pools.refused_lately(&sending, recipient, earlier) {
            Some(Lately::Told(said)) => {
                // It had been accepted: no guess, and no error of the client's.
                self.server.excuse();
                Err(self.refuse_again(reply_of(&said, Step::Recipient)))
            }
            Some(Lately::Alone) if earlier > 0 => Err(self.cut(replies::OTHER_ROUTE.reply())),
            Some(Lately::Alone) => Ok(true),
            None => Ok(false),
        }
    }

    /// The message that is under way, as far as RCPT knows it.
    pub fn sending(&self, pool: PoolId) -> Sending<'_> {
        let envelope = self.server.envelope();
        let sender = envelope.sender().whole;
        Sending {
            pool,
            client: self.peer.address,
            source: MessageSource::new(self.client_key(), sender),
            sender,
            size: envelope.params().size,
        }
    }

    /// Asks what the backends say of a recipient, as far as its route wants that.
    async fn verify_rcpt(&mut self, route: &Route, path: PathSpan) -> Result<(), Answer> {
        if !Site::verifies(route) {
            return Ok(());
        }
        let envelope = self.server.envelope();
        let recipient: Path<'_> = envelope.path(path);
        let pools = &self.context.pools;
        let sender = envelope.sender().whole;
        let verified = match pools.verified(route.pool, recipient, self.now) {
            Some(verified) => verified,
            // Only a backend's time is long enough to give the loan back: what it holds is copied for that.
            None => {
                self.io.input.settle();
                let client = self.client_key();
                let due = self.now.after(self.current.site.config.timeouts.backend.0);
                pools
                    .verify(route.pool, (sender, client), recipient, due)
                    .await
            }
        };
        match verified {
            Verification::Accepted => Ok(()),
            Verification::Unknown(reply) => Err(Answer::Refuse(reply)),
            Verification::NoUtf8 => Err(Answer::Refuse(NO_UTF8.reply())),
            Verification::Refused(said) | Verification::Deferred(said) => {
                Err(Answer::Refuse(reply_of(&said, Step::Recipient)))
            }
        }
    }

    /// Whether a message has more recipients than a pool's backends take.
    fn is_too_many(&self, pool: PoolId, earlier: usize) -> bool {
        if earlier == 0 {
            return false;
        }
        let backends = &self.current.site.backends;
        let (known, source) = (backends.pool(pool), self.sending(pool).source);
        let here = known.map_or(0, |pool| pool.recipients_max(source, self.now));
        // Where it goes to quarantine in the end, all its recipients do. What that pool is known to take for certain is
        // kept to; neither its size nor what strangers' mail has shown of it is held against mail that mostly goes elsewhere.
        let quarantine = self.quarantine_pool().and_then(|pool| backends.pool(pool));
        let there = quarantine.map_or(0, |pool| pool.recipients_offered());
        let is_above = |most: u32| most > 0 && earlier >= most as usize;
        let is_tried = || known.is_some_and(|pool| pool.tries_one_more(source, earlier, self.now));
        is_above(there) || (is_above(here) && !is_tried())
    }

    /// The reply where a message has declared more octets than a pool's backends take.
    fn is_too_large(&self, pool: PoolId) -> Option<Reply> {
        let known = self.current.site.backends.pool(pool);
        let most = known.map_or(0, |pool| pool.size_max());
        let declared = self.server.envelope().params().size;
        let needs = Needs {
            size: declared,
            ..Needs::default()
        };
        let has_lapsed = || known.is_some_and(|pool| pool.has_lapsed(needs, self.now));
        (most > 0 && declared > most).then(|| match has_lapsed() {
            true => LAPSED.reply(),
            false => replies::TOO_LARGE_HERE.reply(),
        })
    }
}
