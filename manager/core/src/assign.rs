//! What a node is told: one COMPLETE set of its tasks, then what changed.
//!
//! Every task of the node is told from ASSIGNED until the swarm forgets it, also when it is over: the node keeps its
//! remains (logs, exit code) for as long as the history does. A task is told again only when something else is wanted
//! of it; its status came from the node in the first place.
//!
//! A message is bounded in bytes: a set that is larger comes in several messages, and news that are more come one message
//! after the other.
//!
//! Invariant: after each message that is not to be continued, and with no other to be had, the node, if it applied all of
//! them, has exactly the tasks of the view it was made from. Each message names the generation it applies to and leads to
//! the next.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use skep_common::limits::ASSIGNMENTS_BYTES;
use skep_proto::{
    Message as _,
    v1::{AssignmentsMessage, Task, TaskState, assignments_message::Kind},
};
use skep_store::View;

use crate::task::TaskExt;

/// What stands around each field of a message: its tag and its length.
const FIELD_OVERHEAD: usize = 6;

/// What one stream to one node has said so far.
#[derive(Debug, Clone)]
pub struct Assignments {
    node_id: String,
    generation: u64,
    /// Bytes of a message.
    limit: usize,
    /// What is wanted of each task, as the node was told, or is about to be.
    told: BTreeMap<String, TaskState>,
    /// The rest of the COMPLETE set.
    rest: VecDeque<Arc<Task>>,
}

impl Assignments {
    /// A new stream, and its first message: the COMPLETE set, or what of it goes into one message. `view` must hold every
    /// report taken from the node before: an agent that lost its records believes what it is told here, and would do
    /// again what it reported as failed.
    pub fn begin(node_id: &str, view: &View) -> (Self, AssignmentsMessage) {
        Self::begin_with(node_id, view, ASSIGNMENTS_BYTES)
    }

    /// The same with messages of at most `limit` bytes, or of one task if that is larger.
    pub fn begin_with(node_id: &str, view: &View, limit: usize) -> (Self, AssignmentsMessage) {
        let rest: VecDeque<Arc<Task>> = tasks_of(view, node_id).cloned().collect();
        let told = rest.iter().map(|task| (task.id.clone(), task.desired_state())).collect();
        let mut stream = Self { node_id: node_id.to_owned(), generation: 0, limit, told, rest };
        let first = stream.complete();
        (stream, first)
    }

    /// The message that leads on from what was said: the rest of the COMPLETE set first, then, INCREMENTAL, towards
    /// `view`; `None` when all is said.
    pub fn next(&mut self, view: &View) -> Option<AssignmentsMessage> {
        if !self.rest.is_empty() {
            return Some(self.complete());
        }
        let mut room = Room { left: self.limit, is_empty: true };
        let now: BTreeMap<&str, &Arc<Task>> =
            tasks_of(view, &self.node_id).map(|task| (task.id.as_str(), task)).collect();
        let gone = self.told.keys().filter(|id| !now.contains_key(id.as_str()));
        let remove: Vec<String> = gone.take_while(|id| room.holds(id.len())).cloned().collect();
        let news = |task: &&&Arc<Task>| self.told.get(&task.id) != Some(&task.desired_state());
        let update = now.values().filter(news).take_while(|task| room.holds(task.encoded_len()));
        let update: Vec<Task> = update.map(|task| Task::clone(task)).collect();
        if update.is_empty() && remove.is_empty() {
            return None;
        }
        for id in &remove {
            self.told.remove(id);
        }
        self.told.extend(update.iter().map(|task| (task.id.clone(), task.desired_state())));
        Some(self.message(Kind::Incremental, update, remove))
    }

    fn complete(&mut self) -> AssignmentsMessage {
        let mut room = Room { left: self.limit, is_empty: true };
        let fits = self.rest.iter().take_while(|task| room.holds(task.encoded_len())).count();
        let update = self.rest.drain(..fits).map(|task| Task::clone(&task)).collect();
        self.message(Kind::Complete, update, Vec::new())
    }

