//! Which backends of a pool may be used for one lease (by their health, by what they can take, and without those that
//! were tried already), and which of them is next. Arithmetic: no wait, no allocation but for a lease that waits.

use super::{
    balance::{self, Candidate},
    health::SHARE_MIN,
    ids::BackendId,
    pool::Pool,
    pooling::backend::Backend,
    silence::{SILENT_AFTER, SILENT_AFTER_IN_ORDER, Trial},
};
use crate::{
    config::Balance,
    smtp::{Capabilities, Extensions, Tick, domain::address_to_ascii},
};
use std::{sync::Arc, time::Duration};

/// Backends of one pool that can be taken back in while they are ejected; one that stands behind these in the file stays
/// out until it is well.
const READMITTED_MAX: usize = u64::BITS as usize;

/// What a backend must be able to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Octets of the message; 0 where that is not known.
    pub size: u64,
    /// Extensions that it can't do without.
    pub extensions: Extensions,
    /// It gets no message: it is asked about a recipient.
    pub question: bool,
}

impl Needs {
    /// Whether a server that offers this can take it.
    #[must_use]
    pub fn are_met_by(&self, offered: &Capabilities) -> bool {
        let fits = offered.size_max == 0 || self.size <= offered.size_max;
        fits && offered.extensions.has(self.extensions)
    }
}

/// What [`Pool::choose`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one, by its place in the list: a connection to it can be had.
    This(usize),
    /// Those that may be used have none to spare.
    Wait,
    /// There is none that may be used.
    None,
}

/// Which backends may be used for one lease.
pub struct Eligible<'a> {
    pool: &'a Pool,
    avoid: &'a [BackendId],
    needs: Needs,
    /// By their places: ejected ones that are used all the same.
    readmitted: u64,
    /// There are others that are well.
    well: bool,
    now: Tick,
    /// One of those that are well is not silent: those that are get one message at a time.
    vocal: bool,
    /// When a backend is silent over questions.
    unanswered_after: Duration,
}

impl Eligible<'_> {
    /// Whether the backend at this place may be used.
    #[must_use]
    pub fn has(&self, i: usize) -> bool {
        let backend = &self.pool.backends[i];
        self.may(i)
            && (!backend.health.is_ejected() || self.is_readmitted(i))
            && !(self.vocal && self.is_closed(backend))
    }

    /// Whether it is silent and its trial is under way. A question is no trial for messages.
    fn is_closed(&self, backend: &Backend) -> bool {
        let (now, patience) = (self.now, self.pool.silent_after());
        match self.needs.question {
            false => backend.silence.is_closed(now, patience),
            true => {
                backend.silence.is_silent(now, patience)
                    || (backend.answers.silence).is_closed(now, self.unanswered_after)
            }
        }
    }

    /// Whether it is silent over messages, or over questions where it is to be asked one.
    fn is_silent(&self, backend: &Backend) -> bool {
        let answers = &backend.answers.silence;
        backend
            .silence
            .is_silent(self.now, self.pool.silent_after())
            || self.needs.question && answers.is_silent(self.now, self.unanswered_after)
    }

    /// Whether the backend at this place may be used for nothing but its trial.
    fn is_on_trial(&self, i: usize) -> bool {
        self.vocal && self.is_silent(&self.pool.backends[i])
    }

    /// Whether a message may use the backend at this place: it is not silent, or the message is its trial from now on.
    pub fn admits(&self, i: usize, trial: &mut Option<Trial>) -> bool {
        if !self.is_on_trial(i) {
            return true;
        }
        let backend = &self.pool.backends[i];
        *trial = match self.needs.question {
            true if self.is_closed(backend) => None,
            true => backend.answers.silence.try_it(self.now),
            false => backend.silence.try_it(self.now),
        };
        trial.is_some()
    }

    /// Whether the backend at this place is one of the ejected that are used all the same while others are well: it gets
    /// little.
    #[must_use]
    pub fn is_second_choice(&self, i: usize) -> bool {
        self.well && self.is_readmitted(i) && self.pool.backends[i].health.is_ejected()
    }

    fn is_readmitted(&self, i: usize) -> bool {
        i < READMITTED_MAX && self.readmitted >> i & 1 == 1
    }

    /// Whether it was not tried yet and can take the message, as far as is known.
    fn may(&self, i: usize) -> bool {
        let backend = &self.pool.backends[i];
        !self.avoid.contains(&backend.id) && self.pool.fits(backend, self.needs)
    }

    /// All that may be used.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Backend>> {
        let places = (0..self.pool.backends.len()).filter(|i| self.has(*i));
        places.map(|i| Arc::clone(&self.pool.backends[i])).collect()
    }

    /// Readmits the least bad ejected one of those that may be used and are not yet.
    fn readmit(&mut self, unless_avoided: bool) -> bool {
        let backends = self.pool.backends.iter().enumerate().take(READMITTED_MAX);
        let left_out = backends.filter(|(i, backend)| {
            backend.health.is_ejected()
                && !self.is_readmitted(*i)
                && (!unless_avoided || self.may(*i))
        });
        let least_bad = left_out.min_by_key(|(_, backend)| backend.health.badness());
        let Some((i, _)) = least_bad else {
            return false;
        };
        self.readmitted |= 1 << i;
        true
    }
}

