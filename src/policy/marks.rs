//! What checks ask for beside a refusal: a message that is tagged, goes to quarantine or is discarded, a session whose replies
//! are slow. Marks are kept by the point at which they were made, as scores are, and taken back with them.

use super::{At, What, hit::CheckId};

/// Tags of one message; further ones are only in the hits.
pub const TAGS_MAX: usize = 32;

/// A word for messages: see [`super::Policy::tag`]. Numbers change with a reload, words don't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagId(pub u16);

/// What is to become of a message that nothing refuses, and the rule that was the first to ask for it.
#[derive(Clone, Copy, Debug, Default)]
struct Deeds {
    greylist: Option<CheckId>,
    quarantine: Option<CheckId>,
    discard: Option<CheckId>,
}

impl Deeds {
    const NONE: Deeds = Deeds {
        greylist: None,
        quarantine: None,
        discard: None,
    };

    fn of(&self, what: What) -> Option<CheckId> {
        match what {
            What::Greylist => self.greylist,
            What::Quarantine => self.quarantine,
            What::Discard => self.discard,
            _ => None,
        }
    }

    fn add(&mut self, what: What, by: CheckId) {
        let deed = match what {
            What::Greylist => &mut self.greylist,
            What::Quarantine => &mut self.quarantine,
            What::Discard => &mut self.discard,
            _ => return,
        };
        deed.get_or_insert(by);
    }
}

/// A tag, and where it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tagged {
    pub tag: TagId,
    at: At,
    stranger: bool,
}

/// The marks of a session and its present message, made with the first of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// By every client, and by strangers alone.
    deeds: [[Deeds; At::COUNT]; 2],
    /// What the recipients before the present one have asked for.
    before: [Deeds; 2],
    tags: Vec<Tagged>,
    tags_before: usize,
    /// Replies are slow, whoever the client is; or as long as it is a stranger.
    slow: [bool; 2],
}

impl Marks {
    /// Forgets what an earlier question of this kind, and all that came after it, had made.
    pub fn begin(&mut self, at: At) {
        self.tags_before = self.tags.len();
        match at {
            At::Connect => *self = Marks::default(),
            At::Rcpt => {
                self.before = self.of_recipient();
                self.set_of_recipient([Deeds::NONE; 2]);
            }
            At::Answers => {
                self.tags.retain(|tagged| tagged.at != at);
                for deeds in &mut self.deeds {
                    deeds[at as usize] = Deeds::NONE;
                }
            }
            _ => {
                self.tags.retain(|tagged| tagged.at < at);
                for deeds in &mut self.deeds {
                    deeds[at as usize..].fill(Deeds::NONE);
                }
            }
        }
    }

    /// This rule has matched, and does this.
    pub fn make(&mut self, at: At, stranger: bool, what: What, by: CheckId, tag: Option<TagId>) {
        self.deeds[usize::from(stranger)][at as usize].add(what, by);
        self.slow[usize::from(stranger)] |= what == What::Tarpit;
        let Some(tag) = tag else { return };
        let is_new = self.tags.iter().all(|tagged| tagged.tag != tag);
        if is_new && self.tags.len() < TAGS_MAX {
            self.tags.push(Tagged { tag, at, stranger });
        }
    }

    /// The client is known by now: takes back what only strangers answer for.
    pub fn acquit(&mut self) {
        self.deeds[1] = Default::default();
        self.before[1] = Deeds::NONE;
        self.slow[1] = false;
        self.tags.retain(|tagged| !tagged.stranger);
    }

    /// The present recipient is refused: it does not count.
    pub fn take_back_recipient(&mut self) {
        self.set_of_recipient(self.before);
        self.tags.truncate(self.tags_before);
    }

    /// Whether the present recipient asks for another treatment than those before it. One message can't have both.
    pub fn recipient_differs(&self) -> bool {
        // Whether it has to come again is each recipient's own.
        let lasting = |deeds: [Deeds; 2]| {
            deeds.map(|deeds| (deeds.quarantine.is_some(), deeds.discard.is_some()))
        };
        lasting(self.of_recipient()) != lasting(self.before)
    }

