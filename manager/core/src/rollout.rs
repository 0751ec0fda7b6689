//! Rolling updates and rollbacks: decides which slots are updated now, and when an update completes, pauses or is rolled
//! back.
//!
//! Owns `Service.update_status` from the moment a user's change is in the state, and, when an update fails and its
//! policy is to roll back, `Service.{spec, revision, previous_spec, previous_revision}` at that moment.
//!
//! A slot is *busy* from when the update made a task for it until that task runs, or has failed, and the update's delay has
//! passed since; at most `parallelism` slots are busy. If the task ends later, the restart policy applies.
//! A slot has *failed* when that task, or one after it, ended before it had run for the monitor period. It counts as failed
//! once, for the whole update; the failure ratio is that of the slots the update has updated or has yet to.
//! What later plans need to know of a slot is in the [restart state](skep_proto::v1::RestartState) that each task of the
//! slot takes over from the one before.
//!
//! Invariants: everything follows from the service, its tasks and the time; a paused update touches nothing that runs;
//! an update that is not paused ends.

pub(crate) mod update_policy;

use std::collections::BTreeMap;

use skep_common::clock::{Timestamp, duration};
use skep_proto::v1::{
    Availability, FailureAction, Service, Task, TaskCause, TaskState, UpdateOrder, UpdateState, UpdateStatus,
};

use crate::{
    enforcer::Nodes,
    node_status,
    rollout::update_policy::{UpdatePolicy, free_parallelism, is_by_update, is_first, monitored_until, settled_at},
    slot::{Slot, kept::KeptSlot},
    task::TaskExt,
    update::is_dirty,
};

/// That the current task of a slot is to be replaced now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replace {
    /// Why it is replaced.
    pub(crate) cause: TaskCause,
    /// Whether it stops before its replacement starts; a task that does not run always does.
    pub(crate) order: UpdateOrder,
}

/// How far the update of a service is.
pub(crate) struct Rollout<'v> {
    policy: UpdatePolicy,
    /// Slots the update concerns.
    slots: usize,
    /// Slots that are out of date.
    unfinished: usize,
    /// Those of them still to be updated: whether their task runs, and the slot. Where the task is over, a restart may
    /// come first and make the new task.
    waiting: Vec<(bool, Slot<'v>)>,
    /// Slots of a global service that an update has left out that is over.
    left_out: Vec<Slot<'v>>,
    busy: usize,
    failed: usize,
    /// The task that failed last.
    culprit: String,
    /// When the monitor period of the last updated task began.
    watched_from: Timestamp,
    /// When the next busy slot will no longer be.
    due: Option<Timestamp>,
}

impl<'v> Rollout<'v> {
    /// Counts how far the slots are.
    pub(crate) fn of(nodes: &Nodes<'_>, service: &Service, kept: &[KeptSlot<'_, 'v>], now: Timestamp) -> Self {
        let mut rollout = Self {
            policy: UpdatePolicy::of(service),
            slots: 0,
            unfinished: 0,
            waiting: Vec::new(),
            left_out: Vec::new(),
            busy: 0,
            failed: 0,
            culprit: String::new(),
            watched_from: Timestamp::ZERO,
            due: None,
        };
        for kept in kept {
            let Some(newest) = kept.newest() else { continue };
            let is_dirty = |task| is_dirty(nodes.view, service, task);
            if is_dirty(newest) {
                if !rollout.leaves_out(nodes, kept.slot) {
                    rollout.slots += 1;
                    rollout.unfinished += 1;
                    rollout.waiting.push((newest.state() == TaskState::Running, kept.slot));
                }
                continue;
            }
            let stays_behind = kept.replacement.is_some() && kept.current.is_some_and(|old| is_dirty(old));
            // Once its new task has ended the slot has been updated: from then on the restart policy applies.
            rollout.unfinished += usize::from(stays_behind && is_first(newest) && !newest.is_terminal());
            // How its update went is nobody's concern any more; but for what an update of a global service has left out.
            if !rollout.is_under_way() && matches!(kept.slot, Slot::Number(_)) {
                continue;
            }
            let monitored = monitored_until(service, newest).filter(|_| stays_behind).unwrap_or(Timestamp::ZERO);
            rollout.watch(newest, nodes.eviction_reason(service, newest).is_some(), monitored, now);
        }
        rollout.waiting.sort_unstable();
        rollout
    }

