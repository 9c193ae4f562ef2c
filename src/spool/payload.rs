//! What records say of a message that was accepted (`message`): the state that it is in, and its end.
//!
//! A state is written whole each time. The newest one of a message holds, and older ones may be lost with their
//! segments: nothing needs to be replayed. The kind of the record says which event led to it.

use super::{
    fields::{self, Fields, Malformed, Writer},
    message::{RECIPIENTS_MAX, VERSION},
};

/// How many of its last attempts a state tells of.
pub const ATTEMPTS_MAX: usize = 8;

/// Whether a message waits for its next attempt or for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// It is sent when it is due.
    #[default]
    Waiting,
    /// It is not sent before it is released.
    Held,
}

/// What became of one recipient so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fate {
    /// Its place in [`Accept::recipients`], from 0.
    pub recipient: u32,
    /// 1 delivered, 2 failed for good, 3 failed and its sender told, 0 waiting. An unknown number counts as waiting.
    pub ending: u8,
    /// The remote's last words, as they came.
    pub reply: Vec<u8>,
}

/// One attempt at delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempt {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The backend or host that was tried.
    pub backend: String,
    /// Its words, or ours where it said nothing.
    pub reply: Vec<u8>,
}

/// The state of a message, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Whether it waits or is held.
    pub status: Status,
    /// When it is due: milliseconds since 1970.
    pub due_ms: u64,
    /// How many attempts there were.
    pub attempts: u32,
    /// Where it goes, if that was changed by an operator.
    pub route: String,
    /// Why it waits or is held, for people.
    pub reason: String,
    /// Recipients that something became of; the others wait.
    pub fates: Vec<Fate>,
    /// The last attempts, [`ATTEMPTS_MAX`] at most; the oldest go.
    pub history: Vec<Attempt>,
    /// Its sender was told that it is late (RFC 3461 section 4.1, DELAY).
    pub delay_told: bool,
}

impl State {
    /// The fields that the index keeps.
    pub(super) fn encode_summary(&self, to: &mut Writer<'_>) {
        to.number(1, (self.status == Status::Held).into());
        to.number(2, self.due_ms);
        to.number(3, self.attempts.into());
    }

    /// Appends it as a payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out, VERSION);
        self.encode_summary(&mut to);
        to.octets(4, self.route.as_bytes());
        to.octets(5, self.reason.as_bytes());
        for fate in &self.fates {
            to.nested(6, |to| {
                to.number(1, fate.recipient.into());
                to.number(2, fate.ending.into());
                to.octets(3, &fate.reply);
            });
        }
        let from = self.history.len().saturating_sub(ATTEMPTS_MAX);
        for attempt in &self.history[from..] {
            to.nested(7, |to| {
                to.number(1, attempt.at_ms);
                to.octets(2, attempt.backend.as_bytes());
                to.octets(3, &attempt.reply);
            });
        }
        to.number(8, self.delay_told.into());
    }

    /// Reads one.
    ///
    /// # Errors
    /// The payload is broken, or needs a newer program.
    pub fn decode(payload: &[u8]) -> Result<State, Malformed> {
        let mut found = State::default();
        for field in Fields::new(payload, VERSION)? {
            let (tag, value) = field?;
            match tag {
                1 if fields::number(value)? != 0 => found.status = Status::Held,
                1 => {}
                2 => found.due_ms = fields::number(value)?,
                3 => found.attempts = fields::small(value)?,
                4 => found.route = fields::text(value)?,
                5 => found.reason = fields::text(value)?,
                6 if found.fates.len() == RECIPIENTS_MAX => return Err(Malformed::Broken),
                6 => found.fates.push(fate(value)?),
                7 if found.history.len() == ATTEMPTS_MAX => return Err(Malformed::Broken),
                7 => found.history.push(attempt(value)?),
                8 => found.delay_told = fields::number(value)? != 0,
                other => fields::skip(other)?,
            }
        }
        Ok(found)
    }
}

fn fate(value: &[u8]) -> Result<Fate, Malformed> {
    let mut found = Fate::default();
    for field in Fields::nested(value) {
        let (tag, value) = field?;
        match tag {
            1 => found.recipient = fields::small(value)?,
            2 => found.ending = fields::small(value)?,
            3 => found.reply = value.to_vec(),
            other => fields::skip(other)?,
        }
    }
    Ok(found)
}