    fn of_recipient(&self) -> [Deeds; 2] {
        self.deeds.each_ref().map(|deeds| deeds[At::Rcpt as usize])
    }

    fn set_of_recipient(&mut self, to: [Deeds; 2]) {
        for (deeds, to) in self.deeds.iter_mut().zip(to) {
            deeds[At::Rcpt as usize] = to;
        }
    }

    /// The rule that has asked for this, at the earliest point at which one has.
    pub fn asked_by(&self, what: What) -> Option<CheckId> {
        let [by_all, by_strangers] = &self.deeds;
        let mut points = by_all.iter().zip(by_strangers);
        points.find_map(|(all, strangers)| all.of(what).or(strangers.of(what)))
    }

    /// The tags, in the order in which they were made.
    pub fn tagged(&self) -> &[Tagged] {
        &self.tags
    }

    /// Whether replies are slow.
    pub fn is_slow(&self) -> bool {
        self.slow[0] || self.slow[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: CheckId = CheckId(0);

    fn has(marks: &Marks, what: What) -> bool {
        marks.asked_by(what).is_some()
    }

    #[test]
    fn marks_are_taken_back_as_scores_are() {
        let mut marks = Marks::default();
        for (at, stranger, what) in [
            (At::Connect, true, What::Quarantine),
            (At::Mail, false, What::Discard),
        ] {
            marks.begin(at);
            marks.make(at, stranger, what, RULE, Some(TagId(at as u16)));
        }
        assert!(has(&marks, What::Quarantine) && has(&marks, What::Discard));
        marks.begin(At::Mail);
        assert!(has(&marks, What::Quarantine) && !has(&marks, What::Discard));
        assert_eq!(marks.tagged().len(), 1, "the next message");
        marks.acquit();
        assert!(!has(&marks, What::Quarantine));
        assert_eq!(marks.tagged().len(), 0);
    }

    #[test]
    fn a_recipient_that_is_treated_otherwise_is_told_apart() {
        let mut marks = Marks::default();
        marks.begin(At::Rcpt);
        assert!(!marks.recipient_differs());
        marks.begin(At::Rcpt);
        marks.make(At::Rcpt, false, What::Discard, RULE, Some(TagId(0)));
        assert!(marks.recipient_differs());
        marks.take_back_recipient();
        assert!(!has(&marks, What::Discard) && marks.tagged().is_empty());
        marks.begin(At::Rcpt);
        marks.make(At::Rcpt, false, What::Discard, RULE, None);
        marks.begin(At::Rcpt);
        assert!(marks.recipient_differs(), "it is not to be discarded");
        marks.make(At::Rcpt, false, What::Discard, RULE, None);
        assert!(!marks.recipient_differs());
    }

    #[test]
    fn the_rule_that_asked_is_taken_back_with_its_mark() {
        let mut marks = Marks::default();
        let mut recipient = |by: Option<u16>, refused: bool| {
            marks.begin(At::Rcpt);
            if let Some(by) = by {
                marks.make(At::Rcpt, false, What::Discard, CheckId(by), None);
            }
            if refused {
                marks.take_back_recipient();
            }
            marks.asked_by(What::Discard)
        };
        assert_eq!(recipient(Some(1), true), None);
        assert_eq!(recipient(Some(2), false), Some(CheckId(2)));
        assert_eq!(recipient(Some(3), true), Some(CheckId(2)));
        assert_eq!(recipient(None, true), Some(CheckId(2)));
        marks.make(At::Answers, true, What::Discard, CheckId(4), None);
        marks.make(At::Answers, true, What::Discard, CheckId(5), None);
        assert_eq!(marks.asked_by(What::Discard), Some(CheckId(4)));
        marks.begin(At::Answers);
        assert_eq!(marks.asked_by(What::Discard), Some(CheckId(2)));
    }

    #[test]
    fn tags_are_bounded_and_each_once() {
        let mut marks = Marks::default();
        for tag in 0..100 {
            marks.make(At::Body, false, What::Tag, RULE, Some(TagId(tag / 2)));
        }
        assert_eq!(marks.tagged().len(), TAGS_MAX);
    }
}
