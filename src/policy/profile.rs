//! The checks that hold together: how they are looked at, and how the score is weighed in the end.

use super::{
    At, Facts, HitKind, Inquiry, Judgement, Part, Shared, Verdict, What,
    checks::{Check, Whom},
    inquiry::Wants,
    rule::{Rule, Say},
};
use std::sync::Arc;

/// A check at one point.
pub(super) struct Looked {
    /// Which of [`Policy::kinds`].
    pub kind: usize,
    pub whom: Whom,
    pub finds: HitKind,
    pub check: Arc<dyn Check>,
    /// It is looked at once the answers from elsewhere are there.
    pub after_answers: bool,
}

/// The checks that hold for some of the listeners, clients and recipients.
pub(super) struct Profile {
    /// What is asked about a stranger.
    pub wants: Arc<Wants>,
    /// And about one that a client list has accepted.
    pub of_welcome: Arc<Wants>,
    pub stages: [Vec<Looked>; At::COUNT],
    /// The points, a bit for each, where nothing looks at a message that breaks none of the proxy's own rules.
    pub idle: u16,
    pub reject: Option<(f64, Rule)>,
    pub quarantine: Option<(f64, Rule)>,
    pub defer: Option<(f64, Rule)>,
    pub tag: Option<(f64, Rule)>,
    /// The least of these thresholds.
    pub least: f64,
    /// The name of the field that tells of tags.
    pub tag_field: Arc<str>,
}

impl Profile {
    pub fn wants_for(&self, welcome: bool) -> &Arc<Wants> {
        match welcome {
            true => &self.of_welcome,
            false => &self.wants,
        }
    }

    pub fn wants_of(&self, inquiry: &Inquiry) -> &Wants {
        self.wants_for(inquiry.is_of_welcome())
    }

    /// The verdict on a header section or a whole message that breaks none of the proxy's own rules, where no check looks at
    /// it and its score is below all thresholds; `None` where it must be asked for.
    pub fn look_at_nothing(
        &self,
        at: At,
        streams: bool,
        judgement: &mut Judgement,
    ) -> Option<Verdict> {
        if self.idle >> at as u16 & 1 == 0 {
            return None;
        }
        judgement.begin(at);
        let below = !weighs(at, streams) || judgement.score() < self.least;
        below.then(|| judgement.fate())
    }

    pub fn look(
        &self,
        part: Part,
        at: At,
        facts: &Facts<'_>,
        shared: &Shared,
        judgement: &mut Judgement,
    ) -> Verdict {
        let weighs = weighs(at, facts.streams);
        if self.stages[at as usize].is_empty() && !weighs {
            return Verdict::Accept;
        }
        let known = facts.is_known();
        let mut waiting = None;
        let mut say = Say::new(at, facts.now, facts.clock, judgement);
        // The end of one look is the start of the next: one reading of the clock for each.
        let mut since = facts.looked.map_or(facts.now, |_| (facts.clock)());
        for Looked {
            kind,
            whom,
            finds,
            check,
            after_answers,
        } in &self.stages[at as usize]
        {
            let skip = match whom {
                Whom::Strangers => known || say.is_welcome(),
                Whom::Unknown => known,
                Whom::Everybody => false,
            };
            if skip || !part.has(*after_answers) {
                continue;
            }
            say.finds(*finds);
            say.of_strangers(*whom != Whom::Everybody);
            check.look(at, facts, shared, &mut say);
            if let Some(looked) = facts.looked {
                let moment = (facts.clock)();
                looked(*kind, moment.micros_since(since));
                since = moment;
            }
            if !say.has_refusal() {
                continue;
            }
            match say.take_refusal() {
                None => {}
                Some(refusal @ (Verdict::Reject(_) | Verdict::Defer(_)))
                    if at <= At::Greeting && facts.may_log_in && *whom == Whom::Strangers =>
                {
                    waiting.get_or_insert((refusal, say.refused_by()));
                }
                Some(verdict) => {
                    if at == At::Rcpt {
                        judgement.take_back_recipient();
                    }
                    return verdict;
                }
            }
        }
        let verdict = match weighs {
            true => self.weigh(at, &mut say),
            false => Verdict::Accept,
        };
        if let Some((refusal, by)) = waiting {
            judgement.set_waiting(refusal, by);
        }
        verdict
    }

    /// The message's score against the thresholds, the severest first. Before the end only those count whose effect must be
    /// known before a message streams.
    fn weigh(&self, at: At, say: &mut Say<'_>) -> Verdict {
        let score = say.score();
        if score < self.least {
            return Verdict::Accept;
        }
        say.of_strangers(false);
        say.finds(HitKind::Finding);
        let reached = |threshold: &Option<(f64, Rule)>| {
            let (least, rule) = threshold.as_ref()?;
            (score >= *least).then(|| rule.clone())
        };
        if let Some(rule) = reached(&self.reject).filter(|_| at == At::Body) {
            let _ = say.hit(&rule, "score");
            return say.take_refusal().unwrap_or(Verdict::Accept);
        }
        if let Some(rule) = reached(&self.tag)
            && !say.has(&rule)
        {
            let _ = say.hit(&rule, "score");
        }
        // A rule may have chosen already.
        if say.has_asked(What::Discard) || say.has_asked(What::Quarantine) {
            return Verdict::Accept;
        }
        let next = [&self.quarantine, &self.defer];
        let next = next.into_iter().take(1 + usize::from(at == At::Body));
        if let Some(rule) = next.filter_map(reached).next() {
            let _ = say.hit(&rule, "score");
        }
        say.take_refusal().unwrap_or(Verdict::Accept)
    }
}

/// Whether the score is weighed at this point.
fn weighs(at: At, streams: bool) -> bool {
    at == At::Body || (at == At::Header && streams)
}
