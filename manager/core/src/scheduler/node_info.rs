//! One node as the scheduler sees it: how many tasks it has and what is left of its resources.

use std::{collections::BTreeSet, sync::Arc};

use skep_proto::v1::{Node, Task};
use skep_store::View;

use super::{
    filter::{HostPort, host_ports},
    resources::Free,
};
use crate::{node_status::takes_new_tasks, task::TaskExt};

/// A node's number in the pool.
pub(super) type Index = usize;

/// Where a node is in the order: its tasks, its number.
pub(super) type Rank = (u64, Index);

pub(super) struct NodeInfo {
    pub(super) node: Arc<Node>,
    /// Whether it takes new tasks at all.
    pub(super) is_available: bool,
    /// Wanted tasks.
    pub(super) tasks: u64,
    /// What it has, less what tasks that may run have reserved.
    pub(super) free: Free,
    /// The node's own ports that tasks which may run have taken.
    pub(super) ports: BTreeSet<HostPort>,
    pub(super) stale: bool,
}

impl NodeInfo {
    pub(super) fn of(view: &View, node: &Arc<Node>) -> Self {
        let capacity = node.description.as_ref().and_then(|description| description.resources.as_ref());
        let load = view.load_of_node(&node.id);
        let mut info = Self {
            node: node.clone(),
            is_available: takes_new_tasks(node),
            tasks: load.wanted,
            free: Free::beside(&load, capacity),
            ports: BTreeSet::new(),
            stale: false,
        };
        if load.exclusive > 0 {
            for task in view.tasks_of_node(&node.id).filter(|task| task.may_run()) {
                info.free.hold_generic(task);
                info.ports.extend(host_ports(task));
            }
        }
        info
    }
}

/// What of a task counts for its node's [`NodeInfo`].
pub(super) fn counts(task: &Task) -> (&str, bool, bool) {
    (&task.node_id, task.is_wanted(), task.may_run())
}
