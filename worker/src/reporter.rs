//! Status reports to the manager: batched, and repeated until they are accepted.
//!
//! Owns the last status of every task of this node and whether it still has to be reported. Invariants: per task at most one
//! status is queued, the newest, so the queue is bounded by the number of tasks; a status is sent again until a manager has
//! accepted it, over as many sessions as that takes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use skep_common::limits::MAX_STATUS_BATCH;
use skep_proto::v1::{AssignmentKind, AssignmentVersion, Task, TaskStatus, TaskStatusUpdate};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// Batches are at least this far apart, which bounds both the calls a busy node makes and what a status waits. After
/// a pause a status goes out at once.
const INTERVAL: Duration = Duration::from_millis(10);

/// The statuses of this node's tasks. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Reporter {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    statuses: Mutex<Statuses>,
    changed: Notify,
}

#[derive(Default)]
struct Statuses {
    latest: HashMap<String, TaskStatus>,
    untold: BTreeSet<String>,
}

impl Reporter {
    /// Notes a status that came from somewhere else: it is not told unless a manager turns out not to know it.
    pub(crate) fn note(&self, task_id: &str, status: &TaskStatus) {
        self.statuses().latest.insert(task_id.to_owned(), status.clone());
    }

    /// Has a status told.
    pub(crate) fn report(&self, task_id: &str, status: TaskStatus) {
        let mut statuses = self.statuses();
        statuses.latest.insert(task_id.to_owned(), status);
        statuses.untold.insert(task_id.to_owned());
        drop(statuses);
        self.shared.changed.notify_one();
    }

    /// Compares with what a manager knows: reports that it lacks are sent (again).
    pub(crate) fn reconcile<'a>(&self, known: impl IntoIterator<Item = &'a Arc<Task>>) {
        let mut statuses = self.statuses();
        let Statuses { latest, untold } = &mut *statuses;
        for task in known {
            let told = task.status.as_ref().map(TaskStatus::state);
            if latest.get(&task.id).is_some_and(|status| Some(status.state()) > told) {
                untold.insert(task.id.clone());
            }
        }
        drop(statuses);
        self.shared.changed.notify_one();
    }

    /// Puts in the observed state of each task.
    pub(crate) fn put_observed(&self, tasks: &mut [AssignmentVersion]) {
        let statuses = self.statuses();
        for task in tasks.iter_mut().filter(|it| it.kind() == AssignmentKind::Task) {
            task.observed = statuses.latest.get(&task.id).map_or(0, |status| status.state);
        }
    }

    /// The task was removed.
    pub(crate) fn forget(&self, task_id: &str) {
        let mut statuses = self.statuses();
        statuses.latest.remove(task_id);
        statuses.untold.remove(task_id);
    }

    /// What there is to tell, from now on. One at a time tells: a session.
    pub(crate) fn batches(&self) -> Batches {
        Batches { reporter: self.clone(), not_before: Instant::now() }
    }

    /// A manager has accepted these. What has changed since stays in the queue.
    pub(crate) fn told(&self, batch: &[TaskStatusUpdate]) {
        let mut statuses = self.statuses();
        let Statuses { latest, untold } = &mut *statuses;
        for TaskStatusUpdate { task_id, status } in batch {
            if latest.get(task_id) == status.as_ref() {
                untold.remove(task_id);
            }
        }
    }

    fn untold(&self) -> Vec<TaskStatusUpdate> {
        let statuses = self.statuses();
        let next = statuses.untold.iter().take(MAX_STATUS_BATCH);
        next.map(|id| TaskStatusUpdate { task_id: id.clone(), status: statuses.latest.get(id).cloned() }).collect()
    }

    fn statuses(&self) -> MutexGuard<'_, Statuses> {
        self.shared.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The batches of one session.
pub(crate) struct Batches {
    reporter: Reporter,
    not_before: Instant,
}

impl Batches {
    /// The next batch; the same statuses come again until [`Reporter::told`].
    pub(crate) async fn next(&mut self) -> Vec<TaskStatusUpdate> {
        loop {
            sleep_until(self.not_before).await;
            let batch = self.reporter.untold();
            if !batch.is_empty() {
                self.not_before = Instant::now() + INTERVAL;
                return batch;
            }
            self.reporter.shared.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::TaskState;

    use super::*;

    fn status(state: TaskState) -> TaskStatus {
        TaskStatus { state: state.into(), ..TaskStatus::default() }
    }

    fn words(batch: &[TaskStatusUpdate]) -> Vec<(&str, TaskState)> {
        batch.iter().map(|update| (update.task_id.as_str(), update.status.as_ref().unwrap().state())).collect()
    }

    #[tokio::test]
    async fn only_the_newest_status_of_a_task_is_told() {
        let reporter = Reporter::default();
        reporter.report("a", status(TaskState::Starting));
        reporter.report("b", status(TaskState::Ready));
        reporter.report("a", status(TaskState::Running));
        let batch = reporter.batches().next().await;
        assert_eq!(words(&batch), [("a", TaskState::Running), ("b", TaskState::Ready)]);
    }

    #[tokio::test]
    async fn what_no_manager_took_is_told_again() {
        let reporter = Reporter::default();
        reporter.report("a", status(TaskState::Starting));
        reporter.report("b", status(TaskState::Ready));
        let lost = reporter.batches().next().await;

        let mut batches = reporter.batches();
        assert_eq!(batches.next().await, lost);
        // While that was under way, a went on.
        reporter.report("a", status(TaskState::Running));
        reporter.told(&lost);
        assert_eq!(words(&batches.next().await), [("a", TaskState::Running)]);
    }

    #[tokio::test]
    async fn a_batch_is_never_larger_than_a_manager_takes() {
        let reporter = Reporter::default();
        for n in 0..=MAX_STATUS_BATCH {
            reporter.report(&format!("t{n}"), status(TaskState::Running));
        }
        let mut batches = reporter.batches();
        let first = batches.next().await;
        assert_eq!(first.len(), MAX_STATUS_BATCH);
        reporter.told(&first);
        assert_eq!(batches.next().await.len(), 1);
    }

    #[tokio::test]
    async fn a_manager_that_missed_something_is_told() {
        let reporter = Reporter::default();
        for (id, state) in [("behind", TaskState::Complete), ("even", TaskState::Running)] {
            reporter.note(id, &status(state));
        }
        reporter.report("gone", status(TaskState::Shutdown));
        reporter.forget("gone");
        let knows = |id: &str, state| Arc::new(Task { id: id.into(), status: Some(status(state)), ..Task::default() });
        let known = [
            knows("behind", TaskState::Running),
            knows("even", TaskState::Running),
            knows("gone", TaskState::Running),
            knows("never heard of", TaskState::Assigned),
        ];
        reporter.reconcile(&known);
        assert_eq!(words(&reporter.untold()), [("behind", TaskState::Complete)]);
    }
}
