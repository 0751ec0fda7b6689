//! The tasks every service should have.
//!
//! Owns `Task.desired_state` and `Task.restart`, and makes tasks. [`crate::replicated`] and [`crate::global`] say how
//! many and where; what happens to the tasks of one place (a slot, or a node of a global service) is the same for
//! both and is decided here.
//!
//! Invariants:
//! - at most one task of a place is wanted. A task that ends or has to leave its node and its successor are one step:
//!   there is no moment without either and none with both;
//! - hence a place without a wanted task, but with tasks that are not leaving, is finished: the restart policy wanted
//!   no successor. It still counts as a replica, and is never filled again;
//! - a successor becomes RUNNING only when its delay is over and what was there before it has stopped (or is on a node
//!   that is down or gone, or has had its grace period and a minute).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use skep_common::{
    clock::{Timestamp, duration},
    id::Ids,
    limits,
};
use skep_proto::v1::{RestartState, Service, Task, TaskCause, TaskState, service_spec::Mode};
use skep_store::View;

use crate::{
    Plan, Scope, enforcer, global, job,
    plan::{Planner, Write},
    replicated, restart,
    task::{Place, TaskExt, desired, make_task},
};

/// How long beyond its grace period a task may take to stop before its successor starts regardless.
pub const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// Plans the tasks of the services in `scope`.
pub fn plan(view: &View, scope: &Scope, now: Timestamp, ids: &mut dyn Ids) -> Plan {
    let mut planner = Planner::new(view, now);
    for id in scope.ids(view) {
        let Some(service) = view.service(id) else {
            remove_all(view, id, &mut planner);
            continue;
        };
        let mut tending = Tending { view, service, run: 0, now, ids, planner: &mut planner };
        match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
            Some(Mode::Replicated(mode)) => replicated::plan(&mut tending, mode.replicas),
            Some(Mode::Global(_)) => global::plan(&mut tending),
            Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) => job::tasks::plan(&mut tending),
            // Admission refuses such a spec.
            None => {}
        }
    }
    planner.finish()
}

/// A service is gone: so are all its tasks, as soon as they have stopped.
fn remove_all(view: &View, service_id: &str, planner: &mut Planner<'_>) {
    for task in view.tasks_of_service(service_id).filter(|task| !task.is_leaving()) {
        planner.step([Write::UpdateTask(desired(task, TaskState::Remove))]);
    }
}

/// The tasks of one place of a service.
#[derive(Debug, Default)]
pub(crate) struct Tenants<'a> {
    /// Those the place counts, by id.
    pub(crate) staying: Vec<&'a Arc<Task>>,
    /// Those that are on their way out for good.
    pub(crate) leaving: Vec<&'a Arc<Task>>,
}

impl<'a> Tenants<'a> {
    /// The wanted task. Should there be several, the one that is furthest.
    pub(crate) fn wanted(&self) -> Option<&'a Arc<Task>> {
        let wanted = self.staying.iter().copied().filter(|task| task.is_wanted());
        wanted.max_by_key(|task| (!task.is_terminal(), task.state(), std::cmp::Reverse(&task.id)))
    }

    fn all(&self) -> impl Iterator<Item = &'a Arc<Task>> {
        self.staying.iter().chain(&self.leaving).copied()
    }
}

/// A service's tasks by place; of a job those of one run, of other services `run` is 0.
pub(crate) fn places<'v>(view: &'v View, service_id: &str, run: u64, global: bool) -> BTreeMap<Place<'v>, Tenants<'v>> {
    let mut places: BTreeMap<Place<'v>, Tenants<'v>> = BTreeMap::new();
    for task in view.tasks_of_service(service_id).filter(|task| task.job_iteration == run) {
        let tenants = places.entry(Place::of(task, global)).or_default();
        if task.is_leaving() { tenants.leaving.push(task) } else { tenants.staying.push(task) }
    }
    places
}

/// One service being tended.
pub(crate) struct Tending<'p, 'v> {
    pub(crate) view: &'v View,
    pub(crate) service: &'v Arc<Service>,
    /// The run of a job whose tasks are looked at; 0 where the service is none.
    pub(crate) run: u64,
    now: Timestamp,
    ids: &'p mut dyn Ids,
    planner: &'p mut Planner<'v>,
}

