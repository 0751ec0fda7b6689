//! Takes the agents' reports in: forward only, and only from the node that has the task.

#![expect(clippy::unimplemented, reason = "the API first")]

use skep_common::clock::Timestamp;
use skep_proto::v1::TaskStatusUpdate;
use skep_store::View;

use crate::Plan;

/// One report, with the node whose session it came by.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The reporting node, by its certificate.
    pub node_id: String,
    /// What it reports.
    pub update: TaskStatusUpdate,
}

/// A report a node had no right to make.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {node_id} reported on task {task_id}, which is not its own")]
pub struct NotItsTask {
    /// Who reported.
    pub node_id: String,
    /// On what.
    pub task_id: String,
}

/// Whether a node may make these reports at all; to be asked before they are queued. Tasks the swarm has forgotten are
/// nobody's and pass: [`plan`] leaves them out.
pub fn check(_view: &View, _node_id: &str, _updates: &[TaskStatusUpdate]) -> Result<(), NotItsTask> {
    unimplemented!()
}

/// Takes in what is news in a batch of reports. On a conflict plan again with the same reports on a newer view.
pub fn plan(_view: &View, _reports: &[Report], _now: Timestamp) -> Plan {
    unimplemented!()
}
