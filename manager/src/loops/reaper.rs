//! Forgets finished tasks past the history limit and gives up tasks of nodes that are gone.
//!
//! Removes tasks; writes ORPHANED.

use skep_common::clock::Timestamp;
use skep_core::{Plan, Scope, reaper};
use skep_store::View;

use super::scoped::ByService;

pub(crate) struct Reaper;

impl ByService for Reaper {
    const NAME: &'static str = "reaper";

    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan {
        reaper::plan(view, scope, now)
    }
}
