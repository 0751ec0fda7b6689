//! Scheduling of the tasks of one service and one spec, one after the other.
//!
//! The nodes are in two parts: those without tasks of the service, in the order of a class, passed once with a cursor; and
//! the *known* ones, where it has tasks or failed often, ordered by how many. While a group is scheduled nodes only get
//! fuller, so a node that cannot take one task of the group cannot take a later one either and is skipped for good. A group
//! walks over all nodes first; after too many unsuitable ones the class of its requirements is opened, which a later group
//! with the same requirements finds as it was left.

use std::collections::{BTreeMap, BTreeSet};

use skep_common::{clock::Timestamp, limits};
use skep_proto::v1::{GenericResource, Task, TaskCause};
use skep_store::View;

use super::{
    ask::Ask,
    filter::{FilterFailure, HostPort, host_ports, no_suitable_node},
    node_info::Index,
    pool::{ANY, ClassId, Pool},
    spread::Values,
    tree::{Leaf, Preference, Tally, Tree},
};
use crate::task::TaskExt;

/// Unsuitable nodes after which a group opens a class of its own.
const IN_VAIN: usize = 64;

/// What a service has on a node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// Recent failures of this spec there.
    pub(super) failures: u64,
    /// Wanted tasks of the service there.
    pub(super) tasks: u64,
}

impl Known {
    /// What ranks the node last: the failures, when they are many.
    fn penalty(self) -> u64 {
        if self.failures < limits::NODE_FAILURES as u64 { 0 } else { self.failures }
    }

    /// Whether the node counts as one without tasks of the service.
    fn is_nothing(self) -> bool {
        self.penalty() == 0 && self.tasks == 0
    }
}

/// The requirements of a group's tasks, and where their service has tasks already.
pub(super) struct Demand<'a> {
    view: &'a View,
    ask: Ask,
    ports: BTreeSet<HostPort>,
    /// Per node; 0 = no limit.
    max_replicas: u64,
    known: BTreeMap<Index, Known>,
    /// The node of the task being moved by a rebalance; that task does not count.
    leaves: Option<Index>,
    of_service: bool,
}

/// A group being scheduled.
pub(super) struct Group<'a> {
    demand: Demand<'a>,
    walk: Walk,
    tree: Option<Tree>,
    /// Where tasks of the group went.
    taken: Vec<Index>,
}

/// Which list of nodes a group walks.
#[derive(Clone, Copy)]
struct Walk {
    class: ClassId,
    /// Whether the class is that of the group's ask.
    own: bool,
    in_vain: usize,
}

impl<'a> Demand<'a> {
    /// What a task asks.
    pub(super) fn of(view: &'a View, task: &Task, pool: &Pool, now: Timestamp) -> Self {
        let placement = task.spec.as_ref().and_then(|spec| spec.placement.as_ref());
        let mut demand = Self {
            view,
            ask: Ask::of(task),
            ports: host_ports(task).collect(),
            max_replicas: placement.map_or(0, |placement| placement.max_replicas),
            known: BTreeMap::new(),
            leaves: None,
            of_service: !task.service_id.is_empty(),
        };
        if demand.of_service {
            demand.know(task, pool, now);
        }
        demand
    }

    fn know(&mut self, task: &Task, pool: &Pool, now: Timestamp) {
        let leaving = moved(task);
        for other in self.view.tasks_of_service(&task.service_id).filter(|other| other.is_wanted()) {
            match pool.find(&other.node_id) {
                Some(node) if other.id == leaving => self.leaves = Some(node),
                Some(node) => self.known.entry(node).or_default().tasks += 1,
                None => {}
            }
            for node in recent_failures(other, task.revision, now).filter_map(|node| pool.find(node)) {
                self.known.entry(node).or_default().failures += 1;
            }
        }
    }

    pub(super) fn ask(&self) -> &Ask {
        &self.ask
    }

    /// The values a node has for the preferences.
    pub(super) fn values(&self, pool: &Pool, node: Index) -> Values {
        self.ask.spread().values(pool.node(node))
    }

    pub(super) fn on(&self, node: Index) -> Known {
        self.known.get(&node).copied().unwrap_or_default()
    }

    /// Whether the answer for a node depends on the ask alone.
    pub(super) fn is_plain(&self) -> bool {
        self.ports.is_empty() && self.max_replicas == 0
    }

    /// The service's tasks in each branch of its spread.
    pub(super) fn tally(&self, pool: &Pool) -> Tally {
        let mut tally = Tally::default();
        if !self.ask.spread().is_empty() {
            for (node, known) in self.known.iter().filter(|(_, known)| known.tasks > 0) {
                tally.add(&self.values(pool, *node), known.tasks);
            }
        }
        tally
    }

    /// How a node compares with others of its branch.
    pub(super) fn preference(&self, pool: &Pool, node: Index) -> Preference {
        let known = self.on(node);
        (known.penalty(), known.tasks, pool.tasks(node), node)
    }

    /// Whether a node can take one more task of the group.
    pub(super) fn fits(&self, pool: &Pool, node: Index) -> Result<(), FilterFailure> {
        self.fits_beside(pool, node, self.on(node).tasks + u64::from(self.leaves == Some(node)))
    }

    /// Whether a task that was made for its node, and is counted there already, can run there.
    pub(super) fn fits_preassigned(&self, pool: &Pool, node: Index) -> Result<(), FilterFailure> {
        self.fits_beside(pool, node, 0)
    }

    fn fits_beside(&self, pool: &Pool, node: Index, of_service: u64) -> Result<(), FilterFailure> {
        self.ask.check(pool.info(node))?;
        if !self.ports.is_disjoint(pool.ports(node)) {
            Err(FilterFailure::HostPort)
        } else if self.max_replicas != 0 && of_service >= self.max_replicas {
            Err(FilterFailure::MaxReplicas)
        } else {
            Ok(())
        }
    }