fn attempt(value: &[u8]) -> Result<Attempt, Malformed> {
    let mut found = Attempt::default();
    for field in Fields::nested(value) {
        let (tag, value) = field?;
        match tag {
            1 => found.at_ms = fields::number(value)?,
            2 => found.backend = fields::text(value)?,
            3 => found.reply = value.to_vec(),
            other => fields::skip(other)?,
        }
    }
    Ok(found)
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// Every recipient has it.
    #[default]
    Delivered,
    /// Its sender was told, or was not to be told, of those that don't have it.
    Bounced,
    /// An operator dropped it.
    Dropped,
    /// Another spool has it now.
    Moved,
}

/// The end of a message. It counts for as long as a segment may hold the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// How it ended.
    pub ending: Ending,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The first and the last epoch whose segment may hold the message.
    pub epochs: (u64, u64),
}

impl Done {
    /// Appends it as a payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out, VERSION);
        to.number(1, self.ending as u64);
        to.number(2, self.at_ms);
        to.number(3, self.epochs.0);
        to.number(4, self.epochs.1);
    }

    /// Reads one.
    ///
    /// # Errors
    /// The payload is broken, or needs a newer program.
    pub fn decode(payload: &[u8]) -> Result<Done, Malformed> {
        let mut found = Done::default();
        for field in Fields::new(payload, VERSION)? {
            let (tag, value) = field?;
            match tag {
                1 => {
                    found.ending = match fields::number(value)? {
                        1 => Ending::Bounced,
                        2 => Ending::Dropped,
                        3 => Ending::Moved,
                        // Any end is an end, whatever a newer program calls it.
                        _ => Ending::Delivered,
                    }
                }
                2 => found.at_ms = fields::number(value)?,
                3 => found.epochs.0 = fields::number(value)?,
                4 => found.epochs.1 = fields::number(value)?,
                other => fields::skip(other)?,
            }
        }
        Ok(found)
    }
}

/// Where all other segments end: what the first record of a segment says. An end is final once a later segment exists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ends(pub Vec<(u64, u32)>);

/// How many segments a spool may have, so that [`Ends`] keeps within the limit of a meta.
pub const SEGMENTS_MAX: usize = 65_536;

impl Ends {
    /// Appends it as a payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let pairs = self.0.iter();
        let octets: Vec<u8> = pairs
            .flat_map(|(epoch, end)| epoch.to_le_bytes().into_iter().chain(end.to_le_bytes()))
            .collect();
        Writer::new(out, VERSION).octets(1, &octets);
    }

    /// Reads one.
    ///
    /// # Errors
    /// The payload is broken, or needs a newer program.
    pub fn decode(payload: &[u8]) -> Result<Ends, Malformed> {
        let mut found = Ends::default();
        for field in Fields::new(payload, VERSION)? {
            match field? {
                (1, value) => {
                    let (pairs, rest) = value.as_chunks::<12>();
                    if !rest.is_empty() {
                        return Err(Malformed::Broken);
                    }
                    found.0 = pairs
                        .iter()
                        .map(|[a, b, c, d, e, f, g, h, i, j, k, l]| {
                            let epoch = u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                            (epoch, u32::from_le_bytes([*i, *j, *k, *l]))
                        })
                        .collect();
                }
                (other, _) => fields::skip(other)?,
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_back_as_they_went() {
        let state = State {
            status: Status::Held,
            attempts: 70_000,
            fates: vec![Fate {
                recipient: 1,
                ending: 2,
                reply: b"550 5.1.1 no".to_vec(),
            }],
            history: vec![Attempt::default(); ATTEMPTS_MAX],
            delay_told: true,
            ..State::default()
        };
        let mut out = Vec::new();
        state.encode(&mut out);
        assert_eq!(State::decode(&out), Ok(state));
        let done = Done {
            ending: Ending::Moved,
            at_ms: 5,
            epochs: (3, 900),
        };
        out.clear();
        done.encode(&mut out);
        assert_eq!(Done::decode(&out), Ok(done));
        let ends = Ends(vec![(1, 2), (1 << 40, u32::MAX)]);
        let mut table = Vec::new();
        ends.encode(&mut table);
        assert_eq!(Ends::decode(&table), Ok(ends));
        // Whatever is cut or changed, nothing panics.
        for at in 0..out.len() {
            let mut changed = out.clone();
            changed[at] ^= 0xff;
            let _ = (Done::decode(&changed), Done::decode(&out[..at]));
        }
    }
}
