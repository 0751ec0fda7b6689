//! Which running task to move for a more even spread, by the scheduler's own order.
//!
//! A task is taken out and scheduled again: a move is better if the branches of the service's spread, outermost first, and
//! last the node, have fewer tasks of the service than those it leaves. So every move makes the outermost level it touches
//! more even and none further out less even: repeated moves end, with branches that differ by at most one task, as far as
//! suitable nodes allow.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use skep_common::clock::Timestamp;
use skep_proto::v1::Task;
use skep_store::{Change, View};

use super::{group::Demand, node_info::Index, pool::Pool, spread::Values, tree::Preference};

/// The nodes with the same values.
struct Branch<'v> {
    /// Tasks of the service on the way here, outermost level first.
    tasks: Vec<u64>,
    /// The best suitable node.
    best: Option<Preference>,
    /// The task to be moved away first: one of the fullest node.
    first: Option<Source<'v>>,
}

/// A task that may be moved. The greatest is moved first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Source<'v> {
    /// Tasks of the service on its node.
    tasks: u64,
    node: Reverse<Index>,
    slot: Reverse<u64>,
    id: &'v str,
}

/// Finds moves, in one state after the other.
#[derive(Default)]
pub(crate) struct Rebalancer(Pool);

impl Rebalancer {
    /// Notes how the next state differs from the one before.
    pub(crate) fn note(&mut self, changes: &[Change]) {
        for change in changes {
            self.0.note(change);
        }
    }

    /// The first movable task for which there is a better node, and that node (ids). `specimen`: a new task of the service.
    /// The scheduler will assign the replacement, made with the cause [`Rebalance`](skep_proto::v1::TaskCause::Rebalance),
    /// to the same node.
    pub(crate) fn next_move<'v>(
        &mut self,
        view: &View,
        specimen: &Task,
        movable: impl Iterator<Item = &'v Arc<Task>>,
        now: Timestamp,
    ) -> Option<(&'v str, String)> {
        self.0.sync(view);
        better(&self.0, &Demand::of(view, specimen, &self.0, now), movable)
    }
}

fn better<'v>(
    pool: &Pool,
    demand: &Demand<'_>,
    movable: impl Iterator<Item = &'v Arc<Task>>,
) -> Option<(&'v str, String)> {
    let branches = branches(demand, pool, movable);
    let mut sources: Vec<_> =
        branches.iter().filter_map(|(values, branch)| Some((values, branch, branch.first?))).collect();
    sources.sort_by(|(_, a, one), (_, b, other)| (&b.tasks, other).cmp(&(&a.tasks, one)));
    sources.into_iter().find_map(|(values, branch, source)| {
        let here = (branch.tasks.iter().map(|tasks| tasks - 1).collect::<Vec<_>>(), source.tasks - 1);
        // With nothing else of the service in any branch there is nowhere better.
        if here.1 == 0 && here.0.iter().all(|tasks| *tasks == 0) {
            return None;
        }
        let (tasks, best) = branches.iter().filter_map(|at| without(demand, pool, at, (values, source))).min()?;
        ((tasks, best.1) < here).then(|| (source.id, pool.node(best.3).id.clone()))
    })
}

fn branches<'v>(
    demand: &Demand<'_>,
    pool: &Pool,
    movable: impl Iterator<Item = &'v Arc<Task>>,
) -> BTreeMap<Values, Branch<'v>> {
    let tally = demand.tally(pool);
    let mut branches: BTreeMap<Values, Branch<'v>> = BTreeMap::new();
    for node in pool.all() {
        let branch = match branches.entry(demand.values(pool, node)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let tasks = tally.on_the_way(new.key());
                new.insert(Branch { tasks, best: None, first: None })
            }
        };
        if demand.fits(pool, node).is_ok() {
            let preference = demand.preference(pool, node);
            branch.best = Some(branch.best.map_or(preference, |best| best.min(preference)));
        }
    }
    for task in movable {
        let Some(node) = pool.find(&task.node_id) else { continue };
        let Some(branch) = branches.get_mut(&demand.values(pool, node)) else { continue };
        let tasks = demand.on(node).tasks;
        let source = Source { tasks, node: Reverse(node), slot: Reverse(task.slot), id: &task.id };
        branch.first = branch.first.max(Some(source));
    }
    branches
}

/// The rank of a branch, and its best node, without a task that is in this or another branch; `None` when none of its nodes
/// is suitable.
fn without(
    demand: &Demand<'_>,
    pool: &Pool,
    (values, branch): (&Values, &Branch<'_>),
    (from, source): (&Values, Source<'_>),
) -> Option<(Vec<u64>, Preference)> {
    let shared = values.iter().zip(from).take_while(|(one, other)| one == other).count();
    let tasks = branch.tasks.iter().enumerate().map(|(level, tasks)| tasks - u64::from(level < shared)).collect();
    let Reverse(node) = source.node;
    let without_it = || {
        let (penalty, of_service, all, node) = demand.preference(pool, node);
        (penalty, of_service - 1, all, node)
    };
    // A node without its task is only better than with it.
    let without_it = (values == from && demand.fits(pool, node).is_ok()).then(without_it);
    let best = branch.best.into_iter().chain(without_it).min()?;
    Some((tasks, best))
}
