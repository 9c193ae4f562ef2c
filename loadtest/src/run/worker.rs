//! A worker: a thread with its engine, its sessions, and its part of the load.

use super::{
    alarm,
    arrivals::Arrivals,
    dispatcher::{Dispatcher, Shared},
    plan::Load,
    record::{Part, Steps},
    session,
};
use gatepost::{
    net::{
        self, Engine,
        mailbox::{Receiver, Sender, mailbox},
        spawn,
    },
    smtp::Tick,
};
use std::{
    io,
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
};

/// What a worker is told.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// The run starts at this moment.
    Start(Tick),
    /// No more messages.
    Stop,
}

/// What a worker tells.
#[derive(Debug)]
pub enum Report {
    /// Idle sessions stand; the run may start.
    Ready,
    /// An interval is over: its number, and what happened in it. Each comes once, in order.
    Part(u64, Box<Part>),
    /// It is done.
    Done {
        /// The latencies of the steps.
        steps: Steps,
        /// The first number that it did not begin.
        numbers: u32,
        /// When the last message ended.
        last: Tick,
    },
    /// It could not go on: what the system said.
    Broken(io::Error),
}

/// A worker, seen from outside.
#[derive(Debug)]
pub struct Worker {
    /// Where it takes orders.
    pub orders: Sender<Order>,
    /// Its thread.
    pub thread: thread::JoinHandle<()>,
}

/// Starts a worker (from 0 on). What it reports comes with its number.
///
/// # Errors
/// There is no thread to be had.
pub fn start(
    shared: &Arc<Shared>,
    engine: Engine,
    worker: u32,
    reports: mpsc::Sender<(u32, Report)>,
) -> io::Result<Worker> {
    let (orders, inbox) = mailbox(8);
    let shared = Arc::clone(shared);
    let cores = &shared.plan.cores;
    let core = (!cores.is_empty()).then(|| cores[worker as usize % cores.len()]);
    let thread = thread::Builder::new()
        .name(format!("load-{worker}"))
        .spawn(move || {
            let told = reports.clone();
            let ran = net::run_worker(engine, core, move || work(shared, worker, inbox, told));
            // Nobody may be left to listen, which is fine.
            let _ = match ran {
                Ok(report) => reports.send((worker, report)),
                Err(why) => reports.send((worker, Report::Broken(why))),
            };
        })?;
    Ok(Worker { orders, thread })
}

async fn work(
    shared: Arc<Shared>,
    worker: u32,
    mut orders: Receiver<Order>,
    reports: mpsc::Sender<(u32, Report)>,
) -> Report {
    let dispatcher = Dispatcher::new(shared, worker);
    let plan = dispatcher.plan();
    session::open_idle(&dispatcher, plan.part(plan.trouble.idle, worker)).await;
    let _ = reports.send((worker, Report::Ready));
    let Some(Order::Start(start)) = orders.recv().await else {
        return finish(&dispatcher);
    };
    let listener = Rc::clone(&dispatcher);
    spawn(async move {
        // The end of the orders is the end of the run too.
        while let Some(Order::Start(_)) = orders.recv().await {}
        listener.stop();
        listener.settle();
    });
    let arrivals = plan
        .arrivals()
        .map(|setup| Arrivals::new(setup, worker, start));
    dispatcher.start(start, arrivals.clone());
    net::sleep_until(start).await;
    if let Err(why) = begin(&dispatcher, worker, arrivals) {
        return Report::Broken(why);
    }
    let clerk = Rc::clone(&dispatcher);
    let told = reports.clone();
    let at = Rc::new(std::cell::Cell::new(0));
    let interval = Rc::clone(&at);
    spawn(async move {
        let length = clerk.plan().interval();
        let mut end = start.after(length);
        loop {
            net::sleep_until(end).await;
            let part = clerk.hand_over(end);
            let number = interval.replace(interval.get() + 1);
            let _ = told.send((worker, Report::Part(number, Box::new(part))));
            end = end.after(length);
        }
    });
    dispatcher.done.wait().await;
    let part = dispatcher.hand_over(net::now());
    let _ = reports.send((worker, Report::Part(at.get(), Box::new(part))));
    finish(&dispatcher)
}

/// Starts the sessions of a closed loop, or what starts those of an open one.
fn begin(dispatcher: &Rc<Dispatcher>, worker: u32, arrivals: Option<Arrivals>) -> io::Result<()> {
    let plan = dispatcher.plan();
    if let Load::Closed { sessions } = plan.load {
        for _ in 0..plan.part(sessions, worker) {
            session::start(dispatcher, None);
        }
        return Ok(());
    }
    let Some(arrivals) = arrivals else {
        return Ok(());
    };
    let mut woken = alarm::start(Arc::clone(&dispatcher.shared), arrivals)?;
    let dispatcher = Rc::clone(dispatcher);
    spawn(async move {
        loop {
            let due = woken.recv().await;
            dispatcher.release(net::now(), |message| {
                session::start(&dispatcher, Some(message))
            });
            if due.is_none() {
                break;
            }
        }
        // Sessions that are busy still take what is late.
        dispatcher.all_released();
        dispatcher.settle();
    });
    Ok(())
}

fn finish(dispatcher: &Dispatcher) -> Report {
    let mut notes = dispatcher.notes.borrow_mut();
    Report::Done {
        steps: notes.hand_over_steps(),
        numbers: notes.numbers,
        last: notes.last,
    }
}
