//! The changes a transaction made: one for every object it touched.

use std::sync::Arc;

use skep_common::clock::Timestamp;
use skep_proto::v1::ObjectKind;

use crate::{ApplyError, kinds::AnyObject};

/// The net change of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Created.
    Create(AnyObject),
    /// Updated.
    Update {
        /// Before.
        old: AnyObject,
        /// After.
        new: AnyObject,
    },
    /// Removed.
    Remove(AnyObject),
}

impl Change {
    /// The object after the change, or before its removal.
    pub fn object(&self) -> &AnyObject {
        match self {
            Self::Create(object) | Self::Update { new: object, .. } | Self::Remove(object) => object,
        }
    }

    /// The object before the change, if it existed.
    pub fn before(&self) -> Option<&AnyObject> {
        match self {
            Self::Create(_) => None,
            Self::Update { old, .. } | Self::Remove(old) => Some(old),
        }
    }

    /// The object after the change, if it still exists.
    pub fn after(&self) -> Option<&AnyObject> {
        match self {
            Self::Create(new) | Self::Update { new, .. } => Some(new),
            Self::Remove(_) => None,
        }
    }

    /// This change and the next of the same object as one; `None` when nothing is left of them.
    #[must_use]
    pub fn then(self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Create(_), Self::Remove(_)) => None,
            (Self::Create(_), Self::Update { new, .. } | Self::Create(new)) => Some(Self::Create(new)),
            (Self::Update { old, .. } | Self::Remove(old), Self::Update { new, .. } | Self::Create(new)) => {
                Some(Self::Update { old, new })
            }
            (Self::Update { old, .. } | Self::Remove(old), Self::Remove(_)) => Some(Self::Remove(old)),
        }
    }

    /// Which kind of object.
    pub fn kind(&self) -> ObjectKind {
        self.object().kind()
    }
}

/// Everything one log entry did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChangeSet {
    /// Index of the entry.
    pub version: u64,
    /// The proposer's clock.
    pub at: Timestamp,
    /// Who proposed it; empty when that is not known.
    pub by: Arc<str>,
    /// One for each changed object, by kind and id.
    pub changes: Vec<Change>,
    /// Actions of an independent transaction that changed nothing, in their order.
    pub refused: Vec<Refused>,
}

/// An action that was refused on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its index in the transaction.
    pub action: usize,
    /// Why.
    pub error: ApplyError,
}
