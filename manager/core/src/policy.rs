//! Settings of a service that Docker's API has no field for. They are labels of the service that begin with `skep.`,
//! so that the stock CLI can give them; planners read them here.
//!
//! Owns the names of these labels. Invariant: a service in the state has no label that [`check`] refuses, so a reader
//! falls back on the default only where there is no label.

use std::{collections::BTreeMap, time::Duration};

use skep_common::clock::Timestamp;
use skep_proto::v1::{Service, ServiceSpec};

use crate::{
    mode,
    schedule::{self, Schedule},
};

/// What all of these labels begin with.
const PREFIX: &str = "skep.";

/// The label that makes a job begin by itself; see [`Schedule`].
pub const SCHEDULE: &str = "skep.schedule";

/// Labels of a service.
type Labels = BTreeMap<String, String>;

/// One setting: a label, and what it stands for.
pub trait Policy: Sized {
    /// The label.
    const LABEL: &'static str;

    /// What its value may be, as the end of a sentence.
    const EXPECTED: &'static str;

    /// Which services may have it.
    const SUBJECT: Subject;

    /// The setting in force without the label.
    fn unset() -> Self;

    /// Parses the label's value; `None` when it is invalid.
    fn parse(value: &str) -> Option<Self>;
}

/// Which services a setting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// All.
    Services,
    /// Jobs.
    Jobs,
    /// Jobs that have a schedule.
    ScheduledJobs,
}

/// What happens at a tick while an earlier run is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// The runs go on side by side.
    Allow,
    /// The tick is skipped.
    Forbid,
    /// The earlier run is ended.
    Replace,
}

/// How long after its time a tick may still begin a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartingDeadline(pub Duration);

/// How many completed runs are kept, with their tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryComplete(pub usize);

/// How many failed or replaced runs are kept, with their tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryFailed(pub usize);

/// The schedule's time zone: a name of the IANA's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timezone(pub String);

/// Whether a task that keeps failing is restarted with exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartBackoff(pub bool);

/// Whether running tasks are moved to spread a service evenly ([`crate::rebalance`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebalance(pub bool);

/// Largest history limit: the runs and their tasks are in the memory of every manager.
const MAX_HISTORY: usize = 100;

/// Longest starting deadline. A tick older than this says nothing about today.
const MAX_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Only checked here: [`schedule_of`] reads it, together with the time zone.
struct ScheduleLabel;

impl Policy for ScheduleLabel {
    const LABEL: &'static str = SCHEDULE;
    const EXPECTED: &'static str = "five fields of cron that name some day, @hourly, @daily, @weekly, @monthly, @yearly or @every DURATION of at least 1s";
    const SUBJECT: Subject = Subject::Jobs;

    fn unset() -> Self {
        Self
    }

    fn parse(value: &str) -> Option<Self> {
        Schedule::parse(value, "UTC", Timestamp::ZERO).map(|_| Self)
    }
}

impl Policy for Timezone {
    const LABEL: &'static str = "skep.timezone";
    const EXPECTED: &'static str = "a time zone like Europe/Berlin";
    const SUBJECT: Subject = Subject::ScheduledJobs;

    fn unset() -> Self {
        Self("UTC".into())
    }

    fn parse(value: &str) -> Option<Self> {
        schedule::time_zone(value).map(|_| Self(value.into()))
    }
}

impl Policy for Concurrency {
    const LABEL: &'static str = "skep.concurrency";
    const EXPECTED: &'static str = "allow, forbid or replace";
    const SUBJECT: Subject = Subject::ScheduledJobs;

    /// As in Kubernetes.
    fn unset() -> Self {
        Self::Allow
    }

    fn parse(value: &str) -> Option<Self> {
        match value {
            "allow" => Some(Self::Allow),
            "forbid" => Some(Self::Forbid),
            "replace" => Some(Self::Replace),
            _ => None,
        }
    }
}

impl Policy for StartingDeadline {
    const LABEL: &'static str = "skep.starting-deadline";
    const EXPECTED: &'static str = "a duration from 1s to 168h";
    const SUBJECT: Subject = Subject::ScheduledJobs;

    /// Long enough for a change of leader, or a short outage of all managers.
    fn unset() -> Self {
        Self(Duration::from_secs(60))
    }

    fn parse(value: &str) -> Option<Self> {
        schedule::duration(value).filter(|span| (Duration::from_secs(1)..=MAX_DEADLINE).contains(span)).map(Self)
    }
}

impl Policy for HistoryComplete {
    const LABEL: &'static str = "skep.history.complete";
    const EXPECTED: &'static str = "a number from 0 to 100";
    const SUBJECT: Subject = Subject::ScheduledJobs;

