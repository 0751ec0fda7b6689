//! The work this node was given: the set of assigned tasks, kept in step with the manager's by generations.
//!
//! Owns the set and the generation it stands at. Pure: messages in, changes out.
//! Invariants: a message is applied whole or not at all; an INCREMENTAL one only on top of exactly the generation
//! it names, a COMPLETE set only as the first of a stream, and only once all its messages are there; after a [`Gap`] the
//! set is unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_proto::v1::{AssignmentsMessage, Task, assignments_message::Kind};

/// What one message changes for one task.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A task this node did not have.
    Assigned(Arc<Task>),
    /// The manager wants something else of a task this node has.
    Desired(Arc<Task>),
    /// The swarm has forgotten the task: whatever is left of it goes.
    Removed(String),
}

/// A message that does not start where the set stands: something was lost on the way, or came twice.
/// The answer is to ask for the COMPLETE set again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("assignments have a gap: the message starts from generation {applies_to}, the set is at {at:?}")]
pub struct Gap {
    /// Where the set stands; `None` until a COMPLETE message came.
    pub at: Option<u64>,
    /// Where the message starts; 0 for a COMPLETE one.
    pub applies_to: u64,
}

/// The assigned tasks by id.
#[derive(Debug, Clone, Default)]
pub struct AssignmentSet {
    generation: Option<u64>,
    tasks: BTreeMap<String, Arc<Task>>,
    /// What is there of a COMPLETE set that goes on.
    coming: Option<Coming>,
}

#[derive(Debug, Clone)]
struct Coming {
    generation: u64,
    tasks: Vec<Task>,
}

impl AssignmentSet {
    /// The set as it was known before a restart. It has no generation, so the first message must be COMPLETE, and
    /// that one's changes are relative to these tasks.
    pub fn restored(tasks: impl IntoIterator<Item = Arc<Task>>) -> Self {
        let tasks = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        Self { generation: None, tasks, coming: None }
    }

    /// Applies one message and says what it changed: removals first, then by task id.
    ///
    /// A COMPLETE set begins a stream, and only that: one that comes late would take the set back to what it was.
    pub fn apply(&mut self, message: AssignmentsMessage) -> Result<Vec<Change>, Gap> {
        let at = self.generation.or(self.coming.as_ref().map(|coming| coming.generation));
        let gap = Gap { at, applies_to: message.applies_to };
        if message.applies_to != at.unwrap_or(0) {
            return Err(gap);
        }
        match (message.kind(), self.generation) {
            (Kind::Complete, None) => Ok(self.complete(message)),
            (Kind::Incremental, Some(_)) => Ok(self.amend(message)),
            _ => Err(gap),
        }
    }

    /// A new stream begins: nothing but a COMPLETE set is accepted next. The tasks stay.
    pub fn restart(&mut self) {
        self.generation = None;
        self.coming = None;
    }

    /// The generation the set stands at; `None` until a COMPLETE message came.
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

    fn complete(&mut self, message: AssignmentsMessage) -> Vec<Change> {
        let coming = self.coming.get_or_insert(Coming { generation: 0, tasks: Vec::new() });
        coming.generation = message.generation;
        coming.tasks.extend(message.update);
        match self.coming.take_if(|_| !message.more) {
            Some(whole) => self.replace(whole),
            None => Vec::new(),
        }
    }

    fn replace(&mut self, whole: Coming) -> Vec<Change> {
        let old = std::mem::take(&mut self.tasks);
        self.tasks = whole.tasks.into_iter().map(|task| (task.id.clone(), Arc::new(task))).collect();
        self.generation = Some(whole.generation);

        let removed = old.keys().filter(|id| !self.tasks.contains_key(*id)).cloned().map(Change::Removed);
        let updated = self.tasks.values().filter_map(|task| change(old.get(&task.id), task));
        removed.chain(updated).collect()
    }

    fn amend(&mut self, message: AssignmentsMessage) -> Vec<Change> {
        self.generation = Some(message.generation);
        let mut changes: Vec<Change> =
            message.remove.into_iter().filter(|id| self.tasks.remove(id).is_some()).map(Change::Removed).collect();
        for task in message.update {
            let task = Arc::new(task);
            let old = self.tasks.insert(task.id.clone(), Arc::clone(&task));
            changes.extend(change(old.as_ref(), &task));
        }
        changes
    }
}

