//! The spread tree of a service: which branch gets the next task.
//!
//! A branch for every value of the first preference, in each a branch for every value of the next, and at the ends the
//! lists of nodes. A task goes down the branch with fewest tasks of the service that has a fit node at all; of equal
//! branches, the one whose best node is better. Without preferences the root is the only list.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    class::ListId,
    node_info::{Index, Rank},
    spread::Values,
};

/// Least first: failures when there are too many, tasks of the service, tasks in all, the node's number.
pub(super) type Preference = (u64, u64, u64, Index);

/// How good a branch is: the service's tasks in the branches on the way to its best node, and that node.
type BranchRank = (Vec<u64>, Preference);

/// Tasks of a service below each branch, by the values that lead to it.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<Values, u64>);

impl Tally {
    pub(super) fn add(&mut self, values: &Values, tasks: u64) {
        for depth in 1..=values.len() {
            *self.0.entry(values[..depth].to_vec()).or_default() += tasks;
        }
    }

    /// Tasks in each branch on the way.
    pub(super) fn on_the_way(&self, values: &Values) -> Vec<u64> {
        (1..=values.len()).map(|depth| self.0.get(&values[..depth]).copied().unwrap_or(0)).collect()
    }
}

/// The nodes at the end of a branch.
#[derive(Default)]
pub(super) struct Leaf {
    pub(super) list: ListId,
    /// How far the list was looked through.
    pub(super) cursor: Option<Rank>,
    /// The nodes where the service has tasks or failed often.
    pub(super) known: BTreeSet<Preference>,
}

#[derive(Default)]
struct Branch {
    parent: Option<usize>,
    tasks: u64,
    below: BTreeSet<(BranchRank, usize)>,
    leaf: Option<Leaf>,
    /// As it is listed in `below` of its parent.
    rank: Option<BranchRank>,
}

pub(super) struct Tree {
    branches: Vec<Branch>,
    by_values: BTreeMap<Values, usize>,
}

impl Tree {
    /// A tree that ends in these lists.
    pub(super) fn of<'a>(lists: impl Iterator<Item = (&'a Values, ListId)>, tally: &Tally) -> Self {
        let mut tree = Self { branches: vec![Branch::default()], by_values: BTreeMap::new() };
        for (values, list) in lists {
            let mut at = 0;
            for (depth, tasks) in tally.on_the_way(values).into_iter().enumerate() {
                let next = *tree.by_values.entry(values[..=depth].to_vec()).or_insert(tree.branches.len());
                if next == tree.branches.len() {
                    tree.branches.push(Branch { parent: Some(at), tasks, ..Branch::default() });
                }
                at = next;
            }
            tree.branches[at].leaf = Some(Leaf { list, ..Leaf::default() });
        }
        tree
    }

    /// The nodes with these values.
    pub(super) fn leaf(&mut self, values: &Values) -> Option<&mut Leaf> {
        let at = if values.is_empty() { 0 } else { *self.by_values.get(values)? };
        self.branches[at].leaf.as_mut()
    }

    /// Ranks all branches by the best node of each list.
    pub(super) fn rank_all(&mut self, mut best: impl FnMut(&mut Leaf) -> Option<Preference>) {
        // Branches come after what they grow from.
        for at in (0..self.branches.len()).rev() {
            self.rank(at, &mut best);
        }
    }

    /// The list the next task belongs to, and its best node.
    pub(super) fn first(&self) -> Option<(usize, Preference)> {
        let mut at = 0;
        while self.branches[at].leaf.is_none() {
            at = self.branches[at].below.first()?.1;
        }
        Some((at, self.branches[at].rank.as_ref()?.1))
    }

    /// Ranks a list and its branches again, after a node took a task (its preference before and after), or cannot take one.
    pub(super) fn changed(
        &mut self,
        at: usize,
        took: Option<(Preference, Preference)>,
        mut best: impl FnMut(&mut Leaf) -> Option<Preference>,
    ) {
        if let (Some(leaf), Some((before, now))) = (&mut self.branches[at].leaf, took) {
            leaf.known.remove(&before);
            leaf.known.insert(now);
        }
        let mut next = Some(at);
        while let Some(at) = next {
            self.branches[at].tasks += u64::from(took.is_some());
            self.rank(at, &mut best);
            next = self.branches[at].parent;
        }
    }

    /// Sorts a branch in among its siblings.
    fn rank(&mut self, at: usize, best: &mut impl FnMut(&mut Leaf) -> Option<Preference>) {
        let branch = &mut self.branches[at];
        let below = match &mut branch.leaf {
            Some(leaf) => best(leaf).map(|node| (Vec::new(), node)),
            None => branch.below.first().map(|(rank, _)| rank.clone()),
        };
        let Some(parent) = branch.parent else {
            branch.rank = below;
            return;
        };
        let rank = below.map(|(mut tasks, node)| {
            tasks.insert(0, branch.tasks);
            (tasks, node)
        });
        let old = std::mem::replace(&mut branch.rank, rank.clone());
        let parent = &mut self.branches[parent];
        if let Some(old) = old {
            parent.below.remove(&(old, at));
        }
        if let Some(rank) = rank {
            parent.below.insert((rank, at));
        }
    }
}
