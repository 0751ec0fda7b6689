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
use skep_proto::v1::{NodeState, RestartCondition, Task, TaskState, UpdateState, service_spec::Mode};
use skep_store::View;

use crate::{
    context::{Context, Step, must},
    fitness::{has_room, is_allowed, may_run},
    node::Node,
    oracle::Oracle,
    tally::{Excuse, Tally},
};

/// Longest a start that is due may wait: the leader's clock is late by two seconds at most, and a start takes a moment.
const START_PATIENCE: Duration = Duration::from_secs(4);

/// What is asked for runs; what runs is asked for.
pub(crate) fn check(
    view: &View,
    nodes: &BTreeMap<String, Node>,
    oracle: &Oracle,
    members: &[Member],
    context: &mut Context,
) -> Step {
    let (now, since) = (context.wall(), context.now);
    let tally = &mut context.tally;
    for node in view.nodes() {
        let state = node.status.as_ref().map(|status| status.state());
        must!(state == Some(NodeState::Ready), "{} is {state:?}", node.id);
    }
    oracle.promises_are_kept(view)?;
    roles::check(view, members)?;
    services_are_whole(view)?;
    history_is_short(view)?;
    updates_are_over(view, now, tally)?;
    jobs::check(view, now, tally)?;
    moves::check(view, now)?;
    for task in view.tasks() {
        let settled = task_is_settled(view, task, nodes, now, tally);
        if settled.is_err() && !excused(tally, Excuse::UnderWay, is_under_way(view, task, now)) {
            return settled;
        }
    }
    for node in nodes.values() {
        nothing_is_left_over(view, node, now, |task| oracle.is_just_forgotten(task, since), tally)?;
    }
    Ok(())
}

/// Counts an excuse that is needed.
fn excused(tally: &mut Tally, excuse: Excuse, holds: bool) -> bool {
    if holds {
        tally.excuse(excuse);
    }
    holds
}

