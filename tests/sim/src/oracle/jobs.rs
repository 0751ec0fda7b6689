//! Jobs: no tick has two runs, none is passed over without a reason, and completions are counted right.

use std::collections::{BTreeMap, BTreeSet};

use skep_common::clock::Timestamp;
use skep_core::{
    mode::is_global,
    policy::schedule_of,
    policy::{self, Concurrency, StartingDeadline},
    task::TaskExt,
};
use skep_proto::v1::{JobOutcome, JobRun, JobStatus, Service, Task, TaskState, service_spec::Mode};
use skep_store::{AnyObject, Change, View};

use super::Sight;
use crate::{
    context::{Step, must},
    fitness::may_run,
    leader::{Loop, Origin},
    tally::{Kind, Tally},
};

/// Unfinished runs beyond which ticks pass.
const MAX_OPEN_RUNS: usize = 32;

/// What is remembered of jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// The run each tick of each service had.
    ticks: BTreeMap<(String, i64), u64>,
    /// The tasks whose programs ended well.
    did_well: BTreeSet<String>,
}

impl Jobs {
    pub(super) fn container_ends(&mut self, task: &str, code: i32) {
        if code == 0 {
            self.did_well.insert(task.to_owned());
        }
    }

    pub(super) fn changed(&mut self, sight: &Sight<'_>, change: &Change, tally: &mut Tally) -> Step {
        match change {
            Change::Update { old: AnyObject::Service(old), new: AnyObject::Service(new) } => {
                self.job_changed(old, new)?;
                count(old, new, tally);
                closed_rightly(sight.seen, old, new)?;
                if matches!(sight.origin, Origin::Loop(ticket) if ticket.which == Loop::Cron) {
                    decided_rightly(sight, old, new, tally)?;
                }
                Ok(())
            }
            Change::Create(AnyObject::Task(task)) if task.job_iteration != 0 => begun_rightly(sight, task),
            Change::Update { old: AnyObject::Task(old), new: AnyObject::Task(new) }
                if new.state() == TaskState::Complete && old.state() != TaskState::Complete =>
            {
                must!(self.did_well.contains(&new.id), "{} is COMPLETE, and its program did not end well", new.id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Iterations and decided ticks only grow, runs keep their end, and a tick keeps its run.
    fn job_changed(&mut self, old: &Service, new: &Service) -> Step {
        let (before, after) = (job_of(old), job_of(new));
        must!(after.iteration >= before.iteration, "{} went back to run {}", new.id, after.iteration);
        must!(after.last_tick >= before.last_tick, "{} went back to tick {}", new.id, after.last_tick);
        for run in &after.runs {
            let known = before.runs.iter().find(|known| known.iteration == run.iteration);
            must!(
                known.is_none_or(|known| known.finished_at == 0 || known == run),
                "the end of run {} of {} is written anew",
                run.iteration,
                new.id
            );
            if run.scheduled_at != 0 {
                let first = *self.ticks.entry((new.id.clone(), run.scheduled_at)).or_insert(run.iteration);
                must!(
                    first == run.iteration,
                    "tick {} of {} has runs {first} and {}",
                    run.scheduled_at,
                    new.id,
                    run.iteration
                );
            }
        }
        Ok(())
    }
}

fn count(old: &Service, new: &Service, tally: &mut Tally) {
    let (before, after) = (job_of(old), job_of(new));
    for _ in before.iteration..after.iteration {
        tally.count(Kind::JobRun);
    }
    let is_complete = |run: &JobRun| run.outcome() == JobOutcome::Complete;
    let was_complete =
        |run: &JobRun| before.runs.iter().any(|known| known.iteration == run.iteration && is_complete(known));
    for _ in after.runs.iter().filter(|run| is_complete(run) && !was_complete(run)) {
        tally.count(Kind::JobComplete);
    }
}

/// The newest tick that is due is decided on, by the settings of the job, and no other begins a run.
fn decided_rightly(sight: &Sight<'_>, old: &Service, new: &Service, tally: &mut Tally) -> Step {
    let (before, after) = (job_of(old), job_of(new));
    let Some(schedule) = schedule_of(old) else {
        must!(before == after, "the cron loop changed {}, which has no schedule", new.id);
        return Ok(());
    };
    let now = Timestamp(new.meta.map_or(0, |meta| meta.updated_at));
    let due = schedule.newest(Timestamp(before.last_tick), now);
    let begun: Vec<&JobRun> = after.runs.iter().filter(|run| run.iteration > before.iteration).collect();
    let Some(tick) = due else {
        must!(begun.is_empty() && after.last_tick == before.last_tick, "{} has a run before its time", new.id);
        return Ok(());
    };
    must!(after.last_tick == tick.0, "{} decides on {}, and {tick:?} is due", new.id, after.last_tick);
    if schedule.next_after(Timestamp(before.last_tick)) != Some(tick) {
        must!(!sight.is_settled, "{} passed over ticks before {tick:?} for no reason", new.id);
        tally.count(Kind::TickPassed);
    }
    let StartingDeadline(deadline) = policy::of(labels(old));
    // What was replaced was open until then.
    let is_open = |run: &&JobRun| {
        let was = before.runs.iter().any(|known| known.iteration == run.iteration && known.finished_at == 0);
        was && (run.finished_at == 0 || run.outcome() == JobOutcome::Replaced)
    };
    let open = after.runs.iter().filter(is_open).count();
    let may_begin = match policy::of(labels(old)) {
        Concurrency::Allow => open < MAX_OPEN_RUNS,
        Concurrency::Forbid => open == 0,
        Concurrency::Replace => true,
    };
    let begins = may_begin && now.since(tick) <= deadline;
    must!(
        begun.len() == usize::from(begins) && begun.iter().all(|run| run.scheduled_at == tick.0),
        "tick {tick:?} of {} should begin {} runs, and begins {begun:?}",
        new.id,
        usize::from(begins)
    );
    if !begins {
        tally.count(Kind::TickPassed);
    }
    Ok(())
}

/// A run is over when all is done or given up, or another takes its place.
fn closed_rightly(view: &View, old: &Service, new: &Service) -> Step {
    let (before, after) = (job_of(old), job_of(new));
    let now = Timestamp(new.meta.map_or(0, |meta| meta.updated_at));
    let was_open =
        |run: &&JobRun| before.runs.iter().any(|known| known.iteration == run.iteration && known.finished_at == 0);
    for run in after.runs.iter().filter(|run| run.finished_at != 0).filter(was_open) {
        let stand = Stand::of(view, old, run, now);
        must!(
            stand.allows(run.outcome()),
            "run {} of {} is over as {:?}, and is {stand:?}",
            run.iteration,
            new.id,
            run.outcome()
        );
    }
    // One that is not to be remembered is over and forgotten in one.
    let keeps = |run: &JobRun| after.runs.iter().any(|kept| kept.iteration == run.iteration);
    let replaces = policy::of::<Concurrency>(labels(old)) == Concurrency::Replace && after.iteration > before.iteration;
    let has_schedule = new.spec.as_ref().is_some_and(policy::is_scheduled);
    let must_stay = |run: &&JobRun| has_schedule && !replaces && run.finished_at == 0;
    for run in before.runs.iter().filter(must_stay).filter(|run| !keeps(run)) {
        let stand = Stand::of(view, old, run, now);
        let is_over = stand.allows(JobOutcome::Complete) || stand.allows(JobOutcome::Failed);
        must!(is_over, "run {} of {} is forgotten before its end, and is {stand:?}", run.iteration, new.id);
    }
    Ok(())
}

/// How far a run had come in the state that whoever closes it saw.
#[derive(Debug)]
struct Stand {
    /// Places there are.
    all_slots: u64,
    /// Those in which there is a task, whatever became of it.
    begun: u64,
    /// Those in which one has completed.
    done: u64,
    /// Those in which none has and one is to.
    active: u64,
    /// Whether it has waited for a slot as long as it may.
    has_waited: bool,
}

impl Stand {
    fn of(view: &View, service: &Service, run: &JobRun, now: Timestamp) -> Self {
        let StartingDeadline(deadline) = policy::of(labels(service));
        let spec = service.spec.as_ref();
        let slots = match spec.and_then(|spec| spec.mode.as_ref()) {
            Some(Mode::ReplicatedJob(mode)) => Some(mode.total_completions),
            _ => None,
        };
        let is_asked = |task: &Task| slots.is_none_or(|slots| task.slot < slots);
        let tasks = view.tasks_of_service(&service.id).filter(|task| task.job_iteration == run.iteration);
        // Of each slot whether it is done, and whether it is to be.
        let mut found: BTreeMap<(u64, &str), (bool, bool)> = BTreeMap::new();
        for task in tasks.filter(|task| !task.is_leaving() && is_asked(task)) {
            let name = if is_global(service) { (0, task.node_id.as_str()) } else { (task.slot, "") };
            let slot = found.entry(name).or_default();
            slot.0 |= task.state() == TaskState::Complete;
            slot.1 |= task.is_wanted();
        }
        let idle = view.nodes().filter(|node| may_run(node, spec) && !found.contains_key(&(0, node.id.as_str())));
        let all_slots = slots.unwrap_or_else(|| (found.len() + idle.count()) as u64);
        Self {
            all_slots,
            begun: found.len() as u64,
            done: found.values().filter(|(done, _)| *done).count() as u64,
            active: found.values().filter(|(done, active)| *active && !done).count() as u64,
            has_waited: Timestamp(run.started_at) + deadline <= now,
        }
    }

    fn allows(&self, outcome: JobOutcome) -> bool {
        let is_over = self.active == 0 && self.begun == self.all_slots;
        match outcome {
            JobOutcome::Running => false,
            JobOutcome::Replaced => true,
            JobOutcome::Complete => is_over && self.done > 0 && self.done == self.all_slots,
            JobOutcome::Failed => is_over && (self.done < self.all_slots || self.all_slots == 0 && self.has_waited),
        }
    }
}

/// A task is made for an open run, in a slot where none has completed, and only so many at a time.
fn begun_rightly(sight: &Sight<'_>, task: &Task) -> Step {
    let view = sight.after;
    let Some(service) = view.service(&task.service_id) else { return Ok(()) };
    let job = job_of(service);
    let is_open = match service.spec.as_ref().is_some_and(policy::is_scheduled) {
        true => job.runs.iter().any(|run| run.iteration == task.job_iteration && run.finished_at == 0),
        false => job.iteration == task.job_iteration,
    };
    must!(is_open, "{} is made for run {}, which is over", task.id, task.job_iteration);
    let of_run = |view: &View| {
        let tasks = view.tasks_of_service(&task.service_id).filter(|other| other.job_iteration == task.job_iteration);
        tasks.cloned().collect::<Vec<_>>()
    };
    let is_done = |other: &Task| other.state() == TaskState::Complete && !other.is_leaving();
    let done = of_run(sight.seen).into_iter().find(|it| is_done(it) && same_place(service, it, task));
    must!(done.is_none(), "{} is to do what {:?} has done", task.id, done.map(|done| done.id.clone()));
    if let Some(Mode::ReplicatedJob(mode)) = service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
        let wanted = |view: &View| of_run(view).iter().filter(|other| other.is_wanted()).count() as u64;
        // A job that was changed to less comes down to it as its tasks end.
        let most = match mode.max_concurrent {
            0 => mode.total_completions,
            most => most,
        };
        let most = most.max(wanted(sight.before));
        must!(wanted(view) <= most, "{} tasks of {} are wanted at a time, of {most}", wanted(view), service.id);
    }
    Ok(())
}

/// Whether two tasks of one run are for the same work.
fn same_place(service: &Service, a: &Task, b: &Task) -> bool {
    if is_global(service) { a.node_id == b.node_id } else { a.slot == b.slot }
}

fn labels(service: &Service) -> Option<&BTreeMap<String, String>> {
    service.spec.as_ref().and_then(policy::labels)
}

fn job_of(service: &Service) -> JobStatus {
    service.job.clone().unwrap_or_default()
}
