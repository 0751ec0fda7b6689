//! Whether a task may stay where it is. Pure question; what follows from the answer is the orchestrator's.

use skep_proto::v1::{Availability, Node, NodeState, Placement, Service, Task, TaskCause};
use skep_store::View;

use crate::{constraint, update};

/// Why a task may not stay on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misplaced {
    /// The node was removed.
    NodeGone,
    /// The node is down: nobody can say whether the task still runs there, and nobody is waited for.
    NodeDown,
    /// The node was drained.
    Drained,
    /// The node, or its labels or role, changed and the task's constraints do not hold any more.
    Constraints,
}

impl Misplaced {
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
        }
    }
}

/// Why a task of a service may not stay on its node; `None` when it may, or is on no node yet.
pub fn misplaced(view: &View, service: &Service, task: &Task) -> Option<Misplaced> {
    if task.node_id.is_empty() {
        return None;
    }
    let Some(node) = view.node(&task.node_id) else { return Some(Misplaced::NodeGone) };
    if is_down(node) {
        Some(Misplaced::NodeDown)
    } else if availability(node) == Availability::Drain {
        Some(Misplaced::Drained)
    } else if !satisfies_constraints(node, update::placement_in_force(view, service, task)) {
        Some(Misplaced::Constraints)
    } else {
        None
    }
}

/// Whether nobody can be expected to say what became of the tasks on a node: it is down, or no more.
pub fn is_silent(view: &View, node_id: &str) -> bool {
    view.node(node_id).is_none_or(|node| is_down(node))
}

pub(crate) fn is_down(node: &Node) -> bool {
    state(node) == NodeState::Down
}

pub(crate) fn state(node: &Node) -> NodeState {
    node.status.as_ref().map_or(NodeState::Unknown, |status| status.state())
}

pub(crate) fn availability(node: &Node) -> Availability {
    node.spec.as_ref().map_or(Availability::Active, |spec| spec.availability())
}

pub(crate) fn satisfies_constraints(node: &Node, placement: Option<&Placement>) -> bool {
    constraint::of_placement(placement).iter().all(|constraint| constraint.matches(node))
}
