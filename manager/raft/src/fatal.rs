//! Fail-stop on storage errors: a member that went on could lose a vote or an acknowledged entry.

use std::{fmt, process, sync::Arc};

use tokio_util::sync::CancellationToken;
use tracing::error;

/// Called, possibly more than once, when the member cannot go on. It is not expected to return; if it does, the member
/// acknowledges nothing any more.
#[derive(Clone)]
pub struct OnFatal(Arc<dyn Fn(&str) + Send + Sync>);

impl OnFatal {
    /// Calls `hook` with the reason instead of ending the process.
    pub fn new(hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// The same, until `stop`: a member that has been shut down acknowledges nothing and has nothing to lose, and its directory
    /// may be gone.
    pub(crate) fn until(self, stop: CancellationToken) -> Self {
        Self::new(move |reason| {
            if !stop.is_cancelled() {
                self.call(reason);
            }
        })
    }

    pub(crate) fn call(&self, reason: &str) {
        (self.0)(reason);
    }
}

/// Ends the process.
impl Default for OnFatal {
    fn default() -> Self {
        Self::new(|reason| {
            error!("the Raft state cannot be trusted any more, ending the process: {reason}");
            process::abort();
        })
    }
}

impl fmt::Debug for OnFatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFatal")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_fails_after_the_shutdown_ends_nothing() {
        let (calls, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let counted = calls.clone();
        let count = move |_: &str| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let on_fatal = OnFatal::new(count).until(stop.clone());
        on_fatal.call("before");
        stop.cancel();
        on_fatal.call("after");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
