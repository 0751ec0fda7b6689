//! The slots of a service: what each of its tasks is one attempt at filling.
//!
//! A replicated service numbers them, a global service has one per node. A task never changes its slot; when it ends or
//! has to leave its node, the next task of the same slot replaces it.
//!
//! [`tasks`] has the tasks of a slot, [`kept`] which of them is the current one and which its replacement.

pub(crate) mod kept;
pub(crate) mod tasks;

use skep_proto::v1::Task;

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
