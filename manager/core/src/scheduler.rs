//! PENDING → ASSIGNED: where tasks go.
//!
//! Owns `Task.node_id` of replicated services (written once), the observed state from PENDING to ASSIGNED, and on a
//! task that has to wait the reason (`status.err`, in Docker's words).
//!
//! A node takes a task when every filter lets it; among those, a node where the service failed often lately comes
//! last, then fewest tasks of the service, then fewest tasks in all, then the smaller id. Tasks of one service and
//! spec are a [`group`]: filters are read once for all of them, and no node is looked at twice in vain.
//!
//! Invariants: a task is assigned only to a node that is ready, active and satisfies its constraints in the state
//! planned on; what tasks reserve on a node never exceeds what it has, and is free again only when an agent (or the
//! reaper) said that the task is over.

pub(crate) mod filter;
mod group;
mod pool;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use skep_common::clock::Timestamp;
use skep_proto::v1::{Task, TaskState};
use skep_store::View;

use crate::{
    Plan,
    plan::{Planner, Write},
    task::{TaskExt, advanced},
};
use group::Group;
use pool::{Index, Pool};

/// Places all PENDING tasks that can be placed, and writes on the others why not.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut planner = Planner::new(view, now);
    let mut groups: BTreeMap<(&str, u64, &str), Vec<&Arc<Task>>> = BTreeMap::new();
    for task in view.tasks_in_state(TaskState::Pending).filter(|task| task.is_wanted()) {
        groups.entry(group_key(task)).or_default().push(task);
    }
    if groups.is_empty() {
        return planner.finish();
    }
    let mut pool = Pool::of(view);
    let mut unplaced = Vec::new();
    // Where this plan puts tasks of a service, whatever version they are of.
    let mut placed: BTreeMap<&str, Vec<Index>> = BTreeMap::new();
    for ((service_id, ..), mut tasks) in groups {
        tasks.sort_unstable_by_key(|task| (task.slot, &task.id));
        let placed = placed.entry(service_id).or_default();
        let mut group = Group::of(view, &tasks, &pool, placed, now);
        let left = tasks.into_iter().filter(|task| !place(&mut pool, &mut group, task, now, &mut planner)).collect();
        placed.extend(group.taken());
        unplaced.push((group, left));
    }
    // Only now: a reason given while others are still being placed would not be the one found when looking again.
    for (group, left) in unplaced {
        explain(&pool, &group, left, &mut planner);
    }
    planner.finish()
}

/// Tasks with equal keys have equal specs. A task without a service is alone.
fn group_key(task: &Task) -> (&str, u64, &str) {
    let alone = if task.service_id.is_empty() { task.id.as_str() } else { "" };
    (&task.service_id, task.spec_version, alone)
}

/// Places a task; `false` when it has to wait.
fn place(pool: &mut Pool<'_>, group: &mut Group, task: &Task, now: Timestamp, planner: &mut Planner<'_>) -> bool {
    let placed = if task.node_id.is_empty() {
        group.next(pool).map(|node| {
            group.took(pool, node);
            let placed = advanced(task, TaskState::Assigned, "scheduler assigned task to node", now);
            Task { node_id: pool.id(node).to_owned(), ..placed }
        })
    } else {
        group
            .confirm(pool, &task.node_id)
            .is_ok()
            .then(|| advanced(task, TaskState::Assigned, "scheduler confirmed task can run on preassigned node", now))
    };
    let is_placed = placed.is_some();
    planner.step(placed.map(Write::UpdateTask));
    is_placed
}

/// Writes on the tasks of a group that were not placed why not.
fn explain(pool: &Pool<'_>, group: &Group, left: Vec<&Arc<Task>>, planner: &mut Planner<'_>) {
    let mut reason: Option<String> = None;
    for task in left {
        if task.node_id.is_empty() {
            planner.step(waiting(task, reason.get_or_insert_with(|| group.explain(pool))));
        } else {
            planner.step(waiting(task, &group.explain_preassigned(pool, &task.node_id)));
        }
    }
}

/// Writes the reason on a task unless it says so already.
fn waiting(task: &Arc<Task>, reason: &str) -> Option<Write> {
    let known = task.status.as_ref().is_some_and(|status| status.err == reason);
    (!known).then(|| {
        let mut task = Task::clone(task);
        reason.clone_into(&mut task.status.get_or_insert_default().err);
        Write::UpdateTask(task)
    })
}
