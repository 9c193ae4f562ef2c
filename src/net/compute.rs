//! What takes long to compute, on the threads that this worker has for that: its other sessions go on meanwhile.

use super::{mailbox::mailbox, worker::Worker};
use std::sync::Arc;

/// Computes on another thread; here, where this worker has no such threads or too much waits for them. `None`: the thread
/// has failed.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let Some(helpers) = Worker::current().helpers.get().map(Arc::clone) else {
        return Some(work());
    };
    let (reply, mut answer) = mailbox(1);
    let given = helpers.run(move || {
        // The receiver is gone where the session has been dropped.
        let _ = reply.try_send(work());
    });
    if let Err(job) = given {
        job();
    }
    answer.recv().await
}
