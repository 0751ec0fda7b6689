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

use std::{collections::BTreeMap, sync::Arc};

use skep_common::clock::Timestamp;
use skep_proto::v1::{Task, TaskState};
use skep_store::View;

use crate::{
    Plan,
    plan::{Planner, Write},
    task::{TaskExt, advanced},
};
use filter::Filters;
use group::Group;
use pool::Pool;

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
    for mut tasks in groups.into_values() {
        tasks.sort_unstable_by_key(|task| (task.slot, &task.id));
        place_group(view, &mut pool, &tasks, now, &mut planner);
    }
    planner.finish()
}

/// Tasks with equal keys have equal specs. A task without a service is alone.
fn group_key(task: &Task) -> (&str, u64, &str) {
    let alone = if task.service_id.is_empty() { task.id.as_str() } else { "" };
    (&task.service_id, task.spec_version, alone)
}

fn place_group(view: &View, pool: &mut Pool<'_>, tasks: &[&Arc<Task>], now: Timestamp, planner: &mut Planner<'_>) {
    let Some(first) = tasks.first() else { return };
    let filters = Filters::of(first);
    let mut group = Group::of(view, first, &filters, pool, now);
    // The same for all of the group, and asked for only when one has to wait.
    let mut reason: Option<String> = None;
    for task in tasks {
        if !task.node_id.is_empty() {
            planner.step(confirm(pool, &mut group, task, now));
            continue;
        }
        match group.next(pool) {
            Some(node) => {
                group.took(pool, node);
                let mut placed = advanced(task, TaskState::Assigned, "scheduler assigned task to node", now);
                placed.node_id = pool.id(node).to_owned();
                planner.step([Write::UpdateTask(placed)]);
            }
            None => {
                let reason = reason.get_or_insert_with(|| filters.explain(pool, &group));
                planner.step(waiting(task, reason));
            }
        }
    }
}

/// A task that was made for its node: it only has to fit.
fn confirm(pool: &mut Pool<'_>, group: &mut Group<'_>, task: &Arc<Task>, now: Timestamp) -> Option<Write> {
    // The orchestrator takes the task away when its node is gone.
    let node = pool.find(&task.node_id)?;
    match group.fits(pool, node) {
        Ok(()) => {
            group.confirmed(pool, node);
            let message = "scheduler confirmed task can run on preassigned node";
            Some(Write::UpdateTask(advanced(task, TaskState::Assigned, message, now)))
        }
        Err(misfit) => waiting(task, &filter::no_suitable_node(&[(misfit, 1)])),
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
