//! Forgets finished tasks past the history limit and gives up tasks of nodes that are gone.
//!
//! Removes tasks; writes ORPHANED.

use skep_common::clock::Timestamp;
use skep_core::{Plan, reaper};
use skep_store::{Change, Selector, View};

use super::scoped::Scoped;
use crate::drive::Reconciler;

pub(crate) struct Reaper {
    scope: Scoped,
}

impl Reaper {
    pub(crate) fn new() -> Self {
        Self { scope: Scoped::all() }
    }
}

impl Reconciler for Reaper {
    const NAME: &'static str = "reaper";

    fn watches(&self) -> Selector {
        Selector::All
    }

    fn note(&mut self, change: &Change, view: &View) {
        self.scope.note(change, view);
    }

    fn reset(&mut self) {
        self.scope.widen();
    }

    fn plan(&mut self, view: &View, now: Timestamp) -> Plan {
        reaper::plan(view, self.scope.scope(), now)
    }

    fn done(&mut self) {
        self.scope.clear();
    }
}
