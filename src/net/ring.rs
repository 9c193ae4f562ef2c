//! The provided-buffer ring: buffers that the kernel picks from when bytes arrive, so that no idle session pins one.
//!
//! tokio-uring does not know such rings and does not show the descriptor of its own, so that is found by looking at
//! which io_uring descriptor is new after the runtime was built. Where that fails (no /proc, a kernel before 5.19) the
//! engine waits for readability and receives into a pooled buffer instead: one system call more, nothing else changes.

use io_uring::types::BufRingEntry;
use std::{
    alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error},
    cell::Cell,
    collections::BTreeSet,
    fs, io,
    os::fd::RawFd,
    ptr::NonNull,
    rc::Rc,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

/// Buffers in the ring, a power of two. As many as bytes may arrive for between two turns of the loop; the kernel uses
/// them in turn, so more would only spread the same bytes over more of the cache.
const BUFFERS: u16 = 128;

/// Octets of a buffer.
const BUFFER_SIZE: usize = 16 * 1024;

/// The number of our buffer group.
pub(super) const GROUP: u16 = 0;

/// `IORING_REGISTER_PBUF_RING` of `linux/io_uring.h`.
const REGISTER_PBUF_RING: libc::c_uint = 22;

/// `struct io_uring_buf_reg`.
#[repr(C)]
struct Registration {
    ring_addr: u64,
    ring_entries: u32,
    bgid: u16,
    flags: u16,
    resv: [u64; 3],
}

/// Counting rings takes that nobody else makes one meanwhile.
static COUNTING: Mutex<()> = Mutex::new(());

/// To be held while a ring is made.
pub(super) fn counting() -> MutexGuard<'static, ()> {
    COUNTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The io_uring descriptors of this process.
fn descriptors() -> BTreeSet<RawFd> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]")
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Runs `make`, and says which io_uring descriptor it made, if exactly one.
pub(super) fn find<T>(make: impl FnOnce() -> io::Result<T>) -> io::Result<(T, Option<RawFd>)> {
    let _alone = counting();
    let before = descriptors();
    let made = make()?;
    let after = descriptors();
    let mut new = after.difference(&before);
    let only = new.next().copied().filter(|_| new.next().is_none());
    Ok((made, only))
}

/// The ring and its buffers.
pub(super) struct Ring {
    /// Shared with the kernel, which reads an entry only after the tail has passed it.
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: Cell<u16>,
}

impl Ring {
    const ENTRIES: Layout = layout(BUFFERS as usize * size_of::<BufRingEntry>(), 4096);
    const MEMORY: Layout = layout(BUFFERS as usize * BUFFER_SIZE, 4096);

    /// Gives a fresh ring of buffers to the io_uring instance `fd`.
    ///
    /// # Safety
    /// `fd` is an io_uring instance of this thread, and is closed, with every operation over, before the last
    /// reference to the ring is dropped.
    ///
    /// # Errors
    /// The kernel knows no such rings, or `fd` is something else.
    pub(super) unsafe fn register(fd: RawFd) -> io::Result<Rc<Ring>> {
        // SAFETY: neither layout is of size zero; the entries are plain numbers, for which zero is a value.
        let (entries, memory) = unsafe { (alloc_zeroed(Self::ENTRIES), alloc(Self::MEMORY)) };
        let ring = Ring {
            entries: NonNull::new(entries.cast())
                .unwrap_or_else(|| handle_alloc_error(Self::ENTRIES)),
            memory: NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(Self::MEMORY)),
            tail: Cell::new(0),
        };
        let registration = Registration {
            ring_addr: ring.entries.as_ptr() as u64,
            ring_entries: BUFFERS.into(),
            bgid: GROUP,
            flags: 0,
            resv: [0; 3],
        };
        // SAFETY: the structure is the one that the kernel reads; the memory that it names lives as long as the
        // instance does, as the caller promised.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                fd,
                REGISTER_PBUF_RING,
                &raw const registration,
                1,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        for buffer in 0..BUFFERS {
            ring.give_back(buffer);
        }
        Ok(Rc::new(ring))
    }

    fn address(&self, buffer: u16) -> NonNull<u8> {
        debug_assert!(buffer < BUFFERS);
        // SAFETY: the kernel hands out only numbers that it was given, all below BUFFERS.
        unsafe { self.memory.add(usize::from(buffer) * BUFFER_SIZE) }
    }

    /// The first `len` octets of a buffer.
    ///
    /// # Safety
    /// The kernel handed it out with as many octets, and it was not given back since.
    pub(super) unsafe fn bytes(&self, buffer: u16, len: usize) -> &[u8] {
        debug_assert!(len <= BUFFER_SIZE);
        // SAFETY: initialised by the kernel, and nobody writes there until it is given back: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.address(buffer).as_ptr(), len) }
    }

    /// Lets the kernel use a buffer, again.
    pub(super) fn give_back(&self, buffer: u16) {
        let tail = self.tail.get();
        let address = self.address(buffer).as_ptr() as u64;
        // SAFETY: the index is below BUFFERS, and the kernel does not read that entry before the tail has passed it:
        // there are never more than BUFFERS in the ring. The tail lies in a field of the first entry that `set_*` do
        // not touch, and is read by the kernel with acquire semantics.
        unsafe {
            let entry = self.entries.add(usize::from(tail & (BUFFERS - 1))).as_mut();
            entry.set_addr(address);
            entry.set_len(BUFFER_SIZE as u32);
            entry.set_bid(buffer);
            self.tail.set(tail.wrapping_add(1));
            let shared = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(shared).store(self.tail.get(), Ordering::Release);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: allocated with these layouts; the io_uring instance is gone, as `register` was promised, and a
        // chunk that still refers to a buffer holds a reference to this.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), Self::ENTRIES);
            dealloc(self.memory.as_ptr(), Self::MEMORY);
        }
    }
}

const fn layout(size: usize, align: usize) -> Layout {
    match Layout::from_size_align(size, align) {
        Ok(layout) => layout,
        Err(_) => panic!("sizes are small, alignments powers of two"),
    }
}