/// Every service holds as many slots as it has replicas, or a slot on every node that may have one, and no other.
fn services_are_whole(view: &View) -> Step {
    for service in view.services() {
        let spec = service.spec.as_ref();
        let staying = || view.tasks_of_service(&service.id).filter(|task| !task.is_leaving());
        match spec.and_then(|spec| spec.mode.as_ref()) {
            Some(Mode::Replicated(mode)) => {
                let held: BTreeSet<u64> = staying().map(|task| task.slot).collect();
                must!(
                    held.len() as u64 == mode.replicas,
                    "{} has slots {held:?} and asks for {}",
                    service.id,
                    mode.replicas
                );
            }
            Some(Mode::Global(_)) => {
                let held: BTreeSet<&str> = staying().map(|task| task.node_id.as_str()).collect();
                let wanted: BTreeSet<&str> =
                    staying().filter(|task| task.is_wanted()).map(|task| task.node_id.as_str()).collect();
                let fit: BTreeSet<&str> =
                    view.nodes().filter(|node| may_run(node, spec)).map(|node| node.id.as_str()).collect();
                must!(
                    fit.is_subset(&held) && wanted.is_subset(&fit),
                    "{} is on {held:?}, is to be on {wanted:?}, and may be on {fit:?}",
                    service.id
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Every update has come to an end or is paused, unless a task of the service still has to wait.
fn updates_are_over(view: &View, now: Timestamp, tally: &mut Tally) -> Step {
    for service in view.services() {
        let state = service.update_status.as_ref().map(|status| status.state()).unwrap_or_default();
        let goes_on = matches!(state, UpdateState::Updating | UpdateState::RollbackStarted);
        let wanted = || view.tasks_of_service(&service.id).filter(|task| task.is_wanted());
        let waits = |tally: &mut Tally| {
            excused(tally, Excuse::Delayed, wanted().any(|task| is_delayed(task, now)))
                || excused(tally, Excuse::NoRoom, wanted().any(|task| has_no_room(view, task)))
        };
        must!(!goes_on || waits(tally), "the update of {} does not end: {:?}", service.id, service.update_status);
        let paused = matches!(state, UpdateState::Paused | UpdateState::RollbackPaused);
        let mut old = 0;
        for task in wanted().filter(|task| is_dirty(view, service, task)) {
            let is_left = wanted().any(|other| came_to_nothing(view, other) && other.replaces == task.id);
            old += usize::from(paused || !excused(tally, Excuse::CameToNothing, is_left));
        }
        must!(old == 0 || paused || waits(tally), "{} has {old} tasks of an old spec, and is {state:?}", service.id);
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

/// Whether a task was started beside another, ended, and is not tried again: the other goes on.
fn came_to_nothing(view: &View, task: &Task) -> bool {
    let policy = task.spec.as_ref().and_then(|spec| spec.restart.as_ref());
    let may_be_given_up = policy.is_some_and(|it| it.condition() != RestartCondition::Any || it.max_attempts > 0);
    may_be_given_up
        && task.is_terminal()
        && view.task(&task.replaces).is_some_and(|current| current.is_wanted() && !current.is_terminal())
}

/// A wanted task runs, unless there is no room for it anywhere; any other is over.
fn task_is_settled(
    view: &View,
    task: &Task,
    nodes: &BTreeMap<String, Node>,
    now: Timestamp,
    tally: &mut Tally,
) -> Step {
    if !task.is_wanted() {
        must!(!task.may_run(), "{} is not wanted any more and {:?}", task.id, task.state());
        must!(!task.is_leaving(), "{} is over and has not been forgotten", task.id);
        return Ok(());
    }
    if task.state() == TaskState::Pending {
        let err = task.status.as_ref().map_or("", |status| &status.err);
        must!(!err.is_empty() && has_no_room(view, task), "{} waits, and says: {err:?}", task.id);
        tally.excuse(Excuse::NoRoom);
        return Ok(());
    }
    if excused(tally, Excuse::Delayed, is_delayed(task, now))
        || excused(tally, Excuse::CameToNothing, came_to_nothing(view, task))
    {
        return Ok(());
    }
    must!(task.job_iteration == 0, "{} of a job is still {:?}", task.id, task.state());
    must!(task.desired_state() == TaskState::Running, "{} still waits to start", task.id);
    must!(task.state() == TaskState::Running, "{} is wanted and {:?}", task.id, task.state());
    let running = nodes.get(&task.node_id).is_some_and(|node| node.machine.runtime.is_running(&task.id));
    must!(running, "{} is RUNNING and has no container on {}", task.id, task.node_id);
    Ok(())
}

/// Whether a task waits, and no node has room for it.
fn has_no_room(view: &View, task: &Task) -> bool {
    task.state() == TaskState::Pending && !fits_somewhere(view, task)
}

/// Looks at every node, the slow way.
fn fits_somewhere(view: &View, task: &Task) -> bool {
    let placement = task.spec.as_ref().and_then(|spec| spec.placement.as_ref());
    view.nodes().any(|node| is_allowed(node, placement) && has_room(view, node, task))
}

/// No more of what is over is kept than the settings say.
fn history_is_short(view: &View) -> Step {
    let limit = view.cluster().and_then(|cluster| cluster.spec.as_ref()).map_or(0, |spec| spec.task_history_limit);
    let limit = usize::try_from(limit).unwrap_or(0).max(1);
    let mut slots: BTreeMap<(&str, u64, &str), usize> = BTreeMap::new();
    for task in view.tasks().filter(|task| task.job_iteration == 0 && !task.service_id.is_empty()) {
        let node = if task.slot == 0 { task.node_id.as_str() } else { "" };
        *slots.entry((task.service_id.as_str(), task.slot, node)).or_default() += 1;
    }
    // The one that was told to stop last, and the ones that are tried beside it, come on top.
    let long = slots.iter().find(|(_, kept)| **kept > limit + 2);
    must!(long.is_none(), "of {long:?} tasks more than {limit} are kept");
    Ok(())
}

/// Every container and every record belongs to a task of this node.
fn nothing_is_left_over(
    view: &View,
    node: &Node,
    now: Timestamp,
    is_just_forgotten: impl Fn(&str) -> bool,
    tally: &mut Tally,
) -> Step {
    let machine = &node.machine;
    let mut is_ours = |id: &String| match view.task(id) {
        Some(task) => task.node_id == machine.id,
        None => excused(tally, Excuse::JustForgotten, is_just_forgotten(id)),
    };
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
