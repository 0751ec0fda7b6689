//! A run: everything wired together, and the three phases of its life.

mod faults;
mod proposals;
mod roles;

use std::{collections::BTreeMap, fmt, time::Duration};

use skep_common::id::SeededIds;
use skep_core::reconcile::Fate;
use skep_proto::v1::{Availability, Cluster, Node as StoredNode};
use skep_store::{TxBuilder, View};

use crate::{
    Config, agent,
    context::{Context, Step, Violation, must},
    event::{AgentEvent, Ending, Event},
    health,
    leader::{Around, Leader, Origin},
    mutants::ActiveMutant,
    network::{self, ToLeader},
    node::{self, Node, Reach},
    oracle::{Oracle, Sight},
    raft::Raft,
    tally::{Kind, Tally},
    users,
};

/// How long a new service may take once the swarm is whole again.
const NEWCOMER: Duration = Duration::from_secs(20);

/// Managers of a swarm that has nodes enough.
const MANAGERS: usize = 3;

/// How often a user asks again in a swarm in which nothing is broken.
const PATIENCE: usize = 20;

/// How long after the last fault things may still be late because of it.
const SETTLING: Duration = Duration::from_secs(10);

/// A run that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Entries in the log at the end.
    pub entries: u64,
    /// Terms there were.
    pub terms: u64,
    /// Containers that were started.
    pub containers: usize,
    /// What happened.
    pub tally: Tally,
    /// Lines in the trace.
    pub lines: u64,
    /// Digest of the trace.
    pub digest: u64,
    /// The trace, if it was kept.
    pub trace: Vec<u8>,
}

/// A run that did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was wrong.
    pub what: String,
    /// When, in simulated time.
    pub at: Duration,
    /// The last lines of the trace.
    pub tail: String,
    /// The command that plays it again.
    pub replay: String,
    /// The trace, if it was kept.
    pub trace: Vec<u8>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}at {:.6} s: {}\nreplay: {}", self.tail, self.at.as_secs_f64(), self.what, self.replay)
    }
}

/// Plays a run.
///
/// # Errors
/// What was wrong, the first time anything was.
pub fn run(config: &Config) -> Result<Report, Failure> {
    let mut simulation = Simulation::new(config);
    match simulation.play(config) {
        Ok(()) => Ok(Report {
            entries: simulation.raft.newest().version(),
            terms: simulation.raft.term,
            containers: simulation.oracle.containers_started(),
            tally: simulation.context.tally,
            lines: simulation.context.trace.lines(),
            digest: simulation.context.trace.digest(),
            trace: simulation.context.trace.into_bytes(),
        }),
        Err(Violation(what)) => Err(Failure {
            what,
            at: simulation.context.now,
            tail: simulation.context.trace.tail(),
            replay: config.replay(),
            trace: simulation.context.trace.into_bytes(),
        }),
    }
}

struct Simulation {
    context: Context,
    raft: Raft,
    leader: Option<Leader>,
    /// One that was replaced without hearing of it.
    stale: Option<Leader>,
    /// Partitions so far.
    splits: u64,
    nodes: BTreeMap<String, Node>,
    oracle: Oracle,
    /// Of what users make.
    ids: SeededIds,
}

impl Simulation {
    fn new(config: &Config) -> Self {
        let mut context = Context::new(config.seed, ActiveMutant::new(config.mutant), config.keep_trace, config.chaos);
        let mut nodes = BTreeMap::new();
        for number in 1..=context.rng.between(2, 5) {
            let node = Node::new(&format!("n{number}"), 1 + context.rng.between(0, 3), &mut context.rng);
            nodes.insert(node.machine.id.clone(), node);
        }
        let managers = if nodes.len() < MANAGERS { 1 } else { MANAGERS };
        let raft = Raft::new(nodes.keys().take(managers).map(String::as_str), &mut context.rng);
        let ids = SeededIds::new(context.rng.next());
        let oracle = Oracle::default();
        Self { context, raft, leader: None, stale: None, splits: 0, nodes, oracle, ids }
    }

    fn play(&mut self, config: &Config) -> Step {
        self.boot()?;
        self.context.soon(500, 1000, Event::Chaos);
        self.until(config.chaos)?;
        self.repair()?;
        self.until(config.chaos + config.healing)?;
        self.is_healthy()?;
        let (mut ids, now) = (self.ids.clone(), self.context.wall());
        self.user(|tx| users::newcomer(tx, &mut ids, now))?;
        self.ids = ids;
        self.until(config.chaos + config.healing + NEWCOMER)?;
        self.is_healthy()
    }

    // ---- phases --------------------------------------------------------------------------------

