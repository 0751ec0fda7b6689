//! What holds of tasks that are moved for a better spread.

use std::{collections::BTreeMap, sync::Arc};

use skep_common::clock::Timestamp;
use skep_core::{
    policy::{Policy as _, Rebalance},
    rebalance,
    task::TaskExt,
};
use skep_proto::v1::{RestartCondition, Service, Task, TaskCause, TaskSpec, TaskState, service_spec::Mode};
use skep_store::View;

use super::{
    history::{LEVELS, NODES},
    is_heard_of, made, port,
};

/// A task is moved only where somebody asked for it, while the service has all it should have and nothing else is done for
/// it; one at a time, and not soon after the one before.
pub(super) fn moves_take_their_turn(before: &View, after: &View, now: Timestamp) {
    for task in made(before, after).filter(|task| task.cause() == TaskCause::Rebalance) {
        let service = before.service(&task.service_id).unwrap();
        assert!(may_be_moved(service), "nobody asked for {task:?}");
        for other in made(before, after).filter(|other| other.service_id == task.service_id) {
            assert_eq!(other.id, task.id, "made together with a move");
        }
        let mut places: BTreeMap<u64, Vec<&Arc<Task>>> = BTreeMap::new();
        for other in after.tasks_of_service(&service.id).filter(|other| other.is_wanted() && other.id != task.id) {
            assert_eq!(other.state(), TaskState::Running, "{task:?} is moved while {other:?} does not run");
            let since = now.since(other.created_at());
            let is_late = other.cause() != TaskCause::Rebalance || since >= rebalance::COOL_DOWN;
            assert!(is_late, "{task:?} is moved so soon after {other:?}");
            places.entry(other.slot).or_default().push(other);
        }
        let Some(Mode::Replicated(mode)) = service.spec.as_ref().unwrap().mode else {
            panic!("{service:?} has no slots")
        };
        assert_eq!(places.len() as u64, mode.replicas, "{task:?} is moved while others are missing");
        assert!(places.values().all(|tasks| tasks.len() == 1), "{task:?} is moved beside another");
    }
}

pub(super) fn may_be_moved(service: &Service) -> bool {
    let labels = &service.spec.as_ref().unwrap().annotations.as_ref().unwrap().labels;
    service.rebalance_requested_at != 0 || labels.get(Rebalance::LABEL).is_some_and(|value| value == "on")
}

/// What is moved stops for nothing but the task it is moved to, and only when that runs.
pub(super) fn moves_cost_nothing(before: &View, after: &View) {
    let moved = before.tasks().filter(|task| task.cause() == TaskCause::Rebalance && task.is_wanted());
    for replacement in moved {
        let Some(old) = before.task(&replacement.replaces).filter(|old| old.is_wanted()) else { continue };
        let is_stopped = after.task(&old.id).is_some_and(|task| task.desired_state() == TaskState::Shutdown);
        if !is_stopped || old.state() != TaskState::Running || !is_heard_of(after, old) {
            continue;
        }
        // What is done for another reason is another property's matter.
        let is_other = made(before, after).any(|task| task.replaces == old.id);
        assert!(is_other || replacement.state() == TaskState::Running, "{old:?} stops before {replacement:?} runs");
    }
}

/// How uneven a service is spread, outermost level first, and at last over the nodes. Of a task and the one it is moved to
/// only the latter counts, from when it has a node.
fn unevenness(view: &View, service: &Service) -> Vec<u64> {
    let tasks: Vec<&Arc<Task>> = view.tasks_of_service(&service.id).filter(|task| task.is_wanted()).collect();
    let is_left = |task: &Task| {
        let moved = tasks.iter().filter(|other| other.cause() == TaskCause::Rebalance && !other.node_id.is_empty());
        moved.clone().any(|other| other.replaces == task.id)
    };
    let nodes: Vec<&str> = tasks.iter().filter(|task| !is_left(task)).map(|task| task.node_id.as_str()).collect();
    unevenness_of(view, service, &nodes)
}

