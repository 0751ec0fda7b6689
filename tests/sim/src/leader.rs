//! A term of leadership: one loop per component, and the dispatcher. All of it is volatile; the next term starts from
//! the state alone.
//!
//! The loops are the daemon's own ([`skep_core::reconcile::Loop`]); what is played is what the daemon's shell does
//! around them. A loop looks a little after it was told, proposes a little after it looked, hears late of what became of
//! that or never, and then asks for a barrier: so it plans on states that have moved on, as in the daemon.

mod component;
mod dispatcher;
pub(crate) mod mutations;

use std::{cell::RefCell, collections::BTreeMap, mem, rc::Rc, sync::Arc, time::Duration};

use skep_common::{clock::Timestamp, id::SeededIds};
use skep_core::{
    assign::Assignments,
    liveness::Liveness,
    reconcile::{Fate, Loop as Machine, Next, Now, Reconciler as _},
    roles::{self, RaftAction},
};
use skep_proto::v1::{Task, TaskStatusUpdate};
use skep_store::{Backlog, Change, ChangeSet, News, Selector, View};

use self::component::Component;
use crate::{
    Mutant,
    context::{Context, Step, must},
    event::Event,
    network::ToAgent,
    node::Node,
    oracle::is_even,
    raft::Manager,
    tally::Kind,
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
}

/// A plan: whose it is, and which of its plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) which: Loop,
    pub(crate) term: u64,
    plan: u64,
}

/// Who proposed an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Loop(Ticket),
    User,
    /// A node that joins consensus.
    Join,
    /// Consensus itself: who is a member.
    Raft,
}

/// What a loop is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits for a change or its patience; the number tells its waits apart.
    Waits(u64),
    /// A look is coming.
    Called,
    /// It has proposed: so many fates are open, and this is the worst of the others.
    Proposed { open: usize, worst: Fate },
    /// It asks for a barrier.
    Barrier,
    /// Its term is over.
    Ended,
}

struct Running {
    machine: Machine<Component>,
    selector: Selector,
    backlog: Backlog,
    stage: Stage,
    /// Of its plans and waits.
    serial: u64,
    /// The state it looked at last.
    looked: Option<View>,
}

impl Running {
    fn hears(&self, change: &Change) -> bool {
        match &self.selector {
            Selector::Kinds(kinds) => kinds.contains(&change.kind()),
            _ => true,
        }
    }
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

/// Reports on their way into the state.
#[derive(Default)]
struct Inbox {
    reports: Vec<Delivery>,
    taken: Vec<Delivery>,
    written: Vec<Delivery>,
}

impl Inbox {
    /// Whether something of a node is not in the state yet.
    fn has_some_of(&self, node: &str) -> bool {
        self.taken.iter().chain(&self.reports).any(|delivery| delivery.node == node)
    }
}

/// The news of a loop tell of every task that is not as it was, and of all as they are.
fn nothing_is_missed(before: Option<&View>, now: &View, news: &News) -> Step {
    let (Some(before), News::Changes(changes)) = (before, news) else { return Ok(()) };
    let told: BTreeMap<&str, &Change> = changes.iter().map(|change| (change.object().id(), change)).collect();
    let is_known = |task: &Arc<Task>| {
        told.get(task.id.as_str()).is_some_and(|it| it.after() == now.task(&task.id).cloned().map(Into::into).as_ref())
    };
    let is_other = |task: &Arc<Task>, view: &View| view.task(&task.id).is_none_or(|other| !Arc::ptr_eq(other, task));
    let other = now.tasks().filter(|task| is_other(task, before));
    let gone = before.tasks().filter(|task| now.task(&task.id).is_none());
    for task in other.chain(gone) {
        must!(is_known(task), "a loop does not hear that {} has changed", task.id);
    }
    Ok(())
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
    /// A quorum has just said that it leads.
    pub(crate) is_confirmed: bool,
    /// Proposals that nobody waits for any more and that may be written yet.
    pub(crate) queued: usize,
    pub(crate) skew: i64,
    /// Until when it stands still.
    pub(crate) still_until: Option<Duration>,
    /// When it last looked who is alive, and how long in all it did not although it was time.
    looked_at: Duration,
    asleep: Duration,
    liveness: Rc<RefCell<Liveness>>,
    sessions: BTreeMap<String, Session>,
    loops: BTreeMap<Loop, Running>,
    inbox: Rc<RefCell<Inbox>>,
    ids: SeededIds,
}

impl Leader {
    /// Takes over in a state that holds everything decided before.
    pub(crate) fn begin(context: &mut Context, term: u64, id: u64, manager: &Manager) -> Self {
        let mut leader = Self {
            term,
            manager: id,
            is_cut: manager.is_cut,
            is_confirmed: true,
            queued: 0,
            skew: manager.skew,
            still_until: None,
            looked_at: context.now,
            asleep: Duration::ZERO,
            liveness: Rc::new(RefCell::new(Liveness::new(&manager.view, context.now))),
            sessions: BTreeMap::new(),
            loops: BTreeMap::new(),
            inbox: Rc::default(),
            ids: SeededIds::new(context.rng.next()),
        };
        // How many changes a loop holds before it merges them: where few are, it is as if it had slept through many.
        let loose = context.rng.pick(&[1, 16, 1024]).copied().unwrap_or(1);
        for which in Loop::ALL {
            let component = leader.component(context, which);
            let selector = component.watches();
            let machine = Machine::new(component);
            let backlog = Backlog::merging_at(loose);
            let running = Running { machine, selector, backlog, stage: Stage::Waits(0), serial: 0, looked: None };
            leader.loops.insert(which, running);
            if context.mutant.has(Mutant::NoFirstLook) {
                context.after(Duration::from_secs(10), Event::Due { term, which, wait: 0 });
            } else {
                leader.call(context, which);
            }
        }
        leader
    }

