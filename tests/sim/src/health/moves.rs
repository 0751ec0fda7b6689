//! Rebalancing comes to its end: nothing is left between two nodes, and what was asked for is done or still resting.

use std::time::Duration;

use skep_common::clock::Timestamp;
use skep_core::{
    policy::{self, Rebalance},
    rebalance::{COOL_DOWN, moves},
    task::TaskExt,
};
use skep_proto::v1::{Service, Task, TaskCause, TaskState, UpdateState};
use skep_store::View;

use super::{came_to_nothing, is_delayed};
use crate::context::{Step, must};

/// Longest a move takes, and what clocks may differ by.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn check(view: &View, now: Timestamp) -> Step {
    view.services().try_for_each(|service| is_spread(view, service, now))
}

/// Whether a task is being moved, or is what it is moved to.
pub(super) fn is_under_way(view: &View, task: &Task, now: Timestamp) -> bool {
    let begun = |task: &Task| task.cause() == TaskCause::Rebalance && task.created_at() + PATIENCE > now;
    begun(task) || view.tasks_of_service(&task.service_id).any(|other| other.replaces == task.id && begun(other))
}

fn is_spread(view: &View, service: &Service, now: Timestamp) -> Step {
    let Rebalance(on) = policy::of(service.spec.as_ref().and_then(policy::labels));
    let is_requested = service.rebalance_requested_at != 0;
    let tasks = || view.tasks_of_service(&service.id);
    let moved = tasks().filter(|task| task.cause() == TaskCause::Rebalance).map(|task| task.created_at()).max();
    let rests = moved.is_some_and(|at| at + COOL_DOWN + PATIENCE > now);
    let state = service.update_status.as_ref().map(|status| status.state()).unwrap_or_default();
    let is_over = matches!(state, UpdateState::Unknown | UpdateState::Completed | UpdateState::RollbackCompleted);
    let is_idle = |task: &Task| task.state() == TaskState::Running && !is_delayed(task, now);
    let has_trouble = tasks().any(|task| task.is_wanted() && (!is_idle(task) || came_to_nothing(view, task)));
    let is_finished = tasks().any(|task| task.is_last());
    if !(on || is_requested) || rests || !is_over || has_trouble || is_finished {
        return Ok(());
    }
    let left = moves(view, service, now);
    must!(left.is_empty(), "{} is to be spread and is not: {left:?}", service.id);
    must!(!is_requested, "{} is spread, and the request is still there", service.id);
    Ok(())
}
