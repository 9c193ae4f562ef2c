//! A queue's work on the spool's log, redb and fjall: a message is inserted, and removed when it is done. Every store makes
//! durable with one sync what has gathered meanwhile. The results are in docs/decisions/0032-a-log-of-our-own.md.
//!
//! `cargo run --release --features compare -- [FOLDER [SECONDS [STORE…]]]`

use gatepost_spool::spool::{
    disk::Directory,
    handle::Spool,
    message::{Accept, Recipient},
    options::Options,
    payload::Ending,
    recover,
};
use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How many messages are under way at once.
const SUBMITTERS: usize = 32;
const BODY: usize = 4096;
/// As much as the spool's committer takes at once.
const BATCH_MAX: usize = 256;
const WARM_UP: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A store under test.
trait Store: Send + Sync {
    /// Gives a message, and a number that is told when it is durable.
    fn insert(&self, body: Vec<u8>, durable: &SyncSender<u64>);
    /// Removes a message, some time.
    fn remove(&self, id: u64);
    /// Octets written beforehand, if it does such a thing.
    fn filled(&self) -> u64 {
        0
    }
}

struct Log(Spool<Directory>);

fn envelope() -> Accept {
    Accept {
        sender: b"someone@example.org".to_vec(),
        recipients: vec![Recipient {
            address: b"other@example.net".to_vec(),
            ..Recipient::default()
        }],
        arrived_ms: 1_790_000_000_000,
        due_ms: 1_790_000_000_000,
        client: "192.0.2.1:25252".to_owned(),
        hello: b"mx.example.org".to_vec(),
        route: "mailboxes".to_owned(),
        ..Accept::default()
    }
}

impl Store for Log {
    fn insert(&self, body: Vec<u8>, durable: &SyncSender<u64>) {
        let durable = durable.clone();
        let told = Box::new(
            move |result: Result<(), _>, request: gatepost_spool::spool::request::Request| {
                result.expect("the disk takes it");
                let _ = durable.send(request.sequence());
            },
        );
        assert!(self.0.accept(envelope(), vec![body], told).is_ok());
    }

    fn remove(&self, id: u64) {
        let ended = self.0.end(id, Ending::Delivered, Box::new(|_, _| ()));
        ended.expect("the queue has room");
    }

    fn filled(&self) -> u64 {
        self.0.metrics().log.octets_filled
    }
}

enum Operation {
    Insert(u64, Vec<u8>, SyncSender<u64>),
    Remove(u64),
}

/// What is made durable at once.
trait Batch: Send + 'static {
    fn commit(&mut self, operations: &[Operation]) -> Result<(), Failure>;
}

/// A store whose batches are gathered as the spool gathers its own.
struct Gathered {
    queue: SyncSender<Operation>,
    next: AtomicU64,
}

impl Gathered {
    fn new(mut store: impl Batch) -> Gathered {
        let (queue, waiting) = sync_channel(4_096);
        thread::spawn(move || gather(&mut store, &waiting));
        let next = AtomicU64::new(1);
        Gathered { queue, next }
    }
}

fn gather(store: &mut impl Batch, waiting: &Receiver<Operation>) {
    let mut batch = Vec::new();
    while let Ok(first) = waiting.recv() {
        batch.push(first);
        batch.extend(waiting.try_iter().take(BATCH_MAX - 1));
        store.commit(&batch).expect("the disk takes it");
        for operation in batch.drain(..) {
            if let Operation::Insert(id, _, durable) = operation {
                let _ = durable.send(id);
            }
        }
    }
}

impl Store for Gathered {
    fn insert(&self, body: Vec<u8>, durable: &SyncSender<u64>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let operation = Operation::Insert(id, body, durable.clone());
        self.queue.send(operation).expect("the store works");
    }

    fn remove(&self, id: u64) {
        self.queue
            .send(Operation::Remove(id))
            .expect("the store works");
    }
}

const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("queue");

impl Batch for redb::Database {
    fn commit(&mut self, operations: &[Operation]) -> Result<(), Failure> {
        // Durability is immediate unless something else is asked for.
        let transaction = self.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for operation in operations {
                match operation {
                    Operation::Insert(id, body, _) => drop(table.insert(id, &body[..])?),
                    Operation::Remove(id) => drop(table.remove(id)?),
                }
            }
        }
        Ok(transaction.commit()?)
    }
}

struct Fjall(fjall::Database, fjall::Keyspace);

impl Batch for Fjall {
    fn commit(&mut self, operations: &[Operation]) -> Result<(), Failure> {
        let batch = self.0.batch();
        let mut batch = batch.durability(Some(fjall::PersistMode::SyncData));
        for operation in operations {
            match operation {
                Operation::Insert(id, body, _) => {
                    batch.insert(&self.1, id.to_be_bytes(), &body[..])
                }
                Operation::Remove(id) => batch.remove(&self.1, id.to_be_bytes()),
            }
        }
        Ok(batch.commit()?)
    }
}

