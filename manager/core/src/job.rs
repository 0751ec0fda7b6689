//! Jobs: services whose tasks run to completion. A run is one execution of the job; its tasks carry its iteration number.
//!
//! Owns `Service.job`, together with [`crate::cron`], which begins the runs of a schedule and closes all runs of scheduled
//! jobs; the tasks of a run are planned in [`tasks`].
//!
//! A job without a schedule has one run, begun when it is created and again by every update, as in Docker. That run stays
//! open: a global job also runs on a node that joins later. A scheduled job runs at its ticks and on request, not when it
//! is created or updated; its runs are listed in `job.runs`.
//!
//! Invariants: iterations only grow; tasks of an iteration that is not kept ([`runs`]) are shut down; an unfinished run is
//! never dropped from the list.

pub(crate) mod tasks;

use skep_common::clock::Timestamp;
use skep_proto::v1::{JobOutcome, JobRun, JobStatus, Service, ServiceSpec};

use crate::{
    mode::is_job,
    policy::{self, Concurrency},
};

/// Most unfinished runs of a job: runs that take longer than their period would pile up without end.
const MAX_OPEN_RUNS: usize = 32;

/// Why a run is not begun on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// The service is no job.
    #[error("only a replicated job or a global job can be run")]
    NotAJob,
    /// The run before is not over, and runs must not overlap.
    #[error("the run before is not over and skep.concurrency is forbid")]
    StillRunning,
    /// Too many runs are not over.
    #[error("{MAX_OPEN_RUNS} runs of this job are not over yet")]
    TooMany,
}

/// Updates `Service.job` after the service was created or its spec changed; does nothing unless the service is a job.
pub fn changed(service: &mut Service, now: Timestamp) {
    let Some(spec) = service.spec.as_ref().filter(|spec| is_job(spec)) else { return };
    if !policy::is_scheduled(spec) {
        let job = service.job.get_or_insert_default();
        job.runs.clear();
        next_iteration(job, now);
        return;
    }
    let rescheduled = service.previous_spec.as_ref().is_none_or(|previous| !same_schedule(previous, spec));
    let had_schedule = service.previous_spec.as_ref().is_some_and(policy::is_scheduled);
    let job = service.job.get_or_insert_default();
    if rescheduled {
        // Ticks before the schedule was set do not count, nor do those a clock that was ahead has decided on already.
        job.last_tick = job.last_tick.max(now.as_nanos());
    }
    if !had_schedule && job.iteration > 0 {
        // The run begun before the job had a schedule goes on to its end like any other.
        job.runs = vec![JobRun { iteration: job.iteration, started_at: job.last_execution, ..JobRun::default() }];
    }
}

/// Begins a run on request.
///
/// # Errors
/// When the service is no job, or its settings allow no run now.
pub fn run_now(service: &mut Service, now: Timestamp) -> Result<(), NotNow> {
    let spec = service.spec.as_ref().filter(|spec| is_job(spec)).ok_or(NotNow::NotAJob)?;
    let (scheduled, concurrency) = (policy::is_scheduled(spec), policy::of(policy::labels(spec)));
    let job = service.job.get_or_insert_default();
    if scheduled {
        begin(job, concurrency, Timestamp::ZERO, now)
    } else {
        next_iteration(job, now);
        Ok(())
    }
}

/// Begins a run of a scheduled job. `scheduled_at` is the tick, or zero.
pub(crate) fn begin(
    job: &mut JobStatus,
    concurrency: Concurrency,
    scheduled_at: Timestamp,
    now: Timestamp,
) -> Result<(), NotNow> {
    let open = job.runs.iter().filter(|run| is_open(run)).count();
    match concurrency {
        Concurrency::Forbid if open > 0 => return Err(NotNow::StillRunning),
        Concurrency::Allow if open >= MAX_OPEN_RUNS => return Err(NotNow::TooMany),
        Concurrency::Replace => {
            for run in job.runs.iter_mut().filter(|run| is_open(run)) {
                close(run, JobOutcome::Replaced, now);
            }
        }
        Concurrency::Allow | Concurrency::Forbid => {}
    }
    next_iteration(job, now);
    job.runs.push(JobRun {
        iteration: job.iteration,
        scheduled_at: scheduled_at.as_nanos(),
        started_at: now.as_nanos(),
        ..JobRun::default()
    });
    Ok(())
}

