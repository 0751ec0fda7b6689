//! The scheduler: assigns waiting tasks to nodes, PENDING → ASSIGNED.
//!
//! Owns `Task.node_id` of replicated services and `Task.generic_resources` (written once, together), the observed state
//! from PENDING to ASSIGNED, and on a task that has to wait the reason (`status.err`, in Docker's words).
//!
//! A node is suitable when the task passes every [`filter`]. Among suitable nodes the tasks of a service are spread evenly
//! over the values of its placement preferences, outermost first; then nodes where the service failed often lately come
//! last, then fewest tasks of the service, then fewest tasks in all, then the smaller id. [`rebalancer`] moves running tasks
//! by the same order.
//!
//! Cost: tasks of one service and spec are scheduled as a [`group`]. A node that was found unsuitable is not checked again
//! by the group, nor by a later group with the same requirements ([`class`]), nor by the next plan ([`pool`]).
//!
//! Invariants: a task is assigned only to a node that is ready, active and satisfies its constraints in the state
//! planned on; the tasks on a node never reserve more than it has, and a reservation ends only when an agent (or the
//! reaper) reported that the task is over.

mod ask;
mod class;
pub mod explain;
pub(crate) mod filter;
mod group;
mod node_info;
mod pool;
pub(crate) mod rebalancer;
pub(crate) mod resources;
pub mod spread;
#[cfg(test)]
mod tests;
mod tree;

use std::{collections::BTreeMap, sync::Arc};

use skep_common::clock::Timestamp;
use skep_proto::v1::{Task, TaskState};
use skep_store::{Change, View};

use self::{
    ask::Shape,
    group::{Group, moved},
    node_info::Index,
    pool::Pool,
};
use crate::{
    Plan,
    plan::{Planner, Write},
    task::{TaskExt, advance},
};

/// Assigns all PENDING tasks that fit somewhere, and records on the others why they do not.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    Scheduler::default().plan(view, now)
}

/// An incremental [`plan`]: keeps what it has computed about the nodes, so that the cost of a plan is in proportion to the
/// changes, not to the size of the swarm.
///
/// It must be told every change of a node or a task up to the view that is planned on; then its plans equal those of
/// [`plan`].
#[derive(Default)]
pub struct Scheduler {
    pool: Pool,
}

impl Scheduler {
    /// Notes a change of the state.
    pub fn note(&mut self, change: &Change) {
        self.pool.note(change);
    }

    /// Drops everything: changes may have been missed.
    pub fn reset(&mut self) {
        self.pool = Pool::default();
    }

    /// Does the first pass over all nodes, while there is no task to assign.
    pub fn prepare(&mut self, view: &View) {
        if self.pool.is_new() {
            self.pool.sync(view);
        }
    }

    /// See [`plan`].
    pub fn plan(&mut self, view: &View, now: Timestamp) -> Plan {
        let mut planner = Planner::of_independent_steps(view, now);
        let (mut alone, mut groups) = (Vec::new(), BTreeMap::<(&str, u64, &str), Vec<&Arc<Task>>>::new());
        for task in view.tasks_in_state(TaskState::Pending).filter(|task| task.is_wanted()) {
            if task.service_id.is_empty() {
                alone.push(task);
            } else {
                groups.entry((&task.service_id, task.revision, moved(task))).or_default().push(task);
            }
        }
        if alone.is_empty() && groups.is_empty() {
            return planner.finish();
        }
        let pool = &mut self.pool;
        pool.sync(view);
        alone.retain(|task| {
            let mut group = Group::of(view, task, pool, now);
            !place(pool, &mut group, task, now, &mut planner)
        });
        let mut unplaced = Vec::new();
        // Where this plan has put tasks of a service, of all its revisions.
        let mut taken: BTreeMap<&str, Vec<Index>> = BTreeMap::new();
        for ((service_id, ..), mut tasks) in groups {
            tasks.sort_unstable_by_key(|task| (task.slot, &task.id));
            let taken = taken.entry(service_id).or_default();
            let mut group = Group::of(view, tasks[0], pool, now);
            group.also(taken);
            tasks.retain(|task| !place(pool, &mut group, task, now, &mut planner));
            taken.extend(group.taken());
            if !tasks.is_empty() {
                unplaced.push((service_id, taken.len(), group, tasks));
            }
        }
        // Only now, when everything is placed: planning again must find the same reasons.
        let mut reasons = Reasons::default();
        for task in alone {
            let group = Group::of(view, task, pool, now);
            reasons.explain(pool, &group, &[task], &mut planner);
        }
        for (service_id, known, mut group, left) in unplaced {
            group.also(&taken[service_id][known..]);
            reasons.explain(pool, &group, &left, &mut planner);
        }
        planner.finish()
    }
}

/// Assigns a task; `false` when it has to wait.
fn place(pool: &mut Pool, group: &mut Group<'_>, task: &Arc<Task>, now: Timestamp, planner: &mut Planner<'_>) -> bool {
    let mut placed = task.clone();
    if task.node_id.is_empty() {
        let Some((node, given)) = group.place(pool) else { return false };
        let placed = Arc::make_mut(&mut placed);
        advance(placed, TaskState::Assigned, "scheduler assigned task to node", now);
        pool.node(node).id.clone_into(&mut placed.node_id);
        placed.generic_resources = given;
    } else {
        let Some(given) = group.confirm(pool, &task.node_id) else { return false };
        let placed = Arc::make_mut(&mut placed);
        advance(placed, TaskState::Assigned, "scheduler confirmed task can run on preassigned node", now);
        placed.generic_resources = given;
    }
    planner.step_one(Write::UpdateTask(placed));
    true
}

/// Why tasks wait, computed once for all with the same requirements.
#[derive(Default)]
struct Reasons(BTreeMap<Shape, String>);

impl Reasons {
    /// Records on the tasks of a group that were not assigned why not.
    fn explain(&mut self, pool: &Pool, group: &Group<'_>, left: &[&Arc<Task>], planner: &mut Planner<'_>) {
        let mut reason: Option<String> = None;
        for task in left {
            if task.node_id.is_empty() {
                planner.step(waiting(task, reason.get_or_insert_with(|| self.of(pool, group))));
            } else {
                planner.step(waiting(task, &group.explain_preassigned(pool, &task.node_id)));
            }
        }
    }

    fn of(&mut self, pool: &Pool, group: &Group<'_>) -> String {
        let demand = group.demand();
        if !demand.is_plain() {
            return group.explain(pool);
        }
        self.0.entry(demand.ask().shape().clone()).or_insert_with(|| group.explain(pool)).clone()
    }
}

/// Records the reason on a task unless it is there already.
fn waiting(task: &Arc<Task>, reason: &str) -> Option<Write> {
    let known = task.status.as_ref().is_some_and(|status| status.err == reason);
    (!known).then(|| {
        let mut task = task.clone();
        reason.clone_into(&mut Arc::make_mut(&mut task).status.get_or_insert_default().err);
        Write::UpdateTask(task)
    })
}