/// The same of tasks on these nodes.
fn unevenness_of(view: &View, service: &Service, nodes: &[&str]) -> Vec<u64> {
    let placement = service.spec.as_ref().unwrap().task.as_ref().unwrap().placement.as_ref().unwrap();
    let levels = placement.spread_over.len();
    let path = |node: &str| -> Vec<String> {
        let labels = view.node(node).and_then(|node| node.spec.clone()?.annotations).unwrap_or_default().labels;
        let values = LEVELS[..levels].iter().map(|key| labels.get(*key).cloned().unwrap_or_default());
        values.chain([node.to_owned()]).collect()
    };
    (1..=levels + 1)
        .map(|depth| {
            let mut counts: BTreeMap<Vec<String>, u64> = BTreeMap::new();
            for node in nodes {
                *counts.entry(path(node)[..depth].to_vec()).or_default() += 1;
            }
            counts.values().map(|count| count * count).sum()
        })
        .collect()
}

/// A move makes the spread better. What is moved while its service changes otherwise is not judged: it goes to the best
/// node there is by then.
pub(super) fn moves_are_for_the_better(before: &View, after: &View) {
    for service in before.services() {
        let tasks = || after.tasks_of_service(&service.id).filter(|task| task.is_wanted());
        let is_new = |task: &&Arc<Task>| before.task(&task.id).is_some_and(|old| old.node_id != task.node_id);
        let placed: Vec<&Arc<Task>> = tasks().filter(is_new).collect();
        let &[task] = &placed[..] else { continue };
        let current = after.task(&task.replaces);
        let is_alone = tasks().all(|other| other.id == task.id || other.state() == TaskState::Running);
        let is_fresh = task.meta.unwrap().updated_at == task.meta.unwrap().created_at;
        let is_judged = current.is_some_and(|current| current.is_wanted()) && is_alone && is_fresh;
        if task.cause() != TaskCause::Rebalance || !is_judged {
            continue;
        }
        let (old, new) = (unevenness(before, service), unevenness(after, service));
        assert!(new < old, "{task:?} was moved for nothing: {old:?} -> {new:?}");
    }
}

pub(super) fn moves(view: &View) -> impl Iterator<Item = &Arc<Task>> {
    view.tasks().filter(|task| task.cause() == TaskCause::Rebalance)
}

/// No task of a service would stand better on another node that has room for it.
pub(super) fn is_level(view: &View, service: &Service) {
    let spec = service.spec.as_ref().unwrap().task.as_ref().unwrap();
    if spec.restart.unwrap().condition() == RestartCondition::None {
        return;
    }
    let tasks: Vec<&Arc<Task>> = view.tasks_of_service(&service.id).filter(|task| task.is_wanted()).collect();
    let nodes: Vec<&str> = tasks.iter().map(|task| task.node_id.as_str()).collect();
    let level = unevenness_of(view, service, &nodes);
    for to in NODES {
        let running = || view.tasks_of_node(to).filter(|task| task.may_run());
        let cpus = |spec: &TaskSpec| spec.resources.clone().unwrap().reservations.unwrap().nano_cpus;
        let free = 4_000_000_000 - running().map(|task| cpus(task.spec.as_ref().unwrap())).sum::<i64>();
        let most = spec.placement.as_ref().unwrap().max_replicas;
        let there = nodes.iter().filter(|node| **node == to).count() as u64;
        let ports = tasks.first().and_then(|task| port(task));
        let has_port = ports.is_none_or(|wanted| running().all(|task| port(task) != Some(wanted)));
        if cpus(spec) > free || most != 0 && there >= most || !has_port {
            continue;
        }
        for from in 0..nodes.len() {
            let mut moved = nodes.clone();
            moved[from] = to;
            let better = unevenness_of(view, service, &moved);
            assert!(better >= level, "{:?} would stand better on {to}: {level:?} -> {better:?}", tasks[from]);
        }
    }
}
