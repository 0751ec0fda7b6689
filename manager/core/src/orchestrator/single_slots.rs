//! Slots that are planned each by itself: what an event of one of a thousand tasks leads to without a look at the others.
//!
//! Invariant: what is planned for such slots is what a plan of the whole service has for them, and that has nothing for any
//! other. So a slot is not planned by itself while what becomes of it depends on the others, or of the others on it: while
//! an update is under way or could begin, while tasks leave their nodes in turn, and where the service is to be spread anew.

use std::collections::BTreeSet;

use skep_common::{clock::Timestamp, id::Ids};
use skep_proto::v1::{Service, TaskCause, service_spec::Mode};

use crate::{
    drain::is_move,
    enforcer::Nodes,
    global::Fitness,
    node_status,
    orchestrator::slot_planner::SlotPlanner,
    plan::Planner,
    rebalance,
    rollout::{self, update_policy::is_by_update},
    slot::{Slot, SlotKey, kept::KeptSlot, tasks::SlotTasks},
    task::TaskExt,
    update::is_dirty,
};

/// The slots to be planned, by what is to become of them.
struct Slots<'v> {
    surplus: Vec<SlotTasks<'v>>,
    kept: Vec<(Slot<'v>, SlotTasks<'v>)>,
    missing: Vec<(Slot<'v>, SlotTasks<'v>)>,
}

/// Brings these slots of a service closer to what its spec asks for. Says whether each could be planned by itself; if not,
/// nothing is planned.
pub(super) fn reconcile<'v>(
    nodes: &Nodes<'v>,
    service: &Service,
    slots: &BTreeSet<SlotKey>,
    now: Timestamp,
    ids: &mut dyn Ids,
    planner: &mut Planner<'v>,
) -> bool {
    if rollout::is_under_way(service) || rebalance::is_asked_for(service) {
        return false;
    }
    let Some(slots) = Slots::of(nodes, service, slots) else { return false };
    // With a slot that is given up a turn may end as well.
    if slots.surplus.iter().any(|tasks| tasks.staying.iter().any(|task| is_by_update(task))) {
        return false;
    }
    let kept = slots.kept.iter().map(|(slot, tasks)| KeptSlot::of(nodes, service, *slot, tasks, now));
    let kept: Vec<KeptSlot<'_, '_>> = kept.collect();
    if !kept.iter().all(|kept| is_independent(nodes, service, kept)) {
        return false;
    }
    let mut slot_planner = SlotPlanner { view: nodes.view, nodes, service, run: 0, now, ids, planner };
    for tasks in &slots.surplus {
        slot_planner.remove(tasks);
    }
    for kept in &kept {
        slot_planner.reconcile(kept, None);
    }
    for (slot, tasks) in &slots.missing {
        slot_planner.fill(*slot, Some(tasks), TaskCause::Replica);
    }
    true
}

impl<'v> Slots<'v> {
    /// `None` where the service's mode has no such slots.
    fn of(nodes: &Nodes<'v>, service: &Service, keys: &BTreeSet<SlotKey>) -> Option<Self> {
        let view = nodes.view;
        let spec = service.spec.as_ref()?;
        let fitness = Fitness::of(spec.task.as_deref());
        let mut slots = Self { surplus: Vec::new(), kept: Vec::new(), missing: Vec::new() };
        for key in keys {
            let tasks = SlotTasks::of(key.tasks(view, &service.id));
            match (spec.mode.as_ref()?, key) {
                // A slot whose tasks are all on their way out was given up, and is not missed.
                (Mode::Replicated(_), SlotKey::Number(_)) if tasks.staying.is_empty() => {}
                (Mode::Replicated(_), SlotKey::Number(number)) => slots.kept.push((Slot::Number(*number), tasks)),
                (Mode::Global(_), SlotKey::Node(id)) => match view.node(id).filter(|node| fitness.may_keep(node)) {
                    None => slots.surplus.push(tasks),
                    Some(node) if !tasks.staying.is_empty() => slots.kept.push((Slot::Node(&node.id), tasks)),
                    Some(node) if node_status::takes_new_tasks(node) => {
                        slots.missing.push((Slot::Node(&node.id), tasks));
                    }
                    Some(_) => {}
                },
                _ => return None,
            }
        }
        Some(slots)
    }
}

/// Whether a slot has to do with no other: one task that is what the service asks for may stay where it is, and is not one
/// that others waited for.
fn is_independent(nodes: &Nodes<'_>, service: &Service, kept: &KeptSlot<'_, '_>) -> bool {
    if kept.replacement.is_some() || !kept.surplus.is_empty() {
        return false;
    }
    let newest = kept.newest();
    if newest.is_some_and(|task| is_dirty(nodes.view, service, task)) {
        return false;
    }
    // The end of a drain's or an update's turn is the beginning of the next. A replicated service has no turns when no update
    // is under way.
    let is_turn = match kept.slot {
        Slot::Number(_) => newest.is_some_and(|task| is_move(task)),
        Slot::Node(_) => newest.is_some_and(|task| is_move(task) || is_by_update(task)),
    };
    let current = kept.current.filter(|task| !task.is_terminal());
    !is_turn && current.is_none_or(|task| nodes.eviction_reason(service, task).is_none())
}
