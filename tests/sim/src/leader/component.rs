//! The leader's components, with the mutants that can be switched on in them.

use std::{cell::RefCell, rc::Rc, time::Duration};

use skep_common::{clock::Timestamp, id::SeededIds, limits::HEARTBEAT_PERIOD};
use skep_core::{
    Plan, Scope,
    liveness::Liveness,
    reconcile::{Allocator, ByService, Cron, Now, Orchestrator, PERIOD, Reaper, Reconciler, Scheduler, Scoped},
    roles::{self, RaftAction},
    status::{self, Report},
};
use skep_proto::v1::{ObjectKind, TaskStatusUpdate};
use skep_store::{Change, Selector, View};

use super::{Delivery, Inbox, Loop, mutations};
use crate::{Mutant, mutants::ActiveMutant};

/// A planner with its mistakes.
pub(super) struct Flawed<P> {
    planner: P,
    mutant: ActiveMutant,
    spoil: fn(ActiveMutant, &View, Plan, Timestamp) -> Plan,
}

impl<P: ByService> ByService for Flawed<P> {
    const NAME: &'static str = P::NAME;

    fn plan(&mut self, view: &View, scope: &Scope, now: Timestamp) -> Plan {
        (self.spoil)(self.mutant, view, self.planner.plan(view, scope, now), now)
    }
}

fn scoped<P: ByService>(
    mutant: ActiveMutant,
    planner: P,
    spoil: fn(ActiveMutant, &View, Plan, Timestamp) -> Plan,
) -> Scoped<Flawed<P>> {
    Scoped::new(Flawed { planner, mutant, spoil })
}

/// What a loop is about.
pub(super) enum Part {
    Cron(Scoped<Flawed<Cron>>),
    Orchestrator(Scoped<Flawed<Orchestrator<SeededIds>>>),
    Reaper(Scoped<Flawed<Reaper>>),
    Allocator(Allocator),
    Scheduler(Box<Scheduler>),
    Roles { members: Vec<roles::Member>, action: Option<RaftAction> },
    Liveness(Rc<RefCell<Liveness>>),
    Statuses(Rc<RefCell<Inbox>>),
}

/// One of them.
pub(super) struct Component {
    part: Part,
    mutant: ActiveMutant,
}

impl Component {
    pub(super) fn new(
        mutant: ActiveMutant,
        which: Loop,
        ids: SeededIds,
        liveness: &Rc<RefCell<Liveness>>,
        inbox: &Rc<RefCell<Inbox>>,
    ) -> Self {
        let part = match which {
            Loop::Cron => Part::Cron(scoped(mutant, Cron, mutations::cron)),
            Loop::Orchestrator => Part::Orchestrator(scoped(mutant, Orchestrator(ids), mutations::orchestrator)),
            Loop::Reaper => Part::Reaper(scoped(mutant, Reaper, mutations::reaper)),
            Loop::Allocator => Part::Allocator(Allocator),
            Loop::Scheduler => Part::Scheduler(Box::default()),
            Loop::Roles => Part::Roles { members: Vec::new(), action: None },
            Loop::Liveness => Part::Liveness(liveness.clone()),
            Loop::Statuses => Part::Statuses(inbox.clone()),
        };
        Self { part, mutant }
    }

    /// The members as they are now.
    pub(super) fn see(&mut self, now: &[roles::Member]) {
        if let Part::Roles { members, .. } = &mut self.part {
            *members = now.to_vec();
        }
    }

    /// What is to happen to a member.
    pub(super) fn action(&mut self) -> Option<RaftAction> {
        match &mut self.part {
            Part::Roles { action, .. } => action.take(),
            _ => None,
        }
    }
}

/// Does something with the reconciler of a part that has one.
macro_rules! with {
    ($part:expr, $it:ident => $do:expr, else $other:expr) => {
        match $part {
            Part::Cron($it) => $do,
            Part::Orchestrator($it) => $do,
            Part::Reaper($it) => $do,
            Part::Allocator($it) => $do,
            Part::Scheduler($it) => $do,
            Part::Roles { .. } | Part::Liveness(_) | Part::Statuses(_) => $other,
        }
    };
}

impl Reconciler for Component {
    const NAME: &'static str = "component";

    fn watches(&self) -> Selector {
        with!(&self.part, it => it.watches(), else match self.part {
            Part::Statuses(_) => Selector::Kinds(Vec::new()),
            _ => Selector::Kinds(vec![ObjectKind::Node]),
        })
    }

    fn period(&self) -> Duration {
        if self.mutant.has(Mutant::NoFullLook) {
            return Duration::from_secs(3600);
        }
        with!(&self.part, it => it.period(), else match self.part {
            Part::Liveness(_) => HEARTBEAT_PERIOD / 2,
            Part::Roles { .. } => Duration::from_secs(1),
            _ => PERIOD,
        })
    }

    fn note(&mut self, change: &Change, view: &View) {
        with!(&mut self.part, it => it.note(change, view), else if let Part::Liveness(liveness) = &self.part {
            liveness.borrow_mut().note(change);
        });
    }

    fn reset(&mut self) {
        if !self.mutant.has(Mutant::NoFirstLook) {
            with!(&mut self.part, it => it.reset(), else if let Part::Liveness(liveness) = &self.part {
                liveness.borrow_mut().reset();
            });
        }
    }

    fn sweep(&mut self) {
        with!(&mut self.part, it => it.sweep(), else ());
    }

    fn plan(&mut self, view: &View, now: Now) -> Plan {
        let mutant = self.mutant;
        if let Part::Scheduler(scheduler) = &mut self.part {
            return mutations::scheduler(mutant, view, scheduler.plan(view, now));
        }
        with!(&mut self.part, it => it.plan(view, now), else match &mut self.part {
            Part::Roles { members, action } => {
                let next = roles::plan(view, &mutations::members(mutant, view, members), now.wall);
                *action = next.action;
                next.plan
            }
            Part::Liveness(liveness) => mutations::liveness(mutant, &mut liveness.borrow_mut(), view, now),
            Part::Statuses(inbox) => statuses(mutant, &mut inbox.borrow_mut(), view, now.wall),
            _ => Plan::default(),
        })
    }

    fn done(&mut self) {
        with!(&mut self.part, it => it.done(), else if let Part::Statuses(inbox) = &self.part {
            let inbox = &mut *inbox.borrow_mut();
            inbox.written.append(&mut inbox.taken);
        });
    }
}

fn statuses(mutant: ActiveMutant, inbox: &mut Inbox, view: &View, now: Timestamp) -> Plan {
    let Inbox { taken, reports, .. } = inbox;
    taken.append(reports);
    let report = |node: &String, update: &TaskStatusUpdate| Report { node_id: node.clone(), update: update.clone() };
    let all = taken.iter().flat_map(|Delivery { node, updates, .. }| updates.iter().map(move |it| report(node, it)));
    let all: Vec<Report> = all.collect();
    if mutant.has(Mutant::BackwardStatus) {
        mutations::take_all(view, &all, now)
    } else {
        status::plan(view, &all, now)
    }
}
