//! What a node is told: one COMPLETE set of its tasks, then what changed.

#![expect(clippy::unimplemented, reason = "the API first")]

use skep_proto::v1::AssignmentsMessage;
use skep_store::View;

/// What one stream to one node has said so far.
#[derive(Debug, Clone)]
pub struct Assignments {
    _node_id: String,
}

impl Assignments {
    /// A new stream, and its first message: the COMPLETE set.
    pub fn begin(_node_id: &str, _view: &View) -> (Self, AssignmentsMessage) {
        unimplemented!()
    }

    /// The INCREMENTAL message that leads from what was said to `view`; `None` when that is nothing.
    pub fn next(&mut self, _view: &View) -> Option<AssignmentsMessage> {
        unimplemented!()
    }
}
