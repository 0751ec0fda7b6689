//! Runs of scheduled jobs: each tick of a schedule begins a run or is skipped, and a run whose tasks are over is closed.
//!
//! Owns `Service.job` of scheduled jobs, but for the runs people ask for ([`crate::job::run_now`]) and the start of a
//! schedule ([`crate::job::changed`]).
//!
//! Every decision about a job is one write of its service, on condition that the service has not changed: if two leaders
//! see the same tick, only one of them begins the run. `job.last_tick` is the last tick decided on; it only grows, so a
//! clock that goes back repeats nothing. Of several ticks that are due only the newest counts and the others are skipped,
//! as is one that is older than `skep.starting-deadline`.

use std::sync::Arc;

use skep_common::clock::Timestamp;
use skep_proto::v1::{JobOutcome, JobStatus, Service};
use skep_store::View;

use crate::{
    Plan, Scope,
    job::{self, tasks::Progress},
    plan::{Planner, Write},
    policy::{self, HistoryComplete, HistoryFailed, StartingDeadline},
    schedule::Schedule,
};

/// Plans for the scheduled jobs in `scope`.
pub fn plan(view: &View, scope: &Scope, now: Timestamp) -> Plan {
    let mut planner = Planner::new(view, now);
    for service in scope.extents(view).into_keys().filter_map(|id| view.service(id)) {
        let is_job = service.spec.as_ref().is_some_and(policy::is_scheduled);
        if let Some(schedule) = is_job.then(|| policy::schedule_of(service)).flatten() {
            planner.about(&service.id);
            tend(view, service, &schedule, now, &mut planner);
        }
    }
    planner.finish()
}

fn tend(view: &View, service: &Arc<Service>, schedule: &Schedule, now: Timestamp, planner: &mut Planner<'_>) {
    let before = service.job.clone().unwrap_or_default();
    let mut job = before.clone();
    close_finished(view, service, &mut job, now, planner);
    if let Some(tick) = schedule.newest(Timestamp(job.last_tick), now) {
        decide(service, &mut job, tick, now);
    }
    let labels = service.spec.as_ref().and_then(policy::labels);
    let (HistoryComplete(completed), HistoryFailed(failed)) = (policy::of(labels), policy::of(labels));
    job::forget_runs(&mut job, completed, failed);
    if let Some(next) = schedule.next_after(Timestamp(job.last_tick).max(now)) {
        planner.wake_at(next);
    }
    if job != before {
        planner.step([Write::UpdateService(Box::new(Service { job: Some(job), ..Service::clone(service) }))]);
    }
}

/// Closes the runs that are over. A run that no node is eligible for may still begin until its starting deadline; then it
/// has failed, so that it does not block the ticks to come.
fn close_finished(view: &View, service: &Service, job: &mut JobStatus, now: Timestamp, planner: &mut Planner<'_>) {
    let StartingDeadline(deadline) = policy::of(service.spec.as_ref().and_then(policy::labels));
    for run in job.runs.iter_mut().filter(|run| job::is_open(run)) {
        match job::tasks::progress(view, service, run.iteration) {
            Progress::Open => {}
            Progress::Over(outcome) => job::close(run, outcome, now),
            Progress::Nowhere if Timestamp(run.started_at) + deadline <= now => {
                job::close(run, JobOutcome::Failed, now);
            }
            Progress::Nowhere => planner.wake_at(Timestamp(run.started_at) + deadline),
        }
    }
}

