//! Tasks of one service and one spec, while they are placed one after the other.
//!
//! The nodes are split in two: those the service has nothing on, in the pool's own order, which a cursor goes through
//! once; and the *known* ones, where it has tasks or failed often, ordered by how many. While one group is placed a
//! node only ever gets fuller, so a node that cannot take one task of the group cannot take a later one either and is
//! passed over for good. Hence the work for a group is bounded by its tasks and the nodes, not by their product, and a
//! single task without particular wishes takes the pool's first node without looking further.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use skep_common::{clock::Timestamp, limits};
use skep_proto::v1::Task;
use skep_store::View;

use super::{
    filter::{Filters, Misfit, no_suitable_node},
    pool::{Index, Pool, Rank},
};
use crate::task::TaskExt;

/// Least first: failures when there are too many, tasks of the service, tasks in all, the node's number.
type Preference = (u64, u64, u64, Index);

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Recent failures of this spec there; 0 while there are few.
    penalty: u64,
    /// Wanted tasks of the service there.
    tasks: u64,
    /// Those of them that are this group's.
    taken: u64,
}

/// The placing of one group.
pub(super) struct Group<'a> {
    filters: Filters<'a>,
    known: BTreeMap<Index, Known>,
    order: BTreeSet<Preference>,
    cursor: Option<Rank>,
}

impl<'a> Group<'a> {
    /// A group of tasks with equal specs; there is at least one. `placed`: where the same plan has put other tasks of the
    /// service, which the state does not show yet.
    pub(super) fn of(view: &View, tasks: &[&'a Arc<Task>], pool: &Pool<'_>, placed: &[Index], now: Timestamp) -> Self {
        let task = tasks[0];
        let mut known: BTreeMap<Index, Known> = BTreeMap::new();
        if !task.service_id.is_empty() {
            for other in view.tasks_of_service(&task.service_id).filter(|other| other.is_wanted()) {
                if let Some(node) = pool.find(&other.node_id) {
                    known.entry(node).or_default().tasks += 1;
                }
                for node in recent_failures(other, task.spec_version, now).filter_map(|node| pool.find(node)) {
                    known.entry(node).or_default().penalty += 1;
                }
            }
        }
        if !task.service_id.is_empty() {
            for node in placed {
                known.entry(*node).or_default().tasks += 1;
            }
        }
        for node in known.values_mut() {
            if node.penalty < limits::NODE_FAILURES as u64 {
                node.penalty = 0;
            }
        }
        known.retain(|_, node| node.tasks > 0 || node.penalty > 0);
        let order = known.iter().map(|(index, node)| (node.penalty, node.tasks, pool.tasks(*index), *index)).collect();
        Self { filters: Filters::of(task), known, order, cursor: None }
    }

    /// The node for the next task of the group.
    pub(super) fn next(&mut self, pool: &Pool<'_>) -> Option<Index> {
        while let Some(rank) = pool.after(self.cursor) {
            self.cursor = Some(rank);
            let node = rank.1;
            if !self.known.contains_key(&node) && self.fits(pool, node).is_ok() {
                return Some(node);
            }
        }
        while let Some((.., node)) = self.order.pop_first() {
            if self.fits(pool, node).is_ok() {
                return Some(node);
            }
        }
        None
    }

    /// The node [`Group::next`] named has taken the task.
    pub(super) fn took(&mut self, pool: &mut Pool<'_>, node: Index) {
        pool.add_task(node, self.filters.reserved());
        let known = self.known.entry(node).or_default();
        known.tasks += 1;
        known.taken += 1;
        self.order.insert((known.penalty, known.tasks, pool.tasks(node), node));
    }

    /// The nodes that have taken tasks, once for each.
    pub(super) fn taken(&self) -> impl Iterator<Item = Index> {
        self.known.iter().flat_map(|(node, known)| (0..known.taken).map(|_| *node))
    }

    /// A task that was made for its node, and is counted there already, runs there if it fits.
    pub(super) fn confirm(&self, pool: &mut Pool<'_>, node_id: &str) -> Result<(), Misfit> {
        // The orchestrator takes a task away when its node is gone.
        let node = pool.find(node_id).ok_or(Misfit::Unavailable)?;
        self.filters.check(pool.node(node), pool.free(node), 0)?;
        pool.reserve(node, self.filters.reserved());
        Ok(())
    }

    /// Why no node can take another task of the group.
    pub(super) fn explain(&self, pool: &Pool<'_>) -> String {
        no_suitable_node(pool.all().filter_map(|node| self.fits(pool, node).err()))
    }

    /// Why a task's own node cannot take it.
    pub(super) fn explain_preassigned(&self, pool: &Pool<'_>, node_id: &str) -> String {
        let misfit = pool
            .find(node_id)
            .map_or(Some(Misfit::Unavailable), |node| self.filters.check(pool.node(node), pool.free(node), 0).err());
        no_suitable_node(misfit)
    }

    fn fits(&self, pool: &Pool<'_>, node: Index) -> Result<(), Misfit> {
        let of_service = self.known.get(&node).map_or(0, |known| known.tasks);
        self.filters.check(pool.node(node), pool.free(node), of_service)
    }
}

/// Where tasks of this spec failed lately before this one took their slot.
fn recent_failures(task: &Task, spec_version: u64, now: Timestamp) -> impl Iterator<Item = &str> {
    let restart = task.restart.as_ref().filter(|_| task.spec_version == spec_version);
    let failures = restart.map_or(&[][..], |restart| &restart.failures);
    let recent = failures.iter().filter(move |failure| now.since(Timestamp(failure.at)) < limits::NODE_FAILURE_WINDOW);
    recent.map(|failure| failure.node_id.as_str())
}
