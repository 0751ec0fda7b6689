//! What a node is told: one COMPLETE set of its tasks, then what changed.
//!
//! Every task of the node is told from ASSIGNED until the swarm forgets it, also when it is over: the node keeps its
//! remains (logs, exit code) for as long as the history does. A task is told again only when something else is wanted
//! of it; its status came from the node in the first place.
//!
//! Invariant: after each message the node, if it applied all of them, has exactly the tasks of the view it was made
//! from. Each INCREMENTAL message names the generation it applies to and leads to the next.

use std::{collections::BTreeMap, sync::Arc};

use skep_proto::v1::{AssignmentsMessage, Task, TaskState, assignments_message::Kind};
use skep_store::View;

use crate::task::TaskExt;

/// What one stream to one node has said so far.
#[derive(Debug, Clone)]
pub struct Assignments {
    node_id: String,
    generation: u64,
    /// What is wanted of each task, as the node was told.
    told: BTreeMap<String, TaskState>,
}

impl Assignments {
    /// A new stream, and its first message: the COMPLETE set. `view` must hold every report taken from the node before:
    /// an agent that lost its records believes what it is told here, and would do again what it reported as failed.
    pub fn begin(node_id: &str, view: &View) -> (Self, AssignmentsMessage) {
        let tasks: Vec<&Arc<Task>> = tasks_of(view, node_id).collect();
        let told = tasks.iter().map(|task| (task.id.clone(), task.desired_state())).collect();
        let message = AssignmentsMessage {
            kind: Kind::Complete.into(),
            applies_to: 0,
            generation: 1,
            update: tasks.into_iter().map(|task| Task::clone(task)).collect(),
            remove: Vec::new(),
        };
        (Self { node_id: node_id.to_owned(), generation: 1, told }, message)
    }

    /// The INCREMENTAL message that leads from what was said to `view`; `None` when that is nothing.
    pub fn next(&mut self, view: &View) -> Option<AssignmentsMessage> {
        let now: BTreeMap<&str, &Arc<Task>> =
            tasks_of(view, &self.node_id).map(|task| (task.id.as_str(), task)).collect();
        let remove: Vec<String> = self.told.keys().filter(|id| !now.contains_key(id.as_str())).cloned().collect();
        let news = |task: &&&Arc<Task>| self.told.get(&task.id) != Some(&task.desired_state());
        let update: Vec<Task> = now.values().filter(news).map(|task| Task::clone(task)).collect();
        if update.is_empty() && remove.is_empty() {
            return None;
        }
        for id in &remove {
            self.told.remove(id);
        }
        self.told.extend(update.iter().map(|task| (task.id.clone(), task.desired_state())));
        let applies_to = self.generation;
        self.generation += 1;
        let kind = Kind::Incremental.into();
        Some(AssignmentsMessage { kind, applies_to, generation: self.generation, update, remove })
    }
}

fn tasks_of<'a>(view: &'a View, node_id: &str) -> impl Iterator<Item = &'a Arc<Task>> {
    view.tasks_of_node(node_id).filter(|task| task.state() >= TaskState::Assigned)
}

#[cfg(test)]
mod tests {
    use skep_common::clock::Timestamp;
    use skep_proto::v1::{ObjectKind, TaskStatus};
    use skep_store::TxBuilder;

    use super::*;

    fn edit(view: &View, edit: impl FnOnce(&mut TxBuilder<'_>)) -> View {
        let mut tx = TxBuilder::new(view, Timestamp(1));
        edit(&mut tx);
        let tx = tx.build();
        view.apply(view.version() + 1, &tx).unwrap().0
    }

    fn task(id: &str, node: &str, state: TaskState, desired: TaskState) -> Task {
        Task {
            id: id.into(),
            node_id: node.into(),
            desired_state: desired.into(),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            ..Task::default()
        }
    }

    fn ids(tasks: &[Task]) -> Vec<&str> {
        tasks.iter().map(|task| task.id.as_str()).collect()
    }

    #[test]
    fn a_stream_tells_the_set_and_then_what_changes() {
        use TaskState::*;
        let view = edit(&View::default(), |tx| {
            tx.create(task("a", "n", Assigned, Running));
            tx.create(task("b", "n", Failed, Shutdown));
            tx.create(task("c", "n", Pending, Running));
            tx.create(task("d", "m", Running, Running));
        });
        let (mut stream, first) = Assignments::begin("n", &view);
        assert_eq!((first.kind(), first.generation, ids(&first.update)), (Kind::Complete, 1, vec!["a", "b"]));
        assert_eq!(stream.next(&view), None);

        // Progress the node reported itself is no news to it.
        let view = edit(&view, |tx| {
            tx.update(Task { meta: view.task("a").unwrap().meta, ..task("a", "n", Running, Running) });
        });
        assert_eq!(stream.next(&view), None);

        let view = edit(&view, |tx| {
            tx.update(Task { meta: view.task("a").unwrap().meta, ..task("a", "n", Running, Shutdown) });
            tx.update(Task { meta: view.task("c").unwrap().meta, ..task("c", "n", Assigned, Running) });
            tx.remove(ObjectKind::Task, "b");
        });
        let message = stream.next(&view).unwrap();
        assert_eq!((message.kind(), message.applies_to, message.generation), (Kind::Incremental, 1, 2));
        assert_eq!((ids(&message.update), message.remove), (vec!["a", "c"], vec!["b".to_owned()]));
        assert_eq!(stream.next(&view), None);

        let view = edit(&view, |tx| {
            tx.create(task("e", "n", Assigned, Running));
        });
        assert_eq!(ids(&stream.next(&view).unwrap().update), ["e"]);
        let view = edit(&view, |tx| {
            tx.remove(ObjectKind::Task, "e");
        });
        assert_eq!(stream.next(&view).unwrap().remove, ["e"]);
    }
}
