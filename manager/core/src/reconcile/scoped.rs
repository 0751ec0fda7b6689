//! What the loops have in common that plan service by service.
//!
//! Owns which services a loop has yet to look at, and when each wants to be looked at again. Invariants: a service leaves
//! the scope only once what was planned for it is written; that time has passed for one service says nothing of the
//! others.

use std::collections::BTreeMap;

use skep_common::clock::Timestamp;
use skep_store::{Change, Selector, View};

use super::{Now, Reconciler};
use crate::{Plan, Scope};

/// A decision about the services in a scope.
pub trait ByService {
    /// For the log and the journal.
    const NAME: &'static str;

    /// What is to be written for them.
    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan;
}

/// A component around it that looks at the services that changed, or are due, since it last did its work.
#[derive(Debug)]
pub struct Scoped<P> {
    scope: Scope,
    /// When services want to be looked at.
    due: BTreeMap<String, Timestamp>,
    planner: P,
}

impl<P: ByService> Scoped<P> {
    /// One that begins with all services.
    pub fn new(planner: P) -> Self {
        Self { scope: Scope::All, due: BTreeMap::new(), planner }
    }

    #[cfg(test)]
    pub(super) fn planner(&mut self) -> &mut P {
        &mut self.planner
    }

    fn take_up_what_is_due(&mut self, now: Timestamp) {
        if let Scope::Services(services) = &mut self.scope {
            services.extend(self.due.iter().filter(|(_, at)| **at <= now).map(|(service, _)| service.clone()));
        }
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

    fn plan(&mut self, view: &View, now: Now) -> Plan {
        self.take_up_what_is_due(now.wall);
        let mut plan = self.planner.plan(view, &self.scope, now.wall);
        match &self.scope {
            Scope::All => self.due.clear(),
            Scope::Services(services) => self.due.retain(|service, _| !services.contains(service)),
        }
        self.due.append(&mut plan.due);
        // What is due already was looked at just now.
        self.due.retain(|_, at| *at > now.wall);
        plan.due.clone_from(&self.due);
        plan
    }

    fn done(&mut self) {
        self.scope = Scope::none();
    }
}
