//! The nodes as the scheduler sees them: how many tasks each has and what is left of it.
//!
//! A pool is kept from plan to plan. It is a cache of the view: [`Pool::note`] marks what a change made stale, and
//! [`Pool::sync`] refreshes it, so the cost of a plan is in proportion to what changed and what it assigns.
//!
//! Nodes are numbered in the order of their ids. Invariant: after `sync` a pool that heard of every change is equal to
//! one made of the view alone; only which nodes were already found unfit for what differs.

use std::collections::{BTreeMap, BTreeSet};

use skep_proto::v1::{GenericResource, Node, Task};
use skep_store::{AnyObject, Change, View};

use super::{
    ask::{Ask, Shape},
    class::{Class, ListId},
    filter::HostPort,
    node_info::{Index, NodeInfo, Rank, counts},
    resources::Wanted,
    spread::Values,
};

/// A class's number in the pool.
pub(super) type ClassId = usize;

/// The class of all nodes that take new tasks.
pub(super) const ANY: ClassId = 0;

/// Classes kept.
const CLASSES: usize = 64;

/// Nodes in all classes together: what bounds the memory of a pool of very many nodes.
const LISTED: usize = 2_000_000;

/// All nodes.
#[derive(Default)]
pub(super) struct Pool {
    nodes: Vec<NodeInfo>,
    classes: Vec<Class>,
    by_shape: BTreeMap<Shape, ClassId>,
    /// When each class was last asked for, in plans.
    used: Vec<u64>,
    plans: u64,
    /// Nodes to look at again.
    stale: Vec<Index>,
    /// Nodes that came or went (ids).
    moved: BTreeSet<String>,
}

impl Pool {
    /// Notes a change of the state.
    pub(super) fn note(&mut self, change: &Change) {
        if self.is_new() {
            return;
        }
        match (change.object(), change) {
            (AnyObject::Node(node), Change::Update { .. }) => self.touch(&node.id),
            (AnyObject::Node(node), Change::Create(_) | Change::Remove(_)) => {
                self.moved.insert(node.id.clone());
            }
            (AnyObject::Task(new), Change::Update { old: AnyObject::Task(old), .. }) => {
                if counts(old) != counts(new) {
                    self.touch(&old.node_id);
                    self.touch(&new.node_id);
                }
            }
            (AnyObject::Task(task), _) => self.touch(&task.node_id),
            // What a node has left does not depend on these.
            (AnyObject::Service(_) | AnyObject::Revision(_) | AnyObject::Cluster(_), _) => {}
        }
    }

    /// Whether it has not looked at the nodes yet.
    pub(super) fn is_new(&self) -> bool {
        self.classes.is_empty()
    }

    /// Makes the pool what the view says.
    pub(super) fn sync(&mut self, view: &View) {
        self.plans += 1;
        if self.is_new() {
            self.nodes = view.nodes().map(|node| NodeInfo::of(view, node)).collect();
            return self.classify();
        }
        for node in std::mem::take(&mut self.stale) {
            // One that is gone was noted as such.
            let Some(now) = view.node(&self.nodes[node].node.id) else { continue };
            self.nodes[node] = NodeInfo::of(view, now);
            for class in &mut self.classes {
                class.relist(node, &self.nodes[node]);
            }
        }
        let moved = std::mem::take(&mut self.moved);
        if !moved.is_empty() {
            self.nodes.retain(|info| !moved.contains(&info.node.id));
            self.nodes.extend(moved.iter().filter_map(|id| view.node(id)).map(|node| NodeInfo::of(view, node)));
            self.classify();
        }
    }

    pub(super) fn all(&self) -> std::ops::Range<Index> {
        0..self.nodes.len()
    }

    pub(super) fn find(&self, node_id: &str) -> Option<Index> {
        self.nodes.binary_search_by(|info| info.node.id.as_str().cmp(node_id)).ok()
    }

    pub(super) fn info(&self, node: Index) -> &NodeInfo {
        &self.nodes[node]
    }

    pub(super) fn node(&self, node: Index) -> &Node {
        &self.nodes[node].node
    }

    pub(super) fn tasks(&self, node: Index) -> u64 {
        self.nodes[node].tasks
    }

    /// The node's own ports that are taken.
    pub(super) fn ports(&self, node: Index) -> &BTreeSet<HostPort> {
        &self.nodes[node].ports
    }

    // ---- classes -------------------------------------------------------------------------------

    /// The class of a shape, if it was opened.
    pub(super) fn class_of(&mut self, shape: &Shape) -> Option<ClassId> {
        let class = *self.by_shape.get(shape)?;
        self.used[class] = self.plans;
        Some(class)
    }

    /// Opens the class of an ask. The one used least lately makes room.
    pub(super) fn open_class(&mut self, ask: &Ask) -> ClassId {
        let class = Class::of(ask.clone(), &self.nodes);
        let most = (LISTED / self.nodes.len().max(1)).clamp(2, CLASSES);
        let id = if self.classes.len() < most {
            self.classes.push(class);
            self.used.push(self.plans);
            self.classes.len() - 1
        } else {
            let oldest = (ANY + 1..self.classes.len()).min_by_key(|id| self.used[*id]).unwrap_or(ANY);
            self.by_shape.retain(|_, id| *id != oldest);
            self.classes[oldest] = class;
            self.used[oldest] = self.plans;
            oldest
        };
        self.by_shape.insert(ask.shape().clone(), id);
        id
    }

    /// Every list of a class, and the values of its nodes.
    pub(super) fn lists(&self, class: ClassId) -> impl Iterator<Item = (&Values, ListId)> {
        self.classes[class].lists()
    }

    /// The first node of a class's list after this rank.
    pub(super) fn next(&mut self, class: ClassId, list: ListId, after: Option<Rank>) -> Option<Rank> {
        self.classes[class].next(list, after, &self.nodes)
    }

    /// A node cannot take a task of the class's shape.
    pub(super) fn unlist(&mut self, class: ClassId, node: Index) {
        self.classes[class].unlist(node);
    }

    // ---- placing -------------------------------------------------------------------------------

    /// One more task for a node; what it is given of the generic resources.
    pub(super) fn add_task(
        &mut self,
        node: Index,
        wanted: &Wanted,
        ports: &BTreeSet<HostPort>,
    ) -> Vec<GenericResource> {
        self.nodes[node].tasks += 1;
        self.reserve(node, wanted, ports)
    }

    /// Reserves for a task that the node already counts; what it is given of the generic resources.
    pub(super) fn reserve(&mut self, node: Index, wanted: &Wanted, ports: &BTreeSet<HostPort>) -> Vec<GenericResource> {
        // What is planned is not yet written, and may never be.
        self.mark(node);
        let info = &mut self.nodes[node];
        info.ports.extend(ports);
        info.free.take(wanted)
    }

    fn touch(&mut self, node_id: &str) {
        if node_id.is_empty() {
            return;
        }
        if let Some(node) = self.find(node_id) {
            self.mark(node);
        }
    }

    fn mark(&mut self, node: Index) {
        if !std::mem::replace(&mut self.nodes[node].stale, true) {
            self.stale.push(node);
        }
    }

    /// Numbers the nodes, and begins the classes anew.
    fn classify(&mut self) {
        self.nodes.sort_by(|a, b| a.node.id.cmp(&b.node.id));
        let any = Ask::of(&Task::default());
        self.by_shape = BTreeMap::from([(any.shape().clone(), ANY)]);
        self.classes = vec![Class::of(any, &self.nodes)];
        self.used = vec![self.plans];
    }
}
