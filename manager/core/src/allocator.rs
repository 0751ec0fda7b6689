//! NEW → PENDING: allocates what a task needs before it can be scheduled. Network addresses and published ports will be
//! allocated here; a task that needs none only moves on.
//!
//! Owns the observed state from NEW to PENDING.

use skep_common::clock::Timestamp;
use skep_proto::v1::TaskState;
use skep_store::View;

use crate::{
    Plan,
    plan::{Planner, Write},
    task::{TaskExt, advanced},
};

/// Plans for all NEW tasks that are still wanted.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut planner = Planner::new(view, now);
    for task in view.tasks_in_state(TaskState::New).filter(|task| task.is_wanted()) {
        planner.step([Write::UpdateTask(advanced(task, TaskState::Pending, "pending task scheduling", now).into())]);
    }
    planner.finish()
}
