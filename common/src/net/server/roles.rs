//! The source of node roles for authorization: the replicated state, which knows of demotions and removals that a
//! certificate does not.

use skep_proto::v1::NodeRole;
use tonic::{Status, metadata::MetadataValue};

/// What the state says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleAnswer {
    /// It is part of the swarm, in this role.
    Is(NodeRole),
    /// There is state, and the node is not in it.
    Removed,
    /// It is not known here, and may be a part of the swarm all the same: there is no state yet, or an old one.
    NotKnown,
}

/// Knows the roles of nodes. Asked for every call and every second for open ones, so it must be quick.
pub trait RoleSource: Send + Sync {
    /// What the state says of `node_id` now. One that goes by a list of managers alone answers `Is(Worker)` for everybody
    /// else.
    fn role_of(&self, node_id: &str) -> RoleAnswer;

    /// Whether `node_id` is a member of the managers' consensus, as far as this one knows. Whoever takes no part in that
    /// knows none.
    fn is_member(&self, _node_id: &str) -> bool {
        false
    }

    /// A node with a manager's certificate that is no member, as far as this one knows, was refused a call of members.
    fn refused_member(&self) {}
}

const REASON: &str = "skep-reason";
const UNKNOWN_NODE: &str = "unknown-node";

/// The refusal of a node that is not part of the swarm (any more).
pub fn unknown_node(node_id: &str) -> Status {
    let mut status = Status::permission_denied(format!("node {node_id} is not part of this swarm: it was removed"));
    status.metadata_mut().insert(REASON, MetadataValue::from_static(UNKNOWN_NODE));
    status
}

/// Whether a call was refused because the manager asked does not know the calling node. One that lags behind may
/// not know it *yet*: ask several, over some time, before giving anything up.
pub fn is_unknown_node(status: &Status) -> bool {
    status.metadata().get(REASON).is_some_and(|reason| reason == UNKNOWN_NODE)
}
