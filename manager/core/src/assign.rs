//! Assignments: the messages that tell a node its tasks, as differences to what it has.
//!
//! A task is assigned to its node from ASSIGNED until it is removed from the state, also when it is over: the node keeps its
//! logs and exit code for as long as the history does. A task is sent again only when its desired state changes; its status
//! came from the node in the first place. A revision is sent once, before the first task that names it, and removed with the
//! last.
//!
//! A node says what it has when a stream begins, so it is sent the difference, also by a new leader. From then on every change
//! of the state is a difference to what the node has, so that only the revisions it was sent have to be remembered.
//!
//! A message is bounded in bytes; what does not fit comes in the next. Invariant: after a message that names a generation the
//! node, if it applied all of them, has exactly the assignments of the state with that version.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use skep_common::{
    limits::ASSIGNMENTS_BYTES,
    revision::{self, revision_id},
};
use skep_proto::{
    Message as _,
    v1::{
        Assignment, AssignmentKind, AssignmentVersion, AssignmentsMessage, ServiceRevision, ServiceSpec, Task,
        TaskState, assignment,
    },
};
use skep_store::{AnyObject, Change, View};

use crate::task::TaskExt;

/// What stands around each field of a message: its tag and its length.
const FIELD_OVERHEAD: usize = 12;

/// One stream to one node.
#[derive(Debug, Clone)]
pub struct Assignments {
    node_id: String,
    /// Of the last message.
    sequence: u64,
    /// Bytes of a message.
    limit: usize,
    /// Tasks (ids) of which the node may lack something, with what it has of each.
    pending: BTreeMap<String, Has>,
    /// Revisions (ids) the node has.
    revisions: BTreeSet<String>,
    /// Whether revisions may be there that nothing names: a task was removed, or the node has said what it has.
    may_have_unnamed: bool,
    /// Whether a message has named a generation: that the node has everything.
    is_begun: bool,
}

/// What a node has of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    Nothing,
    /// The task, with this desired state.
    Desired(TaskState),
    /// The task, in a later state than it has reported.
    Unreported,
}

impl Assignments {
    /// A stream to a node that has this. `view` must include every report accepted from the node before: an agent that lost
    /// its records relies on what it is sent here, and would run again what it has reported as failed.
    pub fn begin(node_id: &str, view: &View, have: &[AssignmentVersion]) -> Self {
        Self::begin_with(node_id, view, have, ASSIGNMENTS_BYTES)
    }

    /// The same with messages of at most `limit` bytes, or of one task and its revision if these are larger.
    pub fn begin_with(node_id: &str, view: &View, have: &[AssignmentVersion], limit: usize) -> Self {
        let tasks = tasks_of(view, node_id).map(|task| (task.id.clone(), Has::Nothing));
        let mut stream = Self {
            node_id: node_id.to_owned(),
            sequence: 0,
            limit,
            pending: tasks.collect(),
            revisions: BTreeSet::new(),
            may_have_unnamed: true,
            is_begun: false,
        };
        for AssignmentVersion { kind, id, version, observed } in have {
            match AssignmentKind::try_from(*kind) {
                Ok(AssignmentKind::Task) => {
                    let desired = i32::try_from(*version).ok().and_then(|version| TaskState::try_from(version).ok());
                    let known = visible(view, node_id, id);
                    let is_behind = known.is_some_and(|task| i32::from(task.state()) < *observed);
                    let has = match desired {
                        Some(desired) if !is_behind => Has::Desired(desired),
                        _ => Has::Unreported,
                    };
                    stream.pending.insert(id.clone(), has);
                }
                Ok(AssignmentKind::Revision) => _ = stream.revisions.insert(id.clone()),
                // No release of ours assigns such a kind.
                Ok(AssignmentKind::Unknown) | Err(_) => {}
            }
        }
        stream
    }

    /// Notes a change of the state.
    pub fn note(&mut self, change: &Change) {
        let is_visible = |object: Option<&AnyObject>| match object {
            Some(AnyObject::Task(task)) => is_visible_to(&self.node_id, task).then(|| task.desired_state()),
            // A revision is sent with the first task that names it. The others are not assigned.
            Some(AnyObject::Revision(_) | AnyObject::Service(_) | AnyObject::Node(_) | AnyObject::Cluster(_))
            | None => None,
        };
        let (before, after) = (is_visible(change.before()), is_visible(change.after()));
        if before == after {
            return;
        }
        // What is pending already was so before this.
        if let Entry::Vacant(pending) = self.pending.entry(change.object().id().to_owned()) {
            pending.insert(before.map_or(Has::Nothing, Has::Desired));
        }
    }

