//! The tasks of one worker, run in the order in which they were woken.
//!
//! A task that is woken while it runs has mostly done that itself, to give way to others. It runs again in the next batch, after the
//! look at the kernel that comes before it: alone in the queue it would otherwise have the whole batch, and what it
//! gave way to could not even be seen.

use super::wake::{Remote, TaskId};
use crate::net::panics::count_panic;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    io,
    os::fd::BorrowedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A place for a task, used again and again.
#[derive(Default)]
struct Slot {
    /// `None` while it runs, and while the slot is free.
    task: Option<Task>,
    /// The how manieth task of this slot it is.
    generation: u16,
    /// Is it in `ready` or in `later`?
    queued: bool,
    /// When it ran last, as [`Table::span`] counts.
    span: u32,
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: VecDeque<u32>,
    /// The one that runs.
    running: Option<u32>,
    /// Woken while they ran: ready in the next batch.
    later: Vec<u32>,
    /// Goes up with each [`Executor::take_moved`].
    span: u32,
    /// Tasks that ran since then and are not over.
    moved: usize,
}

impl Table {
    fn queue(&mut self, slot: u32) {
        if std::mem::replace(&mut self.slots[slot as usize].queued, true) {
            return;
        }
        match self.running == Some(slot) {
            false => self.ready.push_back(slot),
            true => self.later.push(slot),
        }
    }
}

/// The tasks of one worker.
pub(super) struct Executor {
    worker: u16,
    remote: Arc<Remote>,
    table: RefCell<Table>,
    /// Kept for its memory alone.
    woken: Cell<Vec<TaskId>>,
    ended: Cell<bool>,
}

impl Executor {
    /// An empty one.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new() -> io::Result<Rc<Executor>> {
        let (worker, remote) = Remote::register()?;
        Ok(Rc::new(Executor {
            worker,
            remote,
            table: RefCell::default(),
            woken: Cell::default(),
            ended: Cell::default(),
        }))
    }

    /// Becomes readable with each word that another thread leaves.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.remote.bell()
    }

    /// Takes a task in, to run soon. Once the worker ends, it is dropped instead.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if self.ended.get() {
            return;
        }
        let task: Task = Box::pin(task);
        let table = &mut *self.table.borrow_mut();
        let slot = table.free.pop().unwrap_or_else(|| {
            table.slots.push(Slot::default());
            u32::try_from(table.slots.len() - 1).expect("memory ends before four thousand million")
        });
        let place = &mut table.slots[slot as usize];
        place.task = Some(task);
        place.span = table.span.wrapping_sub(1);
        table.queue(slot);
    }

    /// Is no task ready?
    pub(super) fn is_idle(&self) -> bool {
        let table = self.table.borrow();
        table.ready.is_empty() && table.later.is_empty()
    }

    /// How many tasks have run since this was asked last and are still alive.
    pub(super) fn take_moved(&self) -> usize {
        let table = &mut *self.table.borrow_mut();
        table.span = table.span.wrapping_add(1);
        std::mem::take(&mut table.moved)
    }

    /// Runs what is ready, also what becomes ready by that, but no more than `limit` times, and no task that is woken while
    /// it runs a second time.
    pub(super) fn run(&self, limit: usize) {
        {
            let Table { ready, later, .. } = &mut *self.table.borrow_mut();
            ready.extend(later.drain(..));
        }
        for _ in 0..limit {
            let mut table = self.table.borrow_mut();
            let Some(slot) = table.ready.pop_front() else {
                return;
            };
            let span = table.span;
            let place = &mut table.slots[slot as usize];
            place.queued = false;
            let moves = std::mem::replace(&mut place.span, span) != span;
            // Woken in its last run: there is no task to wake any more.
            let Some(mut task) = place.task.take() else {
                continue;
            };
            let id = TaskId {
                worker: self.worker,
                generation: place.generation,
                slot,
            };
            table.moved += usize::from(moves);
            table.running = Some(slot);
            drop(table);
            let waker = id.waker();
            let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
            if poll == Poll::Pending {
                let table = &mut *self.table.borrow_mut();
                table.running = None;
                table.slots[slot as usize].task = Some(task);
                continue;
            }
            bury(task);
            let mut table = self.table.borrow_mut();
            table.running = None;
            // It was counted: its last run is of this span.
            table.moved -= 1;
            let place = &mut table.slots[slot as usize];
            place.generation = place.generation.wrapping_add(1);
            table.free.push(slot);
        }
    }

    fn wake(&self, id: TaskId) {
        let mut table = self.table.borrow_mut();
        let place = table.slots.get(id.slot as usize);
        if place.is_some_and(|place| place.generation == id.generation) {
            table.queue(id.slot);
        }
    }

    /// Wakes those whom other threads want woken.
    pub(super) fn take_messages(&self) {
        let mut woken = self.woken.take();
        self.remote.take(&mut woken);
        for id in woken.drain(..) {
            self.wake(id);
        }
        self.woken.set(woken);
    }

    /// Drops every task. There will be no others.
    pub(super) fn end(&self) {
        self.ended.set(true);
        // What a task drops may wake others: the table is let go first.
        let slots = std::mem::take(&mut self.table.borrow_mut().slots);
        slots
            .into_iter()
            .filter_map(|slot| slot.task)
            .for_each(bury);
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        Remote::forget(self.worker);
    }
}

/// Drops a task; a panic in that is its own.
fn bury(task: Task) {
    if catch_unwind(AssertUnwindSafe(|| drop(task))).is_err() {
        count_panic();
    }
}

thread_local! {
    static HERE: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// Makes it the one of this thread, until the guard is dropped.
pub(super) fn enter(executor: &Rc<Executor>) -> impl Drop + use<> {
    HERE.set(Some(Rc::clone(executor)));
    Here
}

struct Here;

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// Wakes a task of this thread; false where it is another's.
pub(super) fn wake_here(id: TaskId) -> bool {
    // After the end of the thread's locals there is no worker here.
    HERE.try_with(|here| match &*here.borrow() {
        Some(executor) if executor.worker == id.worker => {
            executor.wake(id);
            true
        }
        _ => false,
    })
    .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[test]
    fn a_task_that_wakes_itself_runs_once_a_batch() {
        let tasks = Executor::new().expect("there are descriptors");
        let _here = enter(&tasks);
        let polls = Rc::new(Cell::new((0, 0)));
        let counted = Rc::clone(&polls);
        tasks.spawn(poll_fn(move |cx| {
            let (greedy, other) = counted.get();
            counted.set((greedy + 1, other));
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let counted = Rc::clone(&polls);
        tasks.spawn(poll_fn(move |_| {
            let (greedy, other) = counted.get();
            counted.set((greedy, other + 1));
            Poll::Ready(())
        }));
        tasks.run(100);
        assert_eq!(polls.get(), (1, 1));
        assert!(!tasks.is_idle());
        tasks.run(100);
        assert_eq!(polls.get(), (2, 1));
        tasks.end();
    }
}