/// Begins the run of a tick, or skips the tick.
fn decide(service: &Service, job: &mut JobStatus, tick: Timestamp, now: Timestamp) {
    let labels = service.spec.as_ref().and_then(policy::labels);
    let StartingDeadline(deadline) = policy::of(labels);
    job.last_tick = tick.as_nanos();
    if now.since(tick) <= deadline {
        // Where the earlier runs allow no other, the tick is skipped.
        let _ = job::begin(job, policy::of(labels), tick, now);
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Annotations, GlobalJob, ReplicatedJob, ServiceSpec, service_spec::Mode};
    use skep_store::TxBuilder;

    use super::*;
    use crate::update;

    const MINUTE: i64 = 60;

    /// A job made at 0:00 that runs every 10 minutes.
    fn scheduled(labels: &[(&str, &str)]) -> View {
        scheduled_in(Mode::ReplicatedJob(ReplicatedJob { total_completions: 1, ..ReplicatedJob::default() }), labels)
    }

    fn scheduled_in(mode: Mode, labels: &[(&str, &str)]) -> View {
        let mut labels: std::collections::BTreeMap<String, String> =
            labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        labels.insert(policy::SCHEDULE.into(), "@every 10m".into());
        let spec = ServiceSpec {
            annotations: Some(Annotations { name: "job".into(), labels }.into()),
            mode: Some(mode),
            ..ServiceSpec::default()
        };
        let view = View::default();
        let mut tx = TxBuilder::new(&view, Timestamp::ZERO);
        tx.create(update::created(&View::default(), "job".into(), spec, Timestamp::ZERO));
        let tx = tx.build();
        view.apply(1, &tx).unwrap().0
    }

    fn at(view: &View, second: i64) -> (View, Option<i64>) {
        let now = Timestamp::from_secs(second);
        let plan = plan(view, &Scope::All, now);
        let next = plan
            .transactions
            .iter()
            .fold(view.clone(), |view, transaction| view.apply(view.version() + 1, transaction).unwrap().0);
        assert!(super::plan(&next, &Scope::All, now).is_empty(), "what was decided is decided on again");
        (next, plan.wake_at().map(Timestamp::as_secs))
    }

    /// The ticks that had a run, in minutes.
    fn ran(view: &View) -> Vec<i64> {
        let job = view.service("job").unwrap().job.clone().unwrap();
        job.runs.iter().map(|run| Timestamp(run.scheduled_at).as_secs() / MINUTE).collect()
    }

    #[test]
    fn a_tick_begins_a_run_when_it_is_due_and_not_before() {
        let view = scheduled(&[]);
        let (view, wake) = at(&view, 9 * MINUTE);
        assert_eq!((ran(&view), wake), (vec![], Some(10 * MINUTE)));
        let (view, wake) = at(&view, 10 * MINUTE);
        assert_eq!((ran(&view), wake), (vec![10], Some(20 * MINUTE)));
        let (view, _) = at(&view, 20 * MINUTE + 60);
        assert_eq!(ran(&view), [10, 20]);
    }

    #[test]
    fn of_missed_ticks_the_newest_counts_while_it_is_young() {
        let (view, wake) = at(&scheduled(&[]), 35 * MINUTE);
        assert_eq!((ran(&view), wake), (vec![], Some(40 * MINUTE)));
        let (view, _) = at(&scheduled(&[("skep.starting-deadline", "5m")]), 35 * MINUTE);
        assert_eq!(ran(&view), [30]);
        let (view, _) = at(&scheduled(&[("skep.starting-deadline", "168h")]), 35 * MINUTE);
        assert_eq!(ran(&view), [30]);
    }

    #[test]
    fn a_run_that_no_node_is_fit_for_has_failed_when_its_deadline_has_passed() {
        let (view, _) = at(&scheduled_in(Mode::GlobalJob(GlobalJob {}), &[]), 10 * MINUTE);
        assert_eq!(ran(&view), [10]);
        let outcome = |view: &View| view.service("job").unwrap().job.as_ref().unwrap().runs[0].outcome();
        let (view, wake) = at(&view, 10 * MINUTE + 59);
        assert_eq!((outcome(&view), wake), (JobOutcome::Running, Some(11 * MINUTE)));
        let (view, wake) = at(&view, 11 * MINUTE);
        assert_eq!((outcome(&view), wake), (JobOutcome::Failed, Some(20 * MINUTE)));
    }

    #[test]
    fn a_clock_that_goes_back_repeats_nothing() {
        let (view, _) = at(&scheduled(&[]), 30 * MINUTE);
        let (view, wake) = at(&view, 5 * MINUTE);
        assert_eq!((ran(&view), wake), (vec![30], Some(40 * MINUTE)));
        let (view, _) = at(&view, 30 * MINUTE);
        assert_eq!(ran(&view), [30]);
    }

    #[test]
    fn a_tick_passes_when_runs_must_not_overlap() {
        let (view, _) = at(&scheduled(&[("skep.concurrency", "forbid")]), 10 * MINUTE);
        let (view, _) = at(&view, 20 * MINUTE);
        assert_eq!(ran(&view), [10]);
        assert_eq!(view.service("job").unwrap().job.clone().unwrap().last_tick, Timestamp::from_secs(20 * MINUTE).0);
    }

    #[test]
    fn of_two_leaders_one_decides_on_a_tick() {
        let view = scheduled(&[]);
        let now = Timestamp::from_secs(10 * MINUTE);
        let (first, second) =
            (plan(&view, &Scope::All, now), plan(&view, &Scope::All, now + std::time::Duration::from_secs(1)));
        let after = view.apply(2, &first.transactions[0]).unwrap().0;
        assert!(after.apply(3, &second.transactions[0]).is_err());
    }
}