/// Ends a run.
pub(crate) fn close(run: &mut JobRun, outcome: JobOutcome, now: Timestamp) {
    // Zero means unfinished.
    run.finished_at = now.as_nanos().max(1);
    run.set_outcome(outcome);
}

/// Whether a run is not over.
pub(crate) fn is_open(run: &JobRun) -> bool {
    run.finished_at == 0
}

/// Drops the oldest finished runs, but for so many that completed and so many that failed.
pub(crate) fn forget_runs(job: &mut JobStatus, mut completed: usize, mut failed: usize) {
    let mut kept: Vec<JobRun> = std::mem::take(&mut job.runs);
    kept.reverse();
    kept.retain(|run| {
        let room = match run.outcome() {
            _ if is_open(run) => return true,
            JobOutcome::Complete => &mut completed,
            JobOutcome::Failed | JobOutcome::Replaced | JobOutcome::Running => &mut failed,
        };
        let stays = *room > 0;
        *room = room.saturating_sub(1);
        stays
    });
    kept.reverse();
    job.runs = kept;
}

/// The runs whose tasks are kept, oldest first: the iteration, and whether it is open.
pub(crate) fn runs(service: &Service) -> Vec<(u64, bool)> {
    let Some(job) = &service.job else { return Vec::new() };
    if service.spec.as_ref().is_some_and(policy::is_scheduled) {
        job.runs.iter().map(|run| (run.iteration, is_open(run))).collect()
    } else {
        vec![(job.iteration, true)]
    }
}

fn next_iteration(job: &mut JobStatus, now: Timestamp) {
    job.iteration += 1;
    job.last_execution = now.as_nanos();
}

