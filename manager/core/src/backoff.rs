//! How long a slot whose tasks keep failing waits before it tries again.
//!
//! The first failure waits as long as the policy says, as in Docker; each further one in a row twice as long, up to
//! [`MAX_DELAY`], give or take a tenth, so that programs that failed together do not all come back together. A task
//! that ran for long enough ends the row. The label of [`RestartBackoff`] keeps the policy's delay for every restart.
//!
//! Invariant: the delay follows from the task alone.

use std::time::Duration;

use skep_proto::v1::{RestartPolicy, Task, TaskState};

use crate::{
    defaults,
    policy::{self, RestartBackoff},
    task::TaskExt,
};

/// Longest delay, before the tenth more or less. A policy that asks for more gets more.
pub const MAX_DELAY: Duration = Duration::from_secs(5 * 60);

/// What the delay grows from when the policy asks for none.
const LEAST_DELAY: Duration = Duration::from_secs(1);

/// A task that ran for longer than this, and than [`LONG_RUN_DELAYS`] of its delays, did not fail at its start.
const LONG_RUN: Duration = Duration::from_secs(60);
const LONG_RUN_DELAYS: u32 = 10;

/// How many tasks of the slot have failed in a row, this one included, which is over; 0 when the backoff is off.
pub(crate) fn failed_in_a_row(task: &Task) -> u64 {
    if is_off(task) || !matches!(task.state(), TaskState::Failed | TaskState::Rejected) {
        return 0;
    }
    let before = task.restart.as_ref().map_or(0, |restart| restart.failed_in_a_row);
    let delay = defaults::restart_delay(restart_policy(task));
    if ran(task) > LONG_RUN.max(delay.saturating_mul(LONG_RUN_DELAYS)) { 1 } else { before.saturating_add(1) }
}

/// The wait before the replacement of a task that is over, the `failures`-th in a row to fail.
pub(crate) fn delay(task: &Task, failures: u64) -> Duration {
    let configured = defaults::restart_delay(restart_policy(task));
    if failures <= 1 {
        return configured;
    }
    let (base, doublings) = match configured {
        Duration::ZERO => (LEAST_DELAY, failures - 2),
        delay => (delay, failures - 1),
    };
    let factor = u32::try_from(doublings).ok().and_then(|doublings| 1_u32.checked_shl(doublings)).unwrap_or(u32::MAX);
    let delay = base.saturating_mul(factor).min(MAX_DELAY.max(configured));
    delay.saturating_mul(900 + jitter(&task.id)) / 1000
}

/// How long a task that is over had been RUNNING; zero when no leader was told that it was.
pub(crate) fn ran(task: &Task) -> Duration {
    task.running_at().map_or(Duration::ZERO, |at| task.observed_at().since(at))
}

/// From 0 to 200, by the id alone (FNV-1a).
fn jitter(id: &str) -> u32 {
    let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % 201
}

fn is_off(task: &Task) -> bool {
    let RestartBackoff(on) = policy::of(task.service.as_ref().map(|service| &service.labels));
    !on
}

fn restart_policy(task: &Task) -> Option<&RestartPolicy> {
    task.spec.as_ref().and_then(|spec| spec.restart.as_ref())
}

#[cfg(test)]
mod tests {
    use skep_common::clock::nanos;
    use skep_proto::v1::{Annotations, RestartState, TaskSpec, TaskStatus};

    use super::*;
    use crate::policy::Policy as _;

    fn failed(id: &str, delay: u64, before: u64, ran: u64) -> Task {
        let restart = RestartPolicy { delay: Some(nanos(Duration::from_secs(delay))), ..RestartPolicy::default() };
        let end = Duration::from_secs(1_000_000);
        Task {
            id: id.into(),
            spec: Some(TaskSpec { restart: Some(restart), ..TaskSpec::default() }.into()),
            status: Some(TaskStatus {
                state: TaskState::Failed.into(),
                applied_at: nanos(end),
                running_at: nanos(end - Duration::from_secs(ran)),
                ..TaskStatus::default()
            }),
            restart: Some(RestartState { failed_in_a_row: before, ..RestartState::default() }.into()),
            ..Task::default()
        }
    }

    #[test]
    fn each_failure_in_a_row_waits_twice_as_long() {
        for (configured, failures, middle) in [
            (5, 0, 5.0),
            (5, 1, 5.0),
            (5, 2, 10.0),
            (5, 3, 20.0),
            (5, 6, 160.0),
            (5, 7, 300.0),
            (5, u64::MAX, 300.0),
            (0, 1, 0.0),
            (0, 2, 1.0),
            (0, 3, 2.0),
            (0, 5, 8.0),
            (0, 40, 300.0),
            (600, 9, 600.0),
        ] {
            let delays = (0..200).map(|n| delay(&failed(&format!("task{n}"), configured, 0, 0), failures));
            let (least, most) = (0.9 * middle, 1.1 * middle);
            for delay in delays {
                let within = least <= delay.as_secs_f64() && delay.as_secs_f64() <= most;
                assert!(within, "{configured} s after {failures} failures: {delay:?}");
            }
        }
    }

    #[test]
    fn delays_are_spread_and_the_same_each_time() {
        let of = |n: u32| delay(&failed(&format!("task{n}"), 10, 0, 0), 4);
        let all: std::collections::BTreeSet<Duration> = (0..200).map(of).collect();
        assert!(all.len() > 50 && all.first() < all.last(), "{all:?}");
        assert_eq!(of(7), of(7));
    }

    #[test]
    fn only_failures_count_and_a_long_run_ends_the_row() {
        for (state, delay, before, ran, expected) in [
            (TaskState::Failed, 5, 0, 0, 1),
            (TaskState::Failed, 5, 3, 60, 4),
            (TaskState::Failed, 5, 3, 61, 1),
            (TaskState::Rejected, 5, 3, 0, 4),
            (TaskState::Failed, 20, 3, 200, 4),
            (TaskState::Failed, 20, 3, 201, 1),
            (TaskState::Complete, 5, 3, 0, 0),
            (TaskState::Shutdown, 5, 3, 0, 0),
        ] {
            let mut task = failed("t", delay, before, ran);
            task.status.as_mut().unwrap().set_state(state);
            assert_eq!(failed_in_a_row(&task), expected, "{state:?} after {ran} s with a delay of {delay} s");
        }
    }

    #[test]
    fn the_label_keeps_the_delay_as_it_is() {
        let mut task = failed("t", 5, 0, 0);
        let labels = [(RestartBackoff::LABEL.to_owned(), "off".to_owned())].into();
        task.service = Some(Annotations { labels, ..Annotations::default() }.into());
        let failures = failed_in_a_row(&Task { restart: None, ..task.clone() });
        assert_eq!((failures, delay(&task, failures)), (0, Duration::from_secs(5)));
    }
}
