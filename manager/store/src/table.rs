//! The objects of one kind, by id and by name.
//!
//! An object keeps its row for as long as it exists, and ids, names and indexes point to the row: an update replaces the
//! object there and touches nothing else. Row numbers never leave the store, for they differ between managers.
//!
//! Invariants: an object is listed under each of its names, and under no other; a row is used or free, never both.

use std::sync::Arc;

use imbl::{OrdMap, Vector};

use crate::{key::Key, object::StoreObject};

/// Where an object is in its table.
pub(crate) type Row = u32;

/// One kind's objects. Cloning shares everything.
pub(crate) struct Table<T> {
    rows: Vector<Option<Arc<T>>>,
    free: Vector<Row>,
    by_id: OrdMap<Key, Row>,
    by_name: OrdMap<(Arc<str>, Key), Row>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            free: self.free.clone(),
            by_id: self.by_id.clone(),
            by_name: self.by_name.clone(),
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vector::new(), free: Vector::new(), by_id: OrdMap::new(), by_name: OrdMap::new() }
    }
}

impl<T: StoreObject> Table<T> {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<T>> {
        self.at(*self.by_id.get(&Key::from(id))?)
    }

    /// The row of the object with this id.
    pub(crate) fn row(&self, id: &Key) -> Option<Row> {
        self.by_id.get(id).copied()
    }

    /// The object in a row.
    pub(crate) fn at(&self, row: Row) -> Option<&Arc<T>> {
        self.rows.get(row as usize)?.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.by_id.values().filter_map(|row| self.at(*row))
    }

    /// Those with this exact name, by id.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Arc<T>> {
        let first: (Arc<str>, Key) = (name.into(), Key::default());
        let named = self.by_name.range(first.clone()..).take_while(move |((of, _), _)| *of == first.0);
        named.filter_map(|(_, row)| self.at(*row))
    }

    /// Those whose id begins with `prefix`, by id.
    pub(crate) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Arc<T>> {
        let from = self.by_id.range(Key::from(prefix)..);
        from.take_while(move |(id, _)| id.starts_with(prefix)).filter_map(|(_, row)| self.at(*row))
    }

    /// A name of the object that another one has, where names are unique; and the id of that one.
    pub(crate) fn name_taken(&self, object: &T) -> Option<(String, String)> {
        let mut names = object.names().filter(|_| T::UNIQUE_NAMES);
        let holder = |name: &str| self.named(name).find(|other| other.id() != object.id());
        names.find_map(|name| holder(name).map(|holder| (name.to_owned(), holder.id().to_owned())))
    }

    /// Puts a new object in. Says where.
    pub(crate) fn add(&mut self, object: Arc<T>) -> Row {
        let id = Key::from(object.id());
        // Four billion objects do not fit into anybody's memory.
        let row = self.free.pop_back().unwrap_or(self.rows.len() as Row);
        for name in object.names() {
            self.by_name.insert((name.into(), id.clone()), row);
        }
        self.by_id.insert(id, row);
        if (row as usize) < self.rows.len() {
            self.rows.set(row as usize, Some(object));
        } else {
            self.rows.push_back(Some(object));
        }
        row
    }

    /// Puts `object` in place of the one with its id, which is there and given back.
    pub(crate) fn set(&mut self, row: Row, object: Arc<T>) -> Option<Arc<T>> {
        if let Some(old) = self.at(row).filter(|old| !old.names().eq(object.names())).cloned() {
            for name in old.names() {
                self.by_name.remove(&(name.into(), old.id().into()));
            }
            for name in object.names() {
                self.by_name.insert((name.into(), object.id().into()), row);
            }
        }
        self.rows.set(row as usize, Some(object))
    }

    /// Takes an object out. Says where it was.
    pub(crate) fn take(&mut self, id: &str) -> Option<(Row, Arc<T>)> {
        let id = Key::from(id);
        let row = self.by_id.remove(&id)?;
        let old = self.rows.set(row as usize, None)?;
        for name in old.names() {
            self.by_name.remove(&(name.into(), id.clone()));
        }
        self.free.push_back(row);
        Some((row, old))
    }
}
