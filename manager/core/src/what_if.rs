//! Dry run (`what-if`): which tasks would move, start or stop if a node were drained or lost, or a service deployed. Runs the
//! real planners on a copy of the state.
//!
//! First the copy converges without the change, so that only the effects of the change are reported; then the change is
//! made and it converges again. Invariants: the real state is not touched; the same question has the same answer; time
//! passes only in the copy, and is bounded.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use skep_common::{
    clock::Timestamp,
    id::{Ids as _, SeededIds},
};
use skep_proto::v1::{Availability, Node, NodeState, Service, ServiceSpec};
use skep_store::View;

use self::world::World;
use crate::{
    mode::is_global,
    names::{self, count},
    task::TaskExt,
    update,
};

/// Effects listed at most; the summary counts all of them.
pub const MAX_EFFECTS: usize = 10_000;

/// The change to try.
#[derive(Debug, Clone, PartialEq)]
pub enum Scenario {
    /// The node (id) is drained.
    Drain(String),
    /// These nodes (ids) go down together.
    Lose(BTreeSet<String>),
    /// The service is created, or the one of its name updated. The spec must be one that is admitted.
    Deploy(Box<ServiceSpec>),
}

/// What would become of one slot of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The service's name.
    pub service: String,
    /// The slot; 0 for a task of a global service, and for the first of a job.
    pub slot: u64,
    /// Name of the node where it is.
    pub from: Option<String>,
    /// Name of the node where it would be.
    pub to: Option<String>,
    /// Why it would be nowhere.
    pub reason: String,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// By service and slot; bounded.
    pub effects: Vec<Effect>,
    /// One sentence.
    pub summary: String,
}

/// The nodes with a label, given as `key=value`; `None` when it is not given so.
pub fn nodes_with_label(view: &View, label: &str) -> Option<BTreeSet<String>> {
    let (key, value) = label.split_once('=')?;
    let has = |node: &&std::sync::Arc<Node>| {
        let annotations = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
        annotations.and_then(|annotations| annotations.labels.get(key)).is_some_and(|found| found == value)
    };
    Some(view.nodes().filter(has).map(|node| node.id.clone()).collect())
}

/// Plays a scenario on a copy of the state.
pub fn play(view: &View, scenario: &Scenario, now: Timestamp) -> Forecast {
    if let Scenario::Lose(nodes) = scenario
        && let Some(summary) = quorum_lost(view, nodes)
    {
        return Forecast { effects: Vec::new(), summary };
    }
    let mut ids = SeededIds::new(view.version());
    let new_service = ids.next_id();
    let mut world = World::new(view.clone(), now, ids);
    world.converge();
    let before = world.view().clone();
    let what = imagine(&mut world, scenario, new_service);
    let at_rest = world.converge();
    let after = world.view();

    let mut tally = Tally::default();
    let (old, new) = (slots(&before), slots(after));
    let keys: BTreeSet<&SlotKey> = old.keys().chain(new.keys()).collect();
    let mut effects: Vec<Effect> =
        keys.into_iter().filter_map(|key| effect(key, old.get(key), new.get(key), &mut tally)).collect();
    effects.truncate(MAX_EFFECTS);
    let rest = if at_rest { "" } else { "; not all of it would be over within an hour" };
    Forecast { effects, summary: format!("If {what}, {}{rest}.", tally.words()) }
}

/// The answer when too few managers would be left for a quorum, so that nothing would be replaced.
fn quorum_lost(view: &View, lost: &BTreeSet<String>) -> Option<String> {
    let managers: Vec<_> = view.nodes().filter(|node| node.manager.is_some()).collect();
    let is_left = |node: &&&std::sync::Arc<Node>| {
        let is_down = node.status.as_ref().is_some_and(|status| status.state() == NodeState::Down);
        !is_down && !lost.contains(&node.id)
    };
    let left = managers.iter().filter(is_left).count();
    let decides = managers.is_empty() || left > managers.len() / 2;
    (!decides).then(|| {
        format!(
            "If {} were lost, {left} of {} would be left, which is no quorum: tasks on other nodes would run on, and \
             nothing would be replaced or could be changed until managers come back.",
            listed(view, lost),
            count(managers.len(), "manager")
        )
    })
}

/// Nodes by name, in the order of their names.
fn listed(view: &View, nodes: &BTreeSet<String>) -> String {
    let mut names: Vec<&str> = nodes.iter().map(|id| names::node_by_id(view, id)).collect();
    names.sort_unstable();
    names.join(", ")
}

