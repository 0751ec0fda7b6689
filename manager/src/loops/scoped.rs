//! What the loops that go service by service have in common.
//!
//! Owns which services a loop has yet to look at. Invariant: a service leaves the scope only once what was planned for it
//! is written.

use skep_common::clock::Timestamp;
use skep_core::{Plan, Scope};
use skep_store::{Change, Selector, View};

use crate::drive::Reconciler;

/// A decision about the services in a scope.
pub(crate) trait ByService: Send + 'static {
    /// For the log.
    const NAME: &'static str;

    /// What is to be written for them.
    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan;
}

/// A loop around it that looks at the services that changed since it last did its work.
pub(crate) struct Scoped<P> {
    scope: Scope,
    planner: P,
}

impl<P: ByService> Scoped<P> {
    pub(crate) fn new(planner: P) -> Self {
        Self { scope: Scope::All, planner }
    }
}

impl<P: ByService> Reconciler for Scoped<P> {
    const NAME: &'static str = P::NAME;

    fn watches(&self) -> Selector {
        Selector::All
    }

    fn note(&mut self, change: &Change, view: &View) {
        self.scope.note(change, view);
    }

    fn reset(&mut self) {
        self.scope = Scope::All;
    }

    fn plan(&mut self, view: &View, now: Timestamp) -> Plan {
        self.planner.plan(view, &self.scope, now)
    }

    fn done(&mut self) {
        self.scope = Scope::none();
    }
}
