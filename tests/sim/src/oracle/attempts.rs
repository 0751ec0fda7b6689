//! Restarts: a program is not tried more often than its policy says, whoever leads.
//!
//! Counted here from the tasks that were made, and not from what the tasks say of themselves. Attempts count for what
//! was asked for: the first task of another version in a slot is no attempt of its own, whatever made room for it.

use std::{collections::BTreeMap, time::Duration};

use skep_common::clock::{Timestamp, duration};
use skep_core::{mode::is_global, task::TaskExt};
use skep_proto::v1::{RestartPolicy, Task, TaskCause};

use super::Sight;
use crate::context::{Step, must};

/// What is remembered of restarts.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// When the restarts were made that led to each task.
    made: BTreeMap<String, Vec<Timestamp>>,
}

impl Attempts {
    /// A task was made.
    pub(super) fn made(&mut self, sight: &Sight<'_>, task: &Task) -> Step {
        let begins_anew =
            matches!(task.cause(), TaskCause::Replica | TaskCause::Update | TaskCause::Rollback | TaskCause::Job);
        let Some(before) = predecessor(sight, task).filter(|_| !begins_anew) else { return Ok(()) };
        let mut made = self.made.get(&before.id).cloned().unwrap_or_default();
        if task.cause() == TaskCause::Restart {
            made.push(task.created_at());
            within_policy(task, &made, before.observed_at())?;
        }
        self.made.insert(task.id.clone(), made);
        Ok(())
    }
}

/// The task of the same version that a new one was made after, if there is one and no doubt which that is.
fn predecessor<'a>(sight: &Sight<'a>, task: &Task) -> Option<&'a Task> {
    let on_nodes = sight.seen.service(&task.service_id).is_some_and(|service| is_global(service));
    let is_in_its_place = |other: &Task| {
        other.slot == task.slot
            && other.job_iteration == task.job_iteration
            && (!on_nodes || other.node_id == task.node_id)
    };
    let has_ended = task.cause() == TaskCause::Restart;
    let fits = |other: &Task| {
        is_in_its_place(other)
            && other.revision == task.revision
            && other.is_wanted()
            && other.is_terminal() == has_ended
    };
    let mut found = sight.seen.tasks_of_service(&task.service_id).filter(|other| fits(other));
    let first = found.next();
    first.filter(|_| found.next().is_none()).map(AsRef::as_ref)
}

/// A window forgives what lies before it, looked at from when the task before ended.
fn within_policy(task: &Task, made: &[Timestamp], ended: Timestamp) -> Step {
    let policy = task.spec.as_ref().and_then(|spec| spec.restart.as_ref());
    let most = policy.map_or(0, |policy| policy.max_attempts);
    let window = duration(policy.map_or(0, RestartPolicy::window));
    let since = task.created_at().max(ended);
    let counts = |at: &&Timestamp| window == Duration::ZERO || **at + window > since;
    let counted = made.iter().filter(counts).count() as u64;
    must!(most == 0 || counted <= most, "{} is attempt {counted} of {most} within {window:?}", task.id);
    Ok(())
}