fn same_schedule(a: &ServiceSpec, b: &ServiceSpec) -> bool {
    let schedule = |spec| {
        let labels = policy::labels(spec);
        let policy::Timezone(zone) = policy::of(labels);
        (labels.and_then(|labels| labels.get(policy::SCHEDULE)).cloned(), zone)
    };
    schedule(a) == schedule(b)
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Annotations, GlobalJob, GlobalService, service_spec::Mode};

    use skep_store::View;

    use super::*;
    use crate::update;

    const NOW: Timestamp = Timestamp(100);

    fn spec(labels: &[(&str, &str)]) -> ServiceSpec {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        ServiceSpec {
            annotations: Some(Annotations { labels, ..Annotations::default() }.into()),
            mode: Some(Mode::GlobalJob(GlobalJob {})),
            ..ServiceSpec::default()
        }
    }

    fn job(service: &Service) -> &JobStatus {
        service.job.as_ref().unwrap()
    }

    #[test]
    fn without_a_schedule_every_change_begins_the_next_run() {
        let made = update::created(&View::default(), "s".into(), spec(&[]), NOW);
        assert_eq!((job(&made).iteration, job(&made).last_execution), (1, 100));
        let labelled = update::updated(&View::default(), &made, spec(&[("a", "b")]), Timestamp(200));
        assert_eq!((job(&labelled).iteration, job(&labelled).last_execution), (2, 200));
        let back = update::rolled_back(&labelled, Timestamp(300)).unwrap();
        assert_eq!(runs(&back), [(3, true)]);
        let mut asked = back;
        run_now(&mut asked, Timestamp(400)).unwrap();
        assert_eq!(runs(&asked), [(4, true)]);
        let global = ServiceSpec { mode: Some(Mode::Global(GlobalService {})), ..ServiceSpec::default() };
        let mut service = update::created(&View::default(), "s".into(), global, NOW);
        assert_eq!(service.job, None);
        assert_eq!(run_now(&mut service, NOW), Err(NotNow::NotAJob));
    }

    #[test]
    fn with_a_schedule_no_change_begins_a_run() {
        let made = update::created(&View::default(), "s".into(), spec(&[(policy::SCHEDULE, "@daily")]), NOW);
        assert_eq!((job(&made).iteration, job(&made).last_tick, runs(&made)), (0, 100, vec![]));
        let same =
            update::updated(&View::default(), &made, spec(&[(policy::SCHEDULE, "@daily"), ("a", "b")]), Timestamp(200));
        assert_eq!((job(&same).iteration, job(&same).last_tick), (0, 100));
        let other = update::updated(&View::default(), &same, spec(&[(policy::SCHEDULE, "@hourly")]), Timestamp(300));
        assert_eq!((job(&other).iteration, job(&other).last_tick), (0, 300));
        let behind = update::updated(&View::default(), &other, spec(&[(policy::SCHEDULE, "@daily")]), Timestamp(250));
        assert_eq!(job(&behind).last_tick, 300, "a clock that goes back repeats nothing");
        let mut asked = other;
        run_now(&mut asked, Timestamp(400)).unwrap();
        assert_eq!(runs(&asked), [(1, true)]);
        let run = &job(&asked).runs[0];
        assert_eq!((run.started_at, run.scheduled_at, job(&asked).last_execution), (400, 0, 400));
    }

    #[test]
    fn a_run_survives_that_its_job_gets_a_schedule_and_not_that_it_loses_it() {
        let made = update::created(&View::default(), "s".into(), spec(&[]), NOW);
        let scheduled = update::updated(&View::default(), &made, spec(&[(policy::SCHEDULE, "@daily")]), Timestamp(200));
        assert_eq!(runs(&scheduled), [(1, true)]);
        let again =
            update::updated(&View::default(), &scheduled, spec(&[(policy::SCHEDULE, "@hourly")]), Timestamp(300));
        assert_eq!(runs(&again), [(1, true)]);
        let plain = update::updated(&View::default(), &again, spec(&[]), Timestamp(400));
        assert_eq!((runs(&plain), job(&plain).runs.len()), (vec![(2, true)], 0));
    }

    #[test]
    fn what_a_run_before_means_for_the_next() {
        let begin_twice = |concurrency| {
            let mut job = JobStatus::default();
            begin(&mut job, concurrency, Timestamp(1), NOW).unwrap();
            let second = begin(&mut job, concurrency, Timestamp(2), NOW);
            (second, job.runs.iter().map(JobRun::outcome).collect::<Vec<_>>())
        };
        use JobOutcome::{Replaced, Running};
        assert_eq!(begin_twice(Concurrency::Allow), (Ok(()), vec![Running, Running]));
        assert_eq!(begin_twice(Concurrency::Forbid), (Err(NotNow::StillRunning), vec![Running]));
        assert_eq!(begin_twice(Concurrency::Replace), (Ok(()), vec![Replaced, Running]));
        let mut job = JobStatus::default();
        let begun = (0..100).filter(|_| begin(&mut job, Concurrency::Allow, Timestamp(1), NOW).is_ok()).count();
        assert_eq!((begun, job.iteration), (MAX_OPEN_RUNS, MAX_OPEN_RUNS as u64));
    }

    #[test]
    fn the_newest_runs_of_each_kind_are_remembered() {
        use JobOutcome::{Complete, Failed, Replaced, Running};
        let mut job = JobStatus::default();
        for (iteration, outcome) in [Running, Complete, Failed, Complete, Replaced, Complete].into_iter().enumerate() {
            let mut run = JobRun { iteration: iteration as u64 + 1, ..JobRun::default() };
            if outcome != Running {
                close(&mut run, outcome, NOW);
            }
            job.runs.push(run);
        }
        let mut kept = |completed, failed| {
            forget_runs(&mut job, completed, failed);
            job.runs.iter().map(|run| run.iteration).collect::<Vec<_>>()
        };
        assert_eq!(kept(9, 9), [1, 2, 3, 4, 5, 6]);
        assert_eq!(kept(2, 1), [1, 4, 5, 6]);
        assert_eq!(kept(0, 0), [1]);
    }
}