    /// The spread of the service as it is.
    fn tree(&self, pool: &mut Pool, walk: &mut Walk) -> Tree {
        let mut tree = Tree::of(pool.lists(walk.class), &self.tally(pool));
        for (node, _) in self.known.iter().filter(|(_, known)| !known.is_nothing()) {
            if let Some(leaf) = tree.leaf(&self.values(pool, *node)) {
                leaf.known.insert(self.preference(pool, *node));
            }
        }
        tree.rank_all(|leaf| self.best(pool, walk, leaf));
        tree
    }

    /// The best node of a leaf.
    fn best(&self, pool: &mut Pool, walk: &mut Walk, leaf: &mut Leaf) -> Option<Preference> {
        while let Some(rank) = pool.next(walk.class, leaf.list, leaf.cursor) {
            let (tasks, node) = rank;
            if self.on(node).is_nothing() {
                match self.fits(pool, node) {
                    Ok(()) => return Some((0, 0, tasks, node)),
                    Err(failure) if walk.own && failure.is_of_ask() => pool.unlist(walk.class, node),
                    Err(_) => walk.in_vain += 1,
                }
            }
            leaf.cursor = Some(rank);
            if !walk.own && walk.in_vain > IN_VAIN {
                (walk.class, walk.own) = (pool.open_class(&self.ask), true);
            }
        }
        while let Some(known) = leaf.known.first() {
            if self.fits(pool, known.3).is_ok() {
                return Some(*known);
            }
            leaf.known.pop_first();
        }
        None
    }
}

impl<'a> Group<'a> {
    /// A group of tasks with equal specs; there is at least one.
    pub(super) fn of(view: &'a View, task: &Task, pool: &mut Pool, now: Timestamp) -> Self {
        let demand = Demand::of(view, task, pool, now);
        let own = match pool.class_of(demand.ask.shape()) {
            None if !demand.ask.spread().is_empty() => Some(pool.open_class(&demand.ask)),
            class => class,
        };
        let walk = Walk { class: own.unwrap_or(ANY), own: own.is_some(), in_vain: 0 };
        Self { demand, walk, tree: None, taken: Vec::new() }
    }

    /// Counts tasks of the service that this plan has assigned already.
    pub(super) fn also(&mut self, others: &[Index]) {
        for node in others {
            self.demand.known.entry(*node).or_default().tasks += 1;
        }
    }

    /// Where tasks of the group went, each node as often as it took one.
    pub(super) fn taken(&self) -> &[Index] {
        &self.taken
    }

    /// Assigns the next task of the group: the node, and the generic resources it is given.
    pub(super) fn place(&mut self, pool: &mut Pool) -> Option<(Index, Vec<GenericResource>)> {
        let Self { demand, walk, tree, taken } = self;
        if !demand.of_service {
            let node = demand.best(pool, walk, &mut Leaf::default())?.3;
            return Some((node, pool.add_task(node, demand.ask.wanted(), &demand.ports)));
        }
        let tree = tree.get_or_insert_with(|| demand.tree(pool, walk));
        let (at, node) = loop {
            let (at, (.., node)) = tree.first()?;
            if demand.fits(pool, node).is_ok() {
                break (at, node);
            }
            tree.changed(at, None, |leaf| demand.best(pool, walk, leaf));
        };
        let before = demand.preference(pool, node);
        let given = pool.add_task(node, demand.ask.wanted(), &demand.ports);
        demand.known.entry(node).or_default().tasks += 1;
        taken.push(node);
        let now = demand.preference(pool, node);
        tree.changed(at, Some((before, now)), |leaf| demand.best(pool, walk, leaf));
        Some((node, given))
    }

    /// Confirms a task that was created for a node if it fits there; the generic resources it is given.
    pub(super) fn confirm(&self, pool: &mut Pool, node_id: &str) -> Option<Vec<GenericResource>> {
        // The orchestrator removes a task whose node is gone.
        let node = pool.find(node_id).filter(|node| self.demand.fits_preassigned(pool, *node).is_ok())?;
        Some(pool.reserve(node, self.demand.ask.wanted(), &self.demand.ports))
    }

    pub(super) fn demand(&self) -> &Demand<'a> {
        &self.demand
    }

    /// Why no node can take another task of the group.
    pub(super) fn explain(&self, pool: &Pool) -> String {
        no_suitable_node(pool.all().filter_map(|node| self.demand.fits(pool, node).err()))
    }

    /// Why a task's own node cannot take it.
    pub(super) fn explain_preassigned(&self, pool: &Pool, node_id: &str) -> String {
        let node = pool.find(node_id);
        no_suitable_node(
            node.map_or(Some(FilterFailure::Unavailable), |node| self.demand.fits_preassigned(pool, node).err()),
        )
    }
}

/// The task (id) that this one replaces by a rebalance; empty: none.
pub(super) fn moved(task: &Task) -> &str {
    if task.cause() == TaskCause::Rebalance { &task.replaces } else { "" }
}

/// Where tasks of this spec failed lately before this one took their slot.
fn recent_failures(task: &Task, revision: u64, now: Timestamp) -> impl Iterator<Item = &str> {
    let restart = task.restart.as_ref().filter(|_| task.revision == revision);
    let failures = restart.map_or(&[][..], |restart| &restart.failures);
    let recent = failures.iter().filter(move |failure| now.since(Timestamp(failure.at)) < limits::NODE_FAILURE_WINDOW);
    recent.map(|failure| failure.node_id.as_str())
}