    /// The next message towards `view`; `None` when there is nothing left to send. The first is sent in any case.
    pub fn next(&mut self, view: &View) -> Option<AssignmentsMessage> {
        if self.pending.is_empty() && self.is_begun {
            return None;
        }
        let mut message = AssignmentsMessage::default();
        let mut space = Space { left: self.limit, is_empty: true };
        while let Some((id, has)) = self.pending.pop_first() {
            let holds = match (visible(view, &self.node_id, &id), has) {
                (None, Has::Nothing) => true,
                (Some(task), Has::Desired(desired)) if task.desired_state() == desired => true,
                (None, Has::Desired(_) | Has::Unreported) => self.remove(&id, &mut message, &mut space),
                (Some(task), _) => self.update(view, task, &mut message, &mut space),
            };
            if !holds {
                self.pending.insert(id, has);
                break;
            }
        }
        if self.pending.is_empty() {
            if std::mem::take(&mut self.may_have_unnamed) {
                self.remove_revisions(view, &mut message);
            }
            let says_nothing = message.update.is_empty() && message.remove.is_empty();
            if says_nothing && self.is_begun {
                return None;
            }
            self.is_begun = true;
            message.generation = view.version();
        }
        self.sequence += 1;
        message.sequence = self.sequence;
        Some(message)
    }

    fn remove(&mut self, id: &str, message: &mut AssignmentsMessage, space: &mut Space) -> bool {
        let holds = space.holds(id.len());
        if holds {
            message.remove.push(something(AssignmentKind::Task, id));
            self.may_have_unnamed = true;
        }
        holds
    }

    fn update(&mut self, view: &View, task: &Arc<Task>, message: &mut AssignmentsMessage, space: &mut Space) -> bool {
        let mut task = Task::clone(task);
        let mut news = None;
        if let Some(revision) = view.revision(&task.service_id, task.revision)
            && let Some(spec) = &revision.spec
        {
            revision::leave_out(&mut task, spec);
            let is_news = revision::lacks_something(&task) && !self.revisions.contains(&revision.id);
            news = is_news.then(|| sent(revision, spec));
        }
        let holds =
            space.holds(task.encoded_len() + news.as_ref().map_or(0, |news| news.encoded_len() + FIELD_OVERHEAD));
        if holds {
            if let Some(revision) = news {
                self.revisions.insert(revision.id.clone());
                message.update.push(assignment(assignment::Assignment::Revision(revision)));
            }
            message.update.push(assignment(assignment::Assignment::Task(task)));
        }
        holds
    }

    /// Removes the revisions that none of the node's tasks names any more.
    fn remove_revisions(&mut self, view: &View, message: &mut AssignmentsMessage) {
        let tasks = tasks_of(view, &self.node_id);
        let named: BTreeSet<String> = tasks.map(|task| revision_id(&task.service_id, task.revision)).collect();
        let gone = self.revisions.extract_if(.., |id| !named.contains(id));
        message.remove.extend(gone.map(|id| something(AssignmentKind::Revision, &id)));
    }
}

/// The space left in a message. The first item always fits.
struct Space {
    left: usize,
    is_empty: bool,
}

impl Space {
    fn holds(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes + FIELD_OVERHEAD);
        let holds = left.is_some() || self.is_empty;
        (self.left, self.is_empty) = (left.unwrap_or(0), false);
        holds
    }
}

fn something(kind: AssignmentKind, id: &str) -> AssignmentVersion {
    AssignmentVersion { kind: kind.into(), id: id.to_owned(), ..AssignmentVersion::default() }
}

fn assignment(assignment: assignment::Assignment) -> Assignment {
    Assignment { assignment: Some(assignment) }
}

/// The part of a revision that tasks share.
fn sent(revision: &ServiceRevision, spec: &ServiceSpec) -> ServiceRevision {
    let ServiceSpec { annotations, task, .. } = spec.clone();
    let spec = ServiceSpec { annotations, task, ..ServiceSpec::default() };
    ServiceRevision { spec: Some(spec), meta: None, ..revision.clone() }
}

fn is_visible_to(node_id: &str, task: &Task) -> bool {
    task.node_id == node_id && task.state() >= TaskState::Assigned
}

fn visible<'a>(view: &'a View, node_id: &str, id: &str) -> Option<&'a Arc<Task>> {
    view.task(id).filter(|task| is_visible_to(node_id, task))
}

fn tasks_of<'a>(view: &'a View, node_id: &str) -> impl Iterator<Item = &'a Arc<Task>> {
    view.tasks_of_node(node_id).filter(|task| task.state() >= TaskState::Assigned)
}

#[cfg(test)]
mod tests;
