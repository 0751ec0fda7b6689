//! The tasks of a job's runs.
//!
//! A replicated job has slots numbered from 0, as in Docker; in each of them one task has to complete, `max_concurrent` at
//! a time. A global job has a slot on every eligible node. A slot whose task has completed is done for good, whatever
//! becomes of the node; one whose task failed and is not restarted by the policy is over as well. When a node goes down or
//! is drained, a global job's task there is given up and begins again once the node is back. The run is not over before
//! that, or before the task is known to have stopped: it may still be running there.
//!
//! Invariants: at most one task of a slot is wanted; no more tasks are wanted at a time than the spec allows, unless the
//! number was lowered; no task of a closed run is wanted. Tasks of a run that is no longer kept are shut down; those that
//! had ended stay as their slot's history, as in Docker, unless the schedule's own history has dropped the run.

use std::{collections::BTreeMap, sync::Arc};

use skep_proto::v1::{
    Availability, JobOutcome, Node, ReplicatedJob, Service, Task, TaskCause, TaskState, service_spec::Mode,
};
use skep_store::View;

use super::runs;
use crate::{
    drain,
    global::Fitness,
    mode::is_global,
    node_status,
    orchestrator::slot_planner::SlotPlanner,
    policy,
    slot::{
        Slot,
        kept::KeptSlot,
        tasks::{SlotTasks, slots_of},
    },
    task::TaskExt,
};

/// How far a slot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotProgress {
    /// No task yet, or all are being removed.
    Empty,
    /// A task is to complete.
    Active,
    /// A task has completed.
    Done,
    /// The last task failed and is not restarted.
    Failed,
}

