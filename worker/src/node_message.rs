//! What is wrong with this node, in a sentence for `node ls` and `node inspect`.
//!
//! Owns the agent's side of `Node.status.message`: it goes out with every session and heartbeat. Invariant: empty
//! when nothing is wrong, so a message never outlives its reason.

use std::sync::Arc;

use tokio::sync::watch;

/// The message, shared by who knows and who tells.
#[derive(Debug, Clone)]
pub(crate) struct NodeMessage(Arc<watch::Sender<String>>);

impl NodeMessage {
    /// Nothing is wrong.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }

    /// Something is wrong. Says so in the log once, not at every repetition.
    pub(crate) fn set(&self, message: &str) {
        let changed = self.0.send_if_modified(|current| {
            let differs = current != message;
            if differs {
                message.clone_into(current);
            }
            differs
        });
        if changed {
            tracing::warn!(message, "this node has a problem");
        }
    }

    /// It is right again.
    pub(crate) fn clear(&self) {
        let changed = self.0.send_if_modified(|current| !std::mem::take(current).is_empty());
        if changed {
            tracing::info!("this node's problem is over");
        }
    }

    /// The message now.
    pub(crate) fn get(&self) -> String {
        self.0.borrow().clone()
    }

    /// Tells of changes.
    pub(crate) fn changed(&self) -> watch::Receiver<String> {
        self.0.subscribe()
    }
}
