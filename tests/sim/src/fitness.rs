//! Which nodes may have a task, looked at the slow way: nothing here is shared with what decides that in the daemon.

use skep_proto::v1::{Availability, Node, NodeState, Placement, ServiceSpec};

/// The one constraint users write.
pub(crate) const NOT_WEST: &str = "node.labels.zone!=west";

/// Whether the constraints of a task let it be on a node.
pub(crate) fn is_allowed(node: &Node, placement: Option<&Placement>) -> bool {
    let constrained = placement.is_some_and(|placement| !placement.constraints.is_empty());
    !constrained || zone_of(node) != "west"
}

/// The zone a node is labelled with.
pub(crate) fn zone_of(node: &Node) -> &str {
    let labels = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map(|annotations| &annotations.labels);
    labels.and_then(|labels| labels.get("zone")).map_or("", String::as_str)
}

/// Whether a node is there to run what this spec says.
pub(crate) fn may_run(node: &Node, spec: Option<&ServiceSpec>) -> bool {
    let is_ready = node.status.as_ref().is_some_and(|status| status.state() == NodeState::Ready);
    let is_active = node.spec.as_ref().is_some_and(|spec| spec.availability() == Availability::Active);
    is_ready && is_active && is_allowed(node, spec.and_then(|spec| spec.task.as_ref()?.placement.as_ref()))
}
