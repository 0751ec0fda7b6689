//! The assignment set of this node, updated message by message.
//!
//! Owns the set: tasks, and the revisions that they name. Pure: messages in, changes out.
//! Invariants: a message is applied whole or not at all, and only as the next of its stream; after a [`Gap`] the set is
//! unchanged; a task of the set has its spec, whether it came with it or with its revision; once a message has named a
//! generation, the set is exactly what the state with that version assigns to this node.

use std::{collections::BTreeMap, sync::Arc};

use skep_common::revision::{self, revision_id};
use skep_proto::v1::{
    Assignment, AssignmentKind, AssignmentVersion, AssignmentsMessage, ServiceRevision, Task, assignment,
};

/// What one message changes for one task.
#[derive(Debug, Clone, PartialEq)]
pub enum AssignmentChange {
    /// A task this node did not have.
    Assigned(Arc<Task>),
    /// A task this node has was sent again: its desired state changed, or the manager misses reports on it.
    Told(Arc<Task>),
    /// The task was removed from the swarm: its container is removed too.
    Removed(String),
}

/// A message that does not follow the last one. The agent then begins a new stream, saying what it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// A message was lost, or came twice.
    #[error("message {sequence} of the assignments came after message {at}")]
    Sequence {
        /// The last message of the stream that was applied; 0 before the first.
        at: u64,
        /// The one that came.
        sequence: u64,
    },
    /// A task came without its revision.
    #[error("task {task_id} names revision {revision_id}, which this node does not have")]
    Revision {
        /// The task.
        task_id: String,
        /// The revision.
        revision_id: String,
    },
}

/// By id.
type Revisions = BTreeMap<String, ServiceRevision>;

/// The assignments of this node.
#[derive(Debug, Clone, Default)]
pub struct AssignmentSet {
    /// Of the last message of the present stream; 0 before the first.
    sequence: u64,
    generation: Option<u64>,
    tasks: BTreeMap<String, Arc<Task>>,
    revisions: Revisions,
}

impl AssignmentSet {
    /// The set from before a restart.
    pub fn restored(tasks: impl IntoIterator<Item = Arc<Task>>) -> Self {
        let tasks = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        Self { tasks, ..Self::default() }
    }

    /// Begins a new stream and returns what this node has; the caller fills in the observed states.
    pub fn begin(&mut self) -> Vec<AssignmentVersion> {
        (self.sequence, self.generation) = (0, None);
        let tasks = self.tasks.values().map(|task| AssignmentVersion {
            kind: AssignmentKind::Task.into(),
            id: task.id.clone(),
            version: u64::try_from(task.desired_state).unwrap_or(0),
            observed: 0,
        });
        let revisions = self.revisions.keys().map(|id| AssignmentVersion {
            kind: AssignmentKind::Revision.into(),
            id: id.clone(),
            ..AssignmentVersion::default()
        });
        tasks.chain(revisions).collect()
    }

    /// Applies one message and returns the changes.
    ///
    /// # Errors
    /// When it does not follow the last one.
    pub fn apply(&mut self, message: AssignmentsMessage) -> Result<Vec<AssignmentChange>, Gap> {
        let AssignmentsMessage { sequence, generation, update, remove } = message;
        if sequence != self.sequence + 1 {
            return Err(Gap::Sequence { at: self.sequence, sequence });
        }
        let (revisions, tasks) = self.completed(update)?;
        self.sequence = sequence;
        self.revisions.extend(revisions);
        let updated = tasks.into_iter().map(|task| match self.tasks.insert(task.id.clone(), Arc::clone(&task)) {
            None => AssignmentChange::Assigned(task),
            Some(_) => AssignmentChange::Told(task),
        });
        let mut changes: Vec<AssignmentChange> = updated.collect();
        for gone in remove {
            match gone.kind() {
                AssignmentKind::Task => {
                    changes.extend(self.tasks.remove(&gone.id).map(|_| AssignmentChange::Removed(gone.id)));
                }
                AssignmentKind::Revision => _ = self.revisions.remove(&gone.id),
                AssignmentKind::Unknown => {}
            }
        }
        self.generation = Some(generation).filter(|generation| *generation != 0).or(self.generation);
        Ok(changes)
    }

    /// The version of the last state of which this node had everything, in the present stream; `None` until it has.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// The assigned task, as the manager last sent it.
    pub fn task(&self, id: &str) -> Option<&Arc<Task>> {
        self.tasks.get(id)
    }

