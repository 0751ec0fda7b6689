//! The objects of one kind, by id and by name.
//!
//! An object has a place for as long as it exists, and everything that leads to it (ids, names, indexes) leads to the
//! place: a changed object is put into it and nothing else has to know. Places say nothing to the outside, for they are
//! not the same on every manager.
//!
//! Invariants: an object is under each of its names, and under nothing else; a place is used or free, never both.

use std::sync::Arc;

use imbl::{OrdMap, Vector};

use crate::{key::Key, object::StoreObject};

/// Where an object is in its table.
pub(crate) type Place = usize;

/// One kind's objects. Cloning shares everything.
pub(crate) struct Table<T> {
    places: Vector<Option<Arc<T>>>,
    free: Vector<Place>,
    by_id: OrdMap<Key, Place>,
    by_name: OrdMap<(Arc<str>, Key), Place>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self {
            places: self.places.clone(),
            free: self.free.clone(),
            by_id: self.by_id.clone(),
            by_name: self.by_name.clone(),
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Vector::new(), free: Vector::new(), by_id: OrdMap::new(), by_name: OrdMap::new() }
    }
}

impl<T: StoreObject> Table<T> {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<T>> {
        self.at(*self.by_id.get(&Key::from(id))?)
    }

    /// The place of the object with this id.
    pub(crate) fn place(&self, id: &Key) -> Option<Place> {
        self.by_id.get(id).copied()
    }

    /// The object at a place.
    pub(crate) fn at(&self, place: Place) -> Option<&Arc<T>> {
        self.places.get(place)?.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.by_id.values().filter_map(|place| self.at(*place))
    }

    /// Those with this exact name, by id.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Arc<T>> {
        let first: (Arc<str>, Key) = (name.into(), Key::default());
        let named = self.by_name.range(first.clone()..).take_while(move |((of, _), _)| *of == first.0);
        named.filter_map(|(_, place)| self.at(*place))
    }

    /// Those whose id begins with `prefix`, by id.
    pub(crate) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Arc<T>> {
        let from = self.by_id.range(Key::from(prefix)..);
        from.take_while(move |(id, _)| id.starts_with(prefix)).filter_map(|(_, place)| self.at(*place))
    }

    /// A name of the object that another one has, where names are unique; and the id of that one.
    pub(crate) fn name_taken(&self, object: &T) -> Option<(String, String)> {
        let mut names = object.names().filter(|_| T::UNIQUE_NAMES);
        let holder = |name: &str| self.named(name).find(|other| other.id() != object.id());
        names.find_map(|name| holder(name).map(|holder| (name.to_owned(), holder.id().to_owned())))
    }

    /// Puts a new object in. Says where.
    pub(crate) fn add(&mut self, object: Arc<T>) -> Place {
        let id = Key::from(object.id());
        let place = self.free.pop_back().unwrap_or(self.places.len());
        for name in object.names() {
            self.by_name.insert((name.into(), id.clone()), place);
        }
        self.by_id.insert(id, place);
        if place < self.places.len() {
            self.places.set(place, Some(object));
        } else {
            self.places.push_back(Some(object));
        }
        place
    }

    /// Puts `object` in place of the one with its id, which is there and given back.
    pub(crate) fn set(&mut self, place: Place, object: Arc<T>) -> Option<Arc<T>> {
        if let Some(old) = self.at(place).filter(|old| !old.names().eq(object.names())).cloned() {
            for name in old.names() {
                self.by_name.remove(&(name.into(), old.id().into()));
            }
            for name in object.names() {
                self.by_name.insert((name.into(), object.id().into()), place);
            }
        }
        self.places.set(place, Some(object))
    }

    /// Takes an object out. Says where it was.
    pub(crate) fn take(&mut self, id: &str) -> Option<(Place, Arc<T>)> {
        let id = Key::from(id);
        let place = self.by_id.remove(&id)?;
        let old = self.places.set(place, None)?;
        for name in old.names() {
            self.by_name.remove(&(name.into(), id.clone()));
        }
        self.free.push_back(place);
        Some((place, old))
    }
}
