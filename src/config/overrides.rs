//! What the command line says over the file, or instead of one. Each flag is a key of the file.

use super::{
    AdminListen, Config, Io, Listener, Pool, Recipients, Route, RouteRecipients, Workers,
    document::Document,
};
use std::net::SocketAddr;

/// Where a proxy without a file listens unless told otherwise.
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 2525);

/// The flags, by the keys they set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `--listen`: the listener's `address`.
    pub listen: Vec<SocketAddr>,
    /// `--backend`: the pool's `backends`.
    pub backend: Vec<String>,
    /// `--domain`: the route's `domains`.
    pub domain: Vec<String>,
    /// `--recipients`: the route's `recipients`.
    pub recipients: Option<Recipients>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--admin`: `admin.listen`.
    pub admin: Option<AdminListen>,
    /// `--io`.
    pub io: Option<Io>,
    /// `--workers`.
    pub workers: Option<Workers>,
    /// `--log`: `log.to`.
    pub log: Option<String>,
    /// Whether there is no file under them, so that listener, pool and route are made from flags alone.
    pub alone: bool,
}

impl Overrides {
    /// Sets what the flags say, and marks where it came from.
    pub fn lay_over(&self, config: &mut Config, document: &mut Document) {
        self.scalars(config, document);
        self.listener(config, document);
        self.pool(config, document);
        self.route(config, document);
    }

    fn scalars(&self, config: &mut Config, document: &mut Document) {
        if let Some(hostname) = &self.hostname {
            config.hostname.clone_from(hostname);
            document.mark_flag("hostname", "--hostname");
        }
        if let Some(admin) = &self.admin {
            config.admin.listen.clone_from(admin);
            document.mark_flag("admin.listen", "--admin");
        }
        if let Some(io) = self.io {
            config.io = io;
            document.mark_flag("io", "--io");
        }
        if let Some(workers) = self.workers {
            config.workers = workers;
            document.mark_flag("workers", "--workers");
        }
        if let Some(log) = &self.log {
            config.log.to.clone_from(log);
            document.mark_flag("log.to", "--log");
        }
    }

    fn listener(&self, config: &mut Config, document: &mut Document) {
        if self.listen.is_empty() && !self.alone {
            return;
        }
        let address = if self.listen.is_empty() {
            vec![LISTEN.into()]
        } else {
            self.listen.clone()
        };
        match config.listener.as_mut_slice() {
            [] => config.listener.push(Listener {
                name: "mx".into(),
                address,
                ..Listener::default()
            }),
            [listener] => listener.address = address,
            several => {
                let message = format!(
                    "the file has {} listeners; which one is meant?",
                    several.len()
                );
                document.mark_flag("listener", "--listen");
                document.error(
                    "listener",
                    message,
                    "change `address` in the file".to_string(),
                );
                return;
            }
        }
        document.mark_flag("listener[0].address", "--listen");
    }

    fn pool(&self, config: &mut Config, document: &mut Document) {
        if self.backend.is_empty() {
            return;
        }
        let backends = self
            .backend
            .iter()
            .cloned()
            .map(super::Backend::Address)
            .collect();
        match config.pool.as_mut_slice() {
            [] => config.pool.push(Pool {
                name: "backend".into(),
                backends,
                ..Pool::default()
            }),
            [pool] => pool.backends = backends,
            several => {
                let message = format!("the file has {} pools; which one is meant?", several.len());
                document.mark_flag("pool", "--backend");
                document.error("pool", message, "change `backends` in the file".to_string());
                return;
            }
        }
        document.mark_flag("pool[0].backends", "--backend");
    }

    /// Without a file, a pool gets a route for the given domains, and for trusted clients to every other.
    fn route(&self, config: &mut Config, document: &mut Document) {
        let Some(pool) = config.pool.first().map(|pool| pool.name.clone()) else {
            return;
        };
        if config.route.is_empty() && (self.alone || !self.domain.is_empty()) {
            let domains = self
                .domain
                .iter()
                .cloned()
                .chain(["*".to_string()])
                .collect();
            config.route.push(Route {
                domains,
                pool,
                ..Route::default()
            });
            document.mark_flag("route[0].domains", "--domain");
        } else if !self.domain.is_empty() {
            match config.route.as_mut_slice() {
                [route] => {
                    route.domains.clone_from(&self.domain);
                    document.mark_flag("route[0].domains", "--domain");
                }
                several => {
                    let message =
                        format!("the file has {} routes; which one is meant?", several.len());
                    document.mark_flag("route", "--domain");
                    document.error("route", message, "change `domains` in the file".to_string());
                }
            }
        }
        if let Some(recipients) = self.recipients {
            for route in &mut config.route {
                route.recipients = RouteRecipients::Word(recipients);
            }
        }
    }
}
