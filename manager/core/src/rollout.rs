//! Rolling updates and rollbacks: which places get their new task now, and how the update as a whole is going.
//!
//! Owns `Service.update_status` from the moment a user's change is in the state, and, when an update fails and its
//! policy is to roll back, `Service.{spec, spec_version, previous_spec, previous_spec_version}` at that moment.
//!
//! A place is *busy* from the moment the update made a task for it until that task has run for the update's delay; at
//! most `parallelism` places are. A place whose updated task ended is not: its restart is the restart policy's. It has
//! failed when that task, or one that came after it, ended before it had run for the monitor period; a place fails once,
//! however often its tasks do.
//!
//! Invariants: everything follows from the service, its tasks and the time; a paused update touches nothing that runs;
//! an update that is not paused ends.

use std::collections::BTreeMap;

use skep_common::clock::{Timestamp, duration};
use skep_proto::v1::{
    FailureAction, Service, Task, TaskCause, TaskState, UpdateConfig, UpdateOrder, UpdateState, UpdateStatus,
};
use skep_store::View;

use crate::{
    backoff, defaults,
    task::{Place, TaskExt},
    tenants::{Held, is_given_up},
    update::is_dirty,
};

/// What is to become of the holder of a place now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Why it is replaced.
    pub(crate) cause: TaskCause,
    /// Whether it stops before its replacement starts. One that does not run has nothing to go on for.
    pub(crate) order: UpdateOrder,
}

/// How the update of a service stands.
pub(crate) struct Rollout<'v> {
    state: UpdateState,
    config: UpdateConfig,
    /// Since when failures count.
    since: Timestamp,
    places: usize,
    /// Places that are not what the service asks for.
    unfinished: usize,
    /// Those of them that wait for their turn: whether their task runs, and the place. One whose task is over gets its
    /// new task from the restart policy if that comes first.
    waiting: Vec<(bool, Place<'v>)>,
    busy: usize,
    failed: usize,
    /// The task that failed last.
    culprit: String,
    /// The last moment something happened to an updated task that is to be watched from then on.
    watched_from: Timestamp,
    /// When a busy place will no longer be.
    due: Option<Timestamp>,
}

/// Whether a task was made by an update or a rollback.
pub(crate) fn is_update(cause: TaskCause) -> bool {
    matches!(cause, TaskCause::Update | TaskCause::Rollback)
}

/// How a service is to be updated at the moment: a rollback has a policy of its own.
fn config(service: &Service, state: UpdateState) -> UpdateConfig {
    let spec = service.spec.as_ref();
    let config = match state {
        UpdateState::RollbackStarted | UpdateState::RollbackPaused => spec.and_then(|spec| spec.rollback),
        _ => spec.and_then(|spec| spec.update),
    };
    config.unwrap_or_else(defaults::update_config)
}

impl<'v> Rollout<'v> {
    /// How far the places that are kept have come.
    pub(crate) fn of(view: &View, service: &Service, held: &[Held<'_, 'v>], now: Timestamp) -> Self {
        let status = service.update_status.clone().unwrap_or_default();
        let state = status.state();
        let mut rollout = Self {
            state,
            config: config(service, state),
            since: Timestamp(status.started_at),
            places: held.len(),
            unfinished: 0,
            waiting: Vec::new(),
            busy: 0,
            failed: 0,
            culprit: String::new(),
            watched_from: Timestamp::ZERO,
            due: None,
        };
        for held in held {
            let Some(newest) = held.newest() else { continue };
            if is_dirty(view, service, newest) {
                rollout.unfinished += 1;
                rollout.waiting.push((newest.state() == TaskState::Running, held.place));
                continue;
            }
            let stays_behind = held.successor.is_some() && held.holder.is_some_and(|old| is_dirty(view, service, old));
            rollout.unfinished += usize::from(stays_behind && !is_given_up(newest, now));
            rollout.watch(newest, now);
        }
        rollout.waiting.sort_unstable();
        rollout
    }

