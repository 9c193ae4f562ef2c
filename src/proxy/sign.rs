//! Messages of our own clients are signed before they go on (`[[dkim]]`).
//!
//! A signature stands above the header and covers the body to its end, so the whole message has to be here first. One
//! that is to be signed and does not fit into `limits.window` is therefore held on, up to `limits.signing_window`, instead of
//! being streamed; it goes on in pieces, so that no second copy of it lies in memory. What is larger still goes on without
//! a signature ([decision 24](../../docs/decisions/0024-signing.md)).
//!
//! What is signed is what leaves: the header with our own fields on top and without results that claim to be ours, the body as
//! the backend gets it, before dots are stuffed.

use super::{
    payload::Survey,
    replies,
    session::Session,
    signed::Signed,
    transaction::{Body, Fate, Transaction},
};
use crate::{
    delivery::{PIECE, Room},
    metrics::Counter,
    net::{compute, now, sleep_until},
    policy::authentication::{
        BodyHashes,
        dkim::{Chosen, Client, Signing},
    },
    smtp::{Reply, backend_session::Load, header, server::Answer},
};
use std::{sync::Arc, time::Duration};

/// How long a message that is held waits for others to give memory back.
const MEMORY_WAIT: Duration = Duration::from_secs(2);
/// How often it looks.
const MEMORY_LOOK: Duration = Duration::from_millis(20);

/// The header of a message as it leaves.
pub(super) struct Leaving<'a> {
    /// Our own fields.
    pub first: &'a [u8],
    /// Its header section as it came.
    pub header: &'a [u8],
    /// What of that does not leave.
    pub survey: &'a Survey,
}

impl Leaving<'_> {
    fn text(&self) -> Vec<u8> {
        let mut pieces = Vec::with_capacity(2);
        self.survey.without_forged(self.header, &mut pieces);
        let mut text = Vec::with_capacity(self.first.len() + self.header.len());
        text.extend_from_slice(self.first);
        for piece in pieces {
            text.extend_from_slice(piece);
        }
        text
    }
}

