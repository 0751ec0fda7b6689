//! Which services a planner is to look at.

#![expect(clippy::unimplemented, reason = "the API first")]

use std::collections::BTreeSet;

use skep_store::{Change, View};

/// Which services to plan for. A loop collects one from the changes it sees, and takes `All` at its start and on its
/// period, so that a change it missed delays and never loses anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every service, and tasks whose service is gone.
    All,
    /// These services (ids), whether they still exist or not.
    Services(BTreeSet<String>),
}

impl Scope {
    /// No service.
    pub fn none() -> Self {
        Self::Services(BTreeSet::new())
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Services(services) if services.is_empty())
    }

    /// Adds the services a change may concern, in the state after it.
    pub fn note(&mut self, _change: &Change, _view: &View) {
        unimplemented!()
    }
}
