//! What a swarm must be in which nothing is broken any more: exactly what was asked for, and nothing beside it.

mod jobs;
mod moves;
mod roles;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use skep_common::clock::Timestamp;
use skep_core::{roles::Member, task::TaskExt, update::is_dirty};
use skep_proto::v1::{NodeState, Task, TaskState, UpdateState, service_spec::Mode};
use skep_store::View;

use crate::{
    context::{Context, Step, must},
    node::Node,
    oracle::{Oracle, cpus_of},
};

/// Longest a start that is due may wait: the leader's clock is late by two seconds at most, and a start takes a moment.
const START_PATIENCE: Duration = Duration::from_secs(4);

/// What is asked for runs; what runs is asked for.
pub(crate) fn check(
    view: &View,
    nodes: &BTreeMap<String, Node>,
    oracle: &Oracle,
    members: &[Member],
    context: &Context,
) -> Step {
    let now = context.wall();
    for node in view.nodes() {
        let state = node.status.as_ref().map(|status| status.state());
        must!(state == Some(NodeState::Ready), "{} is {state:?}", node.id);
    }
    oracle.promises_are_kept(view)?;
    roles::check(view, members)?;
    services_are_whole(view)?;
    updates_are_over(view, now)?;
    jobs::check(view, now)?;
    moves::check(view, now)?;
    for task in view.tasks() {
        task_is_settled(view, task, nodes, now)?;
    }
    for node in nodes.values() {
        nothing_is_left_over(view, node, now, |task| oracle.is_just_forgotten(task, context.now))?;
    }
    Ok(())
}

/// Every service holds as many slots as it has replicas.
fn services_are_whole(view: &View) -> Step {
    for service in view.services() {
        let Some(Mode::Replicated(mode)) = service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) else { continue };
        let staying = view.tasks_of_service(&service.id).filter(|task| !task.is_leaving());
        let held: BTreeSet<u64> = staying.map(|task| task.slot).collect();
        must!(held.len() as u64 == mode.replicas, "{} has slots {held:?} and asks for {}", service.id, mode.replicas);
    }
    Ok(())
}

/// Every update has come to an end or is paused, unless a task of the service still has to wait.
fn updates_are_over(view: &View, now: Timestamp) -> Step {
    for service in view.services() {
        let state = service.update_status.as_ref().map(|status| status.state()).unwrap_or_default();
        let goes_on = matches!(state, UpdateState::Updating | UpdateState::RollbackStarted);
        let wanted = || view.tasks_of_service(&service.id).filter(|task| task.is_wanted());
        let waits = wanted().any(|task| task.state() == TaskState::Pending || is_delayed(task, now));
        must!(!goes_on || waits, "the update of {} does not end: {:?}", service.id, service.update_status);
        let paused = matches!(state, UpdateState::Paused | UpdateState::RollbackPaused);
        let old = wanted().filter(|task| is_dirty(view, service, task));
        let old =
            old.filter(|task| !wanted().any(|other| came_to_nothing(view, other) && other.replaces == task.id)).count();
        must!(old == 0 || paused || waits, "{} has {old} tasks of an old spec, and is {state:?}", service.id);
    }
    Ok(())
}

/// Whether a task changes although nothing is broken: jobs and moves may begin and end at any time.
fn is_under_way(view: &View, task: &Task, now: Timestamp) -> bool {
    jobs::is_under_way(task, now) || moves::is_under_way(view, task, now)
}

/// Whether a task's start is put off, as it failed too often, or was until just now.
fn is_delayed(task: &Task, now: Timestamp) -> bool {
    let until = task.restart.as_ref().map(|restart| Timestamp(restart.not_before));
    until.is_some_and(|until| until > Timestamp::ZERO && until + START_PATIENCE > now)
}

/// Whether a task was started beside another, failed, and is not tried again: the other goes on.
fn came_to_nothing(view: &View, task: &Task) -> bool {
    task.is_terminal() && view.task(&task.replaces).is_some_and(|holder| holder.is_wanted() && !holder.is_terminal())
}

/// A wanted task runs, unless there is no room for it anywhere; any other is over.
fn task_is_settled(view: &View, task: &Task, nodes: &BTreeMap<String, Node>, now: Timestamp) -> Step {
    if is_under_way(view, task, now) {
        return Ok(());
    }
    if !task.is_wanted() {
        must!(!task.may_run(), "{} is not wanted any more and {:?}", task.id, task.state());
        must!(!task.is_leaving(), "{} is over and has not been forgotten", task.id);
        return Ok(());
    }
    if task.state() == TaskState::Pending {
        let err = task.status.as_ref().map_or("", |status| &status.err);
        must!(!err.is_empty() && !fits_somewhere(view, task), "{} waits, and says: {err:?}", task.id);
        return Ok(());
    }
    if is_delayed(task, now) || came_to_nothing(view, task) {
        return Ok(());
    }
    must!(task.job_iteration == 0, "{} of a job is still {:?}", task.id, task.state());
    must!(task.desired_state() == TaskState::Running, "{} still waits to start", task.id);
    must!(task.state() == TaskState::Running, "{} is wanted and {:?}", task.id, task.state());
    let running = nodes.get(&task.node_id).is_some_and(|node| node.machine.runtime.is_running(&task.id));
    must!(running, "{} is RUNNING and has no container on {}", task.id, task.node_id);
    Ok(())
}

/// Looks at every node, the slow way.
fn fits_somewhere(view: &View, task: &Task) -> bool {
    let constrained =
        task.spec.as_ref().and_then(|spec| spec.placement.as_ref()).is_some_and(|p| !p.constraints.is_empty());
    view.nodes().any(|node| {
        let capacity =
            node.description.as_ref().and_then(|description| description.resources.clone()).unwrap_or_default();
        let taken: i64 = view.tasks_of_node(&node.id).filter(|other| other.may_run()).map(|other| cpus_of(other)).sum();
        let labels =
            node.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map(|annotations| &annotations.labels);
        let west = labels.is_some_and(|labels| labels.get("zone").is_some_and(|zone| zone == "west"));
        taken + cpus_of(task) <= capacity.nano_cpus && !(constrained && west)
    })
}

/// Every container and every record belongs to a task of this node.
fn nothing_is_left_over(view: &View, node: &Node, now: Timestamp, is_just_forgotten: impl Fn(&str) -> bool) -> Step {
    let machine = &node.machine;
    let is_ours = |id: &String| view.task(id).map_or_else(|| is_just_forgotten(id), |task| task.node_id == machine.id);
    for (id, container) in machine.runtime.all() {
        must!(is_ours(id), "{} has a container of {id}, which is none of its tasks: {container:?}", machine.id);
        let wanted = view
            .task(id)
            .map_or_else(|| is_just_forgotten(id), |task| task.is_wanted() || is_under_way(view, task, now));
        must!(wanted || !machine.runtime.is_running(id), "{} runs {id}, which is not wanted", machine.id);
    }
    for id in machine.disk.keys() {
        must!(is_ours(id), "{} has a record of {id}, which is none of its tasks", machine.id);
    }
    Ok(())
}
