//! The log stream of one reader: a tail for each of its tasks, and with follow for those that come later.

use std::{collections::HashSet, sync::Arc};

use skep_proto::v1::{Task, TaskState};
use skep_store::{AnyObject, Selector, Store, Watcher};
use tokio::task::JoinSet;
use tracing::warn;

use super::tail::Tailer;
use crate::burst::burst;

/// Tasks tailed for one reader at a time.
const MAX_TAILS: usize = 1000;

/// The gathering for one reader.
pub(super) struct Gather {
    store: Arc<Store>,
    tailer: Tailer,
    /// The service whose new tasks are to be followed.
    follow: Option<String>,
    known: HashSet<String>,
    tails: JoinSet<()>,
}

impl Gather {
    pub(super) fn new(store: Arc<Store>, tailer: Tailer, follow: Option<String>) -> Self {
        Self { store, tailer, follow, known: HashSet::new(), tails: JoinSet::new() }
    }

    /// Runs until there is nothing more to come, or the reader is gone. Dropping it stops the tails.
    pub(super) async fn run(mut self, tasks: Vec<Task>, mut changes: Watcher) {
        for task in &tasks {
            self.meet(task);
        }
        let reader = self.tailer.lines.clone();
        loop {
            let over = match &self.follow {
                None => true,
                Some(service) => self.store.view().service(service).is_none(),
            };
            if over && self.tails.is_empty() {
                return;
            }
            tokio::select! {
                () = reader.closed() => return,
                Some(_) = self.tails.join_next() => {}
                events = burst(&mut changes), if self.follow.is_some() => match events {
                    Some(events) => {
                        for change in events.iter().flat_map(|event| &event.changes) {
                            if let Some(AnyObject::Task(task)) = change.after() {
                                self.meet(task);
                            }
                        }
                    }
                    None => changes = self.begin_anew(),
                },
            }
        }
    }

    /// The watch fell behind: everything the service has is looked at again.
    fn begin_anew(&mut self) -> Watcher {
        let service = self.follow.clone().unwrap_or_default();
        let (view, changes) = self.store.view_and_watch(Selector::TasksOfService(service.clone()));
        for task in view.tasks_of_service(&service) {
            self.meet(task);
        }
        changes
    }

    /// Tails a task once it has something to tell.
    fn meet(&mut self, task: &Task) {
        if !has_log(task) || self.known.contains(&task.id) {
            return;
        }
        if self.tails.len() >= MAX_TAILS {
            warn!(task = task.id, "one reader follows the logs of too many tasks at once; this one is left out");
            return;
        }
        self.known.insert(task.id.clone());
        self.tails.spawn(self.tailer.clone().tail(task.clone()));
    }
}

/// Whether the task has come so far that its node can have lines of it.
fn has_log(task: &Task) -> bool {
    let state = task.status.as_ref().map(|status| status.state()).unwrap_or_default();
    let started = matches!(
        state,
        TaskState::Starting | TaskState::Running | TaskState::Complete | TaskState::Shutdown | TaskState::Failed
    );
    started && !task.node_id.is_empty()
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::TaskStatus;

    use super::*;

    #[test]
    fn only_tasks_that_were_started_have_lines() {
        let task = |state: TaskState, node: &str| Task {
            node_id: node.into(),
            status: Some(TaskStatus { state: state.into(), ..Default::default() }),
            ..Default::default()
        };
        assert!(has_log(&task(TaskState::Running, "n")));
        assert!(has_log(&task(TaskState::Failed, "n")));
        assert!(!has_log(&task(TaskState::Running, "")));
        for state in [TaskState::New, TaskState::Pending, TaskState::Preparing, TaskState::Rejected] {
            assert!(!has_log(&task(state, "n")), "{state:?}");
        }
    }
}
