//! What jobs must be in a swarm in which nothing is broken: up to date, and under way nowhere longer than they take.

use std::{collections::BTreeSet, time::Duration};

use skep_common::clock::Timestamp;
use skep_core::{
    mode,
    policy::{self, HistoryComplete, HistoryFailed, StartingDeadline, schedule_of},
    task::TaskExt,
};
use skep_proto::v1::{JobOutcome, JobRun, Service, Task, TaskState, service_spec::Mode};
use skep_store::View;

use super::{excused, has_no_room, is_delayed};
use crate::{
    context::{Step, must},
    fitness::may_run,
    tally::{Excuse, Tally},
};

/// Longest a tick may wait for its run: clocks are wrong by two seconds at most, and plans take a moment.
const TICK_PATIENCE: Duration = Duration::from_secs(4);

/// Longest a task of a job is in any state before it runs, restarts apart.
const START_PATIENCE: Duration = Duration::from_secs(6);

/// Longest it runs.
const TASK_PATIENCE: Duration = Duration::from_secs(15);

/// Longest a run takes, where no task of it waits: five tasks one after the other.
const RUN_PATIENCE: Duration = Duration::from_secs(45);

/// How long what is not wanted any more may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(6);

pub(super) fn check(view: &View, now: Timestamp, tally: &mut Tally) -> Step {
    let jobs = view.services().filter(|service| service.spec.as_ref().is_some_and(mode::is_job));
    for service in jobs {
        if service.spec.as_ref().is_some_and(policy::is_scheduled) {
            schedule_is_kept(service, now)?;
            runs_end(view, service, now, tally)?;
        } else {
            is_through(view, service, now, tally)?;
        }
    }
    Ok(())
}

/// Whether a task of a job is under way, or has just been told to stop.
pub(super) fn is_under_way(task: &Task, now: Timestamp) -> bool {
    let patience = match task.state() {
        _ if !task.is_wanted() => STOP_PATIENCE,
        TaskState::Running => TASK_PATIENCE,
        _ => START_PATIENCE,
    };
    let since = if task.is_wanted() { task.created_at().0 } else { task.meta.map_or(0, |meta| meta.updated_at) };
    // Of one that waited for its start or a node, what counts is when it got it.
    let since = since.max(task.not_before().0).max(task.observed_at().0);
    task.job_iteration != 0 && Timestamp(since) + patience > now
}

/// Every tick is decided on, and what is remembered is what is to be.
fn schedule_is_kept(service: &Service, now: Timestamp) -> Step {
    let (Some(schedule), Some(job)) = (schedule_of(service), &service.job) else { return Ok(()) };
    let overdue = schedule.next_after(Timestamp(job.last_tick)).filter(|tick| *tick + TICK_PATIENCE < now);
    must!(overdue.is_none(), "{} has not decided on its tick {overdue:?}", service.id);
    let labels = service.spec.as_ref().and_then(policy::labels);
    let (HistoryComplete(completed), HistoryFailed(failed)) = (policy::of(labels), policy::of(labels));
    let kept = |is_complete: bool| {
        let over = job.runs.iter().filter(|run| run.finished_at != 0);
        over.filter(|run| (run.outcome() == JobOutcome::Complete) == is_complete).count()
    };
    must!(
        kept(true) <= completed && kept(false) <= failed,
        "{} remembers {} completed and {} failed runs",
        service.id,
        kept(true),
        kept(false)
    );
    Ok(())
}

/// No run goes on for longer than its tasks take, unless one of them has to wait, or a run beside it does.
fn runs_end(view: &View, service: &Service, now: Timestamp, tally: &mut Tally) -> Step {
    let Some(job) = &service.job else { return Ok(()) };
    let StartingDeadline(deadline) = policy::of(service.spec.as_ref().and_then(policy::labels));
    let is_old = |run: &&JobRun| run.finished_at == 0 && Timestamp(run.started_at) + RUN_PATIENCE < now;
    for run in job.runs.iter().filter(is_old) {
        let tasks = || view.tasks_of_service(&service.id).filter(|task| task.job_iteration == run.iteration);
        let mut wanted = tasks().filter(|task| task.is_wanted());
        let may_wait = Timestamp(run.started_at) + deadline + TICK_PATIENCE > now;
        must!(
            wanted.any(|task| waits(view, task, now, tally) || is_under_way(task, now))
                || excused(tally, Excuse::Nowhere, may_wait && is_nowhere(view, service)),
            "run {} of {} does not end",
            run.iteration,
            service.id
        );
    }
    Ok(())
}

/// Every slot of a job without a schedule is done or given up, unless its tasks have to wait.
fn is_through(view: &View, service: &Service, now: Timestamp, tally: &mut Tally) -> Step {
    let spec = service.spec.as_ref();
    let Some(job) = &service.job else { return Ok(()) };
    let tasks =
        || view.tasks_of_service(&service.id).filter(|task| task.job_iteration == job.iteration && !task.is_leaving());
    let Some(Mode::ReplicatedJob(mode)) = spec.and_then(|spec| spec.mode.as_ref()) else {
        let idle = view.nodes().filter(|node| may_run(node, spec)).find(|node| tasks().all(|it| it.node_id != node.id));
        must!(idle.is_none(), "{} has no task on {:?} in run {}", service.id, idle.map(|it| &it.id), job.iteration);
        return Ok(());
    };
    let begun: BTreeSet<u64> = tasks().map(|task| task.slot).collect();
    let waiting = tasks().filter(|task| task.is_wanted() && waits(view, task, now, tally)).count() as u64;
    let blocked = mode.max_concurrent != 0 && waiting >= mode.max_concurrent;
    must!(
        begun.len() as u64 == mode.total_completions || blocked,
        "{} has begun {begun:?} of {} in run {}",
        service.id,
        mode.total_completions,
        job.iteration
    );
    for task in tasks().filter(|task| task.is_wanted()) {
        must!(
            task.state() == TaskState::Complete || waits(view, task, now, tally) || is_under_way(task, now),
            "{} of run {} of {} is still {:?}",
            task.id,
            job.iteration,
            service.id,
            task.state()
        );
    }
    Ok(())
}

fn waits(view: &View, task: &Task, now: Timestamp, tally: &mut Tally) -> bool {
    excused(tally, Excuse::Delayed, is_delayed(task, now)) || excused(tally, Excuse::NoRoom, has_no_room(view, task))
}

/// Whether a run of a job has no slots, as no node is fit.
fn is_nowhere(view: &View, service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let is_global = matches!(spec.and_then(|spec| spec.mode.as_ref()), Some(Mode::GlobalJob(_)));
    is_global && !view.nodes().any(|node| may_run(node, spec))
}
