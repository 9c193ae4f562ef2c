//! The system calls on a socket that the engines share, as safe functions that never block.
//!
//! Sockets are left in blocking mode, because io_uring treats a non-blocking one as "fail with EAGAIN"; every call
//! here says MSG_DONTWAIT instead. Nothing raises SIGPIPE.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Did a non-blocking call say "not now"?
pub(super) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn check(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `sendto` or `recvfrom` without an address. Not by the C library's functions, in which a thread may be cancelled: in a
/// process with threads that costs two atomic operations a call.
///
/// # Safety
/// `bytes` may be read (`SYS_sendto`) or written (`SYS_recvfrom`) for `len` octets.
unsafe fn transfer(
    call: libc::c_long,
    fd: BorrowedFd<'_>,
    bytes: *mut libc::c_void,
    len: usize,
    flags: libc::c_int,
) -> libc::ssize_t {
    let (fd, flags) = (fd.as_raw_fd() as usize, flags as usize);
    // SAFETY: the caller's word; no address is passed, so none can dangle.
    unsafe { libc::syscall(call, fd, bytes, len, flags, 0_usize, 0_usize) as libc::ssize_t }
}

/// Receives into `buffer` what is there; returns how many bytes of it are now initialised, 0 at the end of input.
pub(super) fn recv(fd: BorrowedFd<'_>, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    loop {
        // SAFETY: the kernel writes at most `buffer.len()` bytes to the buffer that we hold exclusively.
        let result = check(unsafe {
            transfer(
                libc::SYS_recvfrom,
                fd,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Sends as much of `bytes` as the socket takes now.
pub(super) fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    send_with(fd, bytes, 0)
}

/// The same, but the kernel holds it back for what comes next: more, the end of the connection, or 200 ms.
pub(super) fn send_held(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    send_with(fd, bytes, libc::MSG_MORE)
}

fn send_with(fd: BorrowedFd<'_>, bytes: &[u8], flags: libc::c_int) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        // SAFETY: the kernel reads at most `bytes.len()` bytes of a live slice.
        let result = check(unsafe {
            transfer(
                libc::SYS_sendto,
                fd,
                bytes.as_ptr().cast_mut().cast(),
                bytes.len(),
                flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The same for several pieces in one call, with `flags` (MSG_MORE or none).
pub(super) fn send_slices(
    fd: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    flags: libc::c_int,
) -> io::Result<usize> {
    // SAFETY: plain numbers and pointers, for which all zeroes is "none".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len() as _;
    loop {
        // SAFETY: an `IoSlice` is an iovec, and the kernel only reads what these point to.
        let result = check(unsafe {
            libc::sendmsg(
                fd.as_raw_fd(),
                &raw const message,
                flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Is there nothing to read, no end of input and no error? Consumes nothing.
pub(super) fn is_quiet(fd: BorrowedFd<'_>) -> bool {
    let mut byte = 0u8;
    // SAFETY: the kernel writes at most the one byte that it is given.
    let result = check(unsafe {
        libc::recv(
            fd.as_raw_fd(),
            (&raw mut byte).cast(),
            1,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
        )
    });
    matches!(result, Err(error) if would_block(&error))
}

/// Ends the reading side, the writing side or both. A socket that is not connected any more is fine.
pub(super) fn shutdown(fd: RawFd, how: std::net::Shutdown) {
    let how = match how {
        std::net::Shutdown::Read => libc::SHUT_RD,
        std::net::Shutdown::Write => libc::SHUT_WR,
        std::net::Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: takes no memory; a wrong descriptor is an error, which is of no interest.
    unsafe { libc::shutdown(fd, how) };
}

/// Where the kernel writes the address of the peer.
pub(super) struct Address {
    pub(super) storage: libc::sockaddr_storage,
    pub(super) len: libc::socklen_t,
}

impl Address {
    pub(super) fn new() -> Address {
        Address {
            // SAFETY: plain numbers, for which all zeroes is the unspecified address.
            storage: unsafe { std::mem::zeroed() },
            len: size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }

    /// The address; an IPv6-mapped IPv4 one as the IPv4 one that it is.
    pub(super) fn get(&self) -> Option<SocketAddr> {
        let storage = &raw const self.storage;
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that the kernel wrote this kind of address; the storage has room and
                // alignment for every kind.
                let v4 = unsafe { &*storage.cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(match ip.to_ipv4_mapped() {
                    Some(ip) => SocketAddr::new(ip.into(), port),
                    None => SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into(),
                })
            }
            _ => None,
        }
    }
}

/// Accepts one connection from a non-blocking listener.
pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut address = Address::new();
    // SAFETY: both places are valid for writing, and `len` says how large the first is.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            (&raw mut address.storage).cast(),
            &raw mut address.len,
            libc::SOCK_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; it has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let peer = address.get().ok_or(io::ErrorKind::InvalidData)?;
    Ok((fd, peer))
}

/// The peer's address.
pub(super) fn peer(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut address = Address::new();
    // SAFETY: both places are valid for writing, and `len` says how large the first is.
    check(unsafe {
        libc::getpeername(
            fd.as_raw_fd(),
            (&raw mut address.storage).cast(),
            &raw mut address.len,
        ) as libc::ssize_t
    })?;
    address.get().ok_or(io::ErrorKind::InvalidData.into())
}

/// A bell: a descriptor that becomes readable with each [`ring`].
pub(super) fn event() -> io::Result<OwnedFd> {
    // SAFETY: takes no memory.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Rings a bell.
pub(super) fn ring(bell: BorrowedFd<'_>) {
    let one = 1u64;
    // SAFETY: the kernel reads the eight octets of `one`. The count would overflow after more rings than can happen.
    unsafe { libc::write(bell.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
}

/// Makes calls on `fd` that don't say otherwise wait. One system call, where `fcntl` takes two.
pub(super) fn set_blocking(fd: BorrowedFd<'_>) {
    let mut off: libc::c_int = 0;
    // SAFETY: FIONBIO reads one int.
    unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut off) };
}

/// How often the kernel looks at its clock while a core is busy: 1 to 10 ms.
pub(super) fn tick() -> std::time::Duration {
    // SAFETY: plain numbers.
    let mut tick: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `tick` is a valid place for the call to write to.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
    let nanos = u32::try_from(tick.tv_nsec).unwrap_or(0);
    // Where it is not said, the usual one.
    std::time::Duration::from_nanos(u64::from(nanos).max(1_000_000))
}
