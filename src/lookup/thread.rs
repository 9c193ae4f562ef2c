//! The thread that asks the DNS, `dns`. What strangers have it decode delays other questions at worst, and neither the admin
//! endpoint nor a reload, which are on the control thread.

use super::dns::Task;
use std::{io, thread};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The thread; it ends when this is dropped, and what it does ends with it.
pub struct Thread {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

impl Thread {
    /// Starts it. Call it on a thread that isn't pinned: it inherits that.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start() -> io::Result<Thread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("dns".into()).spawn(move || {
            // An error is the other end, which is what is waited for.
            let _ = runtime.block_on(stopped);
            // Not a drop, which would wait for what blocks.
            runtime.shutdown_background();
        })?;
        Ok(Thread {
            runtime: handle,
            _stop: stop,
        })
    }

    /// Has things done there.
    pub fn spawner(&self) -> impl Fn(Task) + Send + Sync + 'static {
        let runtime = self.runtime.clone();
        move |task| drop(runtime.spawn(task))
    }
}