    fn unset() -> Self {
        Self(3)
    }

    fn parse(value: &str) -> Option<Self> {
        history(value).map(Self)
    }
}

impl Policy for HistoryFailed {
    const LABEL: &'static str = "skep.history.failed";
    const EXPECTED: &'static str = "a number from 0 to 100";
    const SUBJECT: Subject = Subject::ScheduledJobs;

    fn unset() -> Self {
        Self(1)
    }

    fn parse(value: &str) -> Option<Self> {
        history(value).map(Self)
    }
}

impl Policy for RestartBackoff {
    const LABEL: &'static str = "skep.restart-backoff";
    const EXPECTED: &'static str = "on or off";
    const SUBJECT: Subject = Subject::Services;

    fn unset() -> Self {
        Self(true)
    }

    fn parse(value: &str) -> Option<Self> {
        on_or_off(value).map(Self)
    }
}

impl Policy for Rebalance {
    const LABEL: &'static str = "skep.rebalance";
    const EXPECTED: &'static str = "on or off";
    const SUBJECT: Subject = Subject::Services;

    fn unset() -> Self {
        Self(false)
    }

    fn parse(value: &str) -> Option<Self> {
        on_or_off(value).map(Self)
    }
}

/// A line of the table: how a setting is validated.
struct Line {
    label: &'static str,
    expected: &'static str,
    subject: Subject,
    is_valid: fn(&str) -> bool,
}

impl Line {
    const fn of<P: Policy>() -> Self {
        Self {
            label: P::LABEL,
            expected: P::EXPECTED,
            subject: P::SUBJECT,
            is_valid: |value| P::parse(value).is_some(),
        }
    }
}

/// Every setting there is.
const TABLE: [Line; 8] = [
    Line::of::<ScheduleLabel>(),
    Line::of::<Timezone>(),
    Line::of::<Concurrency>(),
    Line::of::<StartingDeadline>(),
    Line::of::<HistoryComplete>(),
    Line::of::<HistoryFailed>(),
    Line::of::<RestartBackoff>(),
    Line::of::<Rebalance>(),
];

/// Why a label is refused: one sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label {label}=\"{}\" {fault}", value.escape_debug())]
pub struct InvalidPolicy {
    label: String,
    value: String,
    fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("names no setting: labels that begin with \"skep.\" are settings of the swarm")]
    Unknown,
    #[error("is not {0}")]
    Value(&'static str),
    #[error("is for replicated jobs and global jobs only")]
    NotAJob,
    #[error("means nothing without a label {SCHEDULE}")]
    NoSchedule,
}

/// Validates the settings among a service's labels.
///
/// # Errors
/// For the first one that is invalid.
pub fn check(spec: &ServiceSpec) -> Result<(), InvalidPolicy> {
    let labels = labels(spec);
    for (label, value) in labels.into_iter().flatten().filter(|(label, _)| label.starts_with(PREFIX)) {
        if let Some(fault) = fault(spec, label, value) {
            return Err(InvalidPolicy { label: label.clone(), value: value.clone(), fault });
        }
    }
    Ok(())
}

fn fault(spec: &ServiceSpec, label: &str, value: &str) -> Option<Fault> {
    let Some(line) = TABLE.iter().find(|line| line.label == label) else { return Some(Fault::Unknown) };
    if line.subject != Subject::Services && !mode::is_job(spec) {
        Some(Fault::NotAJob)
    } else if line.subject == Subject::ScheduledJobs && !is_scheduled(spec) {
        Some(Fault::NoSchedule)
    } else if !(line.is_valid)(value) {
        Some(Fault::Value(line.expected))
    } else {
        None
    }
}

/// Whether a spec is that of a job with a schedule.
pub fn is_scheduled(spec: &ServiceSpec) -> bool {
    mode::is_job(spec) && labels(spec).is_some_and(|labels| labels.contains_key(SCHEDULE))
}

/// The schedule of a service, in its time zone; `None` when it has none.
pub fn schedule_of(service: &Service) -> Option<Schedule> {
    let labels = labels(service.spec.as_ref()?);
    let Timezone(zone) = of(labels);
    let origin = Timestamp(service.meta.map_or(0, |meta| meta.created_at));
    Schedule::parse(labels?.get(SCHEDULE)?, &zone, origin)
}

/// The setting in force.
pub fn of<P: Policy>(labels: Option<&Labels>) -> P {
    labels.and_then(|labels| labels.get(P::LABEL)).and_then(|value| P::parse(value)).unwrap_or_else(P::unset)
}