/// The body that is signed.
enum Source<'a> {
    /// It is short, and hashed where it lies.
    Short(&'a [u8]),
    /// It is long, and begins there: another thread hashes it.
    Long(&'a Arc<Vec<u8>>, usize),
}

impl Session {
    /// What the client is, where its messages are signed at all.
    fn is_signed_for(&self) -> Option<Client> {
        if self.current.site.signers.is_empty() {
            return None;
        }
        let client = Client {
            authenticated: self.known_as().is_some(),
            trusted: self.peer.trusted,
        };
        (client.authenticated || client.trusted).then_some(client)
    }

    /// Who signs a message with this header. `None`: nothing of this client's is signed.
    fn chosen(&self, header: &[u8]) -> Option<Chosen> {
        let client = self.is_signed_for()?;
        Some(self.current.site.signers.choose(header, client))
    }

    /// The fields to put above a message that lies in the window. Empty: it is not signed.
    pub async fn sign(
        &mut self,
        transaction: &mut Transaction,
        leaving: &Leaving<'_>,
        body: &[u8],
    ) -> Vec<u8> {
        if self.is_signed_for().is_none() {
            return Vec::new();
        }
        // Boxed: a session that signs nothing must not hold the room for it.
        Box::pin(self.sign_message(transaction, leaving, Source::Short(body))).await
    }

    async fn sign_message(
        &mut self,
        transaction: &mut Transaction,
        leaving: &Leaving<'_>,
        body: Source<'_>,
    ) -> Vec<u8> {
        let header = leaving.text();
        let signers = match self.chosen(&header) {
            None => return Vec::new(),
            Some(Chosen::These(signers)) => signers,
            Some(Chosen::NoKey) => return self.unsigned(transaction, Counter::DkimNoKey),
            Some(Chosen::NoAuthor) => return self.unsigned(transaction, Counter::DkimNoAuthor),
        };
        let unix_seconds = self.context.dates.micros(self.now) / 1_000_000;
        let mut hashes = BodyHashes::new();
        let Some(signing) = Signing::new(&header, &signers, unix_seconds, &mut hashes) else {
            return self.unsigned(transaction, Counter::DkimNoAuthor);
        };
        let by = signing.signers();
        let fields = match body {
            Source::Short(body) => {
                hashes.update(body);
                let digests = hashes.finish();
                match signing.is_slow() {
                    true => compute(move || signing.finish(&digests)).await.flatten(),
                    false => signing.finish(&digests),
                }
            }
            Source::Long(payload, at) => {
                let payload = Arc::clone(payload);
                let work = move || {
                    hashes.update(&payload[at..]);
                    signing.finish(&hashes.finish())
                };
                compute(work).await.flatten()
            }
        };
        self.now = now();
        let Some(fields) = fields else {
            return self.unsigned(transaction, Counter::DkimFailed);
        };
        self.note_signing(transaction, Counter::DkimSigned, Signed::By(by.into()));
        fields
    }

    fn unsigned(&self, transaction: &mut Transaction, why: Counter) -> Vec<u8> {
        self.note_signing(transaction, why, Signed::Not(why));
        Vec::new()
    }

    fn note_signing(&self, transaction: &mut Transaction, counter: Counter, signed: Signed) {
        self.context.recorder.count(counter, self.scope, 1);
        transaction.signed = Some(signed);
    }

    /// Notes that a message streams, and can't be signed for that.
    pub fn note_streamed(&self, transaction: &mut Transaction, header: &[u8]) {
        let why = match self.chosen(header) {
            None => return,
            Some(Chosen::These(_)) => Counter::DkimTooLarge,
            Some(Chosen::NoKey) => Counter::DkimNoKey,
            Some(Chosen::NoAuthor) => Counter::DkimNoAuthor,
        };
        self.unsigned(transaction, why);
    }

    /// Keeps holding a message whose window is full, where it is to be signed and small enough. False: it streams. An error is
    /// the reply that the client gets: sent again, the message may find memory.
    pub async fn hold(
        &mut self,
        transaction: &mut Transaction,
        piece: &[u8],
    ) -> Result<bool, Reply> {
        let Body::Window(window) = &mut transaction.body else {
            return Ok(false);
        };
        let limits = &self.current.site.config.limits;
        let most = limits.signing_window.0;
        let most = most.min(self.context.memory.extended_max());
        let declared = self.server.envelope().params().size;
        let needed = (window.bytes().len() + piece.len()) as u64;
        if needed.max(declared) > most {
            return Ok(false);
        }
        if !window.is_extended() {
            let Some(end) = header::end(window.bytes()) else {
                return Ok(false);
            };
            let Some(Chosen::These(_)) = self.chosen(&window.bytes()[..end]) else {
                return Ok(false);
            };
            window.extend(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let due = now().after(MEMORY_WAIT);
        while !window.push(piece) {
            let moment = now();
            if moment >= due {
                let recorder = &self.context.recorder;
                recorder.count(Counter::BodyRefused, self.scope, 1);
                return Err(replies::NO_MEMORY.reply());
            }
            sleep_until(moment.after(MEMORY_LOOK).min(due)).await;
        }
        Ok(true)
    }

    /// The end of a message that was held: judges it, signs it, sends it on in pieces. Its client is known to us, so
    /// nothing was asked elsewhere of it.
    pub async fn commit_held(&mut self, transaction: &mut Transaction, payload: Vec<u8>) -> Answer {
        let payload = Arc::new(payload);
        let end = header::end(&payload).unwrap_or(payload.len());
        let (survey, fate) = match self.judge_message(&payload[..end], false) {
            Ok(judged) => judged,
            Err(answer) => return answer,
        };
        transaction.fate = fate;
        if fate == Fate::Discard {
            return self.discarded(transaction);
        }
        match self.send_held(transaction, &payload, end, &survey).await {
            Ok(answer) => answer,
            Err(reply) => Answer::Refuse(reply),
        }
    }

    async fn send_held(
        &mut self,
        transaction: &mut Transaction,
        payload: &Arc<Vec<u8>>,
        end: usize,
        survey: &Survey,
    ) -> Result<Answer, Reply> {
        let first = self.own_fields(transaction.id, survey.found);
        let leaving = Leaving {
            first: &first,
            header: &payload[..end],
            survey,
        };
        let source = Source::Long(payload, end);
        let signatures = self.sign_message(transaction, &leaving, source).await;
        let mut pieces: Vec<&[u8]> = vec![&signatures, &first];
        survey.without_forged(&payload[..end], &mut pieces);
        let body = &payload[end..];
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        let facts = *self.server.body_facts();
        let load = Load {
            size: (size + body.len()) as u64,
            eight_bit: facts.eight_bit,
            whole: true,
        };
        let mut way = self.open_stream(transaction, load, &pieces).await?;
        for piece in body.chunks(PIECE) {
            if way.take(piece, &facts) == Room::Full
                && let Err(outcome) = way.forward().await
            {
                way.abandon();
                self.note_outcome(&outcome, transaction);
                return Err(self.refusal(&outcome));
            }
        }
        let outcome = way.end(facts.eight_bit).await;
        Ok(self.settle(&outcome, transaction))
    }
}
