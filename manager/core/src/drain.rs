//! Taking tasks off nodes they may not stay on without taking more from a service than it can spare.
//!
//! A task on a node that is down or gone is lost and replaced at once. Otherwise the service's update policy says how:
//! one that starts first gets its replacement before the task stops, `parallelism` tasks at a time; one that stops first
//! loses its tasks at once, as in Docker, unless the node is drained at a gradual pace.
//!
//! Invariant: a task of a service that starts first goes on running until its replacement does, however long that takes.

use std::collections::BTreeMap;

use skep_proto::v1::{DrainPace, Service, Task, TaskCause, TaskState, UpdateOrder};
use skep_store::View;

use crate::{
    defaults,
    enforcer::{Misplaced, Nodes},
    global::is_global,
    restart,
    rollout::{Turn, room},
    task::{Place, TaskExt},
    tenants::Held,
};

/// The holders that have to leave their node and may do so now; places that have a `turn` already are left alone.
pub(crate) fn add_turns<'v>(
    nodes: &Nodes<'_>,
    service: &Service,
    held: &[Held<'_, 'v>],
    turns: &mut BTreeMap<Place<'v>, Turn>,
) {
    let config = service.spec.as_ref().and_then(|spec| spec.update).unwrap_or_else(defaults::update_config);
    let is_global = is_global(service);
    // On the same node there is no room for the new one before the old one has stopped.
    let order = if is_global { UpdateOrder::StopFirst } else { config.order() };
    // What is updated in this plan is from then on the update's, and no longer on its way from a node.
    let others = held.iter().filter(|held| !turns.contains_key(&held.place));
    let mut room = room(&config, others.filter(|held| moves(nodes, service, held)).count());
    for held in held.iter().filter(|held| held.successor.is_none()) {
        let Some(task) = held.holder.filter(|task| !task.is_terminal()) else { continue };
        let Some(reason) = nodes.misplaced(service, task) else { continue };
        // Which nodes a global service is on is seen to apart from how it is updated there.
        let is_settled = is_global && reason != Misplaced::Resources;
        if is_settled || turns.contains_key(&held.place) {
            continue;
        }
        if is_paced(nodes.view, order, reason, task) {
            if room == 0 {
                continue;
            }
            room -= 1;
        }
        turns.insert(held.place, Turn { cause: reason.cause(), order });
    }
}

/// Whether a place is between a task that has to leave its node and the one that replaces it.
fn moves(nodes: &Nodes<'_>, service: &Service, held: &Held<'_, '_>) -> bool {
    let Some(holder) = held.holder else { return false };
    if held.successor.is_some() {
        return nodes.misplaced(service, holder).is_some();
    }
    holder.cause() == TaskCause::Drain && holder.state() < TaskState::Running
}

/// Whether it matters how many tasks leave at a time. One that does not run, or gets no replacement, takes nothing from
/// the service by being early.
fn is_paced(view: &View, order: UpdateOrder, reason: Misplaced, task: &Task) -> bool {
    if reason.is_lost() || task.state() != TaskState::Running || restart::after_move(task).is_none() {
        return false;
    }
    order == UpdateOrder::StartFirst || reason == Misplaced::Drained && is_gradual(view, &task.node_id)
}

fn is_gradual(view: &View, node_id: &str) -> bool {
    let spec = view.node(node_id).and_then(|node| node.spec.as_ref());
    spec.is_some_and(|spec| spec.drain_pace() == DrainPace::Gradual)
}
