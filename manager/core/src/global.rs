//! Global services: one task on every node that is fit for it.
//!
//! The task of a node never moves: when the node is no longer fit, its tasks go, history and all, so that a node that
//! comes back starts afresh.

use std::collections::{BTreeMap, BTreeSet};

use skep_proto::v1::{Availability, Node, NodeState, Placement, Service, TaskSpec, service_spec::Mode};
use skep_store::View;

use crate::{
    constraint::{self, Constraint},
    enforcer,
    orchestrator::Layout,
    scheduler::filter,
    task::Place,
    tenants::Tenants,
};

/// Whether a service has a task per node: global services, and global jobs.
pub fn is_global(service: &Service) -> bool {
    matches!(service.spec.as_ref().and_then(|spec| spec.mode.as_ref()), Some(Mode::Global(_) | Mode::GlobalJob(_)))
}

/// The nodes of a service.
pub(crate) fn layout<'v>(view: &'v View, service: &Service, places: &BTreeMap<Place<'v>, Tenants<'v>>) -> Layout<'v> {
    let fitness = Fitness::of(service.spec.as_ref().and_then(|spec| spec.task.as_deref()));
    let mut layout = Layout::default();
    let mut fit = BTreeSet::new();
    for node in view.nodes().filter(|node| fitness.may_keep(node)) {
        let place = Place::Node(&node.id);
        fit.insert(place);
        if places.get(&place).is_some_and(|tenants| !tenants.staying.is_empty()) {
            layout.kept.push(place);
        } else if takes_new_tasks(node) {
            layout.empty.push(place);
        }
    }
    layout.given_up = places.keys().filter(|place| !fit.contains(place)).copied().collect();
    layout
}

/// What a service asks of a node.
pub(crate) struct Fitness<'a> {
    constraints: Vec<Constraint>,
    placement: Option<&'a Placement>,
}

impl<'a> Fitness<'a> {
    pub(crate) fn of(spec: Option<&'a TaskSpec>) -> Self {
        let placement = spec.and_then(|spec| spec.placement.as_ref());
        Self { constraints: constraint::of_placement(placement), placement }
    }

    pub(crate) fn may_keep(&self, node: &Node) -> bool {
        !enforcer::is_down(node)
            && enforcer::availability(node) != Availability::Drain
            && self.constraints.iter().all(|constraint| constraint.matches(node))
            && filter::platform_fits(node, self.placement)
    }
}

pub(crate) fn takes_new_tasks(node: &Node) -> bool {
    enforcer::state(node) == NodeState::Ready && enforcer::availability(node) == Availability::Active
}
