//! What things are recorded under: a listener, a backend, a check.

/// Names that a process may ever know. What comes later is recorded under [`Scope::NONE`], so a DNS name
/// whose addresses change every day can't eat the memory.
pub const SCOPES_MAX: usize = 4096;

/// What a scope is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nothing: the process as a whole.
    None,
    /// A listener's name. Label: `listener`.
    Listener,
    /// A pool's name. Label: `pool`.
    Pool,
    /// A backend: `pool/address`. Labels: `pool`, `backend`.
    Backend,
    /// A check's or a rule's name. Label: `check`.
    Check,
    /// The first name in a certificate. Label: `certificate`.
    Certificate,
    /// The phase of a session. Label: `phase`.
    Phase,
    /// The side that ended a session and when: `who@phase`. Labels: `by`, `phase`.
    End,
}

impl Kind {
    /// The labels of a scope of this kind.
    #[must_use]
    pub fn labels(self, name: &str) -> Vec<(&'static str, &str)> {
        match self {
            Kind::None => vec![],
            Kind::Listener => vec![("listener", name)],
            Kind::Pool => vec![("pool", name)],
            Kind::Backend => match name.rsplit_once('/') {
                Some((pool, backend)) => vec![("pool", pool), ("backend", backend)],
                None => vec![("backend", name)],
            },
            Kind::Check => vec![("check", name)],
            Kind::Certificate => vec![("certificate", name)],
            Kind::Phase => vec![("phase", name)],
            Kind::End => match name.split_once('@') {
                Some((by, phase)) => vec![("by", by), ("phase", phase)],
                None => vec![("by", name)],
            },
        }
    }

    /// The names of the labels, for the manual.
    #[must_use]
    pub fn label_names(self) -> Vec<&'static str> {
        let name = if self == Kind::End { "@" } else { "/" };
        self.labels(name).into_iter().map(|(key, _)| key).collect()
    }
}

/// An interned name. Cheap to copy; make it once, not for each record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(u16);

impl Scope {
    /// The process as a whole.
    pub const NONE: Scope = Scope(0);

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(super) fn numbered(number: u16) -> Scope {
        Scope(number)
    }
}
