//! Replicated services: so many slots, numbered from 1, each with one task.

use std::{cmp::Reverse, collections::BTreeMap};

use skep_proto::v1::TaskState;

use crate::{
    orchestrator::Layout,
    task::{Place, TaskExt},
    tenants::Tenants,
};

/// The slots of a service with so many `replicas`.
pub(crate) fn layout<'v>(places: &BTreeMap<Place<'v>, Tenants<'v>>, replicas: u64) -> Layout<'v> {
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    let mut kept = by_worth(places);
    let given_up = kept.split_off(wanted.min(kept.len()));
    let is_free = |place: &Place<'v>| places.get(place).is_none_or(|tenants| tenants.staying.is_empty());
    let empty = (1..).map(Place::Slot).filter(is_free).take(wanted - kept.len()).collect();
    Layout { kept, empty, given_up }
}

/// The slots in use, the ones to keep longest first: those that run before those that do not, then those whose node
/// has fewest of the service's tasks before them, then the lower numbers. So taking from the end takes first what does
/// not run, then from the nodes with most, and leaves the spread even.
fn by_worth<'a>(places: &BTreeMap<Place<'a>, Tenants<'a>>) -> Vec<Place<'a>> {
    let mut slots: Vec<(Reverse<bool>, Place<'a>, &str)> = places
        .iter()
        .filter(|(_, tenants)| !tenants.staying.is_empty())
        .map(|(place, tenants)| {
            let wanted = tenants.wanted();
            let running = wanted.is_some_and(|task| task.state() == TaskState::Running);
            (Reverse(running), *place, wanted.map_or("", |task| task.node_id.as_str()))
        })
        .collect();
    slots.sort_unstable();
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ranked: Vec<_> = slots
        .into_iter()
        .map(|(running, place, node)| {
            let nth = on_node.entry(node).or_default();
            *nth += 1;
            (running, *nth, place)
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, _, place)| place).collect()
}
