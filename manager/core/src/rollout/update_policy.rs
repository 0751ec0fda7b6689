//! What the update policy of a service says of one task: whether the update in force made it, whether it has failed early,
//! and how long it is watched.
//!
//! Reads and hands on the part of the [restart state](skep_proto::v1::RestartState) that is about updates.

use std::time::Duration;

use skep_common::clock::Timestamp;
use skep_proto::v1::{FailureAction, RestartState, Service, Task, TaskCause, TaskState, UpdateConfig, UpdateState};

use crate::{backoff, defaults, task::TaskExt};

/// How a service is updated, or rolled back, at the moment.
pub(super) struct UpdatePolicy {
    pub(super) state: UpdateState,
    pub(super) config: UpdateConfig,
    /// When the update began: failures count from here on.
    since: Timestamp,
}

/// Whether a task was made by an update or a rollback.
pub(crate) fn is_update(cause: TaskCause) -> bool {
    matches!(cause, TaskCause::Update | TaskCause::Rollback)
}

/// How many more slots may be between two tasks while so many are.
pub(crate) fn free_parallelism(config: &UpdateConfig, busy: usize) -> usize {
    match usize::try_from(config.parallelism) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(parallelism) => parallelism.saturating_sub(busy),
    }
}

/// Whether a task is the first of its revision in its slot; being moved to another node does not count.
pub(super) fn is_first(task: &Task) -> bool {
    task.restart.as_ref().is_none_or(|restart| restart.attempts == 0)
}

impl UpdatePolicy {
    /// A rollback has a policy of its own.
    pub(super) fn of(service: &Service) -> Self {
        let (state, started_at) = service
            .update_status
            .as_ref()
            .map_or((UpdateState::Unknown, 0), |status| (status.state(), status.started_at));
        let spec = service.spec.as_ref();
        let config = match state {
            UpdateState::RollbackStarted | UpdateState::RollbackPaused => spec.and_then(|spec| spec.rollback),
            _ => spec.and_then(|spec| spec.update),
        };
        Self { state, config: config.unwrap_or_else(defaults::update_config), since: Timestamp(started_at) }
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state, UpdateState::Updating | UpdateState::RollbackStarted)
    }

    pub(super) fn monitor(&self) -> Duration {
        defaults::update_monitor(&self.config)
    }

    /// Whether it was this update that brought the revision in force to the task's slot.
    pub(super) fn concern(&self, task: &Task) -> bool {
        let updated_at = task.restart.as_ref().map_or(0, |restart| restart.updated_at);
        updated_at != 0 && Timestamp(updated_at) >= self.since
    }

    /// When a task of the revision in force first failed in this task's slot: ended within the monitor period.
    pub(super) fn failed_at(&self, task: &Task) -> Option<Timestamp> {
        let before = Timestamp(task.restart.as_ref().map_or(0, |restart| restart.failed_at));
        let its_own = || ended_itself(task) && backoff::ran(task) <= self.monitor();
        let first = if before > Timestamp::ZERO && before >= self.since {
            Some(before)
        } else {
            its_own().then(|| task.observed_at())
        };
        first.filter(|_| self.concern(task))
    }
}

/// `next`, the restart state of the task after this one, with how the update has gone in their slot so far.
pub(crate) fn with_update_progress(service: &Service, task: &Task, next: RestartState) -> RestartState {
    let settled_at = is_by_update(task).then(|| settled_at(task, true)).flatten();
    let failed_at = UpdatePolicy::of(service).failed_at(task);
    RestartState {
        settled_at: settled_at.map_or(0, Timestamp::as_nanos),
        failed_at: failed_at.map_or(0, Timestamp::as_nanos),
        ..next
    }
}

/// Until when the new task of a slot is monitored beside the old one: where a failed update is rolled back, the old task
/// it was started beside goes on for the monitor period, so that there is something to go back to.
pub(crate) fn monitored_until(service: &Service, task: &Task) -> Option<Timestamp> {
    let policy = UpdatePolicy::of(service);
    let may_go_back = policy.state == UpdateState::Updating
        && policy.config.failure_action() == FailureAction::Rollback
        && service.previous_spec.is_some();
    let runs_since = task.running_at().filter(|_| may_go_back && policy.concern(task))?;
    Some(runs_since + policy.monitor())
}

pub(super) fn ended_itself(task: &Task) -> bool {
    matches!(task.state(), TaskState::Complete | TaskState::Failed | TaskState::Rejected)
}

/// Whether an update made the task, or an earlier one of its revision in the slot.
pub(crate) fn is_by_update(task: &Task) -> bool {
    is_update(task.cause()) || task.restart.as_ref().is_some_and(|restart| restart.settled_at != 0)
}

/// When the task an update made for a slot began to run, or failed; `None` when neither has happened yet. One that has to
/// leave its node, or to stop, before it ran counts from when it was made, whether it has stopped or not.
pub(super) fn settled_at(task: &Task, leaves: bool) -> Option<Timestamp> {
    let before = Timestamp(task.restart.as_ref().map_or(0, |restart| restart.settled_at));
    if before > Timestamp::ZERO {
        return Some(before);
    }
    let end = || ended_itself(task).then(|| task.observed_at());
    let made = || (leaves || !task.is_wanted()).then(|| task.created_at());
    task.running_at().or_else(end).or_else(made)
}
