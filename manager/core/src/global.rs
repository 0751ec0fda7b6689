//! Global services: one task on every eligible node.
//!
//! A task never moves to another node: when its node is no longer eligible, the slot is removed with its history, so that
//! a node that comes back starts afresh.

use std::collections::{BTreeMap, BTreeSet};

use skep_proto::v1::{Availability, Node, Placement, Service, TaskSpec};
use skep_store::View;

use crate::{
    constraint::{self, Constraint},
    feature_level, node_status,
    orchestrator::desired_slots::DesiredSlots,
    scheduler::filter,
    slot::{Slot, tasks::SlotTasks},
};

/// One slot for every node that is eligible for the service.
pub(crate) fn desired_slots<'v>(
    view: &'v View,
    service: &Service,
    slots: &BTreeMap<Slot<'v>, SlotTasks<'v>>,
) -> DesiredSlots<'v> {
    let fitness = Fitness::of(service.spec.as_ref().and_then(|spec| spec.task.as_deref()));
    let mut desired = DesiredSlots::default();
    let mut fit = BTreeSet::new();
    for node in view.nodes().filter(|node| fitness.may_keep(node)) {
        let slot = Slot::Node(&node.id);
        fit.insert(slot);
        if slots.get(&slot).is_some_and(|tasks| !tasks.staying.is_empty()) {
            desired.kept.push(slot);
        } else if node_status::takes_new_tasks(node) {
            desired.missing.push(slot);
        }
    }
    desired.surplus = slots.keys().filter(|slot| !fit.contains(slot)).copied().collect();
    desired
}

/// What makes a node eligible for a service: constraints and platform.
pub(crate) struct Fitness<'a> {
    feature_level: u32,
    constraints: Vec<Constraint>,
    placement: Option<&'a Placement>,
}

impl<'a> Fitness<'a> {
    pub(crate) fn of(spec: Option<&'a TaskSpec>) -> Self {
        let placement = spec.and_then(|spec| spec.placement.as_ref());
        let feature_level = spec.map_or(0, feature_level::of_task);
        Self { feature_level, constraints: constraint::of_placement(placement), placement }
    }

    pub(crate) fn may_keep(&self, node: &Node) -> bool {
        !node_status::is_down(node)
            && node_status::availability(node) != Availability::Drain
            && feature_level::is_known_to(node, self.feature_level)
            && self.constraints.iter().all(|constraint| constraint.matches(node))
            && filter::platform_fits(node, self.placement)
    }
}
