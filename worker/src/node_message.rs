//! What is wrong with this node, in a sentence for `node ls` and `node inspect`.
//!
//! Owns the agent's side of `Node.status.message`: it goes out with every session and heartbeat. Each subject has one
//! writer. Invariant: empty when nothing is wrong, so a message never outlives its reason.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The room on the disk of images and containers.
    Disk,
    /// How this node's manager keeps the swarm's state.
    Manager,
    /// The records of the tasks.
    TaskDb,
}

/// The message, shared by who knows and who tells.
#[derive(Debug, Clone)]
pub(crate) struct NodeMessage {
    parts: Arc<watch::Sender<BTreeMap<Subject, String>>>,
}

impl NodeMessage {
    /// Nothing is wrong.
    pub(crate) fn new() -> Self {
        Self { parts: Arc::new(watch::Sender::default()) }
    }

    /// Something is wrong. Says so in the log once, not at every repetition.
    pub(crate) fn set(&self, subject: Subject, message: &str) {
        let changed = self.parts.send_if_modified(|parts| {
            let differs = parts.get(&subject).is_none_or(|current| current != message);
            if differs {
                parts.insert(subject, message.to_owned());
            }
            differs
        });
        if changed {
            tracing::warn!(message, "this node has a problem");
        }
    }

    /// It is right again.
    pub(crate) fn clear(&self, subject: Subject) {
        let changed = self.parts.send_if_modified(|parts| parts.remove(&subject).is_some());
        if changed {
            tracing::info!(?subject, "this node's problem is over");
        }
    }

    /// The message now. What several subjects say is in it once.
    pub(crate) fn get(&self) -> String {
        let mut said: Vec<String> = Vec::new();
        for part in self.parts.borrow().values() {
            if !said.contains(part) {
                said.push(part.clone());
            }
        }
        said.join("; ")
    }

    /// Tells of changes.
    pub(crate) fn changed(&self) -> watch::Receiver<impl Sized + use<>> {
        self.parts.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_come_and_go_by_themselves_and_repeat_nothing() {
        let message = NodeMessage::new();
        assert_eq!(message.get(), "");
        message.set(Subject::TaskDb, "disk full");
        message.set(Subject::Disk, "disk full");
        assert_eq!(message.get(), "disk full");
        message.set(Subject::TaskDb, "task.db: no such device");
        assert_eq!(message.get(), "disk full; task.db: no such device");
        message.clear(Subject::TaskDb);
        message.clear(Subject::Disk);
        assert_eq!(message.get(), "");
    }
}
