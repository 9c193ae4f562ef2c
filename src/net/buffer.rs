//! Received bytes, lent by the engine.
//!
//! A session that waits owns no buffer: one is taken when bytes are there, and goes back when the chunk is dropped.
//! Chunks therefore should not be kept while waiting for another task.

use super::{ring::Loan, sys};
use std::{cell::RefCell, fmt, io, mem::MaybeUninit, ops::Deref, os::fd::BorrowedFd, rc::Rc};

/// The most that one receive takes in, in octets.
pub const CHUNK_MAX: usize = 32 * 1024;

/// Free buffers that a worker keeps for later; more are given back to the allocator.
const SPARE_MAX: usize = 64;

/// A buffer of [`CHUNK_MAX`] octets, not necessarily initialised.
type Buffer = Box<[MaybeUninit<u8>]>;

/// The buffers of one worker, the one used last first: it is still in the cache.
pub(super) struct Pool {
    spare: RefCell<Vec<Buffer>>,
}

impl Pool {
    pub(super) fn new() -> Rc<Pool> {
        Rc::new(Pool {
            spare: RefCell::default(),
        })
    }

    /// Receives what `fd` has now: the bytes (`None` at the end of input), and whether they filled the buffer.
    pub(super) fn recv(self: &Rc<Self>, fd: BorrowedFd<'_>) -> io::Result<(Option<Chunk>, bool)> {
        let mut buffer = self.take();
        match sys::recv(fd, &mut buffer) {
            Ok(len) if len > 0 => {
                let full = len == buffer.len();
                let pool = Rc::clone(self);
                let pooled = Pooled { pool, buffer, len };
                Ok((Some(Chunk(Memory::Pooled(pooled))), full))
            }
            other => {
                self.give_back(buffer);
                other.map(|_| (None, false))
            }
        }
    }

    /// A buffer to be filled by ourselves.
    pub(super) fn filling(self: &Rc<Self>) -> Filling {
        Filling(Pooled {
            pool: Rc::clone(self),
            buffer: self.take(),
            len: 0,
        })
    }

    fn take(&self) -> Buffer {
        self.spare
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Box::new_uninit_slice(CHUNK_MAX))
    }

    fn give_back(&self, buffer: Buffer) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }
}

/// Bytes that were received, lent until it is dropped. Never empty.
pub struct Chunk(Memory);

enum Memory {
    Pooled(Pooled),
    /// One of the kernel's buffers.
    Lent(Loan),
    Copied(Vec<u8>),
}

impl Chunk {
    /// Hands a buffer of the ring on, or a copy of what is in it where enough are lent already.
    pub(super) fn lent(loan: Loan) -> Chunk {
        match loan.is_one_too_many() {
            true => Chunk::copied(&loan),
            false => Chunk(Memory::Lent(loan)),
        }
    }

    /// Copies `bytes`, where their own memory can't be spared.
    pub(super) fn copied(bytes: &[u8]) -> Chunk {
        Chunk(Memory::Copied(bytes.into()))
    }

    /// Adds `bytes` at its end, up to `max` octets in all; `false`, and nothing is added, where there is no room.
    pub(super) fn append(&mut self, bytes: &[u8], max: usize) -> bool {
        match &mut self.0 {
            Memory::Lent(loan) => loan.append(bytes),
            Memory::Copied(copy) if copy.len() + bytes.len() <= max => {
                copy.extend_from_slice(bytes);
                true
            }
            Memory::Copied(_) | Memory::Pooled(_) => false,
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Lent(loan) => loan,
            Memory::Pooled(pooled) => pooled.bytes(),
            Memory::Copied(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} octets)", self.len())
    }
}

/// A buffer of the pool with received octets.
struct Pooled {
    pool: Rc<Pool>,
    /// Taken by `drop` alone.
    buffer: Buffer,
    /// So many octets of the buffer are initialised.
    len: usize,
}

impl Pooled {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `Pool::recv` says that the kernel wrote these octets, `Filling::push` has written them itself; nobody
        // else makes these.
        unsafe { self.buffer[..self.len].assume_init_ref() }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let buffer = std::mem::replace(&mut self.buffer, Box::new([]));
        self.pool.give_back(buffer);
    }
}

/// A chunk in the making.
pub(super) struct Filling(Pooled);

impl Filling {
    /// Appends of `bytes` what there is room for; how many those are.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let Pooled { buffer, len, .. } = &mut self.0;
        let room = &mut buffer[*len..];
        let count = bytes.len().min(room.len());
        room[..count].write_copy_of_slice(&bytes[..count]);
        *len += count;
        count
    }

    /// The chunk, if there is anything in it.
    pub(super) fn done(self) -> Option<Chunk> {
        (self.0.len > 0).then(|| Chunk(Memory::Pooled(self.0)))
    }
}
