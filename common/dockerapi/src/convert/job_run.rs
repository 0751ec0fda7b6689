//! Runs of scheduled jobs.

use skep_proto::v1::{self as proto, JobOutcome};

use crate::{time::Time, types::JobRun};

/// The runs of a service that are not over or still remembered, oldest first.
pub fn job_runs_to_docker(service: &proto::Service) -> Vec<JobRun> {
    service.job.iter().flat_map(|job| &job.runs).map(run_to_docker).collect()
}

fn run_to_docker(run: &proto::JobRun) -> JobRun {
    let outcome = match run.outcome() {
        JobOutcome::Running => "running",
        JobOutcome::Complete => "complete",
        JobOutcome::Failed => "failed",
        JobOutcome::Replaced => "replaced",
    };
    JobRun {
        // Docker counts from 0.
        iteration: run.iteration.saturating_sub(1),
        scheduled_at: Time(run.scheduled_at),
        started_at: Time(run.started_at),
        finished_at: Time(run.finished_at),
        outcome: outcome.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_not_happened_is_left_out() {
        let second = 1_000_000_000;
        let asked = proto::JobRun { iteration: 1, started_at: 5 * second, ..proto::JobRun::default() };
        let over = proto::JobRun {
            iteration: 2,
            scheduled_at: 60 * second,
            started_at: 61 * second,
            finished_at: 65 * second,
            outcome: JobOutcome::Failed.into(),
        };
        let job = proto::JobStatus { runs: vec![asked, over], ..proto::JobStatus::default() };
        let service = proto::Service { job: Some(job), ..proto::Service::default() };
        let expected = json!([
            {"Iteration": 0, "StartedAt": "1970-01-01T00:00:05Z", "Outcome": "running"},
            {
                "Iteration": 1, "ScheduledAt": "1970-01-01T00:01:00Z", "StartedAt": "1970-01-01T00:01:01Z",
                "FinishedAt": "1970-01-01T00:01:05Z", "Outcome": "failed",
            },
        ]);
        assert_eq!(serde_json::to_value(job_runs_to_docker(&service)).unwrap(), expected);
    }
}