    fn component(&mut self, context: &mut Context, which: Loop) -> Component {
        let ids = SeededIds::new(context.rng.next());
        Component::new(context.mutant, which, ids, &self.liveness, &self.inbox)
    }

    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    fn now(&self, context: &Context) -> Now {
        Now { wall: Timestamp(context.wall().0 + self.skew * 1_000_000), monotonic: context.now }
    }

    // ---- loops ---------------------------------------------------------------------------------

    /// There is something for a loop.
    fn call(&mut self, context: &mut Context, which: Loop) {
        let Some(running) = self.loops.get_mut(&which) else { return };
        let is_impatient = context.mutant.has(Mutant::ImpatientLoop) && matches!(running.stage, Stage::Proposed { .. });
        if matches!(running.stage, Stage::Waits(_)) || is_impatient {
            running.stage = Stage::Called;
            let slow = if which == Loop::Liveness { 500 } else { 2000 };
            let (low, high) = if context.misfortune(50) { (50, slow) } else { (0, 5) };
            context.soon(low, high, Event::Look { term: self.term, which });
        }
    }

    /// A loop's patience has ended, unless something came in between.
    pub(crate) fn due(&mut self, context: &mut Context, which: Loop, wait: u64) {
        if self.loops.get(&which).is_some_and(|running| running.stage == Stage::Waits(wait)) {
            self.call(context, which);
        }
    }

    /// A loop looks, and plans.
    pub(crate) fn look(&mut self, context: &mut Context, around: Around<'_>, which: Loop) -> Step {
        let now = self.now(context);
        let Some(running) = self.loops.get_mut(&which) else { return Ok(()) };
        let news = running.backlog.take();
        if which == Loop::Orchestrator {
            nothing_is_missed(running.looked.as_ref(), around.view, &news)?;
            running.looked = Some(around.view.clone());
        }
        running.machine.reconciler().see(around.members);
        let transactions = running.machine.plan(around.view, news, now);
        if which == Loop::Liveness {
            self.sleeps(context.now);
            self.silence_is_judged_rightly(context.now, around.view, &transactions)?;
        }
        if which == Loop::Scheduler {
            is_even(around.view, &transactions, &mut context.tally)?;
        }
        let Some(running) = self.loops.get_mut(&which) else { return Ok(()) };
        if transactions.is_empty() {
            self.settled(context, around.nodes, which, Fate::Written);
            return Ok(());
        }
        running.serial += 1;
        running.stage = Stage::Proposed { open: transactions.len(), worst: Fate::Written };
        let ticket = Ticket { which, term: self.term, plan: running.serial };
        let (low, high) = if context.misfortune(50) { (20, 300) } else { (0, 3) };
        let proposal = Event::Propose { ticket, seen: around.view.clone(), transactions };
        context.soon(low, high, proposal);
        Ok(())
    }

