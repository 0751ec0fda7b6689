//! Fail-stop: what happens when the disk refuses or contradicts itself. A member that went on would forget a vote or an
//! acknowledged entry.

use std::{fmt, process, sync::Arc};

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
