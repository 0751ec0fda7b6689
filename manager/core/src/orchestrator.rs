//! The tasks every service should have.
//!
//! Owns `Task.desired_state` and `Task.restart`, and makes tasks; writes `Service.update_status` as [`crate::rollout`]
//! decides. [`crate::replicated`] and [`crate::global`] say how many places there are and where; whose turn it is to be
//! replaced is decided by [`crate::rollout`], [`crate::drain`] and [`crate::rebalance`]; what happens to the tasks of one
//! place is the same for all and is decided here.
//!
//! Invariants:
//! - a place has one wanted task, its holder; and a second one, its successor, only while that is started first. A task
//!   that ends or has to leave and the one after it are one step: there is no moment without either;
//! - hence a place without a wanted task, but with tasks that are not leaving, is finished: the restart policy wanted
//!   no successor. It still counts as a replica, and is filled again only by an update;
//! - a task becomes RUNNING only when its delay is over and what was there before it, but for the holder it is started
//!   beside, has stopped (or is on a node that is down or gone, or has had its grace period and a minute).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use skep_common::{
    clock::{Timestamp, duration},
    id::Ids,
    limits,
};
use skep_proto::v1::{RestartState, Service, Task, TaskCause, TaskState, UpdateOrder, service_spec::Mode};
use skep_store::View;

use crate::{
    Plan, Scope, defaults, drain,
    enforcer::{self, Nodes},
    global, job,
    plan::{Planner, Write},
    rebalance::{self, Verdict},
    replicated, restart,
    rollout::{Rollout, Turn, handed_on, is_update},
    task::{Place, TaskExt, desired, make_task},
    tenants::{Held, RETRY, Tenants, is_given_up, places},
    update::is_dirty,
};

/// How long beyond its grace period a task may take to stop before its successor starts regardless.
pub const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// Plans the tasks of the services in `scope`.
pub fn plan(view: &View, scope: &Scope, now: Timestamp, ids: &mut dyn Ids) -> Plan {
    let nodes = Nodes::of(view);
    let mut planner = Planner::new(view, now);
    for id in scope.ids(view) {
        planner.about(id);
        let Some(service) = view.service(id) else {
            remove_all(view, id, &mut planner);
            continue;
        };
        match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
            Some(Mode::Replicated(_) | Mode::Global(_)) => tend_all(&nodes, service, now, ids, &mut planner),
            Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) => {
                job::tasks::plan(&mut Tending {
                    view,
                    nodes: &nodes,
                    service,
                    run: 0,
                    now,
                    ids,
                    planner: &mut planner,
                });
            }
            // Admission refuses such a spec.
            None => {}
        }
    }
    planner.finish()
}

/// Which places a service shall have.
#[derive(Debug, Default)]
pub(crate) struct Layout<'v> {
    /// In use, and to be kept.
    pub(crate) kept: Vec<Place<'v>>,
    /// To be given a first task.
    pub(crate) empty: Vec<Place<'v>>,
    /// In use, and too many.
    pub(crate) given_up: Vec<Place<'v>>,
}

impl<'v> Layout<'v> {
    fn of(view: &'v View, service: &Service, places: &BTreeMap<Place<'v>, Tenants<'v>>) -> Self {
        match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
            Some(Mode::Replicated(mode)) => replicated::layout(places, mode.replicas),
            _ => global::layout(view, service, places),
        }
    }
}

/// Sees to all places of a service.
fn tend_all<'v>(
    nodes: &Nodes<'v>,
    service: &Arc<Service>,
    now: Timestamp,
    ids: &mut dyn Ids,
    planner: &mut Planner<'v>,
) {
    let view = nodes.view;
    let is_global = global::is_global(service);
    let places = places(view, &service.id, 0, is_global);
    let mut service = Arc::clone(service);
    let mut is_changed = false;
    // An update begins, turns into a rollback, and ends or pauses: it does each at most once before tasks are made.
    let (layout, held, rollout, verdict) = loop {
        let layout = Layout::of(view, &service, &places);
        let held: Vec<Held<'_, '_>> =
            layout.kept.iter().map(|place| Held::of(nodes, &service, *place, &places[place], now)).collect();
        let rollout = Rollout::of(nodes, &service, &held, now);
        let verdict = if rollout.is_over() && !is_global && layout.empty.is_empty() {
            let surplus = held.iter().flat_map(|held| &held.surplus);
            let stopping = surplus.chain(layout.given_up.iter().flat_map(|place| &places[place].staying));
            rebalance::verdict(nodes, &service, &held, stopping.copied(), now)
        } else {
            Verdict::Stay
        };
        let next = rollout.next(&service, now).or_else(|| (verdict == Verdict::Met).then(|| rebalance::met(&service)));
        let Some(next) = next else { break (layout, held, rollout, verdict) };
        service = Arc::new(next);
        is_changed = true;
    };
    if is_changed {
        planner.change_service(Service::clone(&service));
    }
    let mut turns = rollout.turns();
    drain::add_turns(nodes, &service, &held, &mut turns);
    match verdict {
        Verdict::Move(slot) => {
            let turn = Turn { cause: TaskCause::Rebalance, order: UpdateOrder::StartFirst };
            turns.entry(Place::Slot(slot)).or_insert(turn);
        }
        Verdict::NotBefore(at) => planner.wake_at(at),
        Verdict::Stay | Verdict::Met => {}
    }
    if let Some(at) = rollout.wake_at(now) {
        planner.wake_at(at);
    }
    let mut tending = Tending { view, nodes, service: &service, run: 0, now, ids, planner };
    // First what makes less: a plan that is cut must not be more than it may be between its parts.
    for place in layout.given_up {
        tending.vacate(&places[&place]);
    }
    for held in &held {
        tending.tend(held, turns.get(&held.place).copied());
    }
    for place in layout.empty {
        tending.fill(place, places.get(&place), TaskCause::Replica);
    }
}

