//! Begins the runs of scheduled jobs when they are due, and closes those that are over.
//!
//! Writes `Service.job`.

use skep_common::clock::Timestamp;
use skep_core::{Plan, Scope, cron};
use skep_store::View;

use super::scoped::ByService;

pub(crate) struct Cron;

impl ByService for Cron {
    const NAME: &'static str = "cron";

    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan {
        cron::plan(view, scope, now)
    }
}