    /// Whether the update leaves out a slot that is out of date. As in Docker a global service's task on a paused node is left
    /// as it is. Once the node is active the update that is under way replaces it; if none is, the task is replaced by itself,
    /// so that a failure does not roll back the other nodes.
    fn leaves_out(&mut self, nodes: &Nodes<'_>, slot: Slot<'v>) -> bool {
        let Slot::Node(id) = slot else { return false };
        if nodes.view.node(id).is_some_and(|node| node_status::availability(node) == Availability::Pause) {
            return true;
        }
        let is_late = matches!(self.policy.state, UpdateState::Completed | UpdateState::RollbackCompleted);
        self.left_out.extend(is_late.then_some(slot));
        is_late
    }

    /// Counts in the newest task of a slot, which is up to date. `leaves`: it has to leave its node, so it is replaced for
    /// that and not waited for. `monitored`: until when the old task goes on beside it.
    fn watch(&mut self, task: &Task, leaves: bool, monitored: Timestamp, now: Timestamp) {
        self.slots += usize::from(self.policy.concern(task));
        if let Some(end) = self.policy.failed_at(task) {
            self.failed += 1;
            self.watched_from = self.watched_from.max(end);
            if task.is_terminal() {
                self.culprit.clone_from(&task.id);
            } else if self.culprit.is_empty() {
                self.culprit.clone_from(&task.replaces);
            }
        }
        // Also for a task that is being stopped: stopping it must not change the outcome.
        if is_first(task) && !task.replaces.is_empty() {
            self.watched_from = self.watched_from.max(task.created_at());
        }
        if !is_by_update(task) {
            return;
        }
        let Some(calm) = settled_at(task, leaves).map(|at| at + duration(self.policy.config.delay)) else {
            self.busy += 1;
            return;
        };
        self.watched_from = self.watched_from.max(calm);
        // There is something to do at the end of each: after the monitor period the old task is stopped.
        if let Some(due) = [calm, monitored].into_iter().filter(|at| *at > now).min() {
            self.busy += 1;
            self.due = Some(self.due.map_or(due, |other| other.min(due)));
        }
    }

    /// Whether there is nothing to update and no updated task is being monitored.
    pub(crate) fn is_over(&self) -> bool {
        self.unfinished == 0 && !self.is_under_way()
    }

    fn is_under_way(&self) -> bool {
        self.policy.is_under_way()
    }

    fn is_rollback(&self) -> bool {
        self.policy.state == UpdateState::RollbackStarted
    }