impl Pool {
    /// Which backends may be used by a lease that avoids these and needs this. No more than `eject_max` percent of the
    /// pool are left out: the least bad of the others are taken back in, with little weight for as long as others are
    /// well. Where all that may be used are ejected, the least bad one of them is used: a pool is never a black hole. A
    /// silent one gets one message at a time while another one is well and not silent.
    #[must_use]
    pub fn eligible<'a>(&'a self, avoid: &'a [BackendId], needs: Needs, now: Tick) -> Eligible<'a> {
        let mut eligible = Eligible {
            pool: self,
            avoid,
            needs,
            readmitted: 0,
            well: false,
            now,
            vocal: false,
            unanswered_after: match needs.question {
                true => self.unanswered_after(),
                false => Duration::ZERO,
            },
        };
        let mut ejected = 0;
        for (i, backend) in self.backends.iter().enumerate() {
            if backend.health.is_ejected() {
                ejected += 1;
            } else if eligible.may(i) {
                eligible.well = true;
                eligible.vocal |= !eligible.is_silent(backend);
            }
        }
        if ejected == 0 {
            return eligible;
        }
        let allowed = self.ejectable();
        for _ in allowed..ejected {
            if !eligible.readmit(false) {
                break;
            }
        }
        let usable = |eligible: &Eligible<'_>| (0..self.backends.len()).any(|i| eligible.has(i));
        if !usable(&eligible) {
            eligible.readmit(true);
        }
        eligible
    }

    /// The least time after which a backend of it may be silent: longer where the order of the backends means something.
    #[must_use]
    pub fn silent_after(&self) -> Duration {
        match self.balance == Balance::LeastLoaded && self.tiers.is_empty() {
            true => SILENT_AFTER,
            false => SILENT_AFTER_IN_ORDER,
        }
    }

    /// How many of its backends may be left out.
    #[must_use]
    pub fn ejectable(&self) -> usize {
        self.backends.len() * self.rules.eject_max as usize / 100
    }

    /// Whether a backend can take this, as far as is known.
    #[must_use]
    pub fn fits(&self, backend: &Backend, needs: Needs) -> bool {
        needs == Needs::default()
            || backend
                .seen
                .get()
                .is_none_or(|offered| needs.are_met_by(&offered))
    }

    /// Whether each of its backends has been reached, and none of them can take this. A backend whose name has no address
    /// yet has not been reached.
    #[must_use]
    pub fn lacks(&self, needs: Needs) -> bool {
        let fits = |backend: &Arc<Backend>| self.fits(backend, needs);
        self.unresolved.is_empty() && !self.backends.iter().any(fits)
    }

