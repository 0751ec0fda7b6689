//! A container in the runtime's table.

use std::sync::Mutex;

use skep_common::clock::Timestamp;
use skep_shim::{exit::ExitRecord, protocol::Running};
use tokio::sync::watch;

use super::{paths::Paths, record::Record};
use crate::{ContainerState, Exit, Status, bundle::LOG};

/// Where a container is; only ever moves down this list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Created,
    /// Its shim may exist by now.
    Starting,
    Running(Running),
    Exited(Exit),
    /// Deleted; the entry is no longer in the table.
    Removed,
}

/// A container: facts that stay and the phase it is in.
#[derive(Debug)]
pub(super) struct ContainerEntry {
    pub(super) record: Record,
    phase: watch::Sender<Phase>,
    /// Why the runtime itself ended it.
    pub(super) blamed: Mutex<Option<String>>,
}

impl ContainerEntry {
    pub(super) fn new(record: Record, phase: Phase) -> Self {
        Self { record, phase: watch::Sender::new(phase), blamed: Mutex::default() }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(super) fn set(&self, phase: Phase) {
        self.phase.send_replace(match phase {
            Phase::Exited(exit) => Phase::Exited(self.explained(exit)),
            phase => phase,
        });
    }

    /// Waits until the phase is one that `is` accepts.
    pub(super) async fn until(&self, is: impl FnMut(&Phase) -> bool) -> Phase {
        let mut phases = self.phase.subscribe();
        match phases.wait_for(is).await {
            Ok(phase) => phase.clone(),
            // The sender is in self: this does not happen.
            Err(_) => Phase::Removed,
        }
    }

    /// As the rest of the node sees it.
    pub(super) fn state(&self, paths: &Paths) -> ContainerState {
        let record = self.record.clone();
        let status = match self.phase() {
            Phase::Created => Status::Created,
            Phase::Starting => Status::Running { pid: 0, started: Timestamp(record.created) },
            Phase::Running(Running { pid, started, .. }) => Status::Running { pid, started: Timestamp(started) },
            Phase::Exited(exit) => Status::Exited(exit),
            Phase::Removed => {
                Status::Exited(Exit { code: 255, oom: false, at: Timestamp(record.created), error: None })
            }
        };
        ContainerState {
            id: record.id,
            name: record.name,
            image: record.image,
            image_id: record.image_id,
            command: record.command,
            labels: record.labels,
            created: Timestamp(record.created),
            details: record.details,
            log: record.logged.then(|| paths.bundle(&self.record.id).join(LOG)),
            directory: paths.bundle(&self.record.id),
            layers: record.layers.iter().map(|layer| paths.layer(layer)).collect(),
            status,
        }
    }
}

impl Phase {
    /// Ended, one way or the other.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Exited(_) | Self::Removed)
    }
}

/// The shim's words in the runtime's.
pub(super) fn exit_of(record: ExitRecord) -> Exit {
    Exit { code: record.code, oom: record.oom, at: Timestamp(record.at), error: record.error }
}
