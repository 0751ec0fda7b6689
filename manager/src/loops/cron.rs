//! Begins the runs of scheduled jobs when they are due, and closes those that are over.
//!
//! Writes `Service.job`.

use skep_common::clock::Timestamp;
use skep_core::{Plan, cron};
use skep_store::{Change, Selector, View};

use super::scoped::Scoped;
use crate::drive::Reconciler;

pub(crate) struct Cron {
    scope: Scoped,
}

impl Cron {
    pub(crate) fn new() -> Self {
        Self { scope: Scoped::all() }
    }
}

impl Reconciler for Cron {
    const NAME: &'static str = "cron";

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
        cron::plan(view, self.scope.scope(), now)
    }

    fn done(&mut self) {
        self.scope.clear();
    }
}
