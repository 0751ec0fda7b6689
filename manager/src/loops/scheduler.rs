//! Gives waiting tasks a node: PENDING → ASSIGNED. Writes `Task.node_id`, and on tasks that fit nowhere the reason.

use skep_common::clock::Timestamp;
use skep_core::{Plan, scheduler};
use skep_proto::v1::ObjectKind;
use skep_store::{Selector, View};

use crate::drive::Reconciler;

pub(crate) struct Scheduler;

impl Reconciler for Scheduler {
    const NAME: &'static str = "scheduler";

    fn watches(&self) -> Selector {
        Selector::Kinds(vec![ObjectKind::Task, ObjectKind::Node])
    }

    fn plan(&mut self, view: &View, now: Timestamp) -> Plan {
        scheduler::plan(view, now)
    }
}