    /// A swarm of a few nodes, and its first leader.
    fn boot(&mut self) -> Step {
        let cluster =
            Cluster { id: "cluster".into(), spec: Some(skep_core::defaults::cluster_spec()), ..Cluster::default() };
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, self.context.wall());
        tx.create(cluster);
        for node in self.nodes.keys() {
            tx.create(users::joining(node, self.raft.member_on(node).map(|(id, _)| id)));
            self.context.soon(100, 1000, Event::AgentStarts { node: node.clone() });
        }
        self.raft.found(tx.build());
        self.elect()
    }

    /// Another machine joins the swarm.
    fn join(&mut self) -> Step {
        let id = format!("n{}", self.nodes.len() + 1);
        self.user(|tx| _ = tx.create(users::joining(&id, None)))?;
        let node = Node::new(&id, 1 + self.context.rng.between(0, 3), &mut self.context.rng);
        self.context.log(format_args!("{id} joins"));
        self.nodes.insert(id.clone(), node);
        self.context.soon(100, 1000, Event::AgentStarts { node: id });
        Ok(())
    }

    /// Every fault ends, and every node is active again.
    fn repair(&mut self) -> Step {
        self.context.calm_since = Some(self.context.now);
        self.context.log(format_args!("from here on nothing breaks"));
        self.heal();
        for node in self.nodes.values_mut() {
            node.machine.reach = Reach::All;
        }
        let dead: Vec<String> =
            self.nodes.values().filter(|node| node.agent.is_none()).map(|node| node.machine.id.clone()).collect();
        for node in dead {
            self.context.soon(1, 100, Event::AgentStarts { node });
        }
        for manager in self.raft.managers.keys().copied() {
            self.context.soon(1, 500, Event::ManagerStarts { manager });
        }
        // Until then there is a leader, and what was under way has settled.
        self.until(self.context.now + Duration::from_secs(3))?;
        for _ in 0..PATIENCE {
            let nodes: Vec<StoredNode> = self.raft.newest().nodes().map(|node| StoredNode::clone(node)).collect();
            let is_active =
                |node: &StoredNode| node.spec.as_ref().is_some_and(|spec| spec.availability() == Availability::Active);
            if nodes.iter().all(is_active) {
                return Ok(());
            }
            self.user(|tx| {
                for mut node in nodes.into_iter().filter(|node| !is_active(node)) {
                    node.spec.get_or_insert_default().set_availability(Availability::Active);
                    tx.update(node);
                }
            })?;
            // It is refused when a node changes meanwhile.
            self.until(self.context.now + Duration::from_millis(500))?;
        }
        Err(Violation("nobody takes what a user asks, and nothing is broken".into()))
    }

    fn is_healthy(&mut self) -> Step {
        must!(self.raft.is_close(), "some manager does not keep up");
        for manager in self.raft.managers.keys().copied().collect::<Vec<_>>() {
            self.catch_up(manager)?;
        }
        must!(self.raft.is_even(), "the managers have not come to one state");
        health::check(&self.raft.newest(), &self.nodes, &self.oracle, &self.raft.members(), &mut self.context)
    }

    /// Lets everything happen that happens by then.
    fn until(&mut self, end: Duration) -> Step {
        while let Some(event) = self.context.advance(end) {
            self.happen(event)?;
        }
        Ok(())
    }

    // ---- what happens --------------------------------------------------------------------------

    fn happen(&mut self, event: Event) -> Step {
        if let Some(until) = event.term().and_then(|term| self.is_still(term)) {
            self.context.after(until - self.context.now, event);
            return Ok(());
        }
        match event {
            Event::Commit { term, index } => {
                self.raft.commit(&mut self.context, term, index);
                self.apply_as_leader()
            }
            // A leader that was replaced and does not know it follows nobody.
            Event::CatchUp { manager } if self.stale.as_ref().is_some_and(|stale| stale.manager == manager) => Ok(()),
            Event::CatchUp { manager } => self.catch_up(manager),
            Event::Elect => self.elect(),
            Event::ManagerStarts { manager } => self.raft.start_manager(&mut self.context, manager),
            Event::GiveUp { term } => {
                self.give_up(term);
                Ok(())
            }
            Event::SetClock { manager } => {
                let skew = node::skew(&mut self.context.rng);
                self.set_clock(manager, skew);
                // The last of the faults to end.
                self.context.calm_since = self.context.calm_since.map(|_| self.context.now);
                Ok(())
            }
            Event::TurnAround => {
                self.nodes_turn_around();
                Ok(())
            }
            Event::Heal { split } => {
                if split == self.splits {
                    self.heal();
                }
                Ok(())
            }
            Event::Join { node } => {
                self.join_managers(node);
                Ok(())
            }
            Event::Tidy { term } => {
                self.raft.tidy(&mut self.context, term);
                Ok(())
            }
            Event::ChangeMembers { term, action } => self.change_members(term, &action),
            Event::Look { term, which } => self.lead(term, |leader, view, simulation| {
                let members = simulation.raft.members();
                let around = Around { view, nodes: &simulation.nodes, members: &members };
                leader.look(&mut simulation.context, around, which)
            }),
            Event::Due { term, which, wait } => self.lead(term, |leader, _, simulation| {
                leader.due(&mut simulation.context, which, wait);
                Ok(())
            }),
            Event::Flush { term, node } => self.lead(term, |leader, view, simulation| {
                if let Some(node) = simulation.nodes.get(&node) {
                    leader.flush(&mut simulation.context, view, node);
                }
                Ok(())
            }),
            Event::Propose { ticket, seen, transactions } => self.propose(ticket, &seen, transactions),
            Event::Abandoned { ticket } => self.lead(ticket.term, |leader, _, simulation| {
                leader.learn(&mut simulation.context, &simulation.nodes, ticket, Fate::Unknown);
                Ok(())
            }),
            Event::Late { ticket, seen, transaction } => self.write_late(ticket, &seen, transaction),
            Event::Deadline { ticket } => self.lead(ticket.term, |leader, _, simulation| {
                leader.deadline(&mut simulation.context, &simulation.nodes, ticket);
                Ok(())
            }),
            Event::Barrier { term, which, behind } => self.barrier(term, which, behind),
            Event::AtLeader { node, message } => self.hear(&node, message),
            Event::AtAgent { node, message } => match self.nodes.get_mut(&node) {
                Some(Node { agent: Some(agent), machine, .. }) => {
                    agent.receive(message, &mut self.context, machine, &mut self.oracle)
                }
                _ => Ok(()),
            },
            Event::Agent { node, incarnation, what } => match self.nodes.get_mut(&node) {
                Some(Node { agent: Some(agent), machine, .. }) if agent.incarnation == incarnation => {
                    agent.handle(what, &mut self.context, machine, &mut self.oracle)
                }
                _ => Ok(()),
            },
            Event::ContainerEnds { node, task, code, why } => self.container_ends(&node, &task, code, why),
            Event::AgentStarts { node } => match self.nodes.get_mut(&node) {
                // It comes with a certificate, and so not before its record is committed.
                Some(Node { incarnations: 0, .. }) if self.raft.newest().node(&node).is_none() => {
                    self.context.soon(100, 200, Event::AgentStarts { node });
                    Ok(())
                }
                Some(node) if node.agent.is_none() => agent::start(&mut self.context, node, &mut self.oracle),
                _ => Ok(()),
            },
            Event::Reconnect { node } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.machine.reach = Reach::All;
                }
                Ok(())
            }
            Event::Chaos => self.chaos(),
        }
    }

    /// Does something as the leader of a term, as long as it believes it leads, on the state it has.
    fn lead(&mut self, term: u64, act: impl FnOnce(&mut Leader, &View, &mut Self) -> Step) -> Step {
        let is_current = self.leader.as_ref().is_some_and(|leader| leader.term() == term);
        let held = if is_current { &mut self.leader } else { &mut self.stale };
        let Some(mut leader) = held.take_if(|leader| leader.term() == term) else { return Ok(()) };
        // One that was taken out meanwhile is none any more.
        let Some(view) = self.raft.managers.get(&leader.manager).map(|manager| manager.view.clone()) else {
            return Ok(());
        };
        let outcome = act(&mut leader, &view, self);
        let held = if is_current { &mut self.leader } else { &mut self.stale };
        *held = Some(leader);
        outcome
    }

    /// A message arrives at the leader whose session it names; a node that has none asks whomever it finds.
    fn hear(&mut self, name: &str, message: ToLeader) -> Step {
        let Some(node) = self.nodes.get(name) else { return Ok(()) };
        let leaders = [&self.leader, &self.stale].into_iter().flatten();
        let within_reach: Vec<&Leader> = leaders.filter(|it| node.machine.reach.reaches(it.is_cut)).collect();
        let session = message.session();
        let own = within_reach.iter().find(|it| session.is_some_and(|session| it.knows(name, session)));
        let Some(term) = own.or_else(|| self.context.rng.pick(&within_reach)).map(|leader| leader.term()) else {
            network::breaks(&mut self.context, node, session.unwrap_or_default());
            return Ok(());
        };
        if let Some(until) = self.is_still(term) {
            self.context.after(until - self.context.now, Event::AtLeader { node: name.to_owned(), message });
            return Ok(());
        }
        self.lead(term, |leader, view, simulation| match simulation.nodes.get(name) {
            Some(node) => {
                leader.is_confirmed = simulation.raft.is_confirmed(leader.term());
                leader.receive(&mut simulation.context, view, node, message)
            }
            None => Ok(()),
        })
    }

    fn elect(&mut self) -> Step {
        let Some(manager) = self.raft.elect(&mut self.context) else { return Ok(()) };
        if let Some(unaware) = self.leader.take() {
            self.context.tally.count(Kind::StaleLeader);
            self.stale = Some(unaware);
            self.context.soon(1, 1000, Event::TurnAround);
        }
        // A leader leads only from a state that holds everything that is committed.
        self.catch_up(manager)?;
        if self.raft.term > 1 {
            self.context.tally.count(Kind::NewLeader);
        }
        let replica = &self.raft.managers[&manager];
        self.leader = Some(Leader::begin(&mut self.context, self.raft.term, manager, replica));
        Ok(())
    }

    fn catch_up(&mut self, manager: u64) -> Step {
        if self.context.rng.chance(500) {
            self.raft.install_snapshot(manager)?;
        }
        while let Some(applied) = self.raft.apply_next(manager)? {
            let after = self.raft.managers[&manager].view.clone();
            self.examine(&applied, &after)?;
        }
        Ok(())
    }

    fn apply_as_leader(&mut self) -> Step {
        let Some(manager) = self.raft.leader else { return Ok(()) };
        while let Some(applied) = self.raft.apply_next(manager)? {
            let after = self.raft.managers[&manager].view.clone();
            self.examine(&applied, &after)?;
            if let (Some(Ok(_)), Origin::Join) = (&applied.outcome, applied.origin) {
                self.admitted(applied.index, &after);
            }
            self.lead(self.raft.term, |leader, _, simulation| {
                if let Some(Ok(changes)) = &applied.outcome {
                    leader.changed(&mut simulation.context, changes);
                }
                if let Origin::Loop(ticket) = applied.origin
                    && ticket.term == leader.term()
                {
                    let fate = match &applied.outcome {
                        Some(Ok(changes)) if changes.refused.is_empty() => Fate::Written,
                        Some(_) => Fate::Refused,
                        None => Fate::Written,
                    };
                    leader.learn(&mut simulation.context, &simulation.nodes, ticket, fate);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Whoever applies an entry first has it looked at.
    fn examine(&mut self, applied: &crate::raft::Applied, after: &skep_store::View) -> Step {
        if !self.oracle.is_news(applied.index) {
            return Ok(());
        }
        match &applied.outcome {
            None => {}
            Some(Ok(changes)) => {
                let count = changes.changes.len();
                if !changes.refused.is_empty() {
                    self.context.tally.count(Kind::PartRefused);
                }
                self.context.log(format_args!("{} {:?} changes {count}", applied.index, applied.origin));
                let seen = applied.seen.as_ref().unwrap_or(&applied.before);
                let sight = Sight {
                    before: &applied.before,
                    seen,
                    after,
                    origin: applied.origin,
                    nodes: &self.nodes,
                    members: &self.raft.members(),
                    voters_then: &self.raft.voters_at(seen.version()),
                    now: self.context.now,
                    is_settled: self.context.calm_for(SETTLING),
                };
                self.oracle.applied(&sight, changes, &mut self.context)?;
                self.notice_promotions(changes);
            }
            Some(Err(error)) => {
                self.context.tally.count(Kind::Conflict);
                self.context.log(format_args!("{} {:?} refused: {error}", applied.index, applied.origin));
            }
        }
        Ok(())
    }

    fn container_ends(&mut self, node: &str, task: &str, code: i32, why: Ending) -> Step {
        let Some(node) = self.nodes.get_mut(node) else { return Ok(()) };
        let at = node.machine.wall(&self.context);
        if (why == Ending::Mishap && self.context.is_calm()) || !node.machine.runtime.end(task, code, at) {
            return Ok(());
        }
        if why == Ending::Stopped {
            self.oracle.container_stopped(&self.raft.newest(), task, &node.machine.id)?;
        }
        self.context.log(format_args!("{} the container of {task} ends with {code}", node.machine.id));
        self.oracle.container_ends(task, code);
        if let Some(agent) = &node.agent {
            let ended = AgentEvent::ContainerEnded { task: task.to_owned() };
            self.context.agent_soon(&node.machine.id, agent.incarnation, 1, 20, ended);
        }
        Ok(())
    }
}
