//! Whether a task may stay where it is. Pure question; what follows from the answer is the orchestrator's.
//!
//! As in Docker a node that is paused keeps what it has, whatever became of its labels or resources. Of the tasks of an
//! active node that has less than it had those keep their room that were made first.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use skep_proto::v1::{Availability, Node, Service, Task, TaskCause};
use skep_store::View;

use crate::{constraint, node_status, scheduler::resources::Free, task::TaskExt, update};

/// Why a task may not stay on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvictionReason {
    /// The node was removed.
    NodeGone,
    /// The node is down: nobody can say whether the task still runs there, and nobody is waited for.
    NodeDown,
    /// The node was drained.
    Drained,
    /// The node, or its labels or role, changed and the task's constraints do not hold any more.
    Constraints,
    /// The node has less than its tasks reserve, and others were there before.
    Resources,
}

impl EvictionReason {
    /// Whether nobody can say what becomes of the task, so that it is of no use where it is.
    pub(crate) fn is_lost(self) -> bool {
        matches!(self, Self::NodeGone | Self::NodeDown)
    }

    /// Why its replacement is made.
    pub(crate) fn cause(self) -> TaskCause {
        match self {
            Self::NodeGone => TaskCause::NodeGone,
            Self::NodeDown => TaskCause::NodeDown,
            Self::Drained => TaskCause::Drain,
            Self::Constraints => TaskCause::Constraints,
            Self::Resources => TaskCause::Resources,
        }
    }
}

/// The nodes as one plan sees them.
pub struct Nodes<'v> {
    pub(crate) view: &'v View,
    /// Of each node that was looked at the tasks (ids) that it has no room for any more.
    crowded_out: RefCell<BTreeMap<&'v str, BTreeSet<&'v str>>>,
}

impl<'v> Nodes<'v> {
    /// The nodes of a state.
    pub fn of(view: &'v View) -> Self {
        Self { view, crowded_out: RefCell::default() }
    }

    /// Why a task of a service may not stay on its node; `None` when it may, or is on no node yet.
    pub fn eviction_reason(&self, service: &Service, task: &Task) -> Option<EvictionReason> {
        if task.node_id.is_empty() {
            return None;
        }
        let Some(node) = self.view.node(&task.node_id) else { return Some(EvictionReason::NodeGone) };
        if node_status::is_down(node) {
            return Some(EvictionReason::NodeDown);
        }
        match node_status::availability(node) {
            Availability::Drain => Some(EvictionReason::Drained),
            Availability::Pause => None,
            Availability::Active
                if !constraint::are_satisfied(node, update::placement_in_force(self.view, service, task)) =>
            {
                Some(EvictionReason::Constraints)
            }
            Availability::Active => self.is_crowded_out(node, task).then_some(EvictionReason::Resources),
        }
    }

    fn is_crowded_out(&self, node: &'v Node, task: &Task) -> bool {
        let reserves = task.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.reservations.as_ref()).is_some();
        let mut known = self.crowded_out.borrow_mut();
        reserves && known.entry(&node.id).or_insert_with(|| crowded_out(self.view, node)).contains(task.id.as_str())
    }
}

/// The tasks of a node that it has no room for.
fn crowded_out<'v>(view: &'v View, node: &Node) -> BTreeSet<&'v str> {
    // A node that has not said what it has yet has not become smaller.
    let Some(description) = &node.description else { return BTreeSet::new() };
    let mut free = Free::all(description.resources.as_ref());
    let mut tasks: Vec<&Arc<Task>> =
        view.tasks_of_node(&node.id).filter(|task| task.is_wanted() && task.may_run()).collect();
    tasks.sort_unstable_by_key(|task| (task.created_at(), &task.id));
    tasks.into_iter().filter(|task| !free.keep(task)).map(|task| task.id.as_str()).collect()
}