impl<'v> Tending<'_, 'v> {
    /// The service's tasks by place.
    pub(crate) fn places(&self, global: bool) -> BTreeMap<Place<'v>, Tenants<'v>> {
        places(self.view, &self.service.id, self.run, global)
    }

    /// Wants something else of a task, and no other in its place.
    pub(crate) fn ask(&mut self, task: &Task, state: TaskState) {
        self.planner.step([Write::UpdateTask(desired(task, state))]);
    }

    /// Gives the place up: everything in it stops and is forgotten.
    pub(crate) fn vacate(&mut self, tenants: &Tenants<'_>) {
        for task in &tenants.staying {
            self.planner.step([Write::UpdateTask(desired(task, TaskState::Remove))]);
        }
    }

    /// Makes the first task of a place. What may still run there from before has to stop first.
    pub(crate) fn fill(&mut self, place: Place<'_>, tenants: Option<&Tenants<'_>>) {
        let free = tenants.is_none_or(|tenants| self.running(tenants.all()).next().is_none());
        let task = self.make(place, RestartState::default(), free);
        self.planner.step_for(self.service, [Write::Create(task)]);
    }

    /// Sees to a place that is to be kept. `may_move`: a task that cannot stay on its node may go to another.
    /// Says whether a task is still wanted there.
    pub(crate) fn tend(&mut self, place: Place<'_>, tenants: &Tenants<'_>, may_move: bool) -> bool {
        let Some(task) = tenants.wanted() else { return false };
        for surplus in tenants.staying.iter().filter(|other| other.is_wanted() && other.id != task.id) {
            self.planner.step([Write::UpdateTask(desired(surplus, TaskState::Shutdown))]);
        }
        let due = not_before(task);
        if task.is_terminal() && due > self.now {
            // It failed while it was prepared, before its own start was due. To go on at once would be to try, and
            // fail, without any delay.
            self.planner.wake_at(due);
        } else if task.is_terminal() {
            return self.succeed(place, tenants, task, restart::after_end(task, self.now));
        } else if may_move && enforcer::misplaced(self.view, task).is_some() {
            return self.succeed(place, tenants, task, restart::after_move(task));
        } else if task.desired_state() < TaskState::Running {
            self.raise(tenants, task);
        }
        true
    }

    /// Ends a task and, unless `next` is `None`, makes its successor, in one step. Says whether there is one.
    fn succeed(&mut self, place: Place<'_>, tenants: &Tenants<'_>, task: &Task, next: Option<RestartState>) -> bool {
        let end = Write::UpdateTask(desired(task, TaskState::Shutdown));
        let Some(next) = next else {
            self.planner.step([end]);
            return false;
        };
        let not_before = Timestamp(next.not_before);
        if not_before > self.now {
            self.planner.wake_at(not_before);
        }
        let free = not_before <= self.now && self.running(tenants.all()).next().is_none();
        let successor = self.make(place, next, free);
        self.planner.step_for(self.service, [end, Write::Create(successor)]);
        true
    }

    /// Lets a waiting successor start when it may.
    fn raise(&mut self, tenants: &Tenants<'_>, task: &Task) {
        // Whatever runs there was told to stop when this task was made, or before.
        let others = self.running(tenants.all()).filter(|other| other.id != task.id);
        let patience_ends = others.map(|other| task.created_at() + stop_grace(other) + STOP_PATIENCE).max();
        match patience_ends.into_iter().chain([not_before(task)]).max().filter(|until| *until > self.now) {
            Some(until) => self.planner.wake_at(until),
            None => self.planner.step([Write::UpdateTask(desired(task, self.goal()))]),
        }
    }

    /// What is wanted of a task in the end.
    fn goal(&self) -> TaskState {
        if self.run == 0 { TaskState::Running } else { TaskState::Complete }
    }

    /// Those of the tasks that may still run, as far as anybody can tell.
    fn running<'t>(&self, tasks: impl Iterator<Item = &'t Arc<Task>>) -> impl Iterator<Item = &'t Arc<Task>> {
        tasks.filter(|task| task.may_run() && !enforcer::is_silent(self.view, &task.node_id))
    }

    fn make(&mut self, place: Place<'_>, restart: RestartState, free: bool) -> Task {
        let desired = if free { self.goal() } else { TaskState::Ready };
        let task = make_task(self.service, place, desired, restart, self.ids, self.now);
        let cause = if self.run == 0 { TaskCause::Unknown } else { TaskCause::Job };
        Task { job_iteration: self.run, cause: cause.into(), ..task }
    }
}

/// When the task may become RUNNING at the earliest.
fn not_before(task: &Task) -> Timestamp {
    Timestamp(task.restart.as_ref().map_or(0, |restart| restart.not_before))
}

fn stop_grace(task: &Task) -> Duration {
    let container = task.spec.as_ref().and_then(|spec| spec.container.as_ref());
    container.and_then(|container| container.stop_grace_period).map_or(limits::STOP_GRACE, duration)
}
