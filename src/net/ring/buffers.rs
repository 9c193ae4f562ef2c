//! The memory that the kernel receives into: one ring of buffers for all streams of a worker.
//!
//! A stream that waits owns none of it: the kernel takes a buffer when bytes are there, we lend it to the session, and
//! the drop of the chunk gives it back. So that sessions which keep their chunks can't dry the ring up (and with it the
//! replies they may be waiting for), no more than [`LENT_MAX`] are lent at a time: what comes above that is copied, and
//! its buffer is the kernel's again at once.
//!
//! The kernel takes buffers in turn, so all that it has pass through the cache one after the other. It has [`READY`] of them
//! at first, and the one that came back last is the next that it gets: a worker with a few busy streams then receives into
//! memory that is still in the cache. Where they have run dry once, it gets twice as many from then on.

use io_uring::{IoUring, types::BufRingEntry};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    cell::{Cell, RefCell},
    io,
    ops::Deref,
    ptr::NonNull,
    rc::Rc,
    slice,
    sync::atomic::{AtomicU16, Ordering},
};

/// Buffers of a worker; a power of two.
const COUNT: u16 = 512;

/// Octets of a buffer.
pub(super) const SIZE: usize = 8 * 1024;

/// Buffers that the kernel has at first.
const READY: u16 = 64;

/// Buffers that may be lent at a time; the others are the kernel's, or can be given to it as soon as it runs dry.
const LENT_MAX: u16 = COUNT / 2;

/// The only group of buffers of a ring.
pub(super) const GROUP: u16 = 0;

/// Octets of a page, to which the kernel wants the entries aligned.
const PAGE: usize = 4096;

/// The buffers, and the ring of entries through which they go to the kernel.
pub(super) struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    /// Where the next entry goes. Free-running.
    tail: Cell<u16>,
    lent: Cell<u16>,
    /// Those that the kernel has, and how many it should have.
    ready: Cell<u16>,
    wanted: Cell<u16>,
    /// The round in which they last ran dry.
    dry: Cell<u64>,
    /// Those that neither the kernel nor a session has, the one that came back last at the end.
    spare: RefCell<Vec<u16>>,
}

impl Buffers {
    /// Gives a new set of buffers to the kernel. They must live as long as `ring` may receive: see `Reactor::end`.
    ///
    /// # Errors
    /// The kernel has no rings of buffers (before 5.19), or no memory.
    pub(super) fn register(ring: &IoUring) -> io::Result<Rc<Buffers>> {
        let buffers = Rc::new(Buffers {
            entries: allocate(entries_layout()).cast(),
            memory: allocate(memory_layout()),
            tail: Cell::new(0),
            lent: Cell::new(0),
            ready: Cell::new(0),
            wanted: Cell::new(READY),
            dry: Cell::new(u64::MAX),
            spare: RefCell::new((0..COUNT).rev().collect()),
        });
        let address = buffers.entries.as_ptr() as u64;
        // SAFETY: the entries are as many as told, page-aligned, and outlive the registration, or are never freed.
        unsafe { ring.submitter().register_buf_ring(address, COUNT, GROUP) }?;
        buffers.fill();
        Ok(buffers)
    }

    /// The kernel found none: it gets more from now on. All receives of one round may tell of the same shortage, which counts
    /// once.
    pub(super) fn ran_dry(&self, round: u64) {
        if self.dry.replace(round) == round {
            return;
        }
        self.wanted.set((self.wanted.get() * 2).min(COUNT));
        self.fill();
    }

    /// Gives the kernel as many as it should have, or all there are.
    fn fill(&self) {
        let mut spare = self.spare.borrow_mut();
        while self.ready.get() < self.wanted.get()
            && let Some(id) = spare.pop()
        {
            self.give(id);
            self.ready.set(self.ready.get() + 1);
        }
    }

    /// Gives a buffer, which is ours, to the kernel.
    fn give(&self, id: u16) {
        let tail = self.tail.get();
        let address = self.address(id).as_ptr() as u64;
        // SAFETY: the place is one of the `COUNT` entries, and this one is ours: the kernel has taken the entry that was
        // here before, since there are as many entries as buffers and this buffer is in none of them.
        let entry = unsafe { self.entries.add(usize::from(tail % COUNT)).as_mut() };
        entry.set_addr(address);
        entry.set_len(SIZE as u32);
        entry.set_bid(id);
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: the tail lies in the first entry, in a field that nothing else uses; it is aligned, and it is only
        // read by the kernel. `set_addr` and its sisters don't touch that field.
        let shared = unsafe {
            let place = BufRingEntry::tail(self.entries.as_ptr());
            AtomicU16::from_ptr(place.cast_mut())
        };
        shared.store(tail, Ordering::Release);
    }

    fn address(&self, id: u16) -> NonNull<u8> {
        assert!(id < COUNT, "the kernel takes buffers that it was given");
        // SAFETY: within the memory, by the line above.
        unsafe { self.memory.add(usize::from(id) * SIZE) }
    }

    /// Takes the buffer `id`, which the kernel has handed over with `len` octets in it.
    pub(super) fn take(self: &Rc<Self>, id: u16, len: usize) -> Loan {
        self.lent.set(self.lent.get() + 1);
        self.ready.set(self.ready.get() - 1);
        self.fill();
        Loan {
            buffers: Rc::clone(self),
            id,
            len: len.min(SIZE) as u16,
        }
    }
}

fn entries_layout() -> Layout {
    Layout::from_size_align(usize::from(COUNT) * size_of::<BufRingEntry>(), PAGE)
        .expect("a power of two, and small")
}

fn memory_layout() -> Layout {
    Layout::from_size_align(usize::from(COUNT) * SIZE, PAGE).expect("a power of two, and small")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layouts above are not empty.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated with these layouts. The kernel has let go: the reactor keeps a reference until its ring has no
        // operation any more, or for ever.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), entries_layout());
            dealloc(self.memory.as_ptr(), memory_layout());
        }
    }
}

/// A buffer with received octets, ours until it is dropped.
pub(in crate::net) struct Loan {
    buffers: Rc<Buffers>,
    id: u16,
    len: u16,
}

impl Loan {
    /// Whether so many buffers are lent that this one should go back at once.
    pub(in crate::net) fn is_one_too_many(&self) -> bool {
        self.buffers.lent.get() > LENT_MAX
    }

    /// Adds `bytes` after the octets that are there; `false`, and nothing is added, where the buffer has no room.
    pub(in crate::net) fn append(&mut self, bytes: &[u8]) -> bool {
        let start = usize::from(self.len);
        if bytes.len() > SIZE - start {
            return false;
        }
        let room = self.buffers.address(self.id).as_ptr();
        // SAFETY: by the line above it ends within the buffer, which is ours alone until it is given back: the kernel
        // has handed it over, and `&mut self` says that no one else reads it. `bytes` may be another buffer, never this one.
        unsafe { slice::from_raw_parts_mut(room.add(start), bytes.len()) }.copy_from_slice(bytes);
        self.len += bytes.len() as u16;
        true
    }
}

impl Deref for Loan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.buffers.address(self.id).as_ptr();
        // SAFETY: `len` is at most a buffer's size, the memory is initialised (zeroed, then written by the kernel), and
        // the kernel does not write to it before we give it back.
        unsafe { slice::from_raw_parts(start, usize::from(self.len)) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.buffers.lent.set(self.buffers.lent.get() - 1);
        self.buffers.spare.borrow_mut().push(self.id);
        self.buffers.fill();
    }
}
