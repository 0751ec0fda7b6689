//! A secondary index: objects by a key they share, each group ordered by id.
//!
//! One flat map for all groups: most groups are as small as one task, and a map of maps would pay a node for each. It
//! leads to places in the table, so an object that keeps its key changes nothing here.

use imbl::OrdMap;

use crate::{key::Key, object::StoreObject, table::Place};

/// Places by `K`. Cloning shares everything.
pub(crate) struct Index<K, T> {
    key: fn(&T) -> Option<K>,
    entries: OrdMap<(K, Key), Place>,
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

    /// Follows the object at a place from `old` to `new`, which share an id; `None` is: not there.
    pub(crate) fn change(&mut self, place: Place, old: Option<&T>, new: Option<&T>) {
        let (from, to) = (old.and_then(self.key), new.and_then(self.key));
        if from == to {
            return;
        }
        let Some(id) = new.or(old).map(|object| Key::from(object.id())) else { return };
        if let Some(from) = from {
            self.entries.remove(&(from, id.clone()));
        }
        if let Some(to) = to {
            self.entries.insert((to, id), place);
        }
    }

    /// The group of `key`, by id.
    pub(crate) fn get(&self, key: K) -> impl Iterator<Item = Place> {
        let first = (key.clone(), Key::default());
        self.entries.range(first..).take_while(move |((of, _), _)| *of == key).map(|(_, place)| *place)
    }
}
