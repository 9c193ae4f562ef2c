//! What a delivery found out about recipients that had been accepted, remembered for the next try of the same sender.

use super::{
    ids::PoolId,
    origin::keeps_apart,
    pools::{Local, Pools},
    reply::BackendReply,
    verify::is_about_mailbox,
    verify_cache::{Known, RecipientKey},
};
use crate::{
    net::now,
    smtp::{Status, envelope::Path},
};
use std::net::IpAddr;

impl Pools {
    /// A refusal of this recipient from this sender, found out by a delivery of late: of this client's, where the
    /// backends are told who that is. A refusal for now is told once and forgotten: at the next try a backend is asked
    /// again.
    #[must_use]
    pub fn refused_lately(
        &self,
        pool: PoolId,
        client: IpAddr,
        sender: &[u8],
        recipient: Path<'_>,
    ) -> Option<BackendReply> {
        let backends = self.backends();
        let verified = backends.verified();
        if !verified.has_pairs() {
            return None;
        }
        let local = self.local(pool)?;
        let key = RecipientKey::pair(pool, sender, recipient, known_client(&local, client))?;
        match verified.look(&key, now())? {
            Known::Bad(said) => {
                if said.head.is_transient() {
                    verified.forget(&key);
                }
                Some(said)
            }
            Known::Good | Known::BySender => None,
        }
    }

    /// Remembers that a delivery found this recipient refused, though it had been accepted.
    ///
    /// Where the code is about the mailbox ([`is_about_mailbox`]) that holds for every sender; any other makes us ask
    /// anew. Where others of the message were taken (`partly`), the sender comes again with all of them, and is to meet
    /// the refusal at RCPT, so that the others get the message. So it is remembered for the two together, for as long as
    /// a good answer; the sender may have been the reason. Where the backends take a connection for the client's, the
    /// client may have been: what one unwanted client hears under a stolen name must not shut out the owner of the name.
    ///
    /// That a message has too many recipients (452 4.5.3, or 552 5.5.3) says nothing about any of them.
    pub fn note_refused(
        &self,
        pool: PoolId,
        client: IpAddr,
        sender: &[u8],
        recipient: Path<'_>,
        said: &BackendReply,
        partly: bool,
    ) {
        let (Some(local), Some(key)) = (self.local(pool), RecipientKey::new(pool, recipient))
        else {
            return;
        };
        let mut said = said.clone();
        if matches!(said.head.status, Status(4 | 5, 5, 3)) {
            if local.pool.recipients_max(now()) > 0 {
                return;
            }
            // Where no limit was learned of it, only the refusal itself can tell the sender to split the message. Once,
            // whatever its code (RFC 5321 §4.5.3.1.10).
            (said.head.code, said.head.status) = (452, Status(4, 5, 3));
        }
        let (waits, backends) = (&local.pool.waits, self.backends());
        let verified = backends.verified();
        if is_about_mailbox(said.head.status) {
            let until = now().after(waits.verify_bad);
            verified.learn(&key, Known::Bad(said.clone()), until);
        } else {
            verified.forget(&key);
        }
        let client = known_client(&local, client);
        if partly && let Some(pair) = RecipientKey::pair(pool, sender, recipient, client) {
            let until = now().after(waits.verify_good);
            verified.learn_pair(&pair, Known::Bad(said), until);
        }
    }
}

/// The client, where a pool's backends judge by it.
fn known_client(local: &Local, client: IpAddr) -> Option<IpAddr> {
    keeps_apart(local.pool.identity).then_some(client)
}
