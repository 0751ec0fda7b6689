//! Which slots a service is to have, beside those it has.

use crate::slot::Slot;

/// The slots of a service, by what is to become of them.
#[derive(Debug, Default)]
pub(crate) struct DesiredSlots<'v> {
    /// In use, and to be kept.
    pub(crate) kept: Vec<Slot<'v>>,
    /// To be given a first task.
    pub(crate) missing: Vec<Slot<'v>>,
    /// In use, and too many.
    pub(crate) surplus: Vec<Slot<'v>>,
}