    /// When the update goes on by time alone.
    pub(crate) fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let is_done = self.is_under_way() && self.unfinished == 0 && self.busy == 0;
        let due = self.due.filter(|_| self.is_under_way() || !self.left_out.is_empty());
        due.or_else(|| is_done.then(|| self.watched_until())).filter(|at| *at > now)
    }

    fn watched_until(&self) -> Timestamp {
        self.watched_from + self.policy.monitor()
    }

    /// The service with its update begun, completed, paused or rolled back; `None` when nothing changes.
    pub(crate) fn next(&self, service: &Service, now: Timestamp) -> Option<Service> {
        if !self.is_under_way() {
            let is_paused = matches!(self.policy.state, UpdateState::Paused | UpdateState::RollbackPaused);
            return (self.unfinished > 0 && !is_paused).then(|| begun(service, now));
        }
        if self.has_failed() {
            match self.policy.config.failure_action() {
                FailureAction::Continue => {}
                FailureAction::Rollback if !self.is_rollback() => {
                    return Some(self.rolled_back(service).unwrap_or_else(|| self.paused(service)));
                }
                FailureAction::Pause | FailureAction::Rollback => return Some(self.paused(service)),
            }
        }
        let is_done = self.unfinished == 0 && self.busy == 0 && self.watched_until() <= now;
        is_done.then(|| self.completed(service, now))
    }

    /// The slots whose current task is to be replaced now.
    pub(crate) fn slots_to_update(&self) -> BTreeMap<Slot<'v>, Replace> {
        let cause = if self.is_rollback() { TaskCause::Rollback } else { TaskCause::Update };
        let replace = Replace { cause, order: self.policy.config.order() };
        let waiting = self.waiting.iter().filter(|_| self.is_under_way()).map(|(_, slot)| slot);
        let next = waiting.chain(&self.left_out).take(free_parallelism(&self.policy.config, self.busy));
        next.map(|slot| (*slot, replace)).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "Docker compares in single precision; so 7 of 10 is 0.7")]
    fn has_failed(&self) -> bool {
        self.failed > 0 && self.failed as f32 / self.slots as f32 > self.policy.config.max_failure_ratio
    }

    fn paused(&self, service: &Service) -> Service {
        let (state, what) = match self.is_rollback() {
            true => (UpdateState::RollbackPaused, "rollback"),
            false => (UpdateState::Paused, "update"),
        };
        let message = format!("{what} paused due to failure or early termination of task {}", self.culprit);
        with_status(service, state, message)
    }

    /// `None` when there is nothing to go back to.
    fn rolled_back(&self, service: &Service) -> Option<Service> {
        let previous = service.previous_spec.clone()?;
        let message = format!("update rolled back due to failure or early termination of task {}", self.culprit);
        Some(Service {
            spec: Some(previous),
            revision: service.previous_revision,
            previous_spec: None,
            previous_revision: 0,
            ..with_status(service, UpdateState::RollbackStarted, message)
        })
    }

    fn completed(&self, service: &Service, now: Timestamp) -> Service {
        let mut service = match self.is_rollback() {
            true => with_status(service, UpdateState::RollbackCompleted, "rollback completed".into()),
            false => with_status(service, UpdateState::Completed, "update completed".into()),
        };
        service.update_status.get_or_insert_default().completed_at = now.as_nanos();
        service
    }
}

/// Whether a service is being updated or rolled back.
pub(crate) fn is_under_way(service: &Service) -> bool {
    UpdatePolicy::of(service).is_under_way()
}

fn begun(service: &Service, now: Timestamp) -> Service {
    let status = UpdateStatus {
        state: UpdateState::Updating.into(),
        started_at: now.as_nanos(),
        completed_at: 0,
        message: "update in progress".into(),
    };
    Service { update_status: Some(status), ..service.clone() }
}