impl SlotProgress {
    fn of(tasks: Option<&SlotTasks<'_>>) -> Self {
        let staying = tasks.map_or(&[][..], |tasks| &tasks.staying);
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

/// Plans the tasks of all open runs of a job.
pub(crate) fn plan(planner: &mut SlotPlanner<'_, '_>) {
    let runs: BTreeMap<u64, bool> = runs(planner.service).into_iter().collect();
    let (view, service) = (planner.view, planner.service);
    let scheduled = service.spec.as_ref().is_some_and(policy::is_scheduled);
    for task in view.tasks_of_service(&service.id).filter(|task| !task.is_leaving()) {
        match runs.get(&task.job_iteration) {
            None if scheduled || !task.is_terminal() => planner.set_desired(task, TaskState::Remove),
            None if task.is_wanted() => planner.set_desired(task, TaskState::Shutdown),
            Some(false) if task.is_wanted() => planner.set_desired(task, TaskState::Shutdown),
            None | Some(_) => {}
        }
    }
    for (run, _) in runs.into_iter().filter(|(_, open)| *open) {
        planner.run = run;
        match mode(planner.service) {
            Some(Mode::ReplicatedJob(mode)) => replicated(planner, *mode),
            Some(Mode::GlobalJob(_)) => global(planner),
            _ => {}
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Some slot is neither done nor failed.
    Open,
    /// No slot at all: the job has one per node, and no node is eligible.
    Nowhere,
    /// Every slot is done or failed.
    Over(JobOutcome),
}

/// How far a run has come.
pub(crate) fn progress(view: &View, service: &Service, run: u64) -> Progress {
    let slots = slots_of(view, &service.id, run, is_global(service));
    let progress: Vec<SlotProgress> = match mode(service) {
        Some(Mode::ReplicatedJob(mode)) => {
            (0..mode.total_completions).map(|slot| SlotProgress::of(slots.get(&Slot::Number(slot)))).collect()
        }
        _ => {
            let stops = |task: &&Arc<Task>| task.may_run() && view.node(&task.node_id).is_some();
            if slots.values().flat_map(|tasks| &tasks.leaving).copied().any(|task| stops(&task)) {
                return Progress::Open;
            }
            let fitness = Fitness::of(service.spec.as_ref().and_then(|spec| spec.task.as_deref()));
            // Also a node that has not connected to a new leader yet.
            let is_asked = |node: &Node| node_status::availability(node) == Availability::Active;
            let open = view.nodes().filter(|node| fitness.may_keep(node) && is_asked(node));
            let open = open.map(|node| SlotProgress::of(slots.get(&Slot::Node(&node.id))));
            let begun = slots.values().map(|tasks| SlotProgress::of(Some(tasks)));
            // Slots being removed from nodes that are no longer eligible do not count.
            let progress: Vec<_> = open.chain(begun.filter(|slot| *slot != SlotProgress::Empty)).collect();
            if progress.is_empty() {
                return Progress::Nowhere;
            }
            progress
        }
    };
    if progress.iter().any(|slot| matches!(slot, SlotProgress::Empty | SlotProgress::Active)) {
        Progress::Open
    } else if progress.contains(&SlotProgress::Failed) {
        Progress::Over(JobOutcome::Failed)
    } else {
        Progress::Over(JobOutcome::Complete)
    }
}

fn mode(service: &Service) -> Option<&Mode> {
    service.spec.as_ref().and_then(|spec| spec.mode.as_ref())
}

fn replicated(planner: &mut SlotPlanner<'_, '_>, job: ReplicatedJob) {
    let (view, service, now) = (planner.view, planner.service, planner.now);
    let slots = slots_of(view, &service.id, planner.run, false);
    let mut kept = Vec::new();
    for (slot, tasks) in &slots {
        match SlotProgress::of(Some(tasks)) {
            _ if !matches!(slot, Slot::Number(slot) if *slot < job.total_completions) => planner.remove(tasks),
            SlotProgress::Active => kept.push(KeptSlot::of(planner.nodes, service, *slot, tasks, now)),
            SlotProgress::Done => stop_the_rest(planner, tasks),
            SlotProgress::Empty | SlotProgress::Failed => {}
        }
    }
    let mut moves = BTreeMap::new();
    drain::add_slots_to_drain(planner.nodes, service, &kept, &mut moves);
    let active = kept.iter().filter(|kept| planner.reconcile(kept, moves.get(&kept.slot).copied())).count() as u64;
    let most = if job.max_concurrent == 0 { job.total_completions } else { job.max_concurrent };
    let empty = (0..job.total_completions)
        .map(Slot::Number)
        .filter(|slot| SlotProgress::of(slots.get(slot)) == SlotProgress::Empty);
    for slot in empty.take(usize::try_from(most.saturating_sub(active)).unwrap_or(usize::MAX)) {
        planner.fill(slot, slots.get(&slot), TaskCause::Job);
    }
}

fn global(planner: &mut SlotPlanner<'_, '_>) {
    let (view, service) = (planner.view, planner.service);
    let slots = slots_of(view, &service.id, planner.run, true);
    let fitness = Fitness::of(service.spec.as_ref().and_then(|spec| spec.task.as_deref()));
    let mut kept = Vec::new();
    for (slot, tasks) in &slots {
        let Slot::Node(id) = slot else { continue };
        match SlotProgress::of(Some(tasks)) {
            SlotProgress::Active if view.node(id).is_some_and(|node| fitness.may_keep(node)) => {
                kept.push(KeptSlot::of(planner.nodes, service, *slot, tasks, planner.now));
            }
            // History and all, so that a node that comes back starts afresh.
            SlotProgress::Active => planner.remove(tasks),
            SlotProgress::Done => stop_the_rest(planner, tasks),
            SlotProgress::Empty | SlotProgress::Failed => {}
        }
    }
    let mut moves = BTreeMap::new();
    drain::add_slots_to_drain(planner.nodes, service, &kept, &mut moves);
    for kept in &kept {
        planner.reconcile(kept, moves.get(&kept.slot).copied());
    }
    for node in view.nodes().filter(|node| fitness.may_keep(node) && node_status::takes_new_tasks(node)) {
        let slot = Slot::Node(&node.id);
        if SlotProgress::of(slots.get(&slot)) == SlotProgress::Empty {
            planner.fill(slot, slots.get(&slot), TaskCause::Job);
        }
    }
}

/// Shuts down the other tasks of a slot that is done: replacements of a task that was thought lost and completed after all.
fn stop_the_rest(planner: &mut SlotPlanner<'_, '_>, tasks: &SlotTasks<'_>) {
    for task in tasks.staying.iter().filter(|task| task.is_wanted()) {
        planner.set_desired(task, TaskState::Shutdown);
    }
}
