//! A secondary index: objects by a key they share, each group ordered by id.
//!
//! One flat map for all groups: most groups are as small as one task, and a map of maps would pay a node for each. It
//! leads to rows in the table, so an object that keeps its key changes nothing here.

use imbl::OrdMap;
use skep_proto::v1::TaskState;

use crate::{key::Key, object::StoreObject, table::Row};

/// What an index goes by.
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

/// Rows by `K`. Cloning shares everything.
pub(crate) struct Index<K: IndexKey, T> {
    key: for<'a> fn(&'a T) -> Option<K::Found<'a>>,
    entries: OrdMap<(K, Key), Row>,
}

impl<K: IndexKey, T> Clone for Index<K, T> {
    fn clone(&self) -> Self {
        Self { key: self.key, entries: self.entries.clone() }
    }
}

impl<K: IndexKey, T: StoreObject> Index<K, T> {
    /// An empty index of what `key` gives; objects without a key are not in it.
    pub(crate) fn new(key: for<'a> fn(&'a T) -> Option<K::Found<'a>>) -> Self {
        Self { key, entries: OrdMap::new() }
    }

    /// Updates the index for the object in a row; `old` and `new` have the same id, `None`: it does not exist.
    pub(crate) fn change(&mut self, row: Row, old: Option<&T>, new: Option<&T>) {
        let (from, to) = (old.and_then(self.key), new.and_then(self.key));
        if from == to {
            return;
        }
        let Some(id) = new.or(old).map(|object| Key::from(object.id())) else { return };
        if let Some(from) = from {
            self.entries.remove(&(K::of(from), id.clone()));
        }
        if let Some(to) = to {
            self.entries.insert((K::of(to), id), row);
        }
    }

    /// The group of `key`, by id.
    pub(crate) fn get(&self, key: K::Found<'_>) -> impl Iterator<Item = Row> + use<'_, K, T> {
        let key = K::of(key);
        let first = (key.clone(), Key::default());
        self.entries.range(first..).take_while(move |((of, _), _)| *of == key).map(|(_, row)| *row)
    }
}
