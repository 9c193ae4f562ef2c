//! The names under which things are recorded, and the numbers of all recorders.
//!
//! A name is interned once, at configuration time or when a phase is first seen; from then on a [`Scope`]
//! of two bytes stands for it. The only locks of `metrics` are here, none of them on a message's path.

use super::{
    counter::{Counter, Gauge, Info},
    scope::{Kind, SCOPES_MAX, Scope},
    sheet::Sheet,
    snapshot::{Distribution, Snapshot, View},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

struct Names {
    by_name: HashMap<(Kind, Arc<str>), Scope>,
    list: Vec<(Kind, Arc<str>)>,
    hidden: HashSet<Scope>,
}

/// Interned names and all sheets. One for a process, shared by all threads.
pub struct Registry {
    names: Mutex<Names>,
    sheets: Mutex<Vec<Arc<Sheet>>>,
    process: Sheet,
    infos: Mutex<BTreeMap<Info, Vec<(String, String)>>>,
    started: Instant,
    started_at: SystemTime,
}

/// A panic while a name was added leaves at worst a name without a use.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// An empty registry; the process's uptime counts from here.
    #[must_use]
    pub fn new() -> Arc<Registry> {
        let registry = Registry {
            names: Mutex::new(Names {
                by_name: HashMap::new(),
                list: vec![(Kind::None, Arc::from(""))],
                hidden: HashSet::new(),
            }),
            sheets: Mutex::default(),
            process: Sheet::new(),
            infos: Mutex::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
        };
        registry.info(Info::Build, &[("version", env!("CARGO_PKG_VERSION"))]);
        Arc::new(registry)
    }

    /// Time since the registry was made.
    #[must_use]
    pub fn uptime(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// The scope of a name, made when new. The same name always gives the same scope. [`Scope::NONE`] for
    /// [`Kind::None`] and when [`SCOPES_MAX`] names are known.
    pub fn scope(&self, kind: Kind, name: &str) -> Scope {
        if kind == Kind::None {
            return Scope::NONE;
        }
        let mut names = lock(&self.names);
        let name: Arc<str> = Arc::from(name);
        if let Some(scope) = names.by_name.get(&(kind, name.clone())) {
            let scope = *scope;
            names.hidden.remove(&scope);
            return scope;
        }
        if names.list.len() >= SCOPES_MAX {
            return Scope::NONE;
        }
        let Ok(number) = u16::try_from(names.list.len()) else {
            return Scope::NONE;
        };
        names.list.push((kind, name.clone()));
        names.by_name.insert((kind, name), Scope::numbered(number));
        Scope::numbered(number)
    }

    /// The scope of a listener.
    pub fn listener(&self, name: &str) -> Scope {
        self.scope(Kind::Listener, name)
    }

    /// The scope of a pool.
    pub fn pool(&self, name: &str) -> Scope {
        self.scope(Kind::Pool, name)
    }

    /// The scope of a backend in a pool.
    pub fn backend(&self, pool: &str, address: &str) -> Scope {
        self.scope(Kind::Backend, &format!("{pool}/{address}"))
    }

    /// The scope of a check.
    pub fn check(&self, name: &str) -> Scope {
        self.scope(Kind::Check, name)
    }

    /// The scope of a certificate, by its first name.
    pub fn certificate(&self, name: &str) -> Scope {
        self.scope(Kind::Certificate, name)
    }

    /// After a reload: of this kind, only these are shown from now on, so that a backend or a listener that
    /// left the configuration leaves the exports. One that comes back goes on where it was.
    pub fn retain(&self, kind: Kind, live: &[Scope]) {
        let mut names = lock(&self.names);
        let all = (0u16..)
            .zip(&names.list)
            .filter(|(_, (its, _))| *its == kind);
        let gone: Vec<_> = all
            .map(|(number, _)| Scope::numbered(number))
            .filter(|scope| !live.contains(scope))
            .collect();
        names.hidden.retain(|scope| !live.contains(scope));
        names.hidden.extend(gone);
    }

    /// A new sheet of numbers, for one writer; it is read through this registry.
    pub(super) fn sheet(&self) -> Arc<Sheet> {
        let sheet = Arc::new(Sheet::new());
        lock(&self.sheets).push(sheet.clone());
        sheet
    }

    /// Counts something from outside the workers (the log's thread, the control thread).
    pub fn count(&self, counter: Counter, scope: Scope, n: u64) {
        self.process.count_shared(counter, scope, n);
    }

    /// Sets a gauge from outside the workers: for what is one level of the whole process, like a backend's
    /// health. Don't mix it with the workers' own writes to the same gauge: all are added up.
    pub fn set(&self, gauge: Gauge, scope: Scope, value: i64) {
        self.process.set(gauge, scope, value);
    }

    /// States a fact by labels; stating it again replaces it.
    pub fn info(&self, info: Info, labels: &[(&str, &str)]) {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        lock(&self.infos).insert(info, labels);
    }

    /// A counter's sum over all writers.
    #[must_use]
    pub fn counter(&self, counter: Counter, scope: Scope) -> u64 {
        self.counter_of(&lock(&self.sheets), counter, scope)
    }

    fn counter_of(&self, sheets: &[Arc<Sheet>], counter: Counter, scope: Scope) -> u64 {
        let process = self.process.counter(counter, scope);
        sheets.iter().fold(process, |sum, sheet| {
            sum.wrapping_add(sheet.counter(counter, scope))
        })
    }

    /// A gauge's sum over all writers.
    #[must_use]
    pub fn gauge(&self, gauge: Gauge, scope: Scope) -> i64 {
        self.gauge_of(&lock(&self.sheets), gauge, scope)
    }

    fn gauge_of(&self, sheets: &[Arc<Sheet>], gauge: Gauge, scope: Scope) -> i64 {
        let process = self.process.gauge(gauge, scope);
        sheets.iter().fold(process, |sum, sheet| {
            sum.wrapping_add(sheet.gauge(gauge, scope))
        })
    }

    /// Everything at this moment: the given snapshots merged, and the counters and gauges of all.
    pub fn view<'a>(&self, snapshots: impl IntoIterator<Item = &'a Snapshot>) -> View {
        let (scopes, hidden) = {
            let names = lock(&self.names);
            (names.list.clone(), names.hidden.clone())
        };
        let shown: Vec<_> = (0u16..)
            .zip(&scopes)
            .map(|(number, (kind, _))| (Scope::numbered(number), *kind))
            .filter(|(scope, _)| !hidden.contains(scope))
            .collect();
        let sheets = lock(&self.sheets).clone();
        let mut distributions: BTreeMap<_, Distribution> = BTreeMap::new();
        for (stage, scope, track) in snapshots.into_iter().flat_map(Snapshot::entries) {
            if !hidden.contains(scope) {
                let key = (*stage, *scope);
                distributions.entry(key).or_default().absorb(track);
            }
        }
        // A scope of the right kind shows its zeros, so that a rate can be drawn from the first event on.
        let mut counters = Vec::new();
        for counter in Counter::ALL {
            for (scope, kind) in &shown {
                let value = self.counter_of(&sheets, *counter, *scope);
                if value != 0 || *kind == counter.meta().kind {
                    counters.push((*counter, *scope, value));
                }
            }
        }
        let mut gauges = Vec::new();
        for gauge in Gauge::ALL {
            for (scope, kind) in &shown {
                let value = self.gauge_of(&sheets, *gauge, *scope);
                if value != 0 || *kind == gauge.meta().kind {
                    gauges.push((*gauge, *scope, value));
                }
            }
        }
        View {
            distributions,
            counters,
            gauges,
            scopes,
            infos: lock(&self.infos).clone(),
            stalled: Vec::new(),
            uptime: self.started.elapsed(),
            started_at: self.started_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_interned_once_for_each_kind() {
        let registry = Registry::new();
        assert_eq!(registry.listener("mx"), registry.listener("mx"));
        assert_ne!(registry.listener("mx"), registry.check("mx"));
        assert_eq!(registry.scope(Kind::None, "x"), Scope::NONE);
    }

    #[test]
    fn what_left_the_configuration_is_not_shown_until_it_comes_back() {
        let registry = Registry::new();
        let (one, two) = (registry.backend("p", "1"), registry.backend("p", "2"));
        let mx = registry.listener("mx");
        let worker = registry.worker();
        for scope in [one, two] {
            worker.record(crate::metrics::Stage::Commit, scope, 1);
            worker.count(Counter::BackendOpened, scope, 1);
        }
        let shown = |scope| {
            let view = registry.view([&worker.snapshot()]);
            let counted = view.counters.iter().any(|(_, its, _)| *its == scope);
            let timed = view.distributions.keys().any(|(_, its)| *its == scope);
            (counted, timed)
        };
        registry.retain(Kind::Backend, &[one]);
        assert_eq!((shown(one), shown(two)), ((true, true), (false, false)));
        assert!(shown(mx).0, "another kind is left alone");
        registry.backend("p", "2");
        assert_eq!(shown(two), (true, true));
        registry.retain(Kind::Backend, &[one]);
        registry.retain(Kind::Backend, &[one, two]);
        assert_eq!(shown(two), (true, true));
    }

    #[test]
    fn names_are_bounded() {
        let registry = Registry::new();
        for n in 0..SCOPES_MAX + 10 {
            registry.backend("p", &n.to_string());
        }
        assert_eq!(registry.backend("p", "late"), Scope::NONE);
        assert_eq!(lock(&registry.names).list.len(), SCOPES_MAX);
    }

    #[test]
    fn counters_and_gauges_add_up_over_workers_and_the_process() {
        let registry = Registry::new();
        let mx = registry.listener("mx");
        let (one, two) = (registry.worker(), registry.worker());
        one.count(Counter::Accepted, mx, 2);
        two.count(Counter::Accepted, mx, 3);
        registry.count(Counter::Accepted, mx, 1);
        one.add(Gauge::Sessions, mx, 5);
        two.add(Gauge::Sessions, mx, -1);
        assert_eq!(registry.counter(Counter::Accepted, mx), 6);
        assert_eq!(registry.gauge(Gauge::Sessions, mx), 4);
    }
}
