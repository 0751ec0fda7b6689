//! Gives waiting tasks a node: PENDING → ASSIGNED. Writes `Task.node_id` and `Task.generic_resources`, and on tasks that
//! fit nowhere the reason.
//!
//! What is known of the nodes is kept between plans: see [`scheduler::Scheduler`].

use skep_common::clock::Timestamp;
use skep_core::{Plan, scheduler};
use skep_proto::v1::ObjectKind;
use skep_store::{Change, Selector, View};

use crate::drive::Reconciler;

#[derive(Default)]
pub(crate) struct Scheduler(scheduler::Scheduler);

impl Reconciler for Scheduler {
    const NAME: &'static str = "scheduler";

    fn watches(&self) -> Selector {
        Selector::Kinds(vec![ObjectKind::Task, ObjectKind::Node])
    }

    fn note(&mut self, change: &Change, _view: &View) {
        self.0.note(change);
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn plan(&mut self, view: &View, now: Timestamp) -> Plan {
        let plan = self.0.plan(view, now);
        if plan.is_empty() {
            self.0.prepare(view);
        }
        plan
    }
}
