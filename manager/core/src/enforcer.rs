//! Evictions: decides whether a task may stay on its node or moves to another, and why. The orchestrator then replaces it.
//!
//! As in Docker a paused node keeps its tasks, whatever became of its labels or resources. When an active node has fewer
//! resources than before, the newest of its tasks have to move.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use skep_proto::v1::{Availability, Node, Service, Task, TaskCause};
use skep_store::View;

use crate::{constraint, node_status, scheduler::resources::Free, task::TaskExt, update};

/// Why a task is evicted: it may not stay on its node and a replacement is made for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvictionReason {
    /// The node was removed.
    NodeGone,
    /// The node is down: whether the task still runs there is unknown, and it is not waited for.
    NodeDown,
    /// The node was drained.
    Drained,
    /// The node, or its labels or role, changed and the task's constraints do not hold any more.
    Constraints,
    /// The node has less than its tasks reserve, and the older ones take precedence.
    Resources,
}

impl EvictionReason {
    /// Whether the task's fate is unknown, so that it counts for nothing.
    pub(crate) fn is_lost(self) -> bool {
        matches!(self, Self::NodeGone | Self::NodeDown)
    }

    /// The cause recorded on its replacement.
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

/// The nodes of one view, with what was worked out about them.
pub struct Nodes<'v> {
    pub(crate) view: &'v View,
    /// By node: the tasks (ids) for which it has not enough resources any more.
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
        if !reserves || has_room_for_all(self.view, node) {
            return false;
        }
        let mut known = self.crowded_out.borrow_mut();
        known.entry(&node.id).or_insert_with(|| crowded_out(self.view, node)).contains(task.id.as_str())
    }
}

/// Whether a node has what all its tasks reserve together, so that nobody has to ask which of them were there first.
fn has_room_for_all(view: &View, node: &Node) -> bool {
    let Some(description) = &node.description else { return true };
    let (cpus, memory) = description.resources.as_ref().map_or((0, 0), |has| (has.nano_cpus, has.memory_bytes));
    let load = view.load_of_node(&node.id);
    load.nano_cpus <= cpus.max(0).into() && load.memory_bytes <= memory.max(0).into() && load.exclusive == 0
}

/// The tasks of a node for which it has not enough resources.
fn crowded_out<'v>(view: &'v View, node: &Node) -> BTreeSet<&'v str> {
    // Its resources are not known yet.
    let Some(description) = &node.description else { return BTreeSet::new() };
    let mut free = Free::all(description.resources.as_ref());
    let mut tasks: Vec<&Arc<Task>> =
        view.tasks_of_node(&node.id).filter(|task| task.is_wanted() && task.may_run()).collect();
    tasks.sort_unstable_by_key(|task| (task.created_at(), &task.id));
    tasks.into_iter().filter(|task| !free.keep(task)).map(|task| task.id.as_str()).collect()
}