    /// Takes in how the newest task of a place is doing, which is one of the version in force.
    fn watch(&mut self, task: &Task, now: Timestamp) {
        let monitor = defaults::update_monitor(&self.config);
        let restart = task.restart.as_ref();
        let before = restart.map_or(&[][..], |restart| &restart.failures);
        let mut early = before.iter().filter(|end| Timestamp(end.at) >= self.since && duration(end.ran) <= monitor);
        let first_early = early.next();
        let ended_itself = matches!(task.state(), TaskState::Complete | TaskState::Failed | TaskState::Rejected);
        if ended_itself && task.created_at() >= self.since && backoff::ran(task) <= monitor {
            self.failed += 1;
            self.culprit.clone_from(&task.id);
        } else if first_early.is_some() {
            self.failed += 1;
            if self.culprit.is_empty() {
                self.culprit.clone_from(&task.replaces);
            }
        }
        let mut watch_from = |at: Timestamp| self.watched_from = self.watched_from.max(at);
        if let Some(end) = first_early {
            watch_from(Timestamp(end.at));
        }
        // The first task of its version in the place.
        if restart.is_none_or(|restart| restart.attempts == 0) && !task.replaces.is_empty() {
            watch_from(if task.is_terminal() { task.observed_at() } else { task.created_at() });
        }
        if !is_update(task.cause()) || !task.is_wanted() || task.is_terminal() {
            return;
        }
        let calm = task.running_at().map(|at| at + duration(self.config.delay));
        if let Some(calm) = calm {
            watch_from(calm);
        }
        if task.state() < TaskState::Running {
            self.busy += 1;
        } else if let Some(calm) = calm.filter(|calm| *calm > now) {
            self.busy += 1;
            self.due = Some(self.due.map_or(calm, |other| other.min(calm)));
        }
    }

    /// Whether nothing is to be updated and nothing updated is watched.
    pub(crate) fn is_over(&self) -> bool {
        self.unfinished == 0 && !self.is_under_way()
    }

    fn is_under_way(&self) -> bool {
        matches!(self.state, UpdateState::Updating | UpdateState::RollbackStarted)
    }

    fn is_rollback(&self) -> bool {
        self.state == UpdateState::RollbackStarted
    }

    /// When time alone changes how the update stands.
    pub(crate) fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let is_done = self.is_under_way() && self.unfinished == 0 && self.busy == 0;
        let due = self.due.filter(|_| self.is_under_way());
        due.or_else(|| is_done.then(|| self.watched_until())).filter(|at| *at > now)
    }

    fn watched_until(&self) -> Timestamp {
        self.watched_from + defaults::update_monitor(&self.config)
    }

    /// What the service becomes by the way its update goes; `None` when it stays what it is.
    pub(crate) fn next(&self, service: &Service, now: Timestamp) -> Option<Service> {
        if !self.is_under_way() {
            let is_paused = matches!(self.state, UpdateState::Paused | UpdateState::RollbackPaused);
            return (self.unfinished > 0 && !is_paused).then(|| begun(service, now));
        }
        if self.has_failed() {
            match self.config.failure_action() {
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

    /// The places whose turn it is.
    pub(crate) fn turns(&self) -> BTreeMap<Place<'v>, Turn> {
        if !self.is_under_way() {
            return BTreeMap::new();
        }
        let cause = if self.is_rollback() { TaskCause::Rollback } else { TaskCause::Update };
        let turn = Turn { cause, order: self.config.order() };
        let room = match usize::try_from(self.config.parallelism) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(parallelism) => parallelism.saturating_sub(self.busy),
        };
        self.waiting.iter().take(room).map(|(_, place)| (*place, turn)).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "Docker compares in single precision; so 7 of 10 is 0.7")]
    fn has_failed(&self) -> bool {
        self.failed > 0 && self.failed as f32 / self.places as f32 > self.config.max_failure_ratio
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
            spec_version: service.previous_spec_version,
            previous_spec: None,
            previous_spec_version: 0,
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
