//! Global services: one task on every node that is fit for it.
//!
//! The task of a node never moves: when the node is no longer fit, its tasks go, history and all, so that a node that
//! comes back starts afresh.

use std::collections::BTreeSet;

use skep_proto::v1::{Availability, Node, NodeState, Placement, Service, TaskSpec, service_spec::Mode};

use crate::{
    constraint::{self, Constraint},
    enforcer,
    orchestrator::Tending,
    scheduler::filter,
    task::Place,
};

/// Whether a service has a task per node: global services, and global jobs.
pub fn is_global(service: &Service) -> bool {
    matches!(service.spec.as_ref().and_then(|spec| spec.mode.as_ref()), Some(Mode::Global(_) | Mode::GlobalJob(_)))
}

/// Brings a service to one task on every node that is fit and tends each.
pub(crate) fn plan(tending: &mut Tending<'_, '_>) {
    let places = tending.places(true);
    let task_spec = tending.service.spec.as_ref().and_then(|spec| spec.task.as_ref());
    let fitness = Fitness::of(task_spec);
    let view = tending.view;
    let mut fit = BTreeSet::new();
    for node in view.nodes().filter(|node| fitness.may_keep(node)) {
        let place = Place::Node(&node.id);
        fit.insert(place);
        match places.get(&place) {
            Some(tenants) if !tenants.staying.is_empty() => {
                tending.tend(place, tenants, false);
            }
            tenants if takes_new_tasks(node) => tending.fill(place, tenants),
            _ => {}
        }
    }
    for (_, tenants) in places.iter().filter(|(place, _)| !fit.contains(place)) {
        tending.vacate(tenants);
    }
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
