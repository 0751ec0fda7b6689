//! When a job begins by itself. Docker's API has no field for it: what is said here becomes labels of the service.

use clap::{Args, ValueEnum};

use super::super::KeyValue;

/// The schedule of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct ScheduleArgs {
    /// Run at these times: five fields of cron, @hourly and the like, or @every DURATION
    #[arg(long, value_name = "SCHEDULE")]
    pub(crate) schedule: Option<String>,
    /// Time zone of the schedule [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "schedule")]
    pub(crate) timezone: Option<String>,
    /// What happens when the run before is not over [default: allow]
    #[arg(long, value_name = "allow|forbid|replace", hide_possible_values = true, requires = "schedule")]
    pub(crate) concurrency: Option<Concurrency>,
    /// How late a run may begin [default: 60s]
    #[arg(long, value_name = "DURATION", requires = "schedule")]
    pub(crate) starting_deadline: Option<String>,
}

/// What happens when the run before is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Concurrency {
    /// Both go on.
    Allow,
    /// No run.
    Forbid,
    /// The one before ends.
    Replace,
}

impl ScheduleArgs {
    /// The labels that say it.
    pub(crate) fn labels(&self) -> Vec<KeyValue> {
        let concurrency = self.concurrency.map(|concurrency| match concurrency {
            Concurrency::Allow => "allow",
            Concurrency::Forbid => "forbid",
            Concurrency::Replace => "replace",
        });
        let values = [
            ("skep.schedule", self.schedule.clone()),
            ("skep.timezone", self.timezone.clone()),
            ("skep.concurrency", concurrency.map(str::to_owned)),
            ("skep.starting-deadline", self.starting_deadline.clone()),
        ];
        let said = values.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        said.map(|(key, value)| KeyValue { key, value }).collect()
    }
}
