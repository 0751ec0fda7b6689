//! Gives every service the tasks it should have, replaces those that ended, and takes tasks off nodes they may not be on.
//!
//! Writes new tasks and `Task.desired_state`.

use skep_common::{clock::Timestamp, id::RandomIds};
use skep_core::{Plan, orchestrator};
use skep_store::{Change, Selector, View};

use super::scoped::Scoped;
use crate::drive::Reconciler;

pub(crate) struct Orchestrator {
    scope: Scoped,
    ids: RandomIds,
}

impl Orchestrator {
    pub(crate) fn new() -> Self {
        Self { scope: Scoped::all(), ids: RandomIds }
    }
}

impl Reconciler for Orchestrator {
    const NAME: &'static str = "orchestrator";

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
        orchestrator::plan(view, self.scope.scope(), now, &mut self.ids)
    }

    fn done(&mut self) {
        self.scope.clear();
    }
}
