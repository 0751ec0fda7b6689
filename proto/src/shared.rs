//! A message that is shared, never copied: between versions of an object, between a view, a transaction and what is
//! sent of them.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{DecodeContext, WireType},
};

/// A message behind a reference count. On the wire it is the message. To write to one that others hold too is to copy it
/// first.
#[derive(Clone, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// Whether both are the same message in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: Clone> Shared<T> {
    /// The message. Copies it unless nobody else holds it.
    pub fn into_inner(self) -> T {
        Arc::unwrap_or_clone(self.0)
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || *self.0 == *other.0
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T> From<T> for Shared<T> {
    fn from(message: T) -> Self {
        Self(Arc::new(message))
    }
}

impl<T> From<Arc<T>> for Shared<T> {
    fn from(message: Arc<T>) -> Self {
        Self(message)
    }
}

impl<T> From<Shared<T>> for Arc<T> {
    fn from(message: Shared<T>) -> Self {
        message.0
    }
}

impl<T: Message + Clone + Default> Message for Shared<T> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.0.encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        (**self).merge_field(tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Object, Placement, Task, TaskSpec, object};

    #[test]
    fn a_copy_is_the_same_until_it_is_written_to() {
        let first: Shared<TaskSpec> = TaskSpec { force_update: 1, ..TaskSpec::default() }.into();
        let mut second = first.clone();
        assert!(second.is_same(&first));
        second.force_update = 2;
        assert!(!second.is_same(&first) && second != first);
        assert_eq!((first.force_update, second.into_inner().force_update), (1, 2));
    }

    #[test]
    fn the_wire_knows_nothing_of_it() {
        let placement = Placement { max_replicas: 3, ..Placement::default() };
        let spec = TaskSpec { placement: Some(placement), force_update: 9, ..TaskSpec::default() };
        let task = Task { id: "t".into(), spec: Some(spec.clone().into()), ..Task::default() };
        assert_eq!(Shared::from(spec.clone()).encode_to_vec(), spec.encode_to_vec());
        let object = Object { object: Some(object::Object::Task(task.into())) };
        assert_eq!(Object::decode(object.encode_to_vec().as_slice()), Ok(object));
    }
}
