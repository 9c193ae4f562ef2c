//! The queue's work (insert a message, remove it when it is done) on three stores, with one commit for what has gathered.
use spoolscratch::spool::{
    committer,
    disk::Directory,
    log::{Log, Options},
    payload::{Accept, Ending, Recipient},
    recover,
    request::Request,
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

enum Op {
    Insert(u64, Vec<u8>),
    Delete(u64),
}

trait Store: Send {
    fn commit(&mut self, ops: &mut Vec<Op>);
    fn idle(&mut self) {}
    fn close(&mut self) {}
    fn filled(&self) -> u64 {
        0
    }
}

struct Ours(Log<Directory>, u32);
fn envelope() -> Accept {
    Accept {
        sender: b"someone@example.org".to_vec(),
        recipients: vec![Recipient {
            address: b"other@example.net".to_vec(),
            ..Recipient::default()
        }],
        arrived_ms: 1_790_000_000_000,
        due_ms: 1_790_000_000_000,
        client: "192.0.2.1:25252".into(),
        hello: b"mx.example.org".to_vec(),
        route: "mailboxes".into(),
        ..Accept::default()
    }
}
impl Store for Ours {
    fn commit(&mut self, ops: &mut Vec<Op>) {
        let requests: Vec<Request> = ops
            .drain(..)
            .map(|op| match op {
                Op::Insert(id, body) => Request::accept(id, envelope(), vec![body]),
                Op::Delete(sequence) => Request::Done {
                    sequence,
                    ending: Ending::Delivered,
                },
            })
            .collect();
        for answer in self.0.commit(&requests, 1) {
            answer.expect("durable");
        }
        self.1 += 1;
        if self.1 % 16 == 0 {
            self.0.reclaim(1);
        }
    }
    fn idle(&mut self) {
        drop(self.0.prepare());
        while self.0.reclaim(1) == spoolscratch::spool::reclaim::Progress::More {}
    }
    fn filled(&self) -> u64 {
        self.0.counters().octets_filled
    }
}
const TABLE: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("q");
struct Redb(redb::Database);
impl Store for Redb {
    fn commit(&mut self, ops: &mut Vec<Op>) {
        let txn = self.0.begin_write().expect("txn");
        {
            let mut table = txn.open_table(TABLE).expect("table");
            for op in ops.drain(..) {
                match op {
                    Op::Insert(id, body) => {
                        table.insert(id, &body[..]).expect("insert");
                    }
                    Op::Delete(id) => {
                        table.remove(id).expect("remove");
                    }
                }
            }
        }
        txn.commit().expect("commit");
    }
}
struct Fjall(fjall::Database, fjall::Keyspace);
impl Store for Fjall {
    fn commit(&mut self, ops: &mut Vec<Op>) {
        let mut batch = self
            .0
            .batch()
            .durability(Some(fjall::PersistMode::SyncData));
        for op in ops.drain(..) {
            match op {
                Op::Insert(id, body) => batch.insert(&self.1, id.to_be_bytes(), body),
                Op::Delete(id) => batch.remove(&self.1, id.to_be_bytes()),
            }
        }
        batch.commit().expect("commit");
    }
}
fn cpu() -> f64 {
    let own = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let fields: Vec<&str> = own
        .rsplit_once(')')
        .expect("stat")
        .1
        .split_whitespace()
        .collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
fn written() -> u64 {
    let stat = std::fs::read_to_string("/sys/block/vda/stat").expect("stat");
    stat.split_whitespace()
        .nth(6)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 512
}
fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for e in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let m = e.metadata().unwrap();
        total += if m.is_dir() {
            size(&e.path())
        } else {
            m.blocks() * 512
        };
    }
    total
}
fn run(name: &str, mut store: Box<dyn Store>, path: &Path, seconds: u64, delete: bool) {
    let (to, from) =
        mpsc::sync_channel::<(Op, Option<mpsc::SyncSender<()>>)>(committer::WAITING_MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let ids = Arc::new(AtomicU64::new(1));
    let mut x = 88172645463325252u64;
    let body: Vec<u8> = (0..4096u32)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 20) as u8
        })
        .collect();
    let (warm, begun) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let mut latencies = Vec::new();
    let threads: Vec<_> = (0..32)
        .map(|_| {
            let (to, stop, ids, body, warm) = (
                to.clone(),
                stop.clone(),
                ids.clone(),
                body.clone(),
                warm.clone(),
            );
            thread::spawn(move || {
                let (tell, told) = mpsc::sync_channel(1);
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = ids.fetch_add(1, Ordering::Relaxed);
                    let at = Instant::now();
                    to.send((Op::Insert(id, body.clone()), Some(tell.clone())))
                        .unwrap();
                    told.recv().unwrap();
                    if warm.load(Ordering::Relaxed) {
                        took.push(at.elapsed().as_micros() as u32);
                    }
                    if delete {
                        to.send((Op::Delete(id), None)).unwrap();
                    }
                }
                took
            })
        })
        .collect();
    drop(to);
    let committing = thread::spawn(move || {
        let (mut ops, mut tells) = (Vec::new(), Vec::new());
        let mut batches = 0u64;
        while let Ok((op, tell)) = from.recv() {
            ops.push(op);
            tells.extend(tell);
            while ops.len() < committer::BATCH_MAX
                && let Ok((op, tell)) = from.try_recv()
            {
                ops.push(op);
                tells.extend(tell);
            }
            store.commit(&mut ops);
            batches += 1;
            for tell in tells.drain(..) {
                tell.send(()).unwrap();
            }
        }
        let filled = store.filled();
        store.idle();
        store.close();
        (batches, filled)
    });
    thread::sleep(Duration::from_secs(2));
    warm.store(true, Ordering::Relaxed);
    let (c0, w0, n0, t0) = (
        cpu(),
        written(),
        ids.load(Ordering::Relaxed),
        Instant::now(),
    );
    thread::sleep(Duration::from_secs(seconds));
    let (c1, w1, n1, t1) = (
        cpu(),
        written(),
        ids.load(Ordering::Relaxed),
        t0.elapsed().as_secs_f64(),
    );
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        latencies.extend(thread.join().unwrap());
    }
    let (batches, filled) = committing.join().unwrap();
    latencies.sort_unstable();
    let n = (n1 - n0) as f64;
    println!(
        "{name:6} {} {:9.0} msg/s {:7.1} us CPU/msg {:6.2} written/payload  p50 {:.2} ms p99 {:.2} ms  disk {:.0} MiB  batches {batches}  filled {} MiB  total {:.1}s",
        if delete {
            "insert+delete"
        } else {
            "insert only  "
        },
        n / t1,
        (c1 - c0) / n * 1e6,
        (w1 - w0) as f64 / n / 4096.0,
        f64::from(latencies[latencies.len() / 2]) / 1e3,
        f64::from(latencies[latencies.len() * 99 / 100]) / 1e3,
        size(path) as f64 / 1048576.0,
        filled >> 20,
        begun.elapsed().as_secs_f64()
    );
}
fn main() {
    let base = PathBuf::from(
        std::env::args()
            .nth(1)
            .unwrap_or("/work/scratch/spool/target/bench".into()),
    );
    let seconds = std::env::args().nth(2).map_or(8, |s| s.parse().unwrap());
    for delete in [true, false] {
        for name in ["ours", "redb", "fjall"] {
            let path = base.join(name);
            drop(std::fs::remove_dir_all(&path));
            std::fs::create_dir_all(&path).unwrap();
            let store: Box<dyn Store> = match name {
                "ours" => Box::new(Ours(
                    recover::open(Directory::open(&path).unwrap(), Options::default(), 1)
                        .map_err(|w| format!("{w:?}"))
                        .unwrap()
                        .0,
                    0,
                )),
                "redb" => {
                    let db = redb::Database::create(path.join("q.redb")).unwrap();
                    Box::new(Redb(db))
                }
                _ => {
                    let db = fjall::Database::builder(&path).open().unwrap();
                    let ks = db
                        .keyspace("q", fjall::KeyspaceCreateOptions::default)
                        .unwrap();
                    Box::new(Fjall(db, ks))
                }
            };
            run(name, store, &path, seconds, delete);
            drop(std::fs::remove_dir_all(&path));
        }
    }
}
