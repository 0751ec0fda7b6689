//! The tasks of a job's runs.
//!
//! A replicated job has slots numbered from 0, as Docker's has; in each one task has to complete, so many of them at a
//! time. A global job has a place on every node that is fit. A place whose task has completed is done for good,
//! whatever becomes of the node; one whose task failed and gets no successor from the restart policy is over as well.
//! The task of a node that goes down or is drained is given up and begins anew when the node is back. Until then, or until
//! it is known that the task has stopped, the run is not over: who knows what it still does there.
//!
//! Invariants: at most one task of a place is wanted; no more tasks are wanted at a time than the spec allows, unless
//! it was changed to less; nothing is wanted of a run that was closed. Of a run that is not kept no task goes on: what
//! had ended is the history of its place, as in Docker, unless the schedule's own history has dropped it.

use std::{collections::BTreeMap, sync::Arc};

use skep_proto::v1::{
    Availability, JobOutcome, Node, ReplicatedJob, Service, Task, TaskCause, TaskState, service_spec::Mode,
};
use skep_store::View;

use super::runs;
use crate::{
    drain, enforcer,
    global::{Fitness, is_global, takes_new_tasks},
    orchestrator::Tending,
    policy,
    task::{Place, TaskExt},
    tenants::{Held, Tenants, places},
};

/// How far a place has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing was begun, or what was is being forgotten.
    Empty,
    /// A task is to complete there.
    Active,
    /// One has.
    Done,
    /// None has, and none will.
    Failed,
}

impl Standing {
    fn of(tenants: Option<&Tenants<'_>>) -> Self {
        let staying = tenants.map_or(&[][..], |tenants| &tenants.staying);
        if staying.iter().any(|task| task.state() == TaskState::Complete) {
            Self::Done
        } else if staying.iter().any(|task| task.is_wanted()) {
            Self::Active
        } else if staying.is_empty() {
            Self::Empty
        } else {
            Self::Failed
        }
    }
}