/// Makes the change and says what it is.
fn imagine(world: &mut World, scenario: &Scenario, new_service: String) -> String {
    let name = |world: &World, id: &str| names::node_by_id(world.view(), id).to_owned();
    match scenario {
        Scenario::Drain(id) => {
            let what = format!("{} were drained", name(world, id));
            world.edit_node(id, |node| node.spec.get_or_insert_default().set_availability(Availability::Drain));
            what
        }
        Scenario::Lose(nodes) => {
            let named = listed(world.view(), nodes);
            let since = world.now().as_nanos();
            for id in nodes {
                world.edit_node(id, |node| {
                    let status = node.status.get_or_insert_default();
                    status.set_state(NodeState::Down);
                    status.since = since;
                });
            }
            format!("{} were lost", if named.is_empty() { "no node" } else { &named })
        }
        Scenario::Deploy(spec) => {
            let asked = Service { spec: Some(ServiceSpec::clone(spec)), ..Service::default() };
            let name = names::service(&asked).to_owned();
            let (view, now) = (world.view().clone(), world.now());
            match view.service_by_name(&name) {
                Some(known) => {
                    let service = update::updated(&view, known, ServiceSpec::clone(spec), now);
                    world.write(|tx| update::write(tx, service));
                    format!("{name} were updated")
                }
                None => {
                    let service = update::created(&view, new_service, ServiceSpec::clone(spec), now);
                    world.write(|tx| update::write(tx, service));
                    format!("{name} were created")
                }
            }
        }
    }
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SlotKey {
    /// By name.
    service: String,
    slot: u64,
    /// Of a service with a task per node the node, by name.
    node: Option<String>,
    /// Of a job.
    run: u64,
}

/// The current task of a slot.
struct Current {
    task_id: String,
    node: Option<String>,
    reason: String,
}

/// Every slot that is wanted, and its current task.
fn slots(view: &View) -> BTreeMap<SlotKey, Current> {
    let wanted = view.tasks().filter(|task| task.is_wanted() && !task.is_terminal() && !task.service_id.is_empty());
    wanted
        .map(|task| {
            let service = task.service.as_ref().map_or(task.service_id.as_str(), |service| service.name.as_str());
            let node = Some(names::node_by_id(view, &task.node_id).to_owned());
            let placed = task.may_run();
            let is_global = view.service(&task.service_id).is_some_and(|service| is_global(service));
            let key = SlotKey {
                service: service.to_owned(),
                slot: task.slot,
                node: node.clone().filter(|_| is_global),
                run: task.job_iteration,
            };
            let reason = task.status.as_ref().map_or("", |status| status.err.as_str());
            let current =
                Current { task_id: task.id.clone(), node: node.filter(|_| placed), reason: reason.to_owned() };
            (key, current)
        })
        .collect()
}

/// What would happen to a slot, counted in `tally`; `None` for nothing.
fn effect(key: &SlotKey, old: Option<&Current>, new: Option<&Current>, tally: &mut Tally) -> Option<Effect> {
    let from = old.and_then(|current| current.node.clone());
    let to = new.and_then(|current| current.node.clone());
    let same_task = old.map(|current| &current.task_id) == new.map(|current| &current.task_id);
    // Still there, or still nowhere.
    if old.is_some() && from == to && (same_task || to.is_none()) {
        return None;
    }
    let reason = match new {
        None if key.node.is_some() => "one task on each node, and this one is no longer fit".to_owned(),
        None => "its place is given up".to_owned(),
        Some(current) if current.node.is_none() => match current.reason.as_str() {
            "" => "it has no node yet".to_owned(),
            reason => reason.to_owned(),
        },
        Some(_) => String::new(),
    };
    match (&from, &to) {
        (Some(from), Some(to)) if from == to => tally.replaced += 1,
        (Some(_), Some(_)) => tally.moved += 1,
        (None, Some(_)) => tally.started += 1,
        (_, None) if new.is_some() => tally.stranded += 1,
        (_, None) => tally.stopped += 1,
    }
    Some(Effect { service: key.service.clone(), slot: key.slot, from, to, reason })
}

/// How many slots would be moved, started and so on.
#[derive(Debug, Default)]
struct Tally {
    moved: usize,
    replaced: usize,
    started: usize,
    stranded: usize,
    stopped: usize,
}

impl Tally {
    fn words(&self) -> String {
        let parts = [
            (self.started, "would start"),
            (self.moved, "would move"),
            (self.replaced, "would be replaced where it is"),
            (self.stranded, "would find no place"),
            (self.stopped, "would stop for good"),
        ];
        let said: Vec<String> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n, "task"))).collect();
        if said.is_empty() { "nothing would move".to_owned() } else { said.join(", ") }
    }
}

#[cfg(test)]
mod tests;
