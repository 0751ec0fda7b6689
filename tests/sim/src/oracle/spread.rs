//! Placement preferences: what a plan of the scheduler leaves a service's tasks spread like, counted anew from the state
//! the plan was made on.

use std::collections::BTreeMap;

use skep_core::task::TaskExt;
use skep_proto::v1::{Task, TaskCause, Transaction};
use skep_store::View;

use crate::{
    context::{Step, Violation, must},
    fitness::{has_room, is_allowed, is_available, zone_of},
    tally::{Kind, Tally},
};

/// No zone got a task while another had fewer of the service and a node that could have taken it. It is enough to look at
/// the end of a plan: while it is made zones only get more tasks and nodes less room, so who is two behind then and has
/// room then was passed over.
pub(crate) fn is_even(view: &View, plan: &[Transaction], tally: &mut Tally) -> Step {
    // Preferences users write are all for zones.
    let spreads = |task: &Task| {
        let placement = task.spec.as_ref().and_then(|spec| spec.placement.as_ref());
        placement.is_some_and(|placement| !placement.spread_over.is_empty())
    };
    let is_placed = |task: &&Task| task.node_id.is_empty() && task.is_wanted() && spreads(task);
    let waiting: Vec<&Task> = view.tasks().map(AsRef::as_ref).filter(is_placed).collect();
    if waiting.is_empty() || plan.is_empty() {
        return Ok(());
    }
    let mut after = view.clone();
    for transaction in plan {
        let next = after.apply(after.version() + 1, transaction);
        after =
            next.map_err(|error| Violation(format!("a plan does not hold in the state it was made on: {error}")))?.0;
    }
    let mut placed: BTreeMap<&str, Vec<&Task>> = BTreeMap::new();
    for task in waiting.iter().filter_map(|task| after.task(&task.id)).filter(|task| !task.node_id.is_empty()) {
        placed.entry(&task.service_id).or_default().push(task);
    }
    for (service, tasks) in placed {
        // What is moved does not count where it leaves, and what asks for something else may have had no choice.
        let is_alike = |task: &&Task| task.spec == tasks[0].spec && task.cause() != TaskCause::Rebalance;
        if !tasks.iter().all(is_alike) {
            continue;
        }
        tally.count(Kind::Spread);
        let zone = |id: &str| after.node(id).map(|node| zone_of(node));
        let mut have: BTreeMap<&str, u64> = BTreeMap::new();
        for task in after.tasks_of_service(service).filter(|task| task.is_wanted()) {
            if let Some(zone) = zone(&task.node_id) {
                *have.entry(zone).or_default() += 1;
            }
        }
        let count = |zone: &str| have.get(zone).copied().unwrap_or(0);
        let placement = tasks[0].spec.as_ref().and_then(|spec| spec.placement.as_ref());
        for node in after.nodes().filter(|node| is_available(node) && is_allowed(node, placement)) {
            let poor = zone_of(node);
            let rich = tasks.iter().filter_map(|task| zone(&task.node_id)).find(|rich| count(rich) > count(poor) + 1);
            must!(
                rich.is_none() || !has_room(&after, node, tasks[0]),
                "{service} gets a task in zone {rich:?}, and {} in {poor:?} has room: {have:?}",
                node.id
            );
        }
    }
    Ok(())
}
