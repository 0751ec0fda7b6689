//! Gives every service the tasks it should have, replaces those that ended, and takes tasks off nodes they may not be on.
//!
//! Writes new tasks, `Task.desired_state` and how the service's update goes.

use skep_common::{clock::Timestamp, id::RandomIds};
use skep_core::{Plan, Scope, orchestrator};
use skep_store::View;

use super::scoped::ByService;

pub(crate) struct Orchestrator;

impl ByService for Orchestrator {
    const NAME: &'static str = "orchestrator";

    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan {
        orchestrator::plan(view, scope, now, &mut RandomIds)
    }
}
