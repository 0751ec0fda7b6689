//! What a transaction did, one change for every object it touched.

use std::sync::Arc;

use skep_common::clock::Timestamp;
use skep_proto::v1::ObjectKind;

use crate::{ApplyError, kinds::AnyObject};

/// The net change of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is new.
    Create(AnyObject),
    /// It is different.
    Update {
        /// As it was.
        old: AnyObject,
        /// As it is.
        new: AnyObject,
    },
    /// It is gone.
    Remove(AnyObject),
}

impl Change {
    /// The object as it is, or was last.
    pub fn object(&self) -> &AnyObject {
        match self {
            Self::Create(object) | Self::Update { new: object, .. } | Self::Remove(object) => object,
        }
    }

    /// The object as it was, if it was there.
    pub fn before(&self) -> Option<&AnyObject> {
        match self {
            Self::Create(_) => None,
            Self::Update { old, .. } | Self::Remove(old) => Some(old),
        }
    }

    /// The object as it is, if it is there.
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
    /// One for each object that is not as it was, by kind and id.
    pub changes: Vec<Change>,
    /// Actions of an independent transaction that changed nothing, in their order.
    pub refused: Vec<Refused>,
}

/// An action that was refused on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the transaction.
    pub action: usize,
    /// Why.
    pub error: ApplyError,
}
