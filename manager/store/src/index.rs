//! A secondary index: objects by a key they share, each group ordered by id.
//!
//! Invariant: a key without objects is not in the map.

use std::{borrow::Borrow, sync::Arc};

use imbl::OrdMap;

/// Objects by `K`. Cloning shares everything.
pub(crate) struct Index<K, T> {
    groups: OrdMap<K, OrdMap<Arc<str>, Arc<T>>>,
}

impl<K, T> Clone for Index<K, T> {
    fn clone(&self) -> Self {
        Self { groups: self.groups.clone() }
    }
}

impl<K: Ord + Clone, T> Default for Index<K, T> {
    fn default() -> Self {
        Self { groups: OrdMap::new() }
    }
}

impl<K: Ord + Clone, T> Index<K, T> {
    pub(crate) fn insert(&mut self, key: K, id: Arc<str>, object: Arc<T>) {
        self.groups.entry(key).or_default().insert(id, object);
    }

    pub(crate) fn remove(&mut self, key: &K, id: &str) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.remove(id);
        if group.is_empty() {
            self.groups.remove(key);
        }
    }

    /// The group of `key`, by id.
    pub(crate) fn get<Q>(&self, key: &Q) -> impl Iterator<Item = &Arc<T>> + use<'_, K, T, Q>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.groups.get(key).into_iter().flat_map(OrdMap::values)
    }

    /// How many objects `key` has.
    pub(crate) fn count<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.groups.get(key).map_or(0, OrdMap::len)
    }
}
