//! What every kind of object has in common.

use skep_proto::v1::{Meta, Object, ObjectKind};

use crate::kinds::AnyObject;

/// An object the store keeps in a table.
pub trait StoreObject: Clone + Send + Sync + 'static {
    /// Which kind.
    const KIND: ObjectKind;
    /// No two objects of this kind may share a name.
    const UNIQUE_NAMES: bool;

    /// The id: never changes, never reused.
    fn id(&self) -> &str;
    /// Version and times, absent only on an object that was never stored.
    fn meta(&self) -> Option<&Meta>;
    /// The same, to be written by [`apply`](crate::View::apply) alone.
    fn meta_mut(&mut self) -> &mut Meta;
    /// The names people know it by.
    fn names(&self) -> impl Iterator<Item = &str>;

    /// Log index of its last change; 0 if it was never stored.
    fn version(&self) -> u64 {
        self.meta().map_or(0, |meta| meta.version)
    }
}

/// What can be written in a transaction.
pub trait IntoObject {
    /// The proto form: the same object, not a copy.
    fn into_object(self) -> Object;
}

impl IntoObject for AnyObject {
    fn into_object(self) -> Object {
        self.into_proto()
    }
}
