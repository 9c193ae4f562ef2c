//! The loop: it runs the tasks that are ready, fires the timers that are due, and enters the kernel once a turn.

use super::{executor, gather::Gather};
use crate::{
    net::{clock::now, panics::Caught, worker::Worker},
    smtp::tick::Tick,
};
use std::{cell::Cell, future::Future, io, panic::resume_unwind, rc::Rc};

/// Tasks that run between two looks at the kernel, at most: some tens of microseconds of work.
const BATCH: usize = 256;

/// Runs a worker's thread.
pub(in crate::net) fn run<F>(worker: &Rc<Worker>, main: impl FnOnce() -> F) -> io::Result<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let ring = worker.ring();
    let _here = executor::enter(&ring.tasks);
    let _end = End(worker);
    let output = Rc::new(Cell::new(None));
    let (place, main) = (Rc::clone(&output), Caught(main()));
    ring.spawn(async move { place.set(Some(main.await)) });
    let mut gather = Gather::new(now());
    loop {
        ring.tasks.run(BATCH);
        match output.take() {
            None => {}
            Some(Ok(output)) => return Ok(output),
            Some(Err(panic)) => resume_unwind(panic),
        }
        let now = now();
        worker.timers.fire(now);
        if worker.deadlines.next_sweep() <= now {
            worker.deadlines.sweep(now);
        }
        let mut due = Tick::default();
        let mut wanted = 1;
        if ring.tasks.is_idle() {
            due = worker.timers.earliest().min(worker.deadlines.next_sweep());
            if ring.gathers.get() {
                wanted = gather.wanted();
            }
        }
        let events = ring.io.turn(now, due, wanted)?;
        gather.note(now, wanted, events, || ring.tasks.take_moved());
    }
}

/// Ends the tasks and the operations, in this order, also where the loop is left by a panic.
struct End<'a>(&'a Rc<Worker>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        drop(self.0.ending());
        let ring = self.0.ring();
        ring.tasks.end();
        ring.io.end();
    }
}
