//! What the loops have in common that plan service by service.
//!
//! Owns which services, and which slots of them, a loop has yet to look at, and when each wants to be looked at again.
//! Invariants: a service leaves the scope only once what was planned for it is written; that time has passed for one says
//! nothing of the others; a plan is about some thousand tasks, or one service, so that none keeps anybody waiting for long or
//! takes much memory, and what is refused again and again holds up nothing else.

use std::time::Duration;

use skep_common::clock::Timestamp;
use skep_store::{Change, Selector, View};

use super::{Now, Reconciler, due::Due, sweep::Sweep};
use crate::{Plan, Scope, mode, plan::Concern, scope::everything};

/// Tasks of one plan: about half of what may be on its way at a time.
const TASKS: u64 = 4_096;

/// A decision about what is in a scope.
pub trait ByService {
    /// For the log and the journal.
    const NAME: &'static str;

    /// What is to be written for it.
    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan;

    /// What a look at all of a service (id) costs, in tasks: those it has, or is to have.
    fn weight(view: &View, service_id: &str) -> u64 {
        let wanted = view.service(service_id).map_or(1, |service| match mode::is_global(service) {
            true => view.node_count() as u64,
            false => mode::replicas(service),
        });
        view.task_count_of_service(service_id).max(wanted).max(1)
    }
}

/// A component around it that looks at what changed, or is due, since it last did its work; and at everything in turn.
#[derive(Debug)]
pub struct Scoped<P> {
    /// What is yet to be looked at.
    waiting: Scope,
    /// What the last plan was about, until it is written.
    planned: Scope,
    /// The last service (id) that was taken out of `waiting`.
    last: String,
    /// When services, or slots, want to be looked at.
    due: Due,
    sweep: Sweep,
    /// Whether it is time for the next part of the sweep.
    is_called: bool,
    /// When it planned last, in monotonic time.
    planned_at: Duration,
    planner: P,
}

impl<P: ByService> Scoped<P> {
    /// One that begins with all services.
    pub fn new(planner: P) -> Self {
        Self {
            waiting: Scope::none(),
            planned: Scope::none(),
            last: String::new(),
            due: Due::default(),
            sweep: Sweep::default(),
            is_called: false,
            planned_at: Duration::ZERO,
            planner,
        }
    }

    #[cfg(test)]
    pub(super) fn planner(&mut self) -> &mut P {
        &mut self.planner
    }

    fn take_up_the_next_part(&mut self, view: &View, now: Duration) {
        let all = || everything(view).into_iter().map(str::to_owned).collect();
        for service in self.sweep.part(now, all, |service| P::weight(view, service)) {
            self.waiting.add(&service);
        }
    }
}

impl<P: ByService> Reconciler for Scoped<P> {
    const NAME: &'static str = P::NAME;

    fn watches(&self) -> Selector {
        Selector::All
    }

    fn period(&self) -> Duration {
        self.sweep.pause(self.planned_at)
    }

    fn note(&mut self, change: &Change, view: &View) {
        self.waiting.note(change, view);
    }

    fn reset(&mut self) {
        self.sweep.restart();
        self.is_called = true;
    }

    fn sweep(&mut self) {
        self.is_called = true;
    }

    fn plan(&mut self, view: &View, now: Now) -> Plan {
        if std::mem::take(&mut self.is_called) {
            self.take_up_the_next_part(view, now.monotonic);
            self.planned_at = now.monotonic;
        }
        self.due.take(now.wall, &mut self.waiting);
        self.waiting.merge(std::mem::replace(&mut self.planned, Scope::none()));
        self.planned = self.waiting.take_part(&mut self.last, TASKS, |service| P::weight(view, service));
        let plan = self.planner.plan(view, &self.planned, now.wall);
        self.due.forget(&self.planned);
        // What is due already was looked at just now.
        for (concern, at) in plan.due.into_iter().filter(|(_, at)| *at > now.wall) {
            self.due.set(concern, at);
        }
        let due = self.due.first().map(|at| (Concern::default(), at)).into_iter().collect();
        Plan { due, ..plan }
    }

    fn done(&mut self) {
        self.planned = Scope::none();
    }

    fn is_behind(&self) -> bool {
        self.planned.is_empty() && !self.waiting.is_empty()
    }
}
