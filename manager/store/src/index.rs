//! A secondary index: objects by a key they share, each group ordered by id.
//!
//! One flat set for all groups: most groups are as small as one task, and a map of maps would pay a node for each. A group has a
//! number, so that its key, which may be long, is there once. The entries lead to rows in the table, so an object that keeps its
//! key changes nothing here. Invariant: a group has a number for as long as it has an entry.

use std::{cmp::Ordering, sync::Arc};

use imbl::{OrdMap, OrdSet, Vector};
use skep_proto::v1::TaskState;

use crate::{key::Key, object::StoreObject, table::Row};

/// The key of an index.
pub(crate) trait IndexKey: Ord + Clone {
    /// The key as it stands in an object.
    type Found<'a>: PartialEq;

    /// The key by itself.
    fn of(found: Self::Found<'_>) -> Self;
}

impl IndexKey for Key {
    type Found<'a> = &'a str;

    fn of(text: &str) -> Self {
        text.into()
    }
}

impl IndexKey for (Key, u64) {
    type Found<'a> = (&'a str, u64);

    fn of((text, number): (&str, u64)) -> Self {
        (text.into(), number)
    }
}

impl IndexKey for TaskState {
    type Found<'a> = TaskState;

    fn of(state: TaskState) -> Self {
        state
    }
}

/// Of an index that has one group.
impl IndexKey for () {
    type Found<'a> = ();

    fn of((): ()) -> Self {}
}

impl IndexKey for Arc<[u8]> {
    type Found<'a> = &'a [u8];

    fn of(bytes: &[u8]) -> Self {
        bytes.into()
    }
}

/// The number of a group.
pub(crate) type Group = u32;

/// That an object is in a group. The row says nothing new: it follows from the id.
#[derive(Clone)]
struct Entry {
    id: Key,
    group: Group,
    row: Row,
}

impl Entry {
    fn sort_key(&self) -> (Group, &Key) {
        (self.group, &self.id)
    }
}

impl Ord for Entry {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.sort_key().cmp(&other.sort_key())
    }
}

impl PartialOrd for Entry {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// Rows by `K`. Cloning shares everything.
pub(crate) struct Index<K: IndexKey, T> {
    key: for<'a> fn(&'a T) -> Option<K::Found<'a>>,
    groups: OrdMap<K, Group>,
    /// Numbers below the highest that no group has.
    free: Vector<Group>,
    entries: OrdSet<Entry>,
}

impl<K: IndexKey, T> Clone for Index<K, T> {
    fn clone(&self) -> Self {
        Self { key: self.key, groups: self.groups.clone(), free: self.free.clone(), entries: self.entries.clone() }
    }
}

impl<K: IndexKey, T: StoreObject> Index<K, T> {
    /// An empty index of what `key` gives; objects without a key are not in it.
    pub(crate) fn new(key: for<'a> fn(&'a T) -> Option<K::Found<'a>>) -> Self {
        Self { key, groups: OrdMap::new(), free: Vector::new(), entries: OrdSet::new() }
    }

    /// Updates the index for the object in a row; `old` and `new` have the same id, `None`: it does not exist.
    pub(crate) fn change(&mut self, row: Row, old: Option<&T>, new: Option<&T>) {
        let (from, to) = (old.and_then(self.key), new.and_then(self.key));
        if from == to {
            return;
        }
        let Some(id) = new.or(old).map(|object| Key::from(object.id())) else { return };
        if let Some(from) = from {
            self.leave(K::of(from), Entry { id: id.clone(), group: 0, row });
        }
        if let Some(to) = to {
            let group = self.number(K::of(to));
            self.entries.insert(Entry { id, group, row });
        }
    }

    /// The group of `key`, by id.
    pub(crate) fn get(&self, key: K::Found<'_>) -> impl Iterator<Item = Row> + use<'_, K, T> {
        self.group(&K::of(key)).into_iter().flat_map(|group| self.members(group))
    }

    /// The number of the group with this key, as long as it has members.
    pub(crate) fn group(&self, key: &K) -> Option<Group> {
        self.groups.get(key).copied()
    }

    /// The members of a group, by id.
    pub(crate) fn members(&self, group: Group) -> impl Iterator<Item = Row> + use<'_, K, T> {
        let first = Entry { id: Key::First, group, row: 0 };
        self.entries.range(first..).take_while(move |entry| entry.group == group).map(|entry| entry.row)
    }

    /// The number of the group with this key, which is made if there is none.
    fn number(&mut self, key: K) -> Group {
        if let Some(group) = self.groups.get(&key) {
            return *group;
        }
        // Where none is free the groups have all numbers below theirs; there are no more of them than objects.
        let group = self.free.pop_back().unwrap_or(self.groups.len() as Group);
        self.groups.insert(key, group);
        group
    }

    /// Takes an object out of a group, and the group with it that is empty then.
    fn leave(&mut self, key: K, entry: Entry) {
        let Some(group) = self.groups.get(&key).copied() else { return };
        self.entries.remove(&Entry { group, ..entry });
        if self.members(group).next().is_none() {
            self.groups.remove(&key);
            self.free.push_back(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::Task;

    use super::*;

    #[test]
    fn groups_that_come_and_go_leave_nothing_behind() {
        let mut index: Index<Key, Task> = Index::new(|task| Some(task.node_id.as_str()).filter(|id| !id.is_empty()));
        let task = |node: usize| Task { id: format!("t{node}"), node_id: format!("n{node}"), ..Task::default() };
        for round in 0..3 {
            for node in 0..50 {
                index.change(node, None, Some(&task(node as usize)));
            }
            assert_eq!((index.groups.len(), index.free.len(), index.entries.len()), (50, 0, 50), "{round}");
            for node in (0..50).rev() {
                assert!(index.get(&format!("n{node}")).eq([node]));
                index.change(node, Some(&task(node as usize)), None);
            }
            assert_eq!((index.groups.len(), index.free.len(), index.entries.len()), (0, 50, 0), "{round}");
        }
        assert_eq!(size_of::<Entry>(), 4 * size_of::<u64>());
    }
}
