//! The components that need nothing but the state: each a decision of this crate, and what may change it.

use skep_common::{clock::Timestamp, id::Ids};
use skep_proto::v1::ObjectKind;
use skep_store::{Change, Selector, View};

use super::{ByService, Now, Reconciler};
use crate::{Plan, Scope, allocator, cron, orchestrator, policy, reaper, scheduler};

/// Gives new tasks what they need before they can be placed: NEW → PENDING.
#[derive(Debug, Default)]
pub struct Allocator;

impl Reconciler for Allocator {
    const NAME: &'static str = "allocator";

    fn watches(&self) -> Selector {
        Selector::Kinds(vec![ObjectKind::Task])
    }

    fn plan(&mut self, view: &View, now: Now) -> Plan {
        allocator::plan(view, now.wall)
    }
}

/// Gives waiting tasks a node: PENDING → ASSIGNED. What is known of the nodes is kept between plans.
#[derive(Default)]
pub struct Scheduler(scheduler::Scheduler);

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

    fn plan(&mut self, view: &View, now: Now) -> Plan {
        let plan = self.0.plan(view, now.wall);
        if plan.is_empty() {
            self.0.prepare(view);
        }
        plan
    }
}

/// Gives every service the tasks it should have, replaces those that ended, and takes tasks off nodes they may not be
/// on.
#[derive(Debug)]
pub struct Orchestrator<I>(pub I);

impl<I: Ids> ByService for Orchestrator<I> {
    const NAME: &'static str = "orchestrator";

    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan {
        orchestrator::plan(view, scope, now, &mut self.0)
    }
}

/// Begins the runs of scheduled jobs when they are due, and closes those that are over.
#[derive(Debug, Default)]
pub struct Cron;

impl ByService for Cron {
    const NAME: &'static str = "cron";

    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan {
        cron::plan(view, scope, now)
    }

    /// The others it passes over.
    fn weight(view: &View, service_id: &str) -> u64 {
        let spec = view.service(service_id).and_then(|service| service.spec.as_ref());
        if spec.is_some_and(policy::is_scheduled) { view.task_count_of_service(service_id).max(1) } else { 1 }
    }
}

/// Forgets finished tasks past the history limit and gives up tasks of nodes that are gone.
#[derive(Debug, Default)]
pub struct Reaper;

impl ByService for Reaper {
    const NAME: &'static str = "reaper";

    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan {
        reaper::plan(view, scope, now)
    }
}
