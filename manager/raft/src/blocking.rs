//! Runs blocking work on threads of its own.

use std::{future::pending, panic::resume_unwind};

use tokio::task::{JoinHandle, spawn_blocking};

/// The result of `job`. A panic goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    finished(spawn_blocking(job)).await
}

/// What the task came to. A panic goes on in the caller: one model of failure, which in the daemon ends the process.
pub(crate) async fn finished<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends, and the caller with it.
            Err(_) => pending().await,
        },
    }
}
