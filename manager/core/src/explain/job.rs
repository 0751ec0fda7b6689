//! What the runs of a job wait for that no task of theirs tells of, and why the last one came to nothing.

use std::time::Duration;

use skep_common::clock::Timestamp;
use skep_proto::v1::{JobOutcome, JobRun, Service};
use skep_store::View;

use crate::{
    job::{self, tasks::Progress},
    names::count,
    policy::{self, StartingDeadline},
};

/// One sentence for the runs that no node is fit for, one for a run that ended so.
pub(super) fn runs(view: &View, service: &Service, now: Timestamp) -> Vec<String> {
    let listed = service.job.as_ref().map_or(&[][..], |job| &job.runs);
    let waiting: Vec<u64> = job::runs(service)
        .into_iter()
        .filter(|&(run, open)| open && job::tasks::progress(view, service, run) == Progress::Nowhere)
        .map(|(run, _)| run)
        .collect();
    let StartingDeadline(deadline) = policy::of(service.spec.as_ref().and_then(policy::labels));
    let first = waiting.first().and_then(|first| listed.iter().find(|run| run.iteration == *first));
    let waits = (!waiting.is_empty()).then(|| {
        let patience = first.map_or(String::new(), |run| patience(waiting.len(), until(run, deadline, now)));
        format!("{} waiting for a node that is fit{patience}.", count(waiting.len(), "run"))
    });
    let over = listed.iter().rfind(|run| !job::is_open(run));
    let failed = over.filter(|run| run.outcome() == JobOutcome::Failed && is_bare(view, service, run)).map(|run| {
        format!("Run {} failed: no node was fit for it, or none remained so until it was done.", run.iteration)
    });
    waits.into_iter().chain(failed).collect()
}

/// How long a run may still wait for its first node.
fn until(run: &JobRun, deadline: Duration, now: Timestamp) -> u128 {
    super::seconds((Timestamp(run.started_at) + deadline).since(now))
}

fn patience(runs: usize, seconds: u128) -> String {
    let whose = if runs == 1 { "" } else { "the oldest " };
    format!(", {whose}for {seconds} s more")
}

/// Whether no task tells how far a run came.
fn is_bare(view: &View, service: &Service, run: &JobRun) -> bool {
    !view.tasks_of_service(&service.id).any(|task| task.job_iteration == run.iteration)
}
