//! The nodes as the scheduler sees them while it plans: how many tasks each has and what is left of it.
//!
//! Nodes are numbered in the order of their ids. Those that take new tasks are kept ordered by how many tasks they
//! have, so the emptiest is found without looking at the others.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use skep_proto::v1::{Node, Resources};
use skep_store::View;

use super::filter::{is_available, reservations};
use crate::task::TaskExt;

/// A node's number in the pool.
pub(super) type Index = usize;

/// Where a node stands in the order: its tasks, its number.
pub(super) type Rank = (u64, Index);

struct Entry<'a> {
    node: &'a Arc<Node>,
    /// Wanted tasks.
    tasks: u64,
    /// What it has, less what tasks that may run have reserved.
    free: Resources,
}

/// All nodes.
pub(super) struct Pool<'a> {
    entries: Vec<Entry<'a>>,
    order: BTreeSet<Rank>,
}

impl<'a> Pool<'a> {
    pub(super) fn of(view: &'a View) -> Self {
        let mut entries: Vec<Entry<'a>> = view.nodes().map(|node| Entry::of(view, node)).collect();
        entries.sort_by(|a, b| a.node.id.cmp(&b.node.id));
        let available = entries.iter().enumerate().filter(|(_, entry)| is_available(entry.node));
        let order = available.map(|(index, entry)| (entry.tasks, index)).collect();
        Self { entries, order }
    }

    pub(super) fn all(&self) -> std::ops::Range<Index> {
        0..self.entries.len()
    }

    pub(super) fn find(&self, node_id: &str) -> Option<Index> {
        self.entries.binary_search_by(|entry| entry.node.id.as_str().cmp(node_id)).ok()
    }

    pub(super) fn id(&self, node: Index) -> &'a str {
        &self.entries[node].node.id
    }

    pub(super) fn node(&self, node: Index) -> &'a Node {
        self.entries[node].node
    }

    pub(super) fn free(&self, node: Index) -> &Resources {
        &self.entries[node].free
    }

    pub(super) fn tasks(&self, node: Index) -> u64 {
        self.entries[node].tasks
    }

    /// The first node that takes new tasks, after this rank.
    pub(super) fn after(&self, rank: Option<Rank>) -> Option<Rank> {
        let from = rank.map_or(Unbounded, Excluded);
        self.order.range((from, Unbounded)).next().copied()
    }

    /// One more task for a node.
    pub(super) fn add_task(&mut self, node: Index, reserved: &Resources) {
        let entry = &mut self.entries[node];
        let rank = (entry.tasks, node);
        entry.tasks += 1;
        entry.reserve(reserved);
        if self.order.remove(&rank) {
            self.order.insert((rank.0 + 1, node));
        }
    }

    /// Reserves for a task that the node already counts.
    pub(super) fn reserve(&mut self, node: Index, reserved: &Resources) {
        self.entries[node].reserve(reserved);
    }
}

impl<'a> Entry<'a> {
    fn of(view: &View, node: &'a Arc<Node>) -> Self {
        let capacity = node.description.as_ref().and_then(|description| description.resources.clone());
        let mut entry = Self { node, tasks: 0, free: capacity.unwrap_or_default() };
        for task in view.tasks_of_node(&node.id) {
            entry.tasks += u64::from(task.is_wanted());
            if task.may_run() {
                entry.reserve(&reservations(task));
            }
        }
        entry
    }

    fn reserve(&mut self, reserved: &Resources) {
        self.free.nano_cpus = self.free.nano_cpus.saturating_sub(reserved.nano_cpus.max(0));
        self.free.memory_bytes = self.free.memory_bytes.saturating_sub(reserved.memory_bytes.max(0));
    }
}
