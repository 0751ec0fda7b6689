//! The agent's memory of what it has to tell, as the daemon's reporter keeps it: per task the newest status, told again
//! until a leader took it.

use std::collections::{BTreeMap, BTreeSet};

use skep_proto::v1::{AssignmentKind, AssignmentVersion, Task, TaskStatus, TaskStatusUpdate};

/// The statuses of a node's tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reporter {
    latest: BTreeMap<String, TaskStatus>,
    untold: BTreeSet<String>,
}

impl Reporter {
    /// Notes a status that came from somewhere else.
    pub(crate) fn note(&mut self, task: &str, status: &TaskStatus) {
        self.latest.insert(task.to_owned(), status.clone());
    }

    pub(crate) fn report(&mut self, task: &str, status: TaskStatus) {
        self.latest.insert(task.to_owned(), status);
        self.untold.insert(task.to_owned());
    }

    /// Compares with what a manager knows: what it lacks is told (again).
    pub(crate) fn reconcile<'a>(&mut self, known: impl IntoIterator<Item = &'a Task>) {
        for task in known {
            let told = task.status.as_ref().map(TaskStatus::state);
            if self.latest.get(&task.id).is_some_and(|status| Some(status.state()) > told) {
                self.untold.insert(task.id.clone());
            }
        }
    }

    /// Puts in the observed state of each task.
    pub(crate) fn put_observed(&self, tasks: &mut [AssignmentVersion]) {
        for task in tasks.iter_mut().filter(|it| it.kind() == AssignmentKind::Task) {
            task.observed = self.latest.get(&task.id).map_or(0, |status| status.state);
        }
    }

    pub(crate) fn forget(&mut self, task: &str) {
        self.latest.remove(task);
        self.untold.remove(task);
    }

    pub(crate) fn untold(&self) -> Vec<TaskStatusUpdate> {
        let update = |id: &String| TaskStatusUpdate { task_id: id.clone(), status: self.latest.get(id).cloned() };
        self.untold.iter().map(update).collect()
    }

    /// A leader took these; what has changed since stays to be told.
    pub(crate) fn told(&mut self, batch: &[TaskStatusUpdate]) {
        for TaskStatusUpdate { task_id, status } in batch {
            if self.latest.get(task_id) == status.as_ref() {
                self.untold.remove(task_id);
            }
        }
    }
}
