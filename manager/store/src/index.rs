//! A secondary index: objects by a key they share, each group ordered by id.
//!
//! One flat map for all groups: most groups are as small as one task, and a map of maps would pay a node for each.

use std::sync::Arc;

use imbl::OrdMap;

use crate::object::StoreObject;

/// Objects by `K`. Cloning shares everything.
pub(crate) struct Index<K, T> {
    key: fn(&T) -> Option<K>,
    entries: OrdMap<(K, Arc<str>), Arc<T>>,
}

impl<K, T> Clone for Index<K, T> {
    fn clone(&self) -> Self {
        Self { key: self.key, entries: self.entries.clone() }
    }
}

impl<K: Ord + Clone, T: StoreObject> Index<K, T> {
    /// An empty index of what `key` gives; objects without a key are not in it.
    pub(crate) fn new(key: fn(&T) -> Option<K>) -> Self {
        Self { key, entries: OrdMap::new() }
    }

    /// Follows an object from `old` to `new`, which share an id; `None` is: not there.
    pub(crate) fn change(&mut self, old: Option<&Arc<T>>, new: Option<&Arc<T>>) {
        let Some(id) = new.or(old).map(|object| Arc::<str>::from(object.id())) else { return };
        let key = |object: &Arc<T>| (self.key)(object);
        let (from, to) = (old.and_then(key), new.and_then(key));
        if let Some(from) = from.filter(|from| to.as_ref() != Some(from)) {
            self.entries.remove(&(from, id.clone()));
        }
        if let (Some(to), Some(new)) = (to, new) {
            self.entries.insert((to, id), new.clone());
        }
    }

    /// The group of `key`, by id.
    pub(crate) fn get(&self, key: K) -> impl Iterator<Item = &Arc<T>> {
        let first = (key.clone(), Arc::default());
        self.entries.range(first..).take_while(move |((of, _), _)| *of == key).map(|(_, object)| object)
    }
}
