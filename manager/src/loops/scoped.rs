//! Which services a loop has yet to look at.
//!
//! Owns the scope. Invariant: a service leaves it only once what was planned for it is written.

use skep_core::Scope;
use skep_store::{Change, View};

/// The services that changed since a loop last did its work.
pub(super) struct Scoped(Scope);

impl Scoped {
    pub(super) fn all() -> Self {
        Self(Scope::All)
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.0
    }

    pub(super) fn note(&mut self, change: &Change, view: &View) {
        self.0.note(change, view);
    }

    pub(super) fn widen(&mut self) {
        self.0 = Scope::All;
    }

    pub(super) fn clear(&mut self) {
        self.0 = Scope::none();
    }
}
