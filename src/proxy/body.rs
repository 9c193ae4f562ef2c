//! The body while it comes: into the window, and from there to a backend once the window is full.

use super::{
    pace::Pace,
    replies,
    session::Session,
    transaction::{Body, Doomed, Fate, Stream, Transaction},
};
use crate::{
    delivery::{self, Outcome, Room, Streaming, replies::DOWN},
    metrics::Counter,
    net::now,
    policy::At,
    smtp::{Reply, Span, backend_session::Load, body::BodyFacts, envelope::BodyKind, header},
    upstream::StreamPlace,
};
use std::sync::Arc;

impl Session {
    /// Takes a piece of the input for the body if that needs no waiting.
    pub fn take(&mut self, span: Span) -> Room {
        let piece = span.of(self.io.input.bytes());
        offer(
            self.transaction.as_deref_mut(),
            piece,
            self.server.body_facts(),
        )
    }

    /// The same with a piece that is not of the input.
    pub fn insert(&mut self, piece: &[u8]) -> Room {
        offer(
            self.transaction.as_deref_mut(),
            piece,
            self.server.body_facts(),
        )
    }

    /// Waits until there is room for what comes after a piece of the input, or for the piece itself.
    pub async fn make_room(&mut self, room: Room, span: Span, consumed: usize) {
        // The wait is for a backend, and may be long: nothing may stay on loan from the engine.
        let piece = match room {
            Room::None => span.of(self.io.input.bytes()).to_vec(),
            Room::Ample | Room::Full => Vec::new(),
        };
        self.io.input.consume(consumed);
        self.io.input.settle();
        self.send_on(room, &piece).await;
    }

    /// Sends on what was gathered: the window is full, and `piece` did not fit; or the stream has something to send.
    /// Waits for the backend, and thereby makes the client wait.
    pub async fn send_on(&mut self, room: Room, piece: &[u8]) {
        let Some(mut transaction) = self.transaction.take() else {
            return;
        };
        let result = match &mut transaction.body {
            Body::Window(_) if room == Room::None => {
                match self.hold(&mut transaction, piece).await {
                    Ok(true) => Ok(()),
                    Ok(false) => self.begin_stream(&mut transaction, piece).await,
                    Err(reply) => Err(reply),
                }
            }
            Body::Streaming(stream) => {
                stream.pace.pause();
                let sent = stream.way.forward().await;
                stream.pace.resume(stream.way.lease().now());
                sent.map_err(|outcome| self.refusal(&outcome))
            }
            Body::Window(_) | Body::Doomed(_) | Body::None | Body::Gone => Ok(()),
        };
        if let Err(reply) = result {
            let body = std::mem::replace(&mut transaction.body, Body::Gone);
            if let Body::Streaming(stream) = body {
                stream.way.abandon();
            }
            transaction.tell(&reply, None);
            transaction.end_turn(self.server.envelope(), &reply, now());
            self.server.discard(reply);
        }
        self.transaction = Some(transaction);
        self.now = now();
    }

    /// The core has found the message dead: whatever came of it goes.
    pub fn drop_body(&mut self) {
        let size = self.server.body_facts().size;
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        transaction.size = size;
        if let Body::Streaming(stream) = std::mem::replace(&mut transaction.body, Body::Gone) {
            stream.way.abandon();
        }
    }

    /// Whether the body was ended because it came too slowly while others waited for its connection.
    pub fn is_outpaced(&self) -> bool {
        let body = self
            .transaction
            .as_ref()
            .map(|transaction| &transaction.body);
        matches!(body, Some(Body::Streaming(stream)) if stream.pace.is_ended())
    }

