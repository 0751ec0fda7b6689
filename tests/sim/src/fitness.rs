//! Which nodes may have a task, looked at the slow way: nothing here is shared with what decides that in the daemon.

use skep_core::task::TaskExt as _;
use skep_proto::v1::{Availability, Node, NodeState, Placement, PublishMode, Resources, ServiceSpec, Task};
use skep_store::View;

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

/// What a task reserves.
pub(crate) fn reserved(task: &Task) -> Resources {
    let resources = task.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    resources.and_then(|resources| resources.reservations.clone()).unwrap_or_default()
}

/// The ports of its node a task asks for; users ask for TCP only.
pub(crate) fn host_ports(task: &Task) -> impl Iterator<Item = u32> {
    let spec = task.endpoint.as_ref().and_then(|endpoint| endpoint.spec.as_ref());
    let ports = spec.into_iter().flat_map(|spec| &spec.ports);
    ports.filter(|port| port.mode() == PublishMode::Host && port.published != 0).map(|port| port.published)
}

/// Whether a node has room for one more task.
pub(crate) fn has_room(view: &View, node: &Node, task: &Task) -> bool {
    let capacity = node.description.as_ref().and_then(|description| description.resources.clone()).unwrap_or_default();
    let others = || view.tasks_of_node(&node.id).filter(|other| other.may_run());
    let cpus: i64 = others().map(|other| reserved(other).nano_cpus).sum();
    let memory: i64 = others().map(|other| reserved(other).memory_bytes).sum();
    let asks = reserved(task);
    let is_taken = |port: u32| others().any(|other| host_ports(other).any(|taken| taken == port));
    cpus + asks.nano_cpus <= capacity.nano_cpus
        && memory + asks.memory_bytes <= capacity.memory_bytes
        && !host_ports(task).any(is_taken)
}

/// Whether a node is there to run what this spec says.
pub(crate) fn may_run(node: &Node, spec: Option<&ServiceSpec>) -> bool {
    is_available(node) && is_allowed(node, spec.and_then(|spec| spec.task.as_ref()?.placement.as_ref()))
}

/// Whether a node takes new tasks at all.
pub(crate) fn is_available(node: &Node) -> bool {
    let is_ready = node.status.as_ref().is_some_and(|status| status.state() == NodeState::Ready);
    let is_active = node.spec.as_ref().is_some_and(|spec| spec.availability() == Availability::Active);
    is_ready && is_active
}
