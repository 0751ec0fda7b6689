//! The nodes that can take tasks of one shape, emptiest first.
//!
//! One list for every combination of values the shape's preferences tell apart; without preferences that is one list.
//! Nodes only get fuller while a plan is made, so a list is corrected lazily, when it is read: a node listed with fewer tasks
//! than it has by now is moved back, and an unsuitable one is removed until something about it changes.
//!
//! Invariant: a node that could take a task is in the list of its values, with no more tasks than it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
};

use super::{
    ask::Ask,
    node_info::{Index, NodeInfo, Rank},
    spread::Values,
};

/// A list's number in its class.
pub(super) type ListId = usize;

pub(super) struct Class {
    ask: Ask,
    by_values: BTreeMap<Values, ListId>,
    lists: Vec<BTreeSet<Rank>>,
    /// By the node's number: the list it is in, and under how many tasks.
    listed: Vec<Option<(ListId, u64)>>,
}

impl Class {
    pub(super) fn of(ask: Ask, nodes: &[NodeInfo]) -> Self {
        let mut class = Self { ask, by_values: BTreeMap::new(), lists: Vec::new(), listed: vec![None; nodes.len()] };
        let mut lists: Vec<Vec<Rank>> = Vec::new();
        for (node, info) in nodes.iter().enumerate().filter(|(_, info)| class.ask.check(info).is_ok()) {
            let values = class.ask.spread().values(&info.node);
            let list = *class.by_values.entry(values).or_insert(lists.len());
            if list == lists.len() {
                lists.push(Vec::new());
            }
            lists[list].push((info.tasks, node));
            class.listed[node] = Some((list, info.tasks));
        }
        class.lists = lists.into_iter().map(BTreeSet::from_iter).collect();
        class
    }

    /// Every list, and the values of its nodes.
    pub(super) fn lists(&self) -> impl Iterator<Item = (&Values, ListId)> {
        self.by_values.iter().map(|(values, list)| (values, *list))
    }

    /// The first node of a list after this rank.
    pub(super) fn next(&mut self, list: ListId, after: Option<Rank>, nodes: &[NodeInfo]) -> Option<Rank> {
        let from = after.map_or(Unbounded, Excluded);
        loop {
            let rank = *self.lists.get(list)?.range((from, Unbounded)).next()?;
            let (tasks, node) = rank;
            if tasks == nodes[node].tasks {
                return Some(rank);
            }
            self.lists[list].remove(&rank);
            self.insert(list, node, nodes[node].tasks);
        }
    }

    /// Takes a node out: it cannot take a task of this shape as it is.
    pub(super) fn unlist(&mut self, node: Index) {
        if let Some((list, tasks)) = self.listed[node].take() {
            self.lists[list].remove(&(tasks, node));
        }
    }

    /// A node changed.
    pub(super) fn relist(&mut self, node: Index, info: &NodeInfo) {
        self.unlist(node);
        if self.ask.check(info).is_ok() {
            let values = self.ask.spread().values(&info.node);
            let list = *self.by_values.entry(values).or_insert(self.lists.len());
            if list == self.lists.len() {
                self.lists.push(BTreeSet::new());
            }
            self.insert(list, node, info.tasks);
        }
    }

    fn insert(&mut self, list: ListId, node: Index, tasks: u64) {
        self.lists[list].insert((tasks, node));
        self.listed[node] = Some((list, tasks));
    }
}