fn open(name: &str, folder: &Path) -> Result<Box<dyn Store>, Failure> {
    Ok(match name {
        "log" => {
            let (log, _) = recover::open(Directory::open(folder)?, Options::default(), 1)
                .map_err(|why| format!("{why:?}"))?;
            let (committer, spool) = Spool::start(log, || 1)?;
            // It ends with the process.
            std::mem::forget(committer);
            Box::new(Log(spool))
        }
        "redb" => Box::new(Gathered::new(redb::Database::create(folder.join("queue"))?)),
        "fjall" => {
            let database = fjall::Database::builder(folder).open()?;
            let keyspace = database.keyspace("queue", fjall::KeyspaceCreateOptions::default)?;
            Box::new(Gathered::new(Fjall(database, keyspace)))
        }
        other => return Err(format!("no store is called {other}").into()),
    })
}

/// Seconds of CPU that the process has used, of all its threads.
fn cpu() -> f64 {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    usage.tv_sec as f64 + usage.tv_nsec as f64 / 1e9
}

/// Octets written to the block device that the folder lies on.
fn written(folder: &Path) -> io::Result<u64> {
    let device = fs::metadata(folder)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"))?;
    let sectors = stat
        .split_whitespace()
        .nth(6)
        .and_then(|field| field.parse().ok());
    Ok(sectors.unwrap_or(0_u64) * 512)
}

/// Octets that nothing compresses.
fn body() -> Vec<u8> {
    let mut x = 88_172_645_463_325_252_u64;
    let octet = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 20) as u8
    };
    (0..BODY).map(octet).collect()
}

struct Run {
    store: Box<dyn Store>,
    removes: bool,
    inserted: AtomicU64,
    is_warm: AtomicBool,
    stops: AtomicBool,
}

/// Inserts one message after the other. Gives how long each took, in microseconds.
fn submit(run: &Run) -> Vec<u32> {
    let (durable, told) = sync_channel(1);
    let (body, mut took) = (body(), Vec::new());
    while !run.stops.load(Ordering::Relaxed) {
        let begun = Instant::now();
        run.store.insert(body.clone(), &durable);
        let id = told.recv().expect("the store works");
        if run.is_warm.load(Ordering::Relaxed) {
            took.push(begun.elapsed().as_micros() as u32);
        }
        run.inserted.fetch_add(1, Ordering::Relaxed);
        if run.removes {
            run.store.remove(id);
        }
    }
    took
}

fn measure(name: &str, folder: &Path, time: Duration, removes: bool) -> Result<(), Failure> {
    let run = Arc::new(Run {
        store: open(name, folder)?,
        removes,
        inserted: AtomicU64::new(0),
        is_warm: AtomicBool::new(false),
        stops: AtomicBool::new(false),
    });
    let threads: Vec<_> = (0..SUBMITTERS)
        .map(|_| {
            let run = Arc::clone(&run);
            thread::spawn(move || submit(&run))
        })
        .collect();
    thread::sleep(WARM_UP);
    run.is_warm.store(true, Ordering::Relaxed);
    let (begun, cpu_before, before) = (Instant::now(), cpu(), written(folder)?);
    let inserted = run.inserted.load(Ordering::Relaxed);
    thread::sleep(time);
    let inserted = (run.inserted.load(Ordering::Relaxed) - inserted) as f64;
    let (took, cpu, written) = (
        begun.elapsed(),
        cpu() - cpu_before,
        written(folder)? - before,
    );
    run.stops.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for thread in threads {
        latencies.extend(thread.join().map_err(|_| "a thread panicked")?);
    }
    latencies.sort_unstable();
    let at = |part: usize| f64::from(latencies[latencies.len() * part / 1000]) / 1e3;
    println!(
        "{name:6} {:14} {:7.0}/s  {:5.1} us of CPU  {:5.2} written an octet  p50 {:.2} p99 {:.2} p99.9 {:.2} ms  filled {} MiB",
        if removes {
            "insert, remove"
        } else {
            "insert only"
        },
        inserted / took.as_secs_f64(),
        cpu / inserted * 1e6,
        written as f64 / inserted / BODY as f64,
        at(500),
        at(990),
        at(999),
        run.store.filled() >> 20,
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    let base = arguments
        .next()
        .map_or_else(|| PathBuf::from("target/compare"), PathBuf::from);
    let seconds = arguments.next().map_or(Ok(8), |number| number.parse())?;
    let mut stores: Vec<String> = arguments.collect();
    if stores.is_empty() {
        stores = ["log", "redb", "fjall"].map(str::to_owned).to_vec();
    }
    for removes in [true, false] {
        for name in &stores {
            let folder = base.join(format!("{name}-{removes}"));
            drop(fs::remove_dir_all(&folder));
            fs::create_dir_all(&folder)?;
            measure(name, &folder, Duration::from_secs(seconds), removes)?;
            drop(fs::remove_dir_all(&folder));
        }
    }
    Ok(())
}
