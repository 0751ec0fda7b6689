//! What the state says of a node. [`crate::liveness`] decides whether it is down.

use skep_proto::v1::{Availability, Node, NodeRole, NodeState};
use skep_store::View;

/// Whether a node is down or was removed: the state of its tasks is unknown, and none of them is waited for.
pub fn is_down_or_gone(view: &View, node_id: &str) -> bool {
    view.node(node_id).is_none_or(|node| is_down(node))
}

pub(crate) fn is_down(node: &Node) -> bool {
    state(node) == NodeState::Down
}

pub(crate) fn state(node: &Node) -> NodeState {
    node.status.as_ref().map_or(NodeState::Unknown, |status| status.state())
}

pub(crate) fn availability(node: &Node) -> Availability {
    node.spec.as_ref().map_or(Availability::Active, |spec| spec.availability())
}

/// Whether new tasks may go to a node at all.
pub(crate) fn takes_new_tasks(node: &Node) -> bool {
    state(node) == NodeState::Ready && availability(node) == Availability::Active
}

/// The role its spec asks for; its present one is `Node.role`.
pub(crate) fn desired_role(node: &Node) -> NodeRole {
    node.spec.as_ref().map_or(NodeRole::Worker, |spec| spec.desired_role())
}