    /// All assigned tasks, by id.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// The revisions of a message, and its tasks with what was left out of them.
    fn completed(&self, update: Vec<Assignment>) -> Result<(Revisions, Vec<Arc<Task>>), Gap> {
        let mut revisions = Revisions::new();
        let mut tasks = Vec::new();
        for assignment in update {
            match assignment.assignment {
                Some(assignment::Assignment::Revision(revision)) => _ = revisions.insert(revision.id.clone(), revision),
                Some(assignment::Assignment::Task(mut task)) => {
                    if revision::lacks_something(&task) {
                        let id = revision_id(&task.service_id, task.revision);
                        let known = revisions.get(&id).or_else(|| self.revisions.get(&id));
                        let spec = known.and_then(|revision| revision.spec.as_ref());
                        spec.and_then(|spec| revision::fill_in(&mut task, spec).ok())
                            .ok_or_else(|| Gap::Revision { task_id: task.id.clone(), revision_id: id })?;
                    }
                    tasks.push(Arc::new(task));
                }
                // Of a kind that this release does not know; a manager gives no task that needs it.
                None => {}
            }
        }
        Ok((revisions, tasks))
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{ServiceSpec, TaskSpec, TaskState};

    use super::*;

    fn task(id: &str, desired: TaskState) -> Task {
        Task { id: id.into(), service_id: "s".into(), desired_state: desired.into(), ..Task::default() }
    }

    fn spec(number: u64) -> ServiceSpec {
        let task = TaskSpec { force_update: number, ..TaskSpec::default() };
        ServiceSpec { task: Some(task.into()), ..ServiceSpec::default() }
    }

    /// A task that leaves its spec to a revision.
    fn of_revision(id: &str, number: u64) -> Task {
        Task { revision: number, spec_of_revision: true, ..task(id, TaskState::Running) }
    }

    fn of(assignment: assignment::Assignment) -> Assignment {
        Assignment { assignment: Some(assignment) }
    }

    fn revision(number: u64) -> Assignment {
        let id = revision_id("s", number);
        let revision = ServiceRevision { id, number, spec: Some(spec(number)), ..ServiceRevision::default() };
        of(assignment::Assignment::Revision(revision))
    }

    fn gone(kind: AssignmentKind, id: &str) -> AssignmentVersion {
        AssignmentVersion { kind: kind.into(), id: id.into(), ..AssignmentVersion::default() }
    }

    fn message(sequence: u64, update: Vec<Task>, remove: &[&str]) -> AssignmentsMessage {
        AssignmentsMessage {
            sequence,
            generation: 100 + sequence,
            update: update.into_iter().map(|task| of(assignment::Assignment::Task(task))).collect(),
            remove: remove.iter().map(|id| gone(AssignmentKind::Task, id)).collect(),
        }
    }

    /// One letter per kind of change, then the task's id.
    fn words(changes: &[AssignmentChange]) -> Vec<String> {
        let word = |change: &AssignmentChange| match change {
            AssignmentChange::Assigned(task) => format!("+{}", task.id),
            AssignmentChange::Told(task) => format!("~{}", task.id),
            AssignmentChange::Removed(id) => format!("-{id}"),
        };
        changes.iter().map(word).collect()
    }

    #[test]
    fn a_stream_is_the_difference_to_what_was_restored() {
        let [kept, gone] = ["kept", "gone"].map(|id| Arc::new(task(id, TaskState::Running)));
        let mut set = AssignmentSet::restored([kept, gone]);
        let have: Vec<(String, u64)> = set.begin().into_iter().map(|have| (have.id, have.version)).collect();
        assert_eq!(have, [("gone".to_owned(), 512), ("kept".to_owned(), 512)]);

        let first = AssignmentsMessage { generation: 0, ..message(1, vec![task("new", TaskState::Ready)], &[]) };
        assert_eq!(words(&set.apply(first).unwrap()), ["+new"]);
        assert_eq!(set.generation(), None, "there is more to come");
        let second = message(2, vec![task("kept", TaskState::Shutdown)], &["gone", "never-had"]);
        assert_eq!(words(&set.apply(second).unwrap()), ["~kept", "-gone"]);
        assert_eq!(set.generation(), Some(102));
        // It goes on; what is not mentioned is as it was.
        assert_eq!(words(&set.apply(message(3, vec![], &["new"])).unwrap()), ["-new"]);
        assert_eq!(set.tasks().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn anything_but_the_next_message_is_a_gap_and_changes_nothing() {
        let mut set = AssignmentSet::default();
        assert_eq!(set.apply(message(2, vec![], &[])), Err(Gap::Sequence { at: 0, sequence: 2 }));
        set.apply(message(1, vec![task("a", TaskState::Running)], &[])).unwrap();
        for sequence in [0, 1, 3] {
            let message = message(sequence, vec![task("x", TaskState::Running)], &["a"]);
            assert_eq!(set.apply(message), Err(Gap::Sequence { at: 1, sequence }));
        }
        assert!(set.task("a").is_some() && set.task("x").is_none());
        assert_eq!(set.generation(), Some(101));

        // A new stream begins with what is there, and nothing of the old one fits it.
        assert_eq!(set.begin().len(), 1);
        assert_eq!(set.generation(), None);
        assert!(set.apply(message(2, vec![], &[])).is_err());
        assert_eq!(words(&set.apply(message(1, vec![], &["a"])).unwrap()), ["-a"]);
    }

    #[test]
    fn a_task_has_what_it_left_to_its_revision() {
        let mut set = AssignmentSet::default();
        let mut first = message(1, vec![of_revision("a", 1)], &[]);
        first.update.insert(0, revision(1));
        set.apply(first).unwrap();
        set.apply(message(2, vec![of_revision("b", 1)], &[])).unwrap();
        for id in ["a", "b"] {
            let task = set.task(id).unwrap();
            assert_eq!((&task.spec, task.spec_of_revision), (&spec(1).task, false));
        }
        let have: Vec<String> = set.begin().into_iter().map(|have| have.id).collect();
        assert_eq!(have, ["a", "b", "s.1"]);

        // Without it the message cannot be applied, not even in part.
        let lacking = message(1, vec![task("c", TaskState::Running), of_revision("d", 2)], &["a"]);
        let gap = Gap::Revision { task_id: "d".into(), revision_id: "s.2".into() };
        assert_eq!(set.apply(lacking), Err(gap));
        assert_eq!(set.tasks().count(), 2);

        let mut last = message(1, vec![], &["a", "b"]);
        last.remove.push(gone(AssignmentKind::Revision, "s.1"));
        assert_eq!(words(&set.apply(last).unwrap()), ["-a", "-b"]);
        assert_eq!(set.begin(), []);
    }
}
