//! Rolling updates and rollbacks: which places get their new task now, and how the update as a whole is going.
//!
//! Owns `Service.update_status` from the moment a user's change is in the state, and, when an update fails and its
//! policy is to roll back, `Service.{spec, revision, previous_spec, previous_revision}` at that moment.
//!
//! A place is *busy* from the moment the update made a task for it until that task has run, or come to nothing, and the
//! update's delay has passed since; at most `parallelism` places are. What comes after that task is the restart policy's.
//! A place has failed when that task, or one that came after it, ended before it had run for the monitor period. It fails
//! once, however often its tasks do, and for the whole update; and it counts against the places the update concerns:
//! those it has updated, and those it has yet to. What later plans need to know of a place is in the
//! [restart state](skep_proto::v1::RestartState) its tasks hand on.
//!
//! Invariants: everything follows from the service, its tasks and the time; a paused update touches nothing that runs;
//! an update that is not paused ends.

use std::{collections::BTreeMap, time::Duration};

use skep_common::clock::{Timestamp, duration};
use skep_proto::v1::{
    Availability, FailureAction, RestartState, Service, Task, TaskCause, TaskState, UpdateConfig, UpdateOrder,
    UpdateState, UpdateStatus,
};

use crate::{
    backoff, defaults,
    enforcer::{self, Nodes},
    task::{Place, TaskExt},
    tenants::Held,
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

/// How a service is to be updated at the moment.
struct Terms {
    state: UpdateState,
    config: UpdateConfig,
    /// Since when failures count.
    since: Timestamp,
}

/// How the update of a service stands.
pub(crate) struct Rollout<'v> {
    terms: Terms,
    /// Places the update concerns.
    places: usize,
    /// Places that are not what the service asks for.
    unfinished: usize,
    /// Those of them that wait for their turn: whether their task runs, and the place. One whose task is over gets its
    /// new task from the restart policy if that comes first.
    waiting: Vec<(bool, Place<'v>)>,
    /// Places of a global service that an update which is over has left out.
    left_out: Vec<Place<'v>>,
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

/// How many more places a policy lets be disturbed while so many are.
pub(crate) fn room(config: &UpdateConfig, disturbed: usize) -> usize {
    match usize::try_from(config.parallelism) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(parallelism) => parallelism.saturating_sub(disturbed),
    }
}

/// Whether a task is the first of its version in its place, moves apart.
fn is_first(task: &Task) -> bool {
    task.restart.as_ref().is_none_or(|restart| restart.attempts == 0)
}

impl Terms {
    /// A rollback has a policy of its own.
    fn of(service: &Service) -> Self {
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

    fn monitor(&self) -> Duration {
        defaults::update_monitor(&self.config)
    }

    /// Whether this update is why there is a task of the version in force in the task's place.
    fn concern(&self, task: &Task) -> bool {
        let updated_at = task.restart.as_ref().map_or(0, |restart| restart.updated_at);
        updated_at != 0 && Timestamp(updated_at) >= self.since
    }

    /// When a task of the version in force first ended early in the place that is this task's now.
    fn failed_at(&self, task: &Task) -> Option<Timestamp> {
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

/// What the one after a task of the version in force hands on of how the update went in their place.
pub(crate) fn handed_on(service: &Service, task: &Task, next: RestartState) -> RestartState {
    let settled_at = has_turn(task).then(|| settled_at(task, true)).flatten();
    let failed_at = Terms::of(service).failed_at(task);
    RestartState {
        settled_at: settled_at.map_or(0, Timestamp::as_nanos),
        failed_at: failed_at.map_or(0, Timestamp::as_nanos),
        ..next
    }
}

/// Until when the new task of a place, which runs, is on trial: where an update that fails is to be rolled back, the old
/// one it was started beside goes on for so long, so that there is something to go back to.
pub(crate) fn trial_ends(service: &Service, task: &Task) -> Option<Timestamp> {
    let terms = Terms::of(service);
    let may_go_back = terms.state == UpdateState::Updating
        && terms.config.failure_action() == FailureAction::Rollback
        && service.previous_spec.is_some();
    let runs_since = task.running_at().filter(|_| may_go_back && terms.concern(task))?;
    Some(runs_since + terms.monitor())
}

fn ended_itself(task: &Task) -> bool {
    matches!(task.state(), TaskState::Complete | TaskState::Failed | TaskState::Rejected)
}

/// Whether an update made the task, or one it comes after.
fn has_turn(task: &Task) -> bool {
    is_update(task.cause()) || task.restart.as_ref().is_some_and(|restart| restart.settled_at != 0)
}

/// When the task an update made for a place ran or came to nothing; `None` when neither is so yet. One that has to leave,
/// or to stop, before it ran counts from when it was made: whether it has done so yet is to change nothing.
fn settled_at(task: &Task, leaves: bool) -> Option<Timestamp> {
    let before = Timestamp(task.restart.as_ref().map_or(0, |restart| restart.settled_at));
    if before > Timestamp::ZERO {
        return Some(before);
    }
    let end = || ended_itself(task).then(|| task.observed_at());
    let made = || (leaves || !task.is_wanted()).then(|| task.created_at());
    task.running_at().or_else(end).or_else(made)
}

impl<'v> Rollout<'v> {
    /// How far the places that are kept have come.
    pub(crate) fn of(nodes: &Nodes<'_>, service: &Service, held: &[Held<'_, 'v>], now: Timestamp) -> Self {
        let mut rollout = Self {
            terms: Terms::of(service),
            places: 0,
            unfinished: 0,
            waiting: Vec::new(),
            left_out: Vec::new(),
            busy: 0,
            failed: 0,
            culprit: String::new(),
            watched_from: Timestamp::ZERO,
            due: None,
        };
        for held in held {
            let Some(newest) = held.newest() else { continue };
            let is_dirty = |task| is_dirty(nodes.view, service, task);
            if is_dirty(newest) {
                if !rollout.leaves_out(nodes, held.place) {
                    rollout.places += 1;
                    rollout.unfinished += 1;
                    rollout.waiting.push((newest.state() == TaskState::Running, held.place));
                }
                continue;
            }
            let stays_behind = held.successor.is_some() && held.holder.is_some_and(|old| is_dirty(old));
            // Once its new task has ended the place had its turn: from then on it is the restart policy's.
            rollout.unfinished += usize::from(stays_behind && is_first(newest) && !newest.is_terminal());
            let trial = trial_ends(service, newest).filter(|_| stays_behind).unwrap_or(Timestamp::ZERO);
            rollout.watch(newest, nodes.misplaced(service, newest).is_some(), trial, now);
        }
        rollout.waiting.sort_unstable();
        rollout
    }

    /// Whether a place that is not what the service asks for is not the update's business. As in Docker a global service's task
    /// on a paused node is left as it is. Once the node is active it has its turn in the update that is under way. Where that
    /// is over the task is replaced by itself, so that nothing the other nodes run is undone should the new one fail.
    fn leaves_out(&mut self, nodes: &Nodes<'_>, place: Place<'v>) -> bool {
        let Place::Node(id) = place else { return false };
        if nodes.view.node(id).is_some_and(|node| enforcer::availability(node) == Availability::Pause) {
            return true;
        }
        let is_late = matches!(self.terms.state, UpdateState::Completed | UpdateState::RollbackCompleted);
        self.left_out.extend(is_late.then_some(place));
        is_late
    }

    /// Takes in how the newest task of a place is doing, which is one of the version in force. One that `leaves` its node
    /// is replaced for that, and no longer the update's business. `trial`: until when it is on trial.
    fn watch(&mut self, task: &Task, leaves: bool, trial: Timestamp, now: Timestamp) {
        self.places += usize::from(self.terms.concern(task));
        if let Some(end) = self.terms.failed_at(task) {
            self.failed += 1;
            self.watched_from = self.watched_from.max(end);
            if task.is_terminal() {
                self.culprit.clone_from(&task.id);
            } else if self.culprit.is_empty() {
                self.culprit.clone_from(&task.replaces);
            }
        }
        // Also of one that is told to stop, so that the plan that tells it changes nothing about it.
        if is_first(task) && !task.replaces.is_empty() {
            self.watched_from = self.watched_from.max(task.created_at());
        }
        if !has_turn(task) {
            return;
        }
        let Some(calm) = settled_at(task, leaves).map(|at| at + duration(self.terms.config.delay)) else {
            self.busy += 1;
            return;
        };
        self.watched_from = self.watched_from.max(calm);
        // At the end of each something is to be done: of a trial, the old task is stopped.
        if let Some(due) = [calm, trial].into_iter().filter(|at| *at > now).min() {
            self.busy += 1;
            self.due = Some(self.due.map_or(due, |other| other.min(due)));
        }
    }

    /// Whether nothing is to be updated and nothing updated is watched.
    pub(crate) fn is_over(&self) -> bool {
        self.unfinished == 0 && !self.is_under_way()
    }

    fn is_under_way(&self) -> bool {
        matches!(self.terms.state, UpdateState::Updating | UpdateState::RollbackStarted)
    }

    fn is_rollback(&self) -> bool {
        self.terms.state == UpdateState::RollbackStarted
    }

    /// When time alone changes how the update stands.
    pub(crate) fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let is_done = self.is_under_way() && self.unfinished == 0 && self.busy == 0;
        let due = self.due.filter(|_| self.is_under_way() || !self.left_out.is_empty());
        due.or_else(|| is_done.then(|| self.watched_until())).filter(|at| *at > now)
    }

    fn watched_until(&self) -> Timestamp {
        self.watched_from + self.terms.monitor()
    }

    /// What the service becomes by the way its update goes; `None` when it stays what it is.
    pub(crate) fn next(&self, service: &Service, now: Timestamp) -> Option<Service> {
        if !self.is_under_way() {
            let is_paused = matches!(self.terms.state, UpdateState::Paused | UpdateState::RollbackPaused);
            return (self.unfinished > 0 && !is_paused).then(|| begun(service, now));
        }
        if self.has_failed() {
            match self.terms.config.failure_action() {
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
        let cause = if self.is_rollback() { TaskCause::Rollback } else { TaskCause::Update };
        let turn = Turn { cause, order: self.terms.config.order() };
        let waiting = self.waiting.iter().filter(|_| self.is_under_way()).map(|(_, place)| place);
        let next = waiting.chain(&self.left_out).take(room(&self.terms.config, self.busy));
        next.map(|place| (*place, turn)).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "Docker compares in single precision; so 7 of 10 is 0.7")]
    fn has_failed(&self) -> bool {
        self.failed > 0 && self.failed as f32 / self.places as f32 > self.terms.config.max_failure_ratio
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
    use skep_common::clock::nanos;
    use skep_proto::v1::{Meta, ServiceSpec, TaskStatus};

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

    /// One in which all places are done.
    fn rollout<'v>(state: UpdateState) -> Rollout<'v> {
        Rollout {
            terms: Terms::of(&service(state)),
            places: 1,
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
            (Rollout { busy: 1, due, left_out: vec![Place::Node("n")], ..rollout(over) }, due),
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
                restart: Some(RestartState { attempts, ..RestartState::default() }),
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