    fn message(&mut self, kind: Kind, update: Vec<Task>, remove: Vec<String>) -> AssignmentsMessage {
        let applies_to = self.generation;
        self.generation += 1;
        let more = !self.rest.is_empty();
        AssignmentsMessage { kind: kind.into(), applies_to, generation: self.generation, update, remove, more }
    }
}

/// What still goes into a message. The first thing always does.
struct Room {
    left: usize,
    is_empty: bool,
}

impl Room {
    fn holds(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes + FIELD_OVERHEAD);
        let holds = left.is_some() || self.is_empty;
        (self.left, self.is_empty) = (left.unwrap_or(0), false);
        holds
    }
}

fn tasks_of<'a>(view: &'a View, node_id: &str) -> impl Iterator<Item = &'a Arc<Task>> {
    view.tasks_of_node(node_id).filter(|task| task.state() >= TaskState::Assigned)
}

#[cfg(test)]
mod tests {
    use skep_common::clock::Timestamp;
    use skep_proto::v1::{Annotations, ObjectKind, TaskStatus};
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
    /// What a node has that applied the messages.
    fn apply(set: &mut BTreeMap<String, TaskState>, message: &AssignmentsMessage) {
        set.retain(|id, _| !message.remove.contains(id));
        set.extend(message.update.iter().map(|task| (task.id.clone(), task.desired_state())));
    }

    #[test]
    fn no_message_is_larger_than_its_bound_or_one_task() {
        use TaskState::*;
        const LIMIT: usize = 5_000;
        let large = |n: usize, desired, bytes| Task {
            service: Some(Annotations { name: "x".repeat(bytes), ..Annotations::default() }.into()),
            ..task(&format!("t{n:03}"), "n", Assigned, desired)
        };
        let view = edit(&View::default(), |tx| {
            for n in 0..100 {
                tx.create(large(n, Running, if n == 50 { 3 * LIMIT } else { 1_000 }));
            }
        });
        let (mut stream, first) = Assignments::begin_with("n", &view, LIMIT);
        let mut messages = vec![first];
        messages.extend(std::iter::from_fn(|| stream.next(&view)));
        let complete = messages.len();

        // Half of them go, and of the others something else is wanted.
        let changed = edit(&view, |tx| {
            for n in 0..100 {
                let id = format!("t{n:03}");
                match n % 2 {
                    0 => tx.remove(ObjectKind::Task, &id),
                    _ => tx.update(Task { meta: view.task(&id).unwrap().meta, ..large(n, Shutdown, 1_000) }),
                };
            }
        });
        messages.extend(std::iter::from_fn(|| stream.next(&changed)));

        let mut set = BTreeMap::new();
        for (n, message) in messages.iter().enumerate() {
            assert_eq!((message.applies_to, message.generation), (n as u64, n as u64 + 1));
            assert_eq!(message.kind() == Kind::Complete, n < complete);
            assert_eq!(message.more, n + 1 < complete);
            let alone = message.update.len() == 1 && message.remove.is_empty();
            assert!(message.encoded_len() <= LIMIT + 20 || alone, "{}", message.encoded_len());
            apply(&mut set, message);
            if n + 1 == complete {
                assert_eq!(set.len(), 100);
            }
        }
        assert!((21..40).contains(&complete) && messages.len() > complete + 10, "{complete} of {}", messages.len());
        assert_eq!(set.len(), 50);
        assert!(set.values().all(|desired| *desired == Shutdown));
    }

    #[test]
    fn a_set_of_nothing_is_one_message() {
        let (mut stream, first) = Assignments::begin("n", &View::default());
        assert_eq!((first.kind(), first.more, first.update.len()), (Kind::Complete, false, 0));
        assert_eq!(stream.next(&View::default()), None);
    }
}
