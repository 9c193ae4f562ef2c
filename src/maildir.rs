//! A backend that writes what it accepts to a Maildir, so that a first try needs no mail server.
//!
//! It is a real SMTP server on the project's own core, on a thread of its own, and it keeps the promise that a
//! `250` makes: the message is on the disk (fsync of file and folder) before the reply. It knows no users and
//! no queue. Messages are written one after the other; it is for trying and testing, not for production.

use crate::{
    config::{AdminListen, Config},
    log::say,
    net::{self, BindOptions, Bound, Engine, Listener, Stream, now, spawn},
    smtp::{
        Reply, Status,
        server::{Action, Answer, Question, Server, Settings},
    },
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{SystemTime, UNIX_EPOCH},
};

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
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(directory.join(part)).map_err(|why| {
                io::Error::new(
                    why.kind(),
                    format!("maildir.directory = {directory:?}: {why}"),
                )
            })?;
        }
        let bound = Bound::new(address, 1024, BindOptions { reuse_port: false })?;
        let address = bound.address();
        let mut settings = Settings::new(&config.hostname);
        settings.banner = "Gatepost's built-in Maildir".into();
        settings.size_max = 0;
        let store = Arc::new(Store {
            directory: directory.clone(),
            counter: AtomicU64::new(0),
        });
        let (stop, stopped) = net::mailbox::mailbox(1);
        let thread = std::thread::Builder::new()
            .name("maildir".into())
            .spawn(move || {
                let work = || accept(bound, Arc::new(settings), store, stopped);
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
        // The thread may have ended by itself; then there is nobody to tell.
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
                Ok(Some((stream, _))) => {
                    spawn(serve(stream, Arc::clone(&settings), Arc::clone(&store)))
                }
                Ok(None) => return,
                Err(_) => net::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    });
    stopped.recv().await;
    Ok(())
}

/// One session.
async fn serve(mut stream: Stream, settings: Arc<Settings>, store: Arc<Store>) {
    let mut server = Server::new(settings, now());
    let mut out = Vec::new();
    let mut message: Option<Draft> = None;
    let mut chunk = None;
    let mut at = 0;
    loop {
        let input: &[u8] = chunk.as_deref().map_or(&[], |bytes: &[u8]| &bytes[at..]);
        let step = server.step(now(), input, &mut out);
        let reads = step.action == Action::Read;
        match step.action {
            Action::Body(span) => write(&mut message, span.of(input)),
            Action::Insert(piece) => write(&mut message, piece),
            Action::Discard => message = None,
            Action::Ask(question) => {
                let answer = match question {
                    Question::Body => match store.draft() {
                        Ok(draft) => {
                            message.get_or_insert(draft);
                            Answer::Accept
                        }
                        Err(why) => Answer::Refuse(trouble(&why)),
                    },
                    _ => Answer::Accept,
                };
                server.answer(answer, &mut out);
            }
            Action::End => {
                let envelope = server.envelope();
                let sender = String::from_utf8_lossy(envelope.sender().whole).into_owned();
                let answer = match message.take().map(|draft| draft.keep(&store)) {
                    Some(Ok(name)) => Answer::AcceptWith(Reply::owned(
                        250,
                        Status(2, 0, 0),
                        format!("Ok: stored as {name}"),
                    )),
                    Some(Err(why)) => Answer::Refuse(trouble(&why)),
                    None => Answer::Refuse(trouble(&io::Error::other("no message"))),
                };
                say!(Debug, "maildir: a message from <{sender}>");
                server.answer(answer, &mut out);
            }
            Action::StartTls | Action::Close => {
                let _ = stream.send(out).await;
                return;
            }
            Action::Read | Action::Refused(_) => {}
        }
        at += step.consumed;
        if reads {
            let (sent, buffer) = stream.send(std::mem::take(&mut out)).await;
            out = buffer;
            stream.set_deadline(server.deadline());
            at = 0;
            // The lent bytes go back before more are asked for.
            drop(chunk.take());
            chunk = match (sent, stream.recv().await) {
                (Ok(()), Ok(Some(bytes))) => Some(bytes),
                _ => return,
            };
        }
    }
}

fn write(message: &mut Option<Draft>, piece: &[u8]) {
    if let Some(draft) = message {
        draft.write(piece);
    }
}

fn trouble(why: &io::Error) -> Reply {
    say!(Warn, "maildir: {why}");
    Reply::fixed(452, Status(4, 3, 1), "The message could not be stored")
}

/// The folder.
struct Store {
    directory: PathBuf,
    counter: AtomicU64,
}

/// A message under way, in `tmp`; removed when it is dropped.
struct Draft {
    path: PathBuf,
    file: File,
    failed: Option<io::Error>,
}

impl Store {
    /// A file in `tmp` with a name that nobody else has: time, process, counter.
    fn draft(&self) -> io::Result<Draft> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_micros());
        let count = self.counter.fetch_add(1, Relaxed);
        let name = format!(
            "{}.M{}P{}Q{count}.gatepost",
            time / 1_000_000,
            time % 1_000_000,
            std::process::id()
        );
        let path = self.directory.join("tmp").join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Draft {
            path,
            file,
            failed: None,
        })
    }
}

impl Draft {
    fn write(&mut self, piece: &[u8]) {
        if self.failed.is_none()
            && let Err(why) = self.file.write_all(piece)
        {
            self.failed = Some(why);
        }
    }

    /// Makes it durable and moves it to `new`: its name.
    fn keep(mut self, store: &Store) -> io::Result<String> {
        if let Some(why) = self.failed.take() {
            return Err(why);
        }
        self.file.sync_all()?;
        let name = self
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let new = store.directory.join("new");
        fs::rename(&self.path, new.join(&name))?;
        // The rename is durable once the folder is.
        File::open(new)?.sync_all()?;
        Ok(name)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already where it was kept.
        let _ = fs::remove_file(&self.path);
    }
}
