//! What both of today's engines stand on: tokio's tasks and its timer. tokio-uring is a ring inside a tokio runtime, so
//! they are the same for both; a loop that owns its ring will bring its own.

use std::{
    future::{Future, pending},
    time::Duration,
};

/// Starts a task on this thread.
pub(super) fn spawn(task: impl Future<Output = ()> + 'static) {
    drop(tokio::task::spawn_local(task));
}

/// Waits for `wait`, or for ever.
pub(super) async fn sleep(wait: Duration, forever: bool) {
    if forever {
        pending::<()>().await;
    }
    tokio::time::sleep(wait).await;
}
