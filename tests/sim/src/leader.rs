//! A term of leadership: one loop per component around `skep-core`'s planners, and the dispatcher. All of it is
//! volatile; the next term starts from the state alone.
//!
//! A loop looks a little after it was told, proposes a little after it looked, and looks again only when the fate of
//! everything it proposed is known: so it plans on states that have moved on, as in the daemon.

use std::{collections::BTreeMap, time::Duration};

use skep_common::{
    clock::Timestamp,
    id::{Ids, SeededIds},
    limits,
};
use skep_core::{
    Plan, Scope, allocator,
    assign::Assignments,
    liveness::Liveness,
    orchestrator, reaper, scheduler,
    status::{self, Report},
    task::TaskExt as _,
};
use skep_proto::v1::{NodeState, Object, ObjectKind, Task, TaskCause, TaskState, TaskStatusUpdate, action, object};
use skep_store::{AnyObject, Change, ChangeSet, TxBuilder, View};

use crate::{
    Bug,
    context::{Context, Step, must},
    event::Event,
    network::{self, ToAgent, ToLeader},
    node::Node,
};

/// A loop of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loop {
    Orchestrator,
    Allocator,
    Scheduler,
    Reaper,
    Liveness,
    Statuses,
}

impl Loop {
    const ALL: [Self; 6] =
        [Self::Orchestrator, Self::Allocator, Self::Scheduler, Self::Reaper, Self::Liveness, Self::Statuses];

    /// How often it looks at everything unasked.
    fn period(self) -> Duration {
        match self {
            Self::Liveness => Duration::from_millis(250),
            _ => Duration::from_secs(10),
        }
    }
}

/// Who proposed an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Loop(Loop, u64),
    User,
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

/// A term.
pub(crate) struct Leader {
    term: u64,
    skew: i64,
    since: Duration,
    liveness: Liveness,
    sessions: BTreeMap<String, Session>,
    loops: BTreeMap<Loop, LoopState>,
    services: Scope,
    places: Scope,
    reports: Vec<Delivery>,
    taken: Vec<Delivery>,
    ids: SeededIds,
}

impl Leader {
    /// Takes over in a state that holds everything decided before.
    pub(crate) fn begin(context: &mut Context, view: &View, term: u64, skew: i64) -> Self {
        let mut leader = Self {
            term,
            skew,
            since: context.now,
            liveness: Liveness::new(view, context.now),
            sessions: BTreeMap::new(),
            loops: BTreeMap::new(),
            services: Scope::All,
            places: Scope::All,
            reports: Vec::new(),
            taken: Vec::new(),
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
            self.services = Scope::All;
            self.places = Scope::All;
        }
        self.call(context, which);
    }

    /// A loop looks, and plans.
    pub(crate) fn look(
        &mut self,
        context: &mut Context,
        view: &View,
        nodes: &BTreeMap<String, Node>,
        which: Loop,
    ) -> Step {
        let state = self.loops.entry(which).or_default();
        state.is_called = false;
        state.is_dirty = false;
        let plan = self.plan(context, view, which)?;
        if let Some(at) = plan.wake_at {
            self.wake_at(context, which, at);
        }
        if plan.is_empty() {
            self.done(context, nodes, which);
            return Ok(());
        }
        self.loops.entry(which).or_default().in_flight = plan.transactions.len();
        let origin = Origin::Loop(which, self.term);
        let (low, high) = if context.misfortune(50) { (20, 300) } else { (0, 3) };
        context.soon(low, high, Event::Propose { term: self.term, origin, transactions: plan.transactions });
        Ok(())
    }

