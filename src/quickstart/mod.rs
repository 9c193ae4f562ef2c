//! A backend that writes what it accepts to a Maildir, so that a first try needs no mail server.
//!
//! It is a real SMTP server on the project's own core, on a thread of its own, and it keeps the promise that a
//! `250` makes: the message is on the disk (fsync of file and folder) before the reply. It knows no users and
//! no queue. Messages are written one after the other; it is for trying and testing, not for production.
//!
//! It must not know the proxy: to the proxy it is a backend like any other.

mod session;
mod store;

use crate::{
    config::{AdminListen, Config},
    log::say,
    net::{self, BindOptions, Bound, Engine, Listener, spawn},
    smtp::server::Settings,
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};
use store::Store;

/// The running backend. Dropping it ends its thread.
pub struct Maildir {
    address: SocketAddr,
    directory: PathBuf,
    stop: net::mailbox::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Maildir {
    /// Makes the folders, binds, starts the thread; `None` where the configuration wants none. Errors: the
    /// folder can't be made or the address can't be bound.
    pub fn start(config: &Config) -> io::Result<Option<Maildir>> {
        let AdminListen::At(address) = config.maildir.listen else {
            return Ok(None);
        };
        let directory = &config.maildir.directory;
        let store = Store::open(directory).map_err(|why| {
            io::Error::new(
                why.kind(),
                format!("maildir.directory = {directory:?}: {why}"),
            )
        })?;
        let options = BindOptions {
            reuse_port: false,
            key: "maildir.listen",
        };
        let bound = Bound::new(address, 1024, options)?;
        let address = bound.address();
        let mut settings = Settings::new(&config.hostname);
        settings.banner = "Gatepost's built-in Maildir".into();
        settings.size_max = 0;
        let (stop, stopped) = net::mailbox::mailbox(1);
        let thread = std::thread::Builder::new()
            .name("maildir".into())
            .spawn(move || {
                let work = || accept(bound, Arc::new(settings), Arc::new(store), stopped);
                if let Err(why) = net::run_worker(Engine::Epoll, None, work).flatten() {
                    say!(Error, "the built-in backend ended: {why}");
                }
            })?;
        Ok(Some(Maildir {
            address,
            directory: directory.clone(),
            stop,
            thread: Some(thread),
        }))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where mail lands: in `new` below it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Maildir {
    fn drop(&mut self) {
        // The thread may have ended by itself; then nothing receives this.
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(
    bound: Bound,
    settings: Arc<Settings>,
    store: Arc<Store>,
    mut stopped: net::mailbox::Receiver<()>,
) -> io::Result<()> {
    let mut listener = Listener::adopt(bound)?;
    spawn(async move {
        loop {
            match listener.accept().await {
                Ok(Some((stream, _))) => spawn(session::serve(
                    stream,
                    Arc::clone(&settings),
                    Arc::clone(&store),
                )),
                Ok(None) => return,
                Err(_) => net::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    });
    stopped.recv().await;
    Ok(())
}
