//! A state as a sequence of objects, and back.
//!
//! Invariant: equal states give equal sequences, so equal bytes.

use skep_proto::v1::{Object, SnapshotHeader, object};

use crate::{kinds::AnyObject, view::View};

/// Why a sequence of objects is not a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The header announces another number of objects.
    #[error("the snapshot announces {announced} objects and holds {found}")]
    Count {
        /// What the header says.
        announced: u64,
        /// What came.
        found: u64,
    },
    /// An object of a kind this version does not know.
    #[error("the snapshot holds an object of an unknown kind")]
    UnknownKind,
    /// A task refers to a revision that is missing, or lacks what the task leaves out.
    #[error("the snapshot does not hold what task {0} is made from")]
    NoRevision(String),
    /// An id that comes twice.
    #[error("the snapshot holds {0} twice")]
    Twice(String),
}

impl View {
    /// The header of this state's snapshot.
    pub fn snapshot_header(&self) -> SnapshotHeader {
        SnapshotHeader { last_index: self.version(), objects: self.object_count() as u64 }
    }

    /// Every object, in the order of a snapshot.
    pub fn snapshot(&self) -> impl Iterator<Item = Object> + '_ {
        self.objects().map(|object| {
            let mut object = object.into_proto();
            if let Some(object::Object::Task(task)) = &mut object.object {
                self.leave_out(task);
            }
            object
        })
    }

    /// The state that a snapshot describes.
    ///
    /// # Errors
    /// When the objects are not what the header announces.
    pub fn restore(header: &SnapshotHeader, objects: impl IntoIterator<Item = Object>) -> Result<Self, RestoreError> {
        let mut view = Self::default();
        let mut found = 0;
        for object in objects {
            let mut object = AnyObject::from_proto(object).ok_or(RestoreError::UnknownKind)?;
            if view.object(object.kind(), object.id()).is_some() {
                return Err(RestoreError::Twice(object.id().to_owned()));
            }
            view.fill_in(&mut object).map_err(|_| RestoreError::NoRevision(object.id().to_owned()))?;
            view.share(&mut object, None);
            view.put(None, object);
            found += 1;
        }
        if found != header.objects {
            return Err(RestoreError::Count { announced: header.objects, found });
        }
        view.set_version(header.last_index);
        Ok(view)
    }
}