    fn plan(&mut self, context: &mut Context, view: &View, which: Loop) -> Result<Plan, crate::context::Violation> {
        let now = self.wall(context);
        Ok(match which {
            Loop::Orchestrator => {
                let mut plan = orchestrator::plan(view, &self.services, now, &mut self.ids);
                if context.bugs.has(Bug::EarlySlotReuse) {
                    start_at_once(&mut plan);
                }
                if context.bugs.has(Bug::HastyUpdate) {
                    stop_nothing_updated(&mut plan);
                }
                plan
            }
            Loop::Allocator => allocator::plan(view, now),
            Loop::Scheduler => scheduler::plan(view, now),
            Loop::Reaper if context.bugs.has(Bug::HastyReaper) => forget_unwanted(view, now),
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
                    take_all(view, &reports, now)
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
            Loop::Orchestrator => self.services = Scope::none(),
            Loop::Reaper => self.places = Scope::none(),
            Loop::Statuses => {
                for Delivery { node, session, updates } in std::mem::take(&mut self.taken) {
                    if let Some(node) = nodes.get(&node) {
                        let message = ToAgent::Taken { session: session.clone(), updates };
                        network::to_agent(context, node, &session, message);
                    }
                }
                if !self.reports.is_empty() {
                    self.call(context, which);
                }
            }
            Loop::Allocator | Loop::Scheduler | Loop::Liveness => {}
        }
    }

    /// The state has changed.
    pub(crate) fn changed(&mut self, context: &mut Context, view: &View, changes: &ChangeSet) {
        for change in &changes.changes {
            self.services.note(change, view);
            self.places.note(change, view);
            self.flush_soon(context, change);
        }
        let nodes_changed = changes.changes.iter().any(|change| matches!(change.object(), AnyObject::Node(_)));
        let calls = [
            (Loop::Orchestrator, !self.services.is_empty()),
            (Loop::Reaper, !self.places.is_empty()),
            (Loop::Allocator, view.tasks_in_state(TaskState::New).next().is_some()),
            (Loop::Scheduler, view.tasks_in_state(TaskState::Pending).next().is_some()),
            (Loop::Liveness, nodes_changed),
        ];
        for (which, _) in calls.into_iter().filter(|(_, called)| *called) {
            self.call(context, which);
        }
    }

    // ---- dispatcher ----------------------------------------------------------------------------

    pub(crate) fn receive(&mut self, context: &mut Context, view: &View, node: &Node, message: ToLeader) -> Step {
        let id = &node.machine.id;
        if view.node(id).is_none() {
            network::to_agent(context, node, "", ToAgent::Removed);
            return Ok(());
        }
        match message {
            ToLeader::Open { attempt } => {
                let session = self.ids.next_id();
                context.log(format_args!("{id} opens session {session}"));
                let description = Some(node.machine.description.clone());
                self.liveness.opened(id, &session, "10.0.0.1", description, "", context.now);
                self.call(context, Loop::Liveness);
                let heard = context.now;
                let opened = Session { id: session.clone(), stream: None, is_called: false, heard };
                self.sessions.insert(id.clone(), opened);
                network::to_agent(context, node, &attempt.clone(), ToAgent::Opened { attempt, session });
            }
            ToLeader::Assignments { session, stream } if self.is_live(context, id, &session) => {
                if self.taken.iter().chain(&self.reports).any(|delivery| delivery.node == *id) {
                    // What the node is told has to hold what was taken from it: it may have forgotten it since.
                    let again = ToLeader::Assignments { session, stream };
                    context.soon(2, 10, Event::AtLeader { node: id.clone(), message: again });
                    return Ok(());
                }
                let Some(known) = self.sessions.get_mut(id) else { return Ok(()) };
                // A request that was overtaken by a newer one.
                if known.stream.as_ref().is_some_and(|(newest, _)| *newest >= stream) {
                    return Ok(());
                }
                let (assignments, message) = Assignments::begin(id, view);
                known.stream = Some((stream, assignments));
                network::to_agent(context, node, &session.clone(), ToAgent::Assignments { session, stream, message });
            }
            ToLeader::Heartbeat { session } if self.liveness.beat(id, &session, "", context.now).is_ok() => {
                if let Some(known) = self.sessions.get_mut(id) {
                    known.heard = context.now;
                }
            }
            ToLeader::Reports { session, updates } if self.is_live(context, id, &session) => {
                let live = self.sessions.get(id).is_some_and(|known| known.id == session);
                must!(live, "reports of {id} were taken over session {session}, which is over");
                let own = status::check(view, id, &updates);
                must!(own.is_ok(), "{own:?}");
                self.reports.push(Delivery { node: id.clone(), session, updates });
                self.call(context, Loop::Statuses);
            }
            ToLeader::Assignments { session, .. }
            | ToLeader::Heartbeat { session }
            | ToLeader::Reports { session, .. } => {
                network::to_agent(context, node, &session.clone(), ToAgent::Stale { session });
            }
        }
        Ok(())
    }

    fn is_live(&self, context: &Context, node: &str, session: &str) -> bool {
        context.bugs.has(Bug::UnfencedSession) || self.liveness.check(node, session).is_ok()
    }

    /// The streams of the nodes whose tasks a change concerns have something to say.
    fn flush_soon(&mut self, context: &mut Context, change: &Change) {
        let tasks = match change {
            Change::Create(task) | Change::Remove(task) => [Some(task), None],
            Change::Update { old, new } => [Some(old), Some(new)],
        };
        for task in tasks.into_iter().flatten() {
            let AnyObject::Task(task) = task else { continue };
            let node = task.node_id.clone();
            if let Some(session) = self.sessions.get_mut(&node).filter(|session| !session.is_called) {
                session.is_called = true;
                context.soon(1, 20, Event::Flush { term: self.term, node });
            }
        }
    }

    pub(crate) fn flush(&mut self, context: &mut Context, view: &View, node: &Node) {
        let Some(session) = self.sessions.get_mut(&node.machine.id) else { return };
        session.is_called = false;
        let Some((stream, assignments)) = &mut session.stream else { return };
        if let Some(message) = assignments.next(view) {
            let message = ToAgent::Assignments { session: session.id.clone(), stream: *stream, message };
            network::to_agent(context, node, &session.id, message);
        }
    }

    /// READY means: heard of within the grace period (and two seconds, for what is slow on its way to be written).
    fn ready_nodes_were_heard(&self, context: &Context, view: &View) -> Step {
        let grace = limits::HEARTBEAT_PERIOD * limits::MISSED_HEARTBEATS + Duration::from_secs(2);
        for node in view.nodes() {
            let ready = node.status.as_ref().is_some_and(|status| status.state() == NodeState::Ready);
            let heard = self.sessions.get(&node.id).map_or(self.since, |session| session.heard);
            must!(!ready || context.now <= heard + grace, "{} is READY and was last heard of at {heard:?}", node.id);
        }
        Ok(())
    }
}

// ---- planted bugs ------------------------------------------------------------------------------

/// [`Bug::EarlySlotReuse`].
fn start_at_once(plan: &mut Plan) {
    for action in plan.transactions.iter_mut().flat_map(|transaction| &mut transaction.actions) {
        if let Some(action::Action::Create(object)) = &mut action.action
            && let Some(object::Object::Task(task)) = &mut object.object
        {
            task.set_desired_state(TaskState::Running);
        }
    }
}

/// [`Bug::HastyUpdate`].
fn stop_nothing_updated(plan: &mut Plan) {
    for transaction in &mut plan.transactions {
        let replaced: Vec<String> = transaction
            .actions
            .iter()
            .filter_map(|action| match &action.action {
                Some(action::Action::Create(Object { object: Some(object::Object::Task(task)) }))
                    if task.cause() == TaskCause::Update =>
                {
                    Some(task.replaces.clone())
                }
                _ => None,
            })
            .collect();
        transaction.actions.retain(|action| match &action.action {
            Some(action::Action::Update(Object { object: Some(object::Object::Task(task)) })) => {
                !replaced.contains(&task.id)
            }
            _ => true,
        });
    }
}

/// [`Bug::HastyReaper`].
fn forget_unwanted(view: &View, now: Timestamp) -> Plan {
    let mut tx = TxBuilder::new(view, now);
    for task in view.tasks().filter(|task| !task.is_wanted()) {
        tx.remove(ObjectKind::Task, &task.id);
    }
    let transactions = if tx.is_empty() { Vec::new() } else { vec![tx.build()] };
    Plan { transactions, wake_at: None }
}

/// [`Bug::BackwardStatus`].
fn take_all(view: &View, reports: &[Report], now: Timestamp) -> Plan {
    let mut tx = TxBuilder::new(view, now);
    let latest: BTreeMap<&str, &Report> =
        reports.iter().map(|report| (report.update.task_id.as_str(), report)).collect();
    for (id, report) in latest {
        if let Some(task) = view.task(id).filter(|task| task.status != report.update.status) {
            tx.update(Task { status: report.update.status.clone(), ..Task::clone(task) });
        }
    }
    let transactions = if tx.is_empty() { Vec::new() } else { vec![tx.build()] };
    Plan { transactions, wake_at: None }
}
