//! How much a session may receive before the others have a turn.
//!
//! Where the input of a stream is always ready, nothing else would end the poll of its task: a peer that sends faster than
//! its session works would have the worker for itself. So each stream has a budget, which is full again whenever its
//! session waits for input of this stream. An ordinary session waits after each few reads and never meets it; it costs an
//! addition a read. One that relays a large message may meet it though it has waited for the backend, and has one turn more.
// INV-TURN

/// Octets that may be received without a wait. A session that handles the shortest commands takes some 4 ms for them.
pub(super) const OCTETS: usize = 128 * 1024;

/// A read counts as so many octets at least: a short one costs a turn of the session as well.
pub(super) const READ_MIN: usize = 8 * 1024;

/// A record of TLS without plaintext counts as so many octets beside its own: it takes the 4 µs that new keys take.
pub(super) const EMPTY: usize = 128;

/// What was received since the session waited last.
#[derive(Default)]
pub(super) struct Budget {
    spent: u32,
}

impl Budget {
    /// Counts a read of so many octets.
    pub(super) fn charge(&mut self, octets: usize) {
        self.add(octets.clamp(READ_MIN, OCTETS));
    }

    /// Counts so many records without plaintext.
    pub(super) fn charge_empty(&mut self, records: usize) {
        self.add(records.saturating_mul(EMPTY).min(OCTETS));
    }

    /// At most `OCTETS`, which fits.
    fn add(&mut self, octets: usize) {
        self.spent = self.spent.saturating_add(octets as u32);
    }

    /// Do the others come first now?
    pub(super) fn is_spent(&self) -> bool {
        self.spent >= OCTETS as u32
    }

    /// The session waits for input: the others have their turn.
    pub(super) fn renew(&mut self) {
        self.spent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads of so many octets until the budget is spent.
    fn reads(octets: usize) -> usize {
        let mut budget = Budget::default();
        let mut count = 0;
        while !budget.is_spent() {
            budget.charge(octets);
            count += 1;
        }
        budget.renew();
        assert!(!budget.is_spent());
        count
    }

    #[test]
    fn records_without_plaintext_count_beside_their_octets() {
        let mut budget = Budget::default();
        budget.charge_empty(OCTETS / EMPTY - 1);
        assert!(!budget.is_spent());
        budget.charge_empty(1);
        assert!(budget.is_spent());
        budget.charge_empty(usize::MAX);
        budget.renew();
        assert!(!budget.is_spent());
    }

    #[test]
    fn octets_and_reads_both_have_an_end() {
        assert_eq!(reads(32 * 1024), 4);
        assert_eq!(reads(READ_MIN), 16);
        assert_eq!(reads(1), 16);
        assert_eq!(reads(usize::MAX), 1);
    }
}