    /// Leases a connection and sends what the window holds. An error is the reply that the client gets.
    async fn begin_stream(
        &mut self,
        transaction: &mut Transaction,
        piece: &[u8],
    ) -> Result<(), Reply> {
        let Body::Window(window) = std::mem::replace(&mut transaction.body, Body::Gone) else {
            return Ok(());
        };
        let limits = &self.current.site.config.limits;
        let full = (window.bytes().len() + piece.len()) as u64 > limits.window.0;
        let joined;
        let (held, piece, end) = match header::end(window.bytes()) {
            Some(end) => (window.bytes(), piece, Some(end)),
            // What only the budget stopped may come again.
            None if !full => return Err(replies::NO_MEMORY.reply()),
            // The header may end in the piece that was too much: a window can be smaller than one read.
            None => {
                joined = [window.bytes(), piece].concat();
                (&*joined, &b""[..], header::end(&joined))
            }
        };
        self.know(At::Header, self.lookups_due()).await;
        let judged = match end {
            Some(end) => self.judge_header(&held[..end]),
            // It is longer than the window, and so than `limits.header`.
            None => Err(self.judge_endless_header()),
        };
        let (survey, fate) = match judged {
            Ok(judged) => judged,
            Err(answer) => {
                match end {
                    Some(end) => self.judge_for_candidate(&held[..end]),
                    None => self.refuse_for_candidate(),
                }
                transaction.refused = Some(answer);
                return Ok(());
            }
        };
        let (header, begun) = held.split_at(end.unwrap_or_default());
        let mut hashes = self.begin_message(header);
        hashes.update(begun);
        hashes.update(piece);
        let header = header.to_vec();
        transaction.fate = fate;
        if fate == Fate::Discard {
            transaction.body = Body::Doomed(Box::new(Doomed { header, hashes }));
            return Ok(());
        }
        let load = self.stream_load();
        let first = self.own_fields(transaction.id, survey.found);
        let mut pieces: Vec<&[u8]> = vec![&first];
        survey.without_forged(held, &mut pieces);
        pieces.push(piece);
        self.note_streamed(transaction, &header);
        let place = self.stream_place(transaction).await?;
        let way = self.open_stream(transaction, load, &pieces).await?;
        self.context
            .recorder
            .count(Counter::Streamed, self.scope, 1);
        let (backend, ender) = (Arc::clone(way.lease().backend()), self.io.stream.ender());
        let pace = Pace::new(backend, place, ender, now());
        self.context.paces.watch(&pace);
        transaction.body = Body::Streaming(Box::new(Stream {
            way,
            header,
            pace,
            hashes,
        }));
        Ok(())
    }

    /// A place among the streams of the pool.
    async fn stream_place(&self, transaction: &Transaction) -> Result<StreamPlace, Reply> {
        let pool = transaction.pool().ok_or_else(|| DOWN.reply())?;
        let client = self.client_key();
        let deadline = self.now.after(self.current.site.config.timeouts.commit.0);
        let place = self
            .context
            .pools
            .stream_place(pool, client, deadline)
            .await;
        place.map_err(|why| self.refusal(&Outcome::without(why)))
    }

    /// Finds a backend that takes the envelope, and sends it what has come.
    pub async fn open_stream(
        &self,
        transaction: &mut Transaction,
        load: Load,
        pieces: &[&[u8]],
    ) -> Result<Streaming, Reply> {
        let undotted = self.server.body_facts().is_undotted();
        let parts = self.origin_parts_of(transaction);
        let origin = parts.as_ref().map(|parts| self.origin(parts));
        let message = self.message(transaction, pieces, load, undotted, origin.as_ref())?;
        match delivery::open(&self.context.pools, &message).await {
            Ok(streaming) => {
                let lease = streaming.lease();
                transaction.times.leased.get_or_insert(lease.now());
                transaction.backend = Some(Arc::clone(lease.backend()));
                transaction.backend_tls = lease.tls();
                Ok(streaming)
            }
            Err(outcome) => {
                self.note_outcome(&outcome, transaction);
                Err(self.refusal(&outcome))
            }
        }
    }

    /// What is known of 8-bit data when a stream begins.
    fn stream_load(&self) -> Load {
        let params = self.server.envelope().params();
        let eight_bit = self.server.body_facts().eight_bit || params.body != BodyKind::SevenBit;
        Load {
            size: params.size,
            eight_bit,
            whole: false,
        }
    }
}

/// Gives a piece to the body, if there is one.
fn offer(transaction: Option<&mut Transaction>, piece: &[u8], facts: &BodyFacts) -> Room {
    match transaction {
        Some(transaction) => transaction.take(piece, facts),
        None => Room::Ample,
    }
}