/// A service is gone: so are all its tasks, as soon as they have stopped.
fn remove_all(view: &View, service_id: &str, planner: &mut Planner<'_>) {
    for task in view.tasks_of_service(service_id).filter(|task| !task.is_leaving()) {
        planner.step([Write::UpdateTask(desired(task, TaskState::Remove).into())]);
    }
}

/// One service being tended.
pub(crate) struct Tending<'p, 'v> {
    pub(crate) view: &'v View,
    pub(crate) nodes: &'p Nodes<'v>,
    /// As it is to be when the plan is carried out.
    pub(crate) service: &'p Service,
    /// The run of a job whose tasks are looked at; 0 where the service is none.
    pub(crate) run: u64,
    pub(crate) now: Timestamp,
    ids: &'p mut dyn Ids,
    planner: &'p mut Planner<'v>,
}

impl<'v> Tending<'_, 'v> {
    /// Wants something else of a task, and no other in its place.
    pub(crate) fn ask(&mut self, task: &Task, state: TaskState) {
        self.planner.step([Write::UpdateTask(desired(task, state).into())]);
    }

    /// Gives the place up: everything in it stops and is forgotten.
    pub(crate) fn vacate(&mut self, tenants: &Tenants<'_>) {
        for task in &tenants.staying {
            self.ask(task, TaskState::Remove);
        }
    }

    /// Makes a task for a place where none is wanted. What may still run there from before has to stop first.
    pub(crate) fn fill(&mut self, place: Place<'_>, tenants: Option<&Tenants<'v>>, cause: TaskCause) {
        let is_free = tenants.is_none_or(|tenants| self.is_free(tenants, None));
        let last = tenants.and_then(Tenants::last).map(|task| task.id.clone());
        let restart = if is_update(cause) { self.updated() } else { RestartState::default() };
        let task = self.make(place, restart, is_free, cause, last.unwrap_or_default());
        self.planner.step_for(self.service, [Write::Create(task)]);
    }

    /// Sees to a place that is to be kept. `turn`: its holder is to be replaced although it is not over. Says whether a
    /// task is still wanted there.
    pub(crate) fn tend(&mut self, held: &Held<'_, 'v>, turn: Option<Turn>) -> bool {
        for surplus in &held.surplus {
            self.ask(surplus, TaskState::Shutdown);
        }
        match (held.holder, held.successor, turn) {
            (None, _, None) => false,
            (None, _, Some(turn)) => {
                self.fill(held.place, Some(held.tenants), turn.cause);
                true
            }
            (Some(holder), None, Some(turn)) => self.replace(held, holder, turn),
            (Some(holder), None, None) => self.keep(held, holder, None),
            (Some(holder), Some(successor), _) => {
                self.keep(held, successor, Some(holder));
                true
            }
        }
    }

    /// Sees to a task: a holder, or a successor and the holder it is started beside. Says whether a task is still wanted.
    fn keep(&mut self, held: &Held<'_, 'v>, task: &Task, beside: Option<&Task>) -> bool {
        if task.is_terminal() && task.not_before() > self.now {
            // It failed while it was prepared, before its own start was due. To go on at once would be to try, and
            // fail, without any delay.
            self.planner.wake_at(task.not_before());
        } else if task.is_terminal() {
            if beside.is_none() || !is_given_up(task, self.now) {
                return self.succeed(held, task, beside, self.after_end(task), TaskCause::Restart);
            }
            if beside.is_some_and(|holder| self.nodes.misplaced(self.service, holder).is_some()) {
                self.planner.wake_at(task.observed_at() + RETRY);
            }
        } else if let Some(reason) = beside.and_then(|_| self.nodes.misplaced(self.service, task)) {
            return self.succeed(held, task, beside, self.after_move(task), reason.cause());
        } else if task.desired_state() < TaskState::Running {
            self.raise(held.tenants, task, beside);
        }
        true
    }

    /// Gives a holder whose turn it is its replacement. Says whether it gets one.
    fn replace(&mut self, held: &Held<'_, 'v>, holder: &Task, turn: Turn) -> bool {
        let next = if is_update(turn.cause) { Some(self.updated()) } else { self.after_move(holder) };
        // A holder that does not run, or of which nobody can say that it still does, is nothing to start beside.
        let runs = holder.state() == TaskState::Running && !enforcer::is_silent(self.view, &holder.node_id);
        match next {
            Some(next) if turn.order == UpdateOrder::StartFirst && runs => {
                let is_free = self.is_free(held.tenants, Some(holder));
                let successor = self.make(held.place, next, is_free, turn.cause, holder.id.clone());
                self.planner.step_for(self.service, [Write::Create(successor)]);
                true
            }
            next => self.succeed(held, holder, None, next, turn.cause),
        }
    }

    /// Ends a task and, unless `next` is `None`, makes the one after it, in one step. Says whether there is one.
    fn succeed(
        &mut self,
        held: &Held<'_, 'v>,
        task: &Task,
        beside: Option<&Task>,
        next: Option<RestartState>,
        cause: TaskCause,
    ) -> bool {
        let mut ended = desired(task, TaskState::Shutdown);
        let Some(next) = next else {
            ended.restart.get_or_insert_default().finished = beside.is_none();
            self.planner.step([Write::UpdateTask(ended.into())]);
            return false;
        };
        let not_before = Timestamp(next.not_before);
        if not_before > self.now {
            self.planner.wake_at(not_before);
        }
        let is_free = not_before <= self.now && self.is_free(held.tenants, beside);
        // Beside a holder it is still that one which is to be replaced.
        let replaces = beside.unwrap_or(task).id.clone();
        let successor = self.make(held.place, next, is_free, cause, replaces);
        self.planner.step_for(self.service, [Write::UpdateTask(ended.into()), Write::Create(successor)]);
        true
    }

    /// Lets a waiting task start when it may.
    fn raise(&mut self, tenants: &Tenants<'v>, task: &Task, beside: Option<&Task>) {
        // Whatever runs there was told to stop when this task was made, or before.
        let others = self.running(tenants, beside).filter(|other| other.id != task.id);
        let patience_ends = others.map(|other| task.created_at() + stop_grace(other) + STOP_PATIENCE).max();
        match patience_ends.into_iter().chain([task.not_before()]).max().filter(|until| *until > self.now) {
            Some(until) => self.planner.wake_at(until),
            None => self.ask(task, self.goal()),
        }
    }

    /// What is wanted of a task in the end.
    fn goal(&self) -> TaskState {
        if self.run == 0 { TaskState::Running } else { TaskState::Complete }
    }

    /// Those of the tasks that may still run, as far as anybody can tell, but for the one started beside.
    fn running(&self, tenants: &Tenants<'v>, beside: Option<&Task>) -> impl Iterator<Item = &'v Arc<Task>> {
        let may_run = |task: &&Arc<Task>| task.may_run() && !enforcer::is_silent(self.view, &task.node_id);
        tenants.all().filter(may_run).filter(move |task| beside.is_none_or(|beside| beside.id != task.id))
    }

    fn is_free(&self, tenants: &Tenants<'v>, beside: Option<&Task>) -> bool {
        self.running(tenants, beside).next().is_none()
    }

    fn after_end(&self, task: &Task) -> Option<RestartState> {
        let next = restart::after_end(task, self.now)?;
        let policy = task.spec.as_ref().and_then(|spec| spec.restart.as_ref());
        let not_before = (self.now + defaults::restart_delay(policy)).as_nanos();
        Some(self.after(task, next, not_before))
    }

    fn after_move(&self, task: &Task) -> Option<RestartState> {
        let next = restart::after_move(task)?;
        let not_before = next.not_before;
        Some(self.after(task, next, not_before))
    }

    /// The restart state of the one after a task: `next`, and `not_before` alone after one of another version, of which
    /// nothing is held against it.
    fn after(&self, task: &Task, next: RestartState, not_before: i64) -> RestartState {
        match is_dirty(self.view, self.service, task) {
            true => RestartState { not_before, ..self.updated() },
            false => handed_on(self.service, task, next),
        }
    }

    /// The restart state of the first of its version in a place that had another.
    fn updated(&self) -> RestartState {
        RestartState { updated_at: self.now.as_nanos(), ..RestartState::default() }
    }

    fn make(
        &mut self,
        place: Place<'_>,
        restart: RestartState,
        is_free: bool,
        cause: TaskCause,
        replaces: String,
    ) -> Task {
        let desired = if is_free { self.goal() } else { TaskState::Ready };
        let task = make_task(self.service, place, desired, restart, self.ids, self.now);
        Task { job_iteration: self.run, cause: cause.into(), replaces, ..task }
    }
}

fn stop_grace(task: &Task) -> Duration {
    let container = task.spec.as_ref().and_then(|spec| spec.container.as_ref());
    container.and_then(|container| container.stop_grace_period).map_or(limits::STOP_GRACE, duration)
}
