//! The objects of one kind, by id and by name.
//!
//! Invariant: an object is under each of its names, and under nothing else.

use std::{ops::Bound, sync::Arc};

use imbl::OrdMap;

use crate::object::StoreObject;

/// One kind's objects. Cloning shares everything.
pub(crate) struct Table<T> {
    by_id: OrdMap<Arc<str>, Arc<T>>,
    by_name: OrdMap<(Arc<str>, Arc<str>), Arc<T>>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { by_id: self.by_id.clone(), by_name: self.by_name.clone() }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { by_id: OrdMap::new(), by_name: OrdMap::new() }
    }
}

impl<T: StoreObject> Table<T> {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<T>> {
        self.by_id.get(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.by_id.values()
    }

    /// Those with this exact name, by id.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Arc<T>> {
        let first: (Arc<str>, Arc<str>) = (name.into(), Arc::default());
        self.by_name.range(first.clone()..).take_while(move |((of, _), _)| *of == first.0).map(|(_, object)| object)
    }

    /// Those whose id begins with `prefix`, by id.
    pub(crate) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Arc<T>> {
        self.by_id
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(id, _)| id.starts_with(prefix))
            .map(|(_, object)| object)
    }

    /// Puts `object` in place of the one with its id, which is given back.
    pub(crate) fn put(&mut self, object: Arc<T>) -> Option<Arc<T>> {
        let id: Arc<str> = object.id().into();
        let old = self.by_id.insert(id.clone(), object.clone());
        if let Some(old) = &old {
            for name in old.names().filter(|name| object.names().all(|kept| kept != *name)) {
                self.by_name.remove(&(name.into(), id.clone()));
            }
        }
        for name in object.names() {
            self.by_name.insert((name.into(), id.clone()), object.clone());
        }
        old
    }

    pub(crate) fn take(&mut self, id: &str) -> Option<Arc<T>> {
        let old = self.by_id.remove(id)?;
        for name in old.names() {
            self.by_name.remove(&(name.into(), id.into()));
        }
        Some(old)
    }
}
