//! The sockets of the admin endpoint. Mail doesn't wait for them: one that can't be bound, because its address is in use or
//! not there yet, is left out at the start, and tried again until it can.
//!
//! Any user of the machine can take a port from 1024 on while no Gatepost has it, so a start that failed for it would let any of
//! them stop the mail.

use crate::{
    admin::{self, Collector, Door, Place},
    config::Config,
    http::Listener,
    log::say,
    metrics::{Counter, Registry, Scope},
    process::{
        confine::Later,
        user::{self, UserIdentity},
    },
};
use std::{io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

/// The pause between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// The sockets of the admin endpoint.
pub(super) struct Doors {
    open: Vec<(Door, Listener)>,
    /// Those that could not be bound, each with the reason.
    missing: Vec<(Place, String)>,
    /// Whether the control endpoint asks for a token.
    has_token: bool,
}

impl Doors {
    /// Binds them. Those that root makes in the file system belong to the user that the process is to become. What can't be bound
    /// is told.
    pub fn bind(config: &Config, wanted: Option<&UserIdentity>) -> Doors {
        let owner = wanted.filter(|_| user::is_root());
        let owner = owner.map(UserIdentity::numbers);
        let mut doors = Doors {
            open: Vec::new(),
            missing: Vec::new(),
            has_token: !config.admin.token.is_empty(),
        };
        for place in admin::places(&config.admin) {
            match place.bind(owner) {
                Ok(listener) => doors.open.push((place.door(), listener)),
                Err(why) => {
                    say!(
                        Error,
                        "{why}; mail is served without it, and it is tried again each second"
                    );
                    doors.missing.push((place, why.to_string()));
                }
            }
        }
        doors
    }

    /// What the sandbox must leave for those that are missing.
    pub fn later(&self) -> Later {
        let missing = || self.missing.iter().map(|(place, _)| place);
        Later {
            ports: missing().filter_map(Place::port).collect(),
            folders: missing().filter_map(Place::folder).collect(),
        }
    }

    /// Says where they are, and what they show.
    pub fn announce(&self) {
        for (door, listener) in &self.open {
            announce(*door, listener, self.has_token);
        }
    }

    /// Serves them, each in a task that ends with what `ended` makes.
    pub fn serve<F>(
        self,
        tasks: &mut JoinSet<()>,
        collector: &Arc<Collector>,
        registry: &Arc<Registry>,
        ended: impl Fn() -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        for (door, listener) in self.open {
            tasks.spawn(serve(listener, door, Arc::clone(collector), ended()));
        }
        for (place, why) in self.missing {
            registry.count(Counter::AdminBind, Scope::NONE, 1);
            let (collector, registry) = (Arc::clone(collector), Arc::clone(registry));
            let (waiting, ended) = (ended(), ended());
            tasks.spawn(async move {
                let door = place.door();
                let listener = tokio::select! {
                    listener = had(place, why, &registry) => listener,
                    () = waiting => return,
                };
                announce(door, &listener, self.has_token);
                serve(listener, door, collector, ended).await;
            });
        }
    }
}

async fn serve(
    listener: Listener,
    door: Door,
    collector: Arc<Collector>,
    ended: impl Future<Output = ()>,
) {
    if let Err(why) = admin::serve(listener, door, collector, pin!(ended)).await {
        say!(Error, "the admin endpoint ended: {why}");
    }
}

/// The socket, once it can be bound. A new reason is told. By now the process may have given up what a port below 1024 takes, or
/// the folder of a Unix socket may not be its user's.
async fn had(place: Place, why: String, registry: &Registry) -> Listener {
    let mut told = why;
    loop {
        sleep(AGAIN).await;
        let wanted = place.clone();
        // A Unix socket that is there is asked whether it is in use.
        let bound = spawn_blocking(move || wanted.bind(None)).await;
        match bound.unwrap_or_else(|why| Err(io::Error::other(why))) {
            Ok(listener) => return listener,
            Err(why) => {
                registry.count(Counter::AdminBind, Scope::NONE, 1);
                let why = why.to_string();
                if why != told {
                    say!(Error, "{why}; it is tried again each second");
                    told = why;
                }
            }
        }
    }
}

/// Says where a socket is, and what it shows.
fn announce(door: Door, listener: &Listener, has_token: bool) {
    match door {
        Door::Control => say!(
            Info,
            "metrics on http://{listener}/metrics, exact percentiles on /stages, health on /health and /ready"
        ),
        Door::Local => say!(
            Info,
            "metrics, health and control on {listener}: curl --unix-socket PATH http://localhost/"
        ),
        Door::Public => say!(Info, "metrics and health for others on {listener}"),
    }
    if door == Door::Control
        && let Some(warning) = listener
            .address()
            .and_then(|at| admin::exposure(at, has_token))
    {
        say!(Warn, "{warning}");
    }
}
