//! Draining: the pace at which evicted tasks leave their nodes, so that a service is not disrupted more than it
//! tolerates. It covers every reason to evict, not only a drained node.
//!
//! A task on a node that is down or gone is lost and replaced at once. Otherwise the service's update policy says how:
//! with start-first order the replacement runs before the task stops, `parallelism` tasks at a time; with stop-first
//! all tasks stop at once, as in Docker, unless the node is drained at a gradual pace.
//!
//! Invariant: with start-first order a task goes on running until its replacement does, however long that takes.

use std::collections::BTreeMap;

use skep_proto::v1::{DrainPace, Service, Task, TaskCause, TaskState, UpdateOrder};
use skep_store::View;

use crate::{
    defaults,
    enforcer::{EvictionReason, Nodes},
    mode::is_global,
    restart,
    rollout::{Replace, update_policy::free_parallelism},
    slot::{Slot, kept::KeptSlot},
    task::TaskExt,
};

/// Adds the slots whose current task has to leave its node and may do so now.
pub(crate) fn add_slots_to_drain<'v>(
    nodes: &Nodes<'_>,
    service: &Service,
    kept: &[KeptSlot<'_, 'v>],
    to_replace: &mut BTreeMap<Slot<'v>, Replace>,
) {
    let config = service.spec.as_ref().and_then(|spec| spec.update).unwrap_or_else(defaults::update_config);
    let is_global = is_global(service);
    // On one and the same node the old task has to give back its resources first.
    let order = if is_global { UpdateOrder::StopFirst } else { config.order() };
    // A slot that this plan updates no longer counts as one that is being moved.
    let others = kept.iter().filter(|kept| !to_replace.contains_key(&kept.slot));
    let mut free = free_parallelism(&config, others.filter(|kept| is_moving(nodes, service, kept)).count());
    for kept in kept.iter().filter(|kept| kept.replacement.is_none()) {
        let Some(task) = kept.current.filter(|task| !task.is_terminal()) else { continue };
        let Some(reason) = nodes.eviction_reason(service, task) else { continue };
        // A global service does not move tasks: the slots of its other nodes are removed instead (`crate::global`).
        let is_by_desired_slots = is_global && reason != EvictionReason::Resources;
        if is_by_desired_slots || to_replace.contains_key(&kept.slot) {
            continue;
        }
        if is_paced(nodes.view, order, reason, task) {
            if free == 0 {
                continue;
            }
            free -= 1;
        }
        to_replace.insert(kept.slot, Replace { cause: reason.cause(), order });
    }
}

/// Whether a slot is between a task that has to leave its node and the one that replaces it.
fn is_moving(nodes: &Nodes<'_>, service: &Service, kept: &KeptSlot<'_, '_>) -> bool {
    let Some(current) = kept.current else { return false };
    if kept.replacement.is_some() {
        return nodes.eviction_reason(service, current).is_some();
    }
    is_move(current) && current.state() < TaskState::Running
}

/// Whether a task was made because the one before it had to leave its node. One that had to leave again before it ran is
/// replaced for another reason than the first, and the slot still moves.
pub(crate) fn is_move(task: &Task) -> bool {
    use TaskCause::{Constraints, Drain, NodeDown, NodeGone, Resources};
    matches!(task.cause(), Drain | NodeDown | NodeGone | Constraints | Resources)
}

/// Whether `parallelism` applies to this task. It does not to one that does not run, or gets no replacement: nothing is
/// gained by letting it wait.
fn is_paced(view: &View, order: UpdateOrder, reason: EvictionReason, task: &Task) -> bool {
    if reason.is_lost() || task.state() != TaskState::Running || restart::after_move(task).is_none() {
        return false;
    }
    order == UpdateOrder::StartFirst || reason == EvictionReason::Drained && is_gradual(view, &task.node_id)
}

fn is_gradual(view: &View, node_id: &str) -> bool {
    let spec = view.node(node_id).and_then(|node| node.spec.as_ref());
    spec.is_some_and(|spec| spec.drain_pace() == DrainPace::Gradual)
}