    /// Whether none of its backends can take this, and one could of late.
    #[must_use]
    pub fn has_lapsed(&self, needs: Needs, now: Tick) -> bool {
        let could = |backend: &Arc<Backend>| backend.seen.could(needs.size, needs.extensions, now);
        self.lacks(needs) && self.backends.iter().any(could)
    }

    /// Picks one of the eligible. `ready` says whether a connection to the backend can be had at once.
    ///
    /// A hash waits for its backend where that one is only busy; the others take any that has room, so
    /// `first-available` spills over to the next when the first is full.
    pub fn choose(
        &self,
        eligible: &Eligible<'_>,
        key: &[u8],
        now: Tick,
        random: impl FnMut() -> u64,
        ready: impl Fn(&Arc<Backend>) -> bool,
    ) -> Choice {
        let count = self.backends.len();
        let free = |i: usize| eligible.has(i) && ready(&self.backends[i]);
        let tier = self.tier(eligible, free);
        let free = |i: usize| {
            let is_free = self.is_of(tier, i) && free(i);
            is_free.then(|| self.candidate(eligible, i, now))
        };
        let picked = match self.balance {
            Balance::LeastLoaded => balance::least_loaded(count, free, random),
            Balance::FirstAvailable => {
                let first = |i: usize| free(i).filter(|_| !eligible.is_second_choice(i));
                let picked = balance::first_available(count, first);
                picked.or_else(|| balance::first_available(count, free))
            }
            Balance::HashRecipient => {
                return match self.hashed(eligible, key, now, &ready) {
                    Some(i) if ready(&self.backends[i]) => Choice::This(i),
                    Some(_) => Choice::Wait,
                    None => Choice::None,
                };
            }
        };
        match picked {
            Some(i) => Choice::This(i),
            None if (0..count).any(|i| eligible.has(i)) => Choice::Wait,
            None => Choice::None,
        }
    }

    /// The eligible backend of this recipient. A silent one is none where it is not `ready`: its connections hang, and what waited
    /// for one of them would wait in vain.
    #[must_use]
    pub fn hashed(
        &self,
        eligible: &Eligible<'_>,
        key: &[u8],
        now: Tick,
        ready: impl Fn(&Arc<Backend>) -> bool,
    ) -> Option<usize> {
        let has =
            |i: usize| eligible.has(i) && (!eligible.is_on_trial(i) || ready(&self.backends[i]));
        let tier = self.tier(eligible, has);
        let able = |i: usize| {
            let is_able = self.is_of(tier, i) && has(i);
            is_able.then(|| self.candidate(eligible, i, now))
        };
        // Either spelling of a domain goes to the same backend.
        let key = address_to_ascii(key);
        balance::rendezvous(self.backends.len(), able, balance::hash(&key))
    }

    /// The tier that is used: the lowest with one of the `usable` that is well, or, where none is well, with one of the others.
    fn tier(&self, eligible: &Eligible<'_>, usable: impl Fn(usize) -> bool) -> u16 {
        if self.tiers.is_empty() {
            return 0;
        }
        // They lie in the order of their tiers.
        let mut all = (0..self.tiers.len()).filter(|i| usable(*i));
        let first = all.clone().next();
        let well = all.find(|i| !eligible.is_second_choice(*i));
        well.or(first).map_or(0, |i| self.tiers[i])
    }

    fn is_of(&self, tier: u16, i: usize) -> bool {
        self.tiers.get(i).is_none_or(|of| *of == tier)
    }

    fn candidate(&self, eligible: &Eligible<'_>, i: usize, now: Tick) -> Candidate {
        let backend = &self.backends[i];
        let held = eligible.is_second_choice(i) || backend.outcomes.held(now).is_some();
        let share = match held {
            true => SHARE_MIN,
            false => backend.health.share(now, self.rules.slow_start),
        };
        Candidate {
            weight: u64::from(backend.weight()) * u64::from(share),
            load: backend.load(),
            idle: backend.idle() > 0,
            held,
            seed: backend.seed,
        }
    }
}
