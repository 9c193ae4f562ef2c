//! What is known of a recipient is kept under this.

use super::ids::PoolId;
use crate::smtp::{domain, envelope::Path};

/// Octets of a key: the number of the pool, one path or two (RFC 5321 §4.5.3.1.3: 256 each), a client and a size.
const KEY_MAX: usize = 4 + PATH_MAX + 1 + PATH_MAX + 1 + 16 + 1 + 8;
/// RFC 5321 §4.5.3.1.3.
const PATH_MAX: usize = 256;

/// Pool and address: the domain in lower case and in A-labels, the local part as it came (RFC 5321 §2.4).
#[derive(Clone, Copy)]
pub struct RecipientKey {
    bytes: [u8; KEY_MAX],
    len: usize,
}

impl RecipientKey {
    /// `None` for an address that is longer than any can be.
    #[must_use]
    pub fn new(pool: PoolId, recipient: Path<'_>) -> Option<RecipientKey> {
        if recipient.whole.len() > PATH_MAX {
            return None;
        }
        let mut key = RecipientKey {
            bytes: [0; KEY_MAX],
            len: 4 + recipient.whole.len(),
        };
        key.bytes[..4].copy_from_slice(&pool.0.to_ne_bytes());
        let path = key.bytes.get_mut(4..key.len)?;
        path.copy_from_slice(recipient.whole);
        let local = path.len() - recipient.domain.len();
        path[local..].make_ascii_lowercase();
        // `<Postmaster>` in any case is one mailbox (§4.5.1).
        if recipient.domain.is_empty() {
            path.make_ascii_lowercase();
        }
        if !recipient.domain.is_ascii() {
            let form = domain::to_ascii(recipient.domain)?;
            let from = 4 + local;
            key.len = from + form.len();
            key.bytes.get_mut(from..key.len)?.copy_from_slice(&form);
        }
        Some(key)
    }

    /// The same for a recipient together with a sender.
    #[must_use]
    pub fn pair(pool: PoolId, sender: &[u8], recipient: Path<'_>) -> Option<RecipientKey> {
        let mut key = RecipientKey::new(pool, recipient)?;
        key.append(sender)?;
        Some(key)
    }

    /// The same for a recipient of a message that is known again by its sender, the key of its client (0: any client), and its size.
    #[must_use]
    pub fn again(
        pool: PoolId,
        (sender, client, size): (&[u8], u128, u64),
        recipient: Path<'_>,
    ) -> Option<RecipientKey> {
        let mut key = RecipientKey::pair(pool, sender, recipient)?;
        key.append(&client.to_ne_bytes())?;
        key.append(&size.to_ne_bytes())?;
        Some(key)
    }

    /// Appends octets after a zero, which no path holds.
    fn append(&mut self, octets: &[u8]) -> Option<()> {
        let from = self.len + 1;
        let place = self.bytes.get_mut(from..from + octets.len())?;
        place.copy_from_slice(octets);
        self.len = from + octets.len();
        Some(())
    }

    /// What is compared and hashed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
