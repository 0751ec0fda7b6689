//! What handlers share, and the question most of them ask first: does this node manage?

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    backend::{ApiState, Control, LocalNodeState, Manager},
    error::ApiError,
    event_log::EventLog,
};

const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
    connect this node to swarm and try again.";
const WORKER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. \
    Please run this command on a manager node or promote the current node to a manager.";
const PENDING: &str = "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the \
    cluster.";

/// The state of a server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Api {
    /// What the server stands on.
    pub(super) backend: ApiState,
    /// What happened lately.
    pub(super) events: EventLog,
    /// Cancelled when the server stops: ends streams that would go on for ever.
    pub(super) stop: CancellationToken,
}

impl Api {
    pub(super) fn new(backend: ApiState, stop: CancellationToken) -> Self {
        Self { backend, events: EventLog::default(), stop }
    }

    /// The way to the replicated state, or why this node has none, in Docker's words.
    pub(super) fn manager(&self) -> Result<Arc<dyn Manager>, ApiError> {
        self.backend.cluster.manager().ok_or_else(|| {
            let status = self.backend.cluster.status();
            ApiError::unavailable(match status.state {
                LocalNodeState::Inactive => NO_SWARM,
                LocalNodeState::Active if !status.is_manager => WORKER,
                LocalNodeState::Active | LocalNodeState::Pending | LocalNodeState::Error => PENDING,
            })
        })
    }

    /// A control client, likewise.
    pub(super) fn control(&self) -> Result<Control, ApiError> {
        Ok(self.manager()?.control())
    }
}
