//! A term of leadership: one loop per component around `skep-core`'s planners, and the dispatcher. All of it is
//! volatile; the next term starts from the state alone.
//!
//! A loop looks a little after it was told, proposes a little after it looked, and looks again only when the fate of
//! everything it proposed is known: so it plans on states that have moved on, as in the daemon.

mod dispatcher;
pub(crate) mod planted;

use std::{collections::BTreeMap, time::Duration};

use skep_common::{clock::Timestamp, id::SeededIds};
use skep_core::{
    Plan, Scope, allocator,
    assign::Assignments,
    cron,
    liveness::Liveness,
    orchestrator, reaper,
    roles::{self, RaftAction},
    scheduler,
    status::{self, Report},
};
use skep_proto::v1::{TaskState, TaskStatusUpdate};
use skep_store::{AnyObject, ChangeSet, View};

use crate::{
    Bug,
    context::{Context, Step, Violation},
    event::Event,
    network::ToAgent,
    node::Node,
    raft::Manager,
};

/// A loop of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loop {
    Cron,
    Orchestrator,
    Allocator,
    Scheduler,
    Reaper,
    Roles,
    Liveness,
    Statuses,
}

impl Loop {
    const ALL: [Self; 8] = [
        Self::Cron,
        Self::Orchestrator,
        Self::Allocator,
        Self::Scheduler,
        Self::Reaper,
        Self::Roles,
        Self::Liveness,
        Self::Statuses,
    ];

    /// How often it looks at everything unasked.
    fn period(self) -> Duration {
        match self {
            Self::Liveness => Duration::from_millis(250),
            Self::Roles => Duration::from_secs(1),
            _ => Duration::from_secs(10),
        }
    }
}

/// Who proposed an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Loop(Loop, u64),
    User,
    /// A node that joins consensus.
    Join,
    /// Consensus itself: who is a member.
    Raft,
}

#[derive(Debug, Default)]
struct LoopState {
    /// A look is coming.
    is_called: bool,
    /// Something changed since it looked.
    is_dirty: bool,
    /// Proposals whose fate is open.
    in_flight: usize,
    /// When it is woken next.
    due: Option<Duration>,
}

/// What the leader knows of a node's session.
struct Session {
    id: String,
    stream: Option<(u64, Assignments)>,
    /// A flush is coming.
    is_called: bool,
    heard: Duration,
}

struct Delivery {
    node: String,
    session: String,
    updates: Vec<TaskStatusUpdate>,
}

/// What a leader looks at.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) view: &'a View,
    pub(crate) nodes: &'a BTreeMap<String, Node>,
    pub(crate) members: &'a [roles::Member],
}

/// A term.
pub(crate) struct Leader {
    term: u64,
    /// The manager that leads.
    pub(crate) manager: u64,
    /// On which side of a partition it is.
    pub(crate) is_cut: bool,
    /// When it last had no quorum, whether it knew or not: nothing it wanted was written then.
    pub(crate) alone_at: Option<Duration>,
    /// A quorum has just said that it leads.
    pub(crate) is_confirmed: bool,
    skew: i64,
    since: Duration,
    liveness: Liveness,
    sessions: BTreeMap<String, Session>,
    loops: BTreeMap<Loop, LoopState>,
    crons: Scope,
    services: Scope,
    places: Scope,
    reports: Vec<Delivery>,
    taken: Vec<Delivery>,
    /// What is to happen to a member once the plan is written.
    action: Option<RaftAction>,
    ids: SeededIds,
}

impl Leader {
    /// Takes over in a state that holds everything decided before.
    pub(crate) fn begin(context: &mut Context, term: u64, id: u64, manager: &Manager) -> Self {
        let view = &manager.view;
        let mut leader = Self {
            term,
            manager: id,
            is_cut: manager.is_cut,
            alone_at: None,
            is_confirmed: true,
            skew: manager.skew,
            since: context.now,
            liveness: Liveness::new(view, context.now),
            sessions: BTreeMap::new(),
            loops: BTreeMap::new(),
            crons: Scope::All,
            services: Scope::All,
            places: Scope::All,
            reports: Vec::new(),
            taken: Vec::new(),
            action: None,
            ids: SeededIds::new(context.rng.next()),
        };
        for which in Loop::ALL {
            leader.loops.insert(which, LoopState::default());
            context.after(which.period(), Event::Due { term, which });
            if !context.bugs.has(Bug::NoFirstLook) {
                leader.call(context, which);
            }
        }
        if context.bugs.has(Bug::NoFirstLook) {
            leader.crons = Scope::none();
            leader.services = Scope::none();
            leader.places = Scope::none();
        }
        leader
    }

    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    fn wall(&self, context: &Context) -> Timestamp {
        Timestamp(context.wall().0 + self.skew * 1_000_000)
    }

    // ---- loops ---------------------------------------------------------------------------------

    /// Something changed for a loop.
    fn call(&mut self, context: &mut Context, which: Loop) {
        let state = self.loops.entry(which).or_default();
        state.is_dirty = true;
        if !state.is_called && (state.in_flight == 0 || context.bugs.has(Bug::ImpatientLoop)) {
            state.is_called = true;
            let (low, high) = if context.misfortune(50) { (50, 500) } else { (0, 5) };
            context.soon(low, high, Event::Look { term: self.term, which });
        }
    }