    /// What became of one of a loop's proposals, if the loop still waits for that.
    pub(crate) fn learn(&mut self, context: &mut Context, nodes: &BTreeMap<String, Node>, ticket: Ticket, fate: Fate) {
        let Some(running) = self.loops.get_mut(&ticket.which).filter(|running| running.serial == ticket.plan) else {
            return;
        };
        let Stage::Proposed { open, worst } = running.stage else { return };
        let worst = worst.max(fate);
        running.stage = Stage::Proposed { open: open.saturating_sub(1), worst };
        if open <= 1 {
            self.settled(context, nodes, ticket.which, worst);
        }
    }

    /// The deadline of a plan's proposals: what is open then is unknown.
    pub(crate) fn deadline(&mut self, context: &mut Context, nodes: &BTreeMap<String, Node>, ticket: Ticket) {
        let is_it = |running: &&Running| running.serial == ticket.plan;
        let stage = self.loops.get(&ticket.which).filter(is_it).map(|running| running.stage);
        if let Some(Stage::Proposed { open, .. }) = stage {
            for _ in 0..open {
                self.learn(context, nodes, ticket, Fate::Unknown);
            }
        }
    }

    /// The fate of everything a loop proposed is known, or known to be unknown.
    fn settled(&mut self, context: &mut Context, nodes: &BTreeMap<String, Node>, which: Loop, fate: Fate) {
        let now = self.now(context);
        let Some(running) = self.loops.get_mut(&which) else { return };
        running.serial += 1;
        let next = running.machine.settled(fate);
        match next {
            Next::Wait | Next::Retry => {
                running.stage = Stage::Waits(running.serial);
                let wait = running.serial;
                let has_news = !running.backlog.is_empty();
                let patience = running.machine.patience(now);
                let patience = if next == Next::Retry { patience.min(context.rng.millis(1, 200)) } else { patience };
                context.after(patience, Event::Due { term: self.term, which, wait });
                if next == Next::Wait {
                    self.act(context, nodes, which);
                }
                if has_news {
                    self.call(context, which);
                }
            }
            Next::Barrier => {
                context.tally.count(Kind::Unknown);
                running.stage = Stage::Barrier;
                if context.mutant.has(Mutant::HastyBarrier) {
                    self.passed(context, which);
                } else {
                    context.soon(1, 50, Event::Barrier { term: self.term, which, behind: None });
                }
            }
            Next::End => running.stage = Stage::Ended,
        }
    }

    /// A loop's barrier was passed.
    pub(crate) fn passed(&mut self, context: &mut Context, which: Loop) {
        if let Some(running) = self.loops.get_mut(&which).filter(|running| running.stage == Stage::Barrier) {
            running.stage = Stage::Waits(running.serial);
            self.call(context, which);
        }
    }

    /// What has to happen outside the state, now that a plan is written.
    fn act(&mut self, context: &mut Context, nodes: &BTreeMap<String, Node>, which: Loop) {
        match which {
            Loop::Statuses => {
                let written = mem::take(&mut self.inbox.borrow_mut().written);
                for Delivery { node, session, updates } in written {
                    if let Some(node) = nodes.get(&node) {
                        let message = ToAgent::Taken { session: session.clone(), updates };
                        self.tell(context, node, &session, message);
                    }
                }
                if !self.inbox.borrow().reports.is_empty() {
                    self.call(context, which);
                }
            }
            Loop::Roles => {
                let running = self.loops.get_mut(&which);
                let action: Option<RaftAction> = running.and_then(|running| running.machine.reconciler().action());
                if let Some(action) = action {
                    context.soon(1, 50, Event::ChangeMembers { term: self.term, action });
                }
            }
            _ => {}
        }
    }

    /// The state has changed.
    pub(crate) fn changed(&mut self, context: &mut Context, changes: &ChangeSet) {
        for change in &changes.changes {
            self.flush_soon(context, change);
        }
        let mut called = Vec::new();
        for (which, running) in &mut self.loops {
            let heard: Vec<Change> = changes.changes.iter().filter(|change| running.hears(change)).cloned().collect();
            if !heard.is_empty() {
                if !context.mutant.has(Mutant::LostChanges) || running.backlog.is_empty() {
                    running.backlog.push(heard);
                }
                called.push(*which);
            }
        }
        called.into_iter().for_each(|which| self.call(context, which));
    }
}
