//! What the states of a task say, as far as the sums over tasks depend on it.

use skep_proto::v1::{Task, TaskState};

/// The observed state.
pub fn state(task: &Task) -> TaskState {
    task.status.as_ref().map_or(TaskState::New, |status| status.state())
}

/// Whether its desired state is to run, or to be ready to. A job's task is wanted until it has completed; from then on it only
/// records that its slot is done.
pub fn is_wanted(task: &Task) -> bool {
    match task.desired_state() {
        TaskState::Complete => state(task) != TaskState::Complete,
        desired => desired < TaskState::Complete,
    }
}

/// Whether a node was told to run it and has not reported its end: a container may exist, and its reserved resources are taken.
pub fn may_run(task: &Task) -> bool {
    (TaskState::Assigned..=TaskState::Running).contains(&state(task))
}