/// Sees to all runs of a job.
pub(crate) fn plan(tending: &mut Tending<'_, '_>) {
    let runs: BTreeMap<u64, bool> = runs(tending.service).into_iter().collect();
    let (view, service) = (tending.view, tending.service);
    let scheduled = service.spec.as_ref().is_some_and(policy::is_scheduled);
    for task in view.tasks_of_service(&service.id).filter(|task| !task.is_leaving()) {
        match runs.get(&task.job_iteration) {
            None if scheduled || !task.is_terminal() => tending.ask(task, TaskState::Remove),
            None if task.is_wanted() => tending.ask(task, TaskState::Shutdown),
            Some(false) if task.is_wanted() => tending.ask(task, TaskState::Shutdown),
            None | Some(_) => {}
        }
    }
    for (run, _) in runs.into_iter().filter(|(_, open)| *open) {
        tending.run = run;
        match mode(tending.service) {
            Some(Mode::ReplicatedJob(mode)) => replicated(tending, *mode),
            Some(Mode::GlobalJob(_)) => global(tending),
            _ => {}
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is something left to do.
    Open,
    /// There is nothing to do and nothing was done: the job has a place per node, and no node is fit.
    Nowhere,
    /// All is done or given up.
    Over(JobOutcome),
}

/// How far a run has come.
pub(crate) fn progress(view: &View, service: &Service, run: u64) -> Progress {
    let places = places(view, &service.id, run, is_global(service));
    let standings: Vec<Standing> = match mode(service) {
        Some(Mode::ReplicatedJob(mode)) => {
            (0..mode.total_completions).map(|slot| Standing::of(places.get(&Place::Slot(slot)))).collect()
        }
        _ => {
            let stops = |task: &&Arc<Task>| task.may_run() && view.node(&task.node_id).is_some();
            if places.values().flat_map(|tenants| &tenants.leaving).copied().any(|task| stops(&task)) {
                return Progress::Open;
            }
            let fitness = Fitness::of(service.spec.as_ref().and_then(|spec| spec.task.as_deref()));
            // Also one that a new leader has not heard of yet.
            let is_asked = |node: &Node| enforcer::availability(node) == Availability::Active;
            let open = view.nodes().filter(|node| fitness.may_keep(node) && is_asked(node));
            let open = open.map(|node| Standing::of(places.get(&Place::Node(&node.id))));
            let begun = places.values().map(|tenants| Standing::of(Some(tenants)));
            // What is being forgotten on a node that is no longer fit is none of it.
            let standings: Vec<_> = open.chain(begun.filter(|standing| *standing != Standing::Empty)).collect();
            if standings.is_empty() {
                return Progress::Nowhere;
            }
            standings
        }
    };
    if standings.iter().any(|standing| matches!(standing, Standing::Empty | Standing::Active)) {
        Progress::Open
    } else if standings.contains(&Standing::Failed) {
        Progress::Over(JobOutcome::Failed)
    } else {
        Progress::Over(JobOutcome::Complete)
    }
}

fn mode(service: &Service) -> Option<&Mode> {
    service.spec.as_ref().and_then(|spec| spec.mode.as_ref())
}

fn replicated(tending: &mut Tending<'_, '_>, job: ReplicatedJob) {
    let (view, service, now) = (tending.view, tending.service, tending.now);
    let places = places(view, &service.id, tending.run, false);
    let mut held = Vec::new();
    for (place, tenants) in &places {
        match Standing::of(Some(tenants)) {
            _ if !matches!(place, Place::Slot(slot) if *slot < job.total_completions) => tending.vacate(tenants),
            Standing::Active => held.push(Held::of(tending.nodes, service, *place, tenants, now)),
            Standing::Done => settle(tending, tenants),
            Standing::Empty | Standing::Failed => {}
        }
    }
    let mut moves = BTreeMap::new();
    drain::add_turns(tending.nodes, service, &held, &mut moves);
    let active = held.iter().filter(|held| tending.tend(held, moves.get(&held.place).copied())).count() as u64;
    let most = if job.max_concurrent == 0 { job.total_completions } else { job.max_concurrent };
    let slots = (0..job.total_completions).map(Place::Slot);
    let empty = slots.filter(|place| Standing::of(places.get(place)) == Standing::Empty);
    for place in empty.take(usize::try_from(most.saturating_sub(active)).unwrap_or(usize::MAX)) {
        tending.fill(place, places.get(&place), TaskCause::Job);
    }
}

fn global(tending: &mut Tending<'_, '_>) {
    let (view, service) = (tending.view, tending.service);
    let places = places(view, &service.id, tending.run, true);
    let fitness = Fitness::of(service.spec.as_ref().and_then(|spec| spec.task.as_deref()));
    let mut held = Vec::new();
    for (place, tenants) in &places {
        let Place::Node(id) = place else { continue };
        match Standing::of(Some(tenants)) {
            Standing::Active if view.node(id).is_some_and(|node| fitness.may_keep(node)) => {
                held.push(Held::of(tending.nodes, service, *place, tenants, tending.now));
            }
            // History and all, so that a node that comes back starts afresh.
            Standing::Active => tending.vacate(tenants),
            Standing::Done => settle(tending, tenants),
            Standing::Empty | Standing::Failed => {}
        }
    }
    let mut moves = BTreeMap::new();
    drain::add_turns(tending.nodes, service, &held, &mut moves);
    for held in &held {
        tending.tend(held, moves.get(&held.place).copied());
    }
    for node in view.nodes().filter(|node| fitness.may_keep(node) && takes_new_tasks(node)) {
        let place = Place::Node(&node.id);
        if Standing::of(places.get(&place)) == Standing::Empty {
            tending.fill(place, places.get(&place), TaskCause::Job);
        }
    }
}

/// A place is done: whoever else was to complete there, because the first was thought lost, need not.
fn settle(tending: &mut Tending<'_, '_>, tenants: &Tenants<'_>) {
    for task in tenants.staying.iter().filter(|task| task.is_wanted()) {
        tending.ask(task, TaskState::Shutdown);
    }
}
