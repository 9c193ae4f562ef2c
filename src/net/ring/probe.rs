//! Whether this kernel has what the engine stands on, found out by doing it once.

use super::{
    buffers::GROUP,
    reactor::{Done, Operation, Reactor, build},
};
use crate::net::{
    clock::now,
    engine::{EngineRefusal, try_all},
};
use io_uring::{Probe, opcode, types::Fd};
use std::{
    cell::Cell,
    io::{self, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    rc::Rc,
    time::Duration,
};

/// How long a receive of what is there may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Remembers the first completion.
#[derive(Default)]
struct Witness(Cell<Option<Done>>);

impl Operation for Witness {
    fn complete(&self, io: &Reactor, done: Done) {
        if let Some(id) = done.buffer() {
            drop(io.buffers().take(id, 1));
        }
        self.0.set(self.0.get().or(Some(done)));
    }
}

/// Builds a ring, gives it buffers, and receives with it once; all of it is gone when this returns.
pub(in crate::net) fn try_ring() -> Result<(), EngineRefusal> {
    let refuse = |step| move |error| EngineRefusal::new(step, error);
    let old = |step| refuse(step)(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    let small = build(8, 16).map_err(refuse("setup"))?;
    let mut probe = Probe::new();
    small
        .submitter()
        .register_probe(&mut probe)
        .map_err(refuse("probe"))?;
    let needed = [
        opcode::Accept::CODE,
        opcode::AsyncCancel::CODE,
        opcode::Close::CODE,
        opcode::PollAdd::CODE,
        opcode::RecvMulti::CODE,
    ];
    if !needed.into_iter().all(|code| probe.is_supported(code)) {
        return Err(old("socket operations"));
    }
    let features = small.params();
    if !features.is_feature_ext_arg() || !features.is_feature_skip_cqe_on_success() {
        return Err(old("features"));
    }
    drop(small);
    let io = Reactor::new().map_err(refuse("buffers"))?;
    let seen = receive(&io);
    io.end();
    match seen.map_err(refuse("receive"))? {
        Some(done) if done.result == 1 && !done.is_last() && done.buffer().is_some() => Ok(()),
        Some(done) if done.result < 0 => {
            let error = io::Error::from_raw_os_error(-done.result);
            Err(refuse("multishot receive")(error))
        }
        _ => Err(old("multishot receive")),
    }
}

/// Builds what so many workers need, all at once; all of it is gone when this returns, or some milliseconds later.
pub(in crate::net) fn try_rings(workers: usize) -> Result<(), EngineRefusal> {
    try_all(workers, Reactor::new)
}

/// What a multishot receive says when there is one octet.
fn receive(io: &Reactor) -> io::Result<Option<Done>> {
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"x")?;
    let witness = Rc::new(Witness::default());
    let entry = opcode::RecvMulti::new(Fd(ours.as_raw_fd()), GROUP).build();
    let shared: Rc<Witness> = Rc::clone(&witness);
    io.submit(shared, entry);
    let begun = now();
    io.turn(begun, begun.after(PATIENCE), 1)?;
    io.close(ours.into());
    Ok(witness.0.get())
}
