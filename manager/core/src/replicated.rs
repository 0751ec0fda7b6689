//! Replicated services: `replicas` slots, numbered from 1, each with one task.

use std::{cmp::Reverse, collections::BTreeMap};

use skep_proto::v1::TaskState;

use crate::{
    orchestrator::desired_slots::DesiredSlots,
    slot::{Slot, tasks::SlotTasks},
    task::TaskExt,
};

/// Which slots a service with so many `replicas` keeps, misses, and has too many.
pub(crate) fn desired_slots<'v>(slots: &BTreeMap<Slot<'v>, SlotTasks<'v>>, replicas: u64) -> DesiredSlots<'v> {
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    let mut kept = by_worth(slots);
    let surplus = kept.split_off(wanted.min(kept.len()));
    let is_free = |slot: &Slot<'v>| slots.get(slot).is_none_or(|tasks| tasks.staying.is_empty());
    let missing = (1..).map(Slot::Number).filter(is_free).take(wanted - kept.len()).collect();
    DesiredSlots { kept, missing, surplus }
}

/// The slots in use, in the order in which they are kept when the service is scaled down: running ones first; then the
/// first of each node, the second of each node, and so on; then by number. Removing from the end removes what does not
/// run, then takes from the nodes with most tasks, and leaves the spread even.
fn by_worth<'a>(slots: &BTreeMap<Slot<'a>, SlotTasks<'a>>) -> Vec<Slot<'a>> {
    let mut slots: Vec<(Reverse<bool>, Slot<'a>, &str)> = slots
        .iter()
        .filter(|(_, tasks)| !tasks.staying.is_empty())
        .map(|(slot, tasks)| {
            let wanted = tasks.wanted();
            let running = wanted.is_some_and(|task| task.state() == TaskState::Running);
            (Reverse(running), *slot, wanted.map_or("", |task| task.node_id.as_str()))
        })
        .collect();
    slots.sort_unstable();
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ranked: Vec<_> = slots
        .into_iter()
        .map(|(running, slot, node)| {
            let nth = on_node.entry(node).or_default();
            *nth += 1;
            (running, *nth, slot)
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, _, slot)| slot).collect()
}
