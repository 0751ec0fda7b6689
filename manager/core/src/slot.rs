//! The slots of a service: what each of its tasks is one attempt at filling.
//!
//! A replicated service numbers them, a global service has one per node. A task never changes its slot; when it ends or
//! has to leave its node, the next task of the same slot replaces it.
//!
//! [`tasks`] has the tasks of a slot, [`kept`] which of them is the current one and which its replacement.

pub(crate) mod kept;
pub(crate) mod tasks;

use std::sync::Arc;

use skep_proto::v1::Task;
use skep_store::View;

/// Which slot of its service a task fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot<'a> {
    /// One of a replicated service, on whatever node the scheduler finds.
    Number(u64),
    /// The one of a global service on this node (id).
    Node(&'a str),
}

impl<'a> Slot<'a> {
    /// The slot of a task of a global (or else a replicated) service.
    pub fn of(task: &'a Task, global: bool) -> Self {
        if global { Self::Node(&task.node_id) } else { Self::Number(task.slot) }
    }
}

/// A slot by itself, apart from any state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotKey {
    /// See [`Slot::Number`].
    Number(u64),
    /// See [`Slot::Node`].
    Node(String),
}

impl SlotKey {
    /// The slot of a task of a global (or else a replicated) service.
    pub(crate) fn of(task: &Task, global: bool) -> Self {
        Slot::of(task, global).into()
    }

    /// The tasks of a service that fill the slot, or did, by id.
    pub(crate) fn tasks<'v>(&self, view: &'v View, service_id: &str) -> Vec<&'v Arc<Task>> {
        match self {
            Self::Number(number) => view.tasks_of_slot(service_id, *number).collect(),
            Self::Node(node) => view.tasks_of_node(node).filter(|task| task.service_id == service_id).collect(),
        }
    }
}

impl From<Slot<'_>> for SlotKey {
    fn from(slot: Slot<'_>) -> Self {
        match slot {
            Slot::Number(number) => Self::Number(number),
            Slot::Node(node) => Self::Node(node.to_owned()),
        }
    }
}