/// A task's spec and place never change, so what the manager wants of it is all that can differ.
/// (Its status may too: that is our own report coming back.)
fn change(old: Option<&Arc<Task>>, new: &Arc<Task>) -> Option<Change> {
    match old {
        None => Some(Change::Assigned(Arc::clone(new))),
        Some(old) if old.desired_state != new.desired_state => Some(Change::Desired(Arc::clone(new))),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::TaskState;

    use super::*;

    fn task(id: &str, desired: TaskState) -> Task {
        Task { id: id.into(), desired_state: desired.into(), ..Task::default() }
    }

    fn complete(generation: u64, update: Vec<Task>) -> AssignmentsMessage {
        AssignmentsMessage { kind: Kind::Complete.into(), generation, update, ..AssignmentsMessage::default() }
    }

    fn incremental(applies_to: u64, update: Vec<Task>, remove: &[&str]) -> AssignmentsMessage {
        AssignmentsMessage {
            kind: Kind::Incremental.into(),
            applies_to,
            generation: applies_to + 1,
            update,
            remove: remove.iter().map(ToString::to_string).collect(),
            more: false,
        }
    }

    /// The messages of a COMPLETE set of these tasks, one in each.
    fn chunks(ids: &[&str]) -> Vec<AssignmentsMessage> {
        let chunk = |n: usize| AssignmentsMessage {
            applies_to: n as u64,
            more: n + 1 < ids.len(),
            ..complete(n as u64 + 1, vec![task(ids[n], TaskState::Running)])
        };
        (0..ids.len()).map(chunk).collect()
    }

    /// One letter per kind of change, then the task's id.
    fn words(changes: &[Change]) -> Vec<String> {
        let word = |change: &Change| match change {
            Change::Assigned(task) => format!("+{}", task.id),
            Change::Desired(task) => format!("~{}", task.id),
            Change::Removed(id) => format!("-{id}"),
        };
        changes.iter().map(word).collect()
    }

    #[test]
    fn complete_set_is_compared_with_what_was_restored() {
        let kept = Arc::new(task("kept", TaskState::Running));
        let gone = Arc::new(task("gone", TaskState::Running));
        let mut set = AssignmentSet::restored([kept, gone]);

        let changes =
            set.apply(complete(7, vec![task("new", TaskState::Ready), task("kept", TaskState::Shutdown)])).unwrap();

        assert_eq!(words(&changes), ["-gone", "~kept", "+new"]);
        assert_eq!(set.generation(), Some(7));
    }

    #[test]
    fn incremental_messages_follow_one_another() {
        let mut set = AssignmentSet::default();
        set.apply(complete(1, vec![task("a", TaskState::Running)])).unwrap();

        let changes = set.apply(incremental(1, vec![task("b", TaskState::Running)], &["a", "never-had"])).unwrap();
        assert_eq!(words(&changes), ["-a", "+b"]);

        let changes = set.apply(incremental(2, vec![task("b", TaskState::Remove)], &[])).unwrap();
        assert_eq!(words(&changes), ["~b"]);
        assert_eq!(set.generation(), Some(3));
    }

    #[test]
    fn our_own_report_coming_back_changes_nothing() {
        let mut set = AssignmentSet::default();
        set.apply(complete(1, vec![task("a", TaskState::Running)])).unwrap();
        let mut echoed = task("a", TaskState::Running);
        echoed.status.get_or_insert_default().state = TaskState::Running.into();

        assert_eq!(set.apply(incremental(1, vec![echoed], &[])).unwrap(), []);
    }

    #[test]
    fn anything_but_the_next_message_is_a_gap_and_changes_nothing() {
        let mut set = AssignmentSet::default();
        let early = incremental(0, vec![task("x", TaskState::Running)], &[]);
        assert_eq!(set.apply(early), Err(Gap { at: None, applies_to: 0 }));

        set.apply(complete(5, vec![task("a", TaskState::Running)])).unwrap();
        for applies_to in [4, 6] {
            let message = incremental(applies_to, vec![task("x", TaskState::Running)], &["a"]);
            assert_eq!(set.apply(message), Err(Gap { at: Some(5), applies_to }));
        }
        assert_eq!(set.apply(complete(5, vec![])), Err(Gap { at: Some(5), applies_to: 0 }), "the same one again");
        assert!(set.task("a").is_some() && set.task("x").is_none());

        set.restart();
        assert_eq!(set.apply(incremental(5, vec![], &[])), Err(Gap { at: None, applies_to: 5 }));
        assert_eq!(words(&set.apply(complete(1, vec![])).unwrap()), ["-a"]);
    }

    #[test]
    fn a_complete_set_counts_when_the_last_of_it_is_there() {
        let mut set = AssignmentSet::restored([Arc::new(task("old", TaskState::Running))]);
        let [a, b, c] = chunks(&["a", "b", "c"]).try_into().unwrap();
        assert_eq!(set.apply(a.clone()).unwrap(), []);
        assert_eq!(set.apply(b.clone()).unwrap(), []);
        assert_eq!((set.generation(), set.tasks().count()), (None, 1), "nothing has changed yet");
        assert_eq!(words(&set.apply(c.clone()).unwrap()), ["-old", "+a", "+b", "+c"]);
        assert_eq!(words(&set.apply(incremental(3, vec![], &["b"])).unwrap()), ["-b"]);

        // One that breaks off is forgotten: of the next nothing may be missing.
        set.restart();
        set.apply(a.clone()).unwrap();
        assert_eq!(set.apply(incremental(1, vec![], &["a"])), Err(Gap { at: Some(1), applies_to: 1 }));
        assert_eq!(set.apply(c.clone()), Err(Gap { at: Some(1), applies_to: 2 }));
        assert_eq!(set.apply(a.clone()), Err(Gap { at: Some(1), applies_to: 0 }), "the same one again");
        set.restart();
        assert_eq!(set.apply(b), Err(Gap { at: None, applies_to: 1 }));
        set.apply(a).unwrap();
        assert_eq!(set.tasks().count(), 2, "what was there before stands");
    }
}
