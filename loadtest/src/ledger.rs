//! The two records of a run, and their reconciliation: what the source was told of each message ([`Ledger`]), and what
//! the sink got of it ([`Tally`]).
//!
//! Recipients are counted, not copies: a proxy may carry one message to three recipients as one transaction or as
//! three. What was acknowledged must arrive for each accepted recipient, once. What was not acknowledged may arrive:
//! when a connection dies after the final dot, only the server knows (RFC 5321 §4.5.3.2.6, RFC 1047).

use crate::{result::Reconciliation, stamp::RunId};
use serde::{Deserialize, Serialize};

/// The most messages of one run: memory for both records is 4 octets each here, 6 in the sink.
pub const MESSAGES_MAX: u32 = 1 << 28;

/// What the source knows of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Never begun, or left before its end on purpose (an aborted session): it must not arrive.
    #[default]
    Unsent,
    /// The server said 250 after the end: it must arrive, once for each accepted recipient.
    Acknowledged,
    /// The server refused it, or all of its recipients: it should not arrive.
    Refused,
    /// The connection failed after the end and before the reply: it may have arrived.
    Uncertain,
}

/// A line of the [`Ledger`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What became of it.
    pub fate: Fate,
    /// How many recipients the server accepted at RCPT.
    pub recipients: u16,
}

/// What the source was told of each message; the index is the number in the stamp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The run.
    #[serde(with = "hex")]
    pub run: RunId,
    /// Its messages, equal neighbours folded.
    #[serde(with = "folded")]
    pub entries: Vec<Entry>,
}

/// A line of the [`Tally`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Recipients of all copies.
    pub recipients: u16,
    /// Copies: transactions that the sink acknowledged.
    pub copies: u8,
    /// Those of them whose checksum or length was wrong.
    pub damaged: u8,
}

/// What the sink got of each message of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The run.
    #[serde(with = "hex")]
    pub run: RunId,
    /// By number; shorter than the ledger where the last ones never came. Equal neighbours folded.
    #[serde(with = "folded")]
    pub arrivals: Vec<Arrival>,
}

/// Holds the two against each other.
#[must_use]
pub fn reconcile(ledger: &Ledger, tally: &Tally) -> Reconciliation {
    let mut found = Reconciliation::default();
    let count = ledger.entries.len().max(tally.arrivals.len());
    for number in 0..count {
        let entry = ledger.entries.get(number).copied().unwrap_or_default();
        let arrival = tally.arrivals.get(number).copied().unwrap_or_default();
        found.copies += u64::from(arrival.copies);
        found.damaged += u64::from(arrival.damaged);
        let arrived = arrival.copies > 0;
        found.arrived += u64::from(arrived);
        let twice = u64::from(arrival.recipients.saturating_sub(entry.recipients));
        match entry.fate {
            Fate::Acknowledged => {
                found.acknowledged += 1;
                let missing = entry.recipients.saturating_sub(arrival.recipients);
                if missing > 0 || !arrived {
                    found.lost += 1;
                    found.note_lost(number);
                }
                found.twice += u64::from(twice > 0);
            }
            Fate::Uncertain => {
                found.uncertain += 1;
                found.uncertain_arrived += u64::from(arrived);
                found.twice += u64::from(twice > 0);
            }
            Fate::Refused => {
                found.refused += 1;
                found.refused_arrived += u64::from(arrived);
            }
            Fate::Unsent => found.unsent_arrived += u64::from(arrived),
        }
    }
    found
}

/// A run's id as text.
mod hex {
    use crate::stamp::RunId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(run: &RunId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(run)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<RunId, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Runs of equal values as pairs of a value and how often it stands there: a good run is one pair.
mod folded {
    use super::MESSAGES_MAX;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer, T: Serialize + PartialEq>(
        values: &[T],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(
            values
                .chunk_by(|a, b| a == b)
                .map(|run| (&run[0], run.len())),
        )
    }

    pub fn deserialize<'a, D: Deserializer<'a>, T: Deserialize<'a> + Clone>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        let mut values = Vec::new();
        for (value, count) in Vec::<(T, usize)>::deserialize(from)? {
            if count > MESSAGES_MAX as usize - values.len() {
                return Err(D::Error::custom("more messages than a run can have"));
            }
            values.resize(values.len() + count, value);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(fate: Fate, recipients: u16) -> Entry {
        Entry { fate, recipients }
    }

    fn arrival(recipients: u16, copies: u8, damaged: u8) -> Arrival {
        Arrival {
            recipients,
            copies,
            damaged,
        }
    }

    #[test]
    fn each_difference_has_its_name() {
        let ledger = Ledger {
            run: RunId(7),
            entries: vec![
                entry(Fate::Acknowledged, 3), // as one transaction
                entry(Fate::Acknowledged, 3), // as three
                entry(Fate::Acknowledged, 2), // one recipient short
                entry(Fate::Acknowledged, 1), // twice
                entry(Fate::Uncertain, 1),    // arrived all the same
                entry(Fate::Uncertain, 1),
                entry(Fate::Refused, 1), // arrived all the same
                entry(Fate::Unsent, 0),
                entry(Fate::Acknowledged, 1), // damaged
                entry(Fate::Acknowledged, 1), // never came
            ],
        };
        let tally = Tally {
            run: RunId(7),
            arrivals: vec![
                arrival(3, 1, 0),
                arrival(3, 3, 0),
                arrival(1, 1, 0),
                arrival(2, 2, 0),
                arrival(1, 1, 0),
                arrival(0, 0, 0),
                arrival(1, 1, 0),
                arrival(0, 0, 0),
                arrival(1, 1, 1),
            ],
        };
        let found = reconcile(&ledger, &tally);
        assert_eq!((found.acknowledged, found.arrived), (6, 7));
        assert_eq!((found.lost, found.twice, found.damaged), (2, 1, 1));
        assert_eq!(found.lost_numbers, [2, 9]);
        assert_eq!((found.uncertain, found.uncertain_arrived), (2, 1));
        assert_eq!((found.refused, found.refused_arrived), (1, 1));
        assert!(!found.is_whole());
    }

    #[test]
    fn a_good_run_is_one_line_of_text_and_comes_back() {
        let ledger = Ledger {
            run: RunId(0xabc),
            entries: vec![entry(Fate::Acknowledged, 1); 100_000],
        };
        let text = serde_json::to_string(&ledger).unwrap();
        assert!(text.len() < 200, "{text}");
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        let bomb = text.replace("100000", "99999999999");
        assert!(serde_json::from_str::<Ledger>(&bomb).is_err());
    }
}