/// The labels of a service.
pub fn labels(spec: &ServiceSpec) -> Option<&Labels> {
    spec.annotations.as_ref().map(|annotations| &annotations.labels)
}

fn history(value: &str) -> Option<usize> {
    value.parse().ok().filter(|runs| *runs <= MAX_HISTORY)
}

fn on_or_off(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Annotations, GlobalJob, ReplicatedService, service_spec::Mode};

    use super::*;

    fn spec(mode: Mode, labels: &[(&str, &str)]) -> ServiceSpec {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        let annotations = Annotations { labels, ..Annotations::default() };
        ServiceSpec { annotations: Some(annotations.into()), mode: Some(mode), ..ServiceSpec::default() }
    }

    fn refusal(mode: Mode, labels: &[(&str, &str)]) -> String {
        check(&spec(mode, labels)).map_or_else(|error| error.to_string(), |()| "accepted".into())
    }

    #[test]
    fn a_scheduled_job_may_have_every_setting() {
        let all = [
            (SCHEDULE, "*/5 * * * *"),
            ("skep.timezone", "Europe/Berlin"),
            ("skep.concurrency", "replace"),
            ("skep.starting-deadline", "2m30s"),
            ("skep.history.complete", "0"),
            ("skep.history.failed", "100"),
            ("skep.restart-backoff", "off"),
            ("skep.rebalance", "off"),
            ("other", "anything"),
            ("skeptical", "anything"),
        ];
        assert_eq!(all.len() - 2, TABLE.len());
        let spec = spec(Mode::GlobalJob(GlobalJob {}), &all);
        assert_eq!(check(&spec), Ok(()));
        let labels = labels(&spec);
        assert_eq!(of::<Concurrency>(labels), Concurrency::Replace);
        assert_eq!(of::<StartingDeadline>(labels), StartingDeadline(Duration::from_secs(150)));
        assert_eq!(of::<HistoryFailed>(labels), HistoryFailed(100));
        assert_eq!(of::<RestartBackoff>(labels), RestartBackoff(false));
        assert_eq!(of::<Timezone>(None), Timezone("UTC".into()));
        assert_eq!(of::<HistoryComplete>(None), HistoryComplete(3));
    }

    #[test]
    fn each_bad_label_has_its_sentence() {
        let job = || Mode::GlobalJob(GlobalJob {});
        let service = || Mode::Replicated(ReplicatedService { replicas: 1 });
        for (mode, labels, expected) in [
            (service(), vec![("skep.rebalance", "on")], "accepted"),
            (
                service(),
                vec![(SCHEDULE, "@daily")],
                "label skep.schedule=\"@daily\" is for replicated jobs and global jobs only",
            ),
            (
                service(),
                vec![("skep.shedule", "@daily")],
                "label skep.shedule=\"@daily\" names no setting: labels that begin with \"skep.\" are settings of the swarm",
            ),
            (service(), vec![("skep.rebalance", "yes")], "label skep.rebalance=\"yes\" is not on or off"),
            (
                job(),
                vec![("skep.concurrency", "forbid")],
                "label skep.concurrency=\"forbid\" means nothing without a label skep.schedule",
            ),
            (
                job(),
                vec![(SCHEDULE, "@daily"), ("skep.concurrency", "maybe")],
                "label skep.concurrency=\"maybe\" is not allow, forbid or replace",
            ),
            (
                job(),
                vec![(SCHEDULE, "@daily"), ("skep.timezone", "Mars/Olympus\n")],
                "label skep.timezone=\"Mars/Olympus\\n\" is not a time zone like Europe/Berlin",
            ),
            (
                job(),
                vec![(SCHEDULE, "@daily"), ("skep.starting-deadline", "0s")],
                "label skep.starting-deadline=\"0s\" is not a duration from 1s to 168h",
            ),
            (job(), vec![(SCHEDULE, "@daily"), ("skep.concurrency", "allow")], "accepted"),
            (job(), vec![(SCHEDULE, "@daily"), ("skep.starting-deadline", "168h")], "accepted"),
            (
                job(),
                vec![(SCHEDULE, "@daily"), ("skep.starting-deadline", "169h")],
                "label skep.starting-deadline=\"169h\" is not a duration from 1s to 168h",
            ),
            (
                job(),
                vec![(SCHEDULE, "@daily"), ("skep.history.failed", "-1")],
                "label skep.history.failed=\"-1\" is not a number from 0 to 100",
            ),
        ] {
            assert_eq!(refusal(mode, &labels), expected);
        }
        let never = refusal(job(), &[(SCHEDULE, "0 0 31 2 *")]);
        assert!(never.starts_with("label skep.schedule=\"0 0 31 2 *\" is not five fields of cron that name some day"));
    }
}