fn with_status(service: &Service, state: UpdateState, message: String) -> Service {
    let status = service.update_status.clone().unwrap_or_default();
    Service { update_status: Some(UpdateStatus { state: state.into(), message, ..status }), ..service.clone() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skep_common::clock::nanos;
    use skep_proto::v1::{Meta, RestartState, ServiceSpec, TaskStatus, UpdateConfig};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    /// A service whose update, or rollback, is in this state. What fails is to be rolled back; tasks are watched for 5 s.
    fn service(state: UpdateState) -> Service {
        let config = UpdateConfig {
            failure_action: FailureAction::Rollback.into(),
            monitor: nanos(Duration::from_secs(5)),
            ..UpdateConfig::default()
        };
        let spec = ServiceSpec { update: Some(config), rollback: Some(config), ..ServiceSpec::default() };
        Service {
            spec: Some(spec),
            revision: 2,
            previous_spec: Some(ServiceSpec::default()),
            previous_revision: 1,
            update_status: Some(UpdateStatus { state: state.into(), ..UpdateStatus::default() }),
            ..Service::default()
        }
    }

    /// One in which all slots are done.
    fn rollout<'v>(state: UpdateState) -> Rollout<'v> {
        Rollout {
            policy: UpdatePolicy::of(&service(state)),
            slots: 1,
            unfinished: 0,
            waiting: Vec::new(),
            left_out: Vec::new(),
            busy: 0,
            failed: 0,
            culprit: "t".into(),
            watched_from: NOW,
            due: None,
        }
    }

    #[test]
    fn what_an_update_is_rolled_back_to_is_not_rolled_back_from() {
        let updating = service(UpdateState::Updating);
        let back = Rollout { failed: 1, ..rollout(UpdateState::Updating) }.next(&updating, NOW).unwrap();
        assert_eq!((back.spec, back.revision), (updating.previous_spec, 1));
        assert_eq!((back.previous_spec, back.previous_revision), (None, 0));
        assert_eq!(back.update_status.unwrap().state(), UpdateState::RollbackStarted);

        let rolling = service(UpdateState::RollbackStarted);
        let paused = Rollout { failed: 1, ..rollout(UpdateState::RollbackStarted) }.next(&rolling, NOW).unwrap();
        assert_eq!((&paused.spec, paused.update_status.unwrap().state()), (&rolling.spec, UpdateState::RollbackPaused));
    }

    #[test]
    fn an_update_asks_to_be_woken_when_time_alone_ends_it() {
        let calm = NOW + Duration::from_secs(5);
        let due = Some(NOW + Duration::from_secs(2));
        let (updating, over) = (UpdateState::Updating, UpdateState::Completed);
        for (rollout, expected) in [
            (rollout(updating), Some(calm)),
            (Rollout { unfinished: 1, ..rollout(updating) }, None),
            (Rollout { busy: 1, ..rollout(updating) }, None),
            (Rollout { busy: 1, due, ..rollout(updating) }, due),
            (rollout(over), None),
            (Rollout { busy: 1, due, ..rollout(over) }, None),
            (Rollout { busy: 1, due, left_out: vec![Slot::Node("n")], ..rollout(over) }, due),
            (Rollout { busy: 1, due: Some(NOW), ..rollout(updating) }, None),
        ] {
            assert_eq!(rollout.wake_at(NOW), expected, "{} {} {:?}", rollout.unfinished, rollout.busy, rollout.due);
        }
        assert_eq!(rollout(updating).wake_at(calm), None);
    }

    #[test]
    fn a_task_that_starts_holds_a_turn_when_an_update_made_it_and_is_watched_when_it_is_the_first() {
        let made = NOW + Duration::from_secs(1);
        for (cause, attempts, busy, watched_from) in [
            (TaskCause::Update, 0, 1, made),
            (TaskCause::Rollback, 0, 1, made),
            (TaskCause::Restart, 0, 0, made),
            (TaskCause::Restart, 1, 0, NOW),
        ] {
            let task = Task {
                meta: Some(Meta { created_at: made.as_nanos(), ..Meta::default() }),
                cause: cause.into(),
                replaces: "old".into(),
                restart: Some(RestartState { attempts, ..RestartState::default() }.into()),
                status: Some(TaskStatus { state: TaskState::Starting.into(), ..TaskStatus::default() }),
                desired_state: TaskState::Running.into(),
                ..Task::default()
            };
            let mut rollout = rollout(UpdateState::Updating);
            rollout.watch(&task, false, Timestamp::ZERO, made);
            assert_eq!((rollout.busy, rollout.watched_from), (busy, watched_from), "{cause:?} {attempts}");
        }
    }

    #[test]
    fn an_update_is_over_when_it_is_done_and_no_place_is_left() {
        assert!(rollout(UpdateState::Completed).is_over());
        assert!(!rollout(UpdateState::Updating).is_over());
        assert!(!Rollout { unfinished: 1, ..rollout(UpdateState::Completed) }.is_over());
    }
}
