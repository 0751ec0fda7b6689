//! The tasks every service should have.
//!
//! Owns `Task.desired_state` and `Task.restart`, and makes tasks; writes `Service.update_status` as [`crate::rollout`]
//! decides. [`crate::replicated`] and [`crate::global`] say which slots there are; [`crate::rollout`], [`crate::drain`]
//! and [`crate::rebalance`] which current tasks are replaced now; [`slot_planner`] what happens in each slot. The
//! invariants are there.

pub(crate) mod desired_slots;
mod single_slots;
pub(crate) mod slot_planner;

use std::{collections::BTreeMap, sync::Arc};

use skep_common::{clock::Timestamp, id::Ids};
use skep_proto::v1::{Service, TaskCause, TaskState, UpdateOrder, service_spec::Mode};
use skep_store::View;

pub use self::slot_planner::STOP_PATIENCE;
use self::{desired_slots::DesiredSlots, slot_planner::SlotPlanner};
use crate::{
    Extent, Plan, Scope, drain,
    enforcer::Nodes,
    global, job, mode,
    plan::{Planner, Write},
    rebalance::{self, RebalanceStep},
    replicated,
    rollout::{Replace, Rollout},
    slot::{
        Slot,
        kept::KeptSlot,
        tasks::{SlotTasks, slots_of},
    },
    task::{self, TaskExt},
};

/// Plans the tasks of the services in `scope`.
pub fn plan(view: &View, scope: &Scope, now: Timestamp, ids: &mut dyn Ids) -> Plan {
    let nodes = Nodes::of(view);
    let mut planner = Planner::new(view, now);
    for (id, extent) in scope.extents(view) {
        planner.about(id);
        let Some(service) = view.service(id) else {
            remove_all(view, id, &mut planner);
            continue;
        };
        if let Extent::Slots(slots) = extent
            && single_slots::reconcile(&nodes, service, slots, now, ids, &mut planner)
        {
            continue;
        }
        match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
            Some(Mode::Replicated(_) | Mode::Global(_)) => reconcile_service(&nodes, service, now, ids, &mut planner),
            Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) => {
                job::tasks::plan(&mut SlotPlanner {
                    view,
                    nodes: &nodes,
                    service,
                    run: 0,
                    now,
                    ids,
                    planner: &mut planner,
                });
            }
            // Admission refuses such a spec.
            None => {}
        }
    }
    planner.finish()
}

/// Which slots a service is to have.
fn desired_slots<'v>(view: &'v View, service: &Service, slots: &BTreeMap<Slot<'v>, SlotTasks<'v>>) -> DesiredSlots<'v> {
    match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
        Some(Mode::Replicated(mode)) => replicated::desired_slots(slots, mode.replicas),
        _ => global::desired_slots(view, service, slots),
    }
}

/// Brings all slots of a service closer to what its spec asks for.
fn reconcile_service<'v>(
    nodes: &Nodes<'v>,
    service: &Arc<Service>,
    now: Timestamp,
    ids: &mut dyn Ids,
    planner: &mut Planner<'v>,
) {
    let view = nodes.view;
    let is_global = mode::is_global(service);
    let slots = slots_of(view, &service.id, 0, is_global);
    let mut service = Arc::clone(service);
    let mut is_changed = false;
    // An update begins, turns into a rollback, and ends or pauses: it does each at most once before tasks are made.
    let (desired, mut kept, rollout, step) = loop {
        let desired = desired_slots(view, &service, &slots);
        let kept: Vec<KeptSlot<'_, '_>> =
            desired.kept.iter().map(|slot| KeptSlot::of(nodes, &service, *slot, &slots[slot], now)).collect();
        let rollout = Rollout::of(nodes, &service, &kept, now);
        let step = if rollout.is_over() && !is_global && desired.missing.is_empty() {
            let surplus = kept.iter().flat_map(|kept| &kept.surplus);
            let stopping = surplus.chain(desired.surplus.iter().flat_map(|slot| &slots[slot].staying));
            rebalance::next_step(nodes, &service, &kept, stopping.copied(), now)
        } else {
            RebalanceStep::Stay
        };
        let next =
            rollout.next(&service, now).or_else(|| (step == RebalanceStep::Met).then(|| rebalance::met(&service)));
        let Some(next) = next else { break (desired, kept, rollout, step) };
        service = Arc::new(next);
        is_changed = true;
    };
    if is_changed {
        planner.change_service(Service::clone(&service));
    }
    let mut to_replace = rollout.slots_to_update();
    drain::add_slots_to_drain(nodes, &service, &kept, &mut to_replace);
    match step {
        RebalanceStep::Move(slot) => {
            let replace = Replace { cause: TaskCause::Rebalance, order: UpdateOrder::StartFirst };
            to_replace.entry(Slot::Number(slot)).or_insert(replace);
        }
        RebalanceStep::NotBefore(at) => planner.wake_at(at),
        RebalanceStep::Stay | RebalanceStep::Met => {}
    }
    if let Some(at) = rollout.wake_at(now) {
        planner.wake_at(at);
    }
    // So far those came first that are best kept.
    kept.sort_unstable_by_key(|kept| kept.slot);
    let mut slot_planner = SlotPlanner { view, nodes, service: &service, run: 0, now, ids, planner };
    // First what makes less: a plan that is cut must not be more than it may be between its parts.
    for slot in desired.surplus {
        slot_planner.remove(&slots[&slot]);
    }
    for kept in &kept {
        slot_planner.reconcile(kept, to_replace.get(&kept.slot).copied());
    }
    for slot in desired.missing {
        slot_planner.fill(slot, slots.get(&slot), TaskCause::Replica);
    }
}

/// A service is gone: so are all its tasks, as soon as they have stopped.
fn remove_all(view: &View, service_id: &str, planner: &mut Planner<'_>) {
    for task in view.tasks_of_service(service_id).filter(|task| !task.is_leaving()) {
        planner.step([Write::UpdateTask(task::desired(task, TaskState::Remove).into())]);
    }
}