    /// Time passed for a loop: it looks at everything.
    pub(crate) fn due(&mut self, context: &mut Context, which: Loop) {
        let state = self.loops.entry(which).or_default();
        let was_asked = state.due.is_some_and(|due| due <= context.now);
        if was_asked {
            state.due = None;
        } else {
            context.after(which.period(), Event::Due { term: self.term, which });
        }
        if !context.bugs.has(Bug::NoFirstLook) {
            self.crons = Scope::All;
            self.services = Scope::All;
            self.places = Scope::All;
        }
        self.call(context, which);
    }

    /// A loop looks, and plans.
    pub(crate) fn look(&mut self, context: &mut Context, around: Around<'_>, which: Loop) -> Step {
        let state = self.loops.entry(which).or_default();
        state.is_called = false;
        state.is_dirty = false;
        let plan = self.plan(context, around, which)?;
        if let Some(at) = plan.wake_at {
            self.wake_at(context, which, at);
        }
        if plan.is_empty() {
            self.done(context, around.nodes, which);
            return Ok(());
        }
        self.loops.entry(which).or_default().in_flight = plan.transactions.len();
        let origin = Origin::Loop(which, self.term);
        let (low, high) = if context.misfortune(50) { (20, 300) } else { (0, 3) };
        context.soon(low, high, Event::Propose { term: self.term, origin, transactions: plan.transactions });
        Ok(())
    }

    fn plan(&mut self, context: &mut Context, around: Around<'_>, which: Loop) -> Result<Plan, Violation> {
        let view = around.view;
        let now = self.wall(context);
        Ok(match which {
            Loop::Cron => planted::cron(context.bugs, view, cron::plan(view, &self.crons, now)),
            Loop::Orchestrator => {
                let plan = orchestrator::plan(view, &self.services, now, &mut self.ids);
                planted::orchestrator(context.bugs, view, plan, now)
            }
            Loop::Allocator => allocator::plan(view, now),
            Loop::Scheduler => scheduler::plan(view, now),
            Loop::Reaper if context.bugs.has(Bug::HastyReaper) => planted::forget_unwanted(view, now),
            Loop::Roles => {
                let members = planted::members(context.bugs, view, around.members);
                let next = roles::plan(view, &members, now);
                self.action = next.action;
                next.plan
            }
            Loop::Reaper => reaper::plan(view, &self.places, now),
            Loop::Liveness => {
                self.ready_nodes_were_heard(context, view)?;
                self.liveness.plan(view, now, context.now)
            }
            Loop::Statuses => {
                self.taken.append(&mut self.reports);
                let report =
                    |node: &String, update: &TaskStatusUpdate| Report { node_id: node.clone(), update: update.clone() };
                let reports = self
                    .taken
                    .iter()
                    .flat_map(|from| from.updates.iter().map(move |update| report(&from.node, update)));
                let reports: Vec<Report> = reports.collect();
                if context.bugs.has(Bug::BackwardStatus) {
                    planted::take_all(view, &reports, now)
                } else {
                    status::plan(view, &reports, now)
                }
            }
        })
    }

    fn wake_at(&mut self, context: &mut Context, which: Loop, at: Timestamp) {
        let due = context.now + at.since(self.wall(context));
        let state = self.loops.entry(which).or_default();
        if state.due.is_none_or(|known| known > due) {
            state.due = Some(due);
            context.after(due - context.now, Event::Due { term: self.term, which });
        }
    }

    /// The fate of one of a loop's proposals is known.
    pub(crate) fn outcome(
        &mut self,
        context: &mut Context,
        nodes: &BTreeMap<String, Node>,
        which: Loop,
        refused: bool,
    ) {
        let state = self.loops.entry(which).or_default();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.is_dirty |= refused;
        if state.in_flight > 0 {
            return;
        }
        if state.is_dirty {
            self.call(context, which);
        } else {
            self.done(context, nodes, which);
        }
    }

    /// What a loop wanted is written.
    fn done(&mut self, context: &mut Context, nodes: &BTreeMap<String, Node>, which: Loop) {
        match which {
            Loop::Cron => self.crons = Scope::none(),
            Loop::Orchestrator => self.services = Scope::none(),
            Loop::Reaper => self.places = Scope::none(),
            Loop::Statuses => {
                for Delivery { node, session, updates } in std::mem::take(&mut self.taken) {
                    if let Some(node) = nodes.get(&node) {
                        let message = ToAgent::Taken { session: session.clone(), updates };
                        self.tell(context, node, &session, message);
                    }
                }
                if !self.reports.is_empty() {
                    self.call(context, which);
                }
            }
            Loop::Roles => {
                if let Some(action) = self.action.take() {
                    context.soon(1, 50, Event::ChangeMembers { term: self.term, action });
                }
            }
            Loop::Allocator | Loop::Scheduler | Loop::Liveness => {}
        }
    }

    /// The state has changed.
    pub(crate) fn changed(&mut self, context: &mut Context, view: &View, changes: &ChangeSet) {
        for change in &changes.changes {
            self.crons.note(change, view);
            self.services.note(change, view);
            self.places.note(change, view);
            self.flush_soon(context, change);
        }
        let nodes_changed = changes.changes.iter().any(|change| matches!(change.object(), AnyObject::Node(_)));
        let calls = [
            (Loop::Cron, !self.crons.is_empty()),
            (Loop::Orchestrator, !self.services.is_empty()),
            (Loop::Reaper, !self.places.is_empty()),
            (Loop::Allocator, view.tasks_in_state(TaskState::New).next().is_some()),
            (Loop::Scheduler, view.tasks_in_state(TaskState::Pending).next().is_some()),
            (Loop::Roles, nodes_changed),
            (Loop::Liveness, nodes_changed),
        ];
        for (which, _) in calls.into_iter().filter(|(_, called)| *called) {
            self.call(context, which);
        }
    }
}
