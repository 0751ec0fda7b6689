//! A run: everything wired together, and the three phases of its life.

use std::{collections::BTreeMap, fmt, time::Duration};

use skep_common::id::SeededIds;
use skep_proto::v1::{Availability, Cluster, Node as StoredNode};
use skep_store::TxBuilder;

use crate::{
    Config, agent,
    bugs::Planted,
    chaos::{self, Fault},
    context::{Context, Step, Violation, must},
    event::{AgentEvent, Ending, Event},
    health,
    leader::{Leader, Origin},
    node::Node,
    oracle::{Oracle, Sight},
    raft::Raft,
    tally::{Kind, Tally},
    users,
};

/// How long a new service may take once the swarm is whole again.
const NEWCOMER: Duration = Duration::from_secs(20);

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
    nodes: BTreeMap<String, Node>,
    oracle: Oracle,
    /// Of what users make.
    ids: SeededIds,
}

impl Simulation {
    fn new(config: &Config) -> Self {
        let mut context = Context::new(config.seed, Planted::new(config.bug), config.keep_trace);
        let raft = Raft::new(3, &mut context.rng);
        let ids = SeededIds::new(context.rng.next());
        Self { context, raft, leader: None, nodes: BTreeMap::new(), oracle: Oracle::default(), ids }
    }

    fn play(&mut self, config: &Config) -> Step {
        self.boot()?;
        self.context.soon(500, 1000, Event::Chaos);
        self.until(config.chaos)?;
        self.repair()?;
        self.until(config.chaos + config.healing)?;
        self.is_healthy()?;
        let newcomer = users::newcomer(&mut self.ids, self.context.wall());
        self.user(|tx| _ = tx.create(newcomer))?;
        self.until(config.chaos + config.healing + NEWCOMER)?;
        self.is_healthy()
    }

    // ---- phases --------------------------------------------------------------------------------

    /// A swarm of a few nodes, and its first leader.
    fn boot(&mut self) -> Step {
        self.elect()?;
        let cluster =
            Cluster { id: "cluster".into(), spec: Some(skep_core::defaults::cluster_spec()), ..Cluster::default() };
        self.user(|tx| _ = tx.create(cluster))?;
        for _ in 0..self.context.rng.between(2, 5) {
            self.join()?;
        }
        Ok(())
    }

    /// Another machine joins the swarm.
    fn join(&mut self) -> Step {
        let id = format!("n{}", self.nodes.len() + 1);
        let cpus = 1 + i64::try_from(self.context.rng.below(4)).unwrap_or(0);
        self.user(|tx| _ = tx.create(users::joining(&id)))?;
        let node = Node::new(&id, cpus, &mut self.context.rng);
        self.context.log(format_args!("{id} joins with {cpus} CPUs"));
        self.nodes.insert(id.clone(), node);
        self.context.soon(100, 1000, Event::AgentStarts { node: id });
        Ok(())
    }

    /// Every fault ends, and every node is active again.
    fn repair(&mut self) -> Step {
        self.context.calm_since = Some(self.context.now);
        self.context.log(format_args!("from here on nothing breaks"));
        for node in self.nodes.values_mut() {
            node.machine.is_cut = false;
        }
        let dead: Vec<String> =
            self.nodes.values().filter(|node| node.agent.is_none()).map(|node| node.machine.id.clone()).collect();
        for node in dead {
            self.context.soon(1, 100, Event::AgentStarts { node });
        }
        if self.raft.leader.is_none() {
            self.context.soon(1, 100, Event::Elect);
        }
        for manager in 0..self.raft.managers.len() {
            self.context.soon(1, 500, Event::ManagerStarts { manager });
        }
        // Until then there is a leader, and what was under way has settled.
        self.until(self.context.now + Duration::from_secs(3))?;
        let nodes: Vec<StoredNode> = self.raft.newest().nodes().map(|node| StoredNode::clone(node)).collect();
        self.user(|tx| {
            for mut node in nodes {
                node.spec.get_or_insert_default().set_availability(Availability::Active);
                tx.update(node);
            }
        })
    }

    fn is_healthy(&mut self) -> Step {
        must!(self.raft.is_close(), "some manager does not keep up");
        for manager in 0..self.raft.managers.len() {
            self.catch_up(manager)?;
        }
        must!(self.raft.is_even(), "the managers have not come to one state");
        health::check(&self.raft.newest(), &self.nodes, &self.oracle, &self.context)
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
        match event {
            Event::Commit { term, index } => {
                self.raft.commit(&mut self.context, term, index);
                self.apply_as_leader()
            }
            Event::CatchUp { manager } => self.catch_up(manager),
            Event::Elect => self.elect(),
            Event::ManagerStarts { manager } if !self.raft.managers[manager].is_up => {
                self.raft.start_manager(&mut self.context, manager)
            }
            Event::ManagerStarts { .. } => Ok(()),
            Event::Look { term, which } => self.lead(term, |leader, simulation| {
                let view = simulation.raft.newest();
                leader.look(&mut simulation.context, &view, &simulation.nodes, which)
            }),
            Event::Due { term, which } => self.lead(term, |leader, simulation| {
                leader.due(&mut simulation.context, which);
                Ok(())
            }),
            Event::Flush { term, node } => self.lead(term, |leader, simulation| {
                let view = simulation.raft.newest();
                if let Some(node) = simulation.nodes.get(&node) {
                    leader.flush(&mut simulation.context, &view, node);
                }
                Ok(())
            }),
            Event::Propose { term, origin, transactions } => {
                let is_current = self.raft.leader.is_some() && self.raft.term == term;
                if is_current {
                    self.raft.propose(&mut self.context, origin, transactions);
                }
                Ok(())
            }
            Event::AtLeader { node, message } => {
                let term = self.raft.term;
                self.lead(term, |leader, simulation| {
                    let view = simulation.raft.newest();
                    match simulation.nodes.get(&node) {
                        Some(node) => leader.receive(&mut simulation.context, &view, node, message),
                        None => Ok(()),
                    }
                })
            }
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
            Event::ContainerEnds { node, task, code, why } => {
                self.container_ends(&node, &task, code, why);
                Ok(())
            }
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
                    node.machine.is_cut = false;
                }
                Ok(())
            }
            Event::Chaos => self.chaos(),
        }
    }

    /// Does something as the leader of a term, if that still lasts.
    fn lead(&mut self, term: u64, act: impl FnOnce(&mut Leader, &mut Self) -> Step) -> Step {
        let Some(mut leader) = self.leader.take_if(|leader| leader.term() == term) else { return Ok(()) };
        let outcome = act(&mut leader, self);
        self.leader = Some(leader);
        outcome
    }

    fn elect(&mut self) -> Step {
        let Some(manager) = self.raft.elect(&mut self.context) else { return Ok(()) };
        // A leader leads only from a state that holds everything that is committed.
        self.catch_up(manager)?;
        let replica = &self.raft.managers[manager];
        let (view, skew) = (replica.view.clone(), replica.skew);
        if self.raft.term > 1 {
            self.context.tally.count(Kind::NewLeader);
        }
        self.leader = Some(Leader::begin(&mut self.context, &view, self.raft.term, skew));
        Ok(())
    }

    fn catch_up(&mut self, manager: usize) -> Step {
        while let Some(applied) = self.raft.apply_next(manager)? {
            let after = self.raft.managers[manager].view.clone();
            self.examine(&applied, &after)?;
        }
        Ok(())
    }

    fn apply_as_leader(&mut self) -> Step {
        let Some(manager) = self.raft.leader else { return Ok(()) };
        while let Some(applied) = self.raft.apply_next(manager)? {
            let after = self.raft.managers[manager].view.clone();
            self.examine(&applied, &after)?;
            self.lead(self.raft.term, |leader, simulation| {
                if let Ok(changes) = &applied.outcome {
                    leader.changed(&mut simulation.context, &after, changes);
                }
                if let Origin::Loop(which, term) = applied.origin
                    && term == leader.term()
                {
                    leader.outcome(&mut simulation.context, &simulation.nodes, which, applied.outcome.is_err());
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
            Ok(changes) => {
                self.context.log(format_args!(
                    "{} {:?} changes {}",
                    applied.index,
                    applied.origin,
                    changes.changes.len()
                ));
                let sight = Sight {
                    before: &applied.before,
                    after,
                    origin: applied.origin,
                    nodes: &self.nodes,
                    now: self.context.now,
                    is_settled: self.context.calm_for(SETTLING),
                };
                self.oracle.applied(&sight, changes, &mut self.context)
            }
            Err(error) => {
                self.context.tally.count(Kind::Conflict);
                self.context.log(format_args!("{} {:?} refused: {error}", applied.index, applied.origin));
                Ok(())
            }
        }
    }

    fn container_ends(&mut self, node: &str, task: &str, code: i32, why: Ending) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        let at = node.machine.wall(&self.context);
        if (why == Ending::Mishap && self.context.is_calm()) || !node.machine.runtime.end(task, code, at) {
            return;
        }
        self.context.log(format_args!("{} the container of {task} ends with {code}", node.machine.id));
        self.oracle.container_ends(task, code);
        if let Some(agent) = &node.agent {
            let ended = AgentEvent::ContainerEnded { task: task.to_owned() };
            self.context.agent_soon(&node.machine.id, agent.incarnation, 1, 20, ended);
        }
    }

    // ---- faults and users ----------------------------------------------------------------------

    fn chaos(&mut self) -> Step {
        if self.context.is_calm() {
            return Ok(());
        }
        self.context.soon(20, self.context.temper.pace, Event::Chaos);
        if self.context.rng.chance(self.context.temper.users) {
            return self.whim();
        }
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        match chaos::fault(&mut self.context.rng, &self.context.temper, &names) {
            Some(Fault::Depose { kill }) => {
                self.leader = None;
                self.raft.depose(&mut self.context, kill);
                self.break_sessions();
            }
            Some(Fault::KillAgent { node, lose_disk, reboot }) => self.kill_agent(&node, lose_disk, reboot)?,
            Some(Fault::Cut { node }) => {
                if let Some(cut) = self.nodes.get_mut(&node) {
                    self.context.log(format_args!("{node} is cut off"));
                    self.context.tally.count(Kind::NodeCut);
                    cut.machine.is_cut = true;
                    self.context.soon(100, 15_000, Event::Reconnect { node });
                }
            }
            None => {}
        }
        Ok(())
    }

    fn whim(&mut self) -> Step {
        if self.nodes.len() < 8 && self.context.rng.chance(50) {
            return self.join();
        }
        if let Some(view) = self.raft.leader_view()
            && let Some(transaction) = users::whim(&mut self.context, &view, &mut self.ids)
        {
            self.raft.propose(&mut self.context, Origin::User, vec![transaction]);
        }
        Ok(())
    }

    /// Proposes what a user wants, if somebody is there to take it.
    fn user(&mut self, edit: impl FnOnce(&mut TxBuilder<'_>)) -> Step {
        let Some(view) = self.raft.leader_view() else { return Ok(()) };
        let mut tx = TxBuilder::new(&view, self.context.wall());
        edit(&mut tx);
        self.raft.propose(&mut self.context, Origin::User, vec![tx.build()]);
        Ok(())
    }

    fn kill_agent(&mut self, name: &str, lose_disk: bool, reboot: bool) -> Step {
        let Some(node) = self.nodes.get_mut(name) else { return Ok(()) };
        agent::kill(&mut self.context, node, &mut self.oracle)?;
        self.context.tally.count(Kind::AgentKilled);
        if lose_disk {
            self.context.log(format_args!("{name} loses its task.db"));
            self.context.tally.count(Kind::DiskLost);
            node.machine.disk.clear();
        }
        if reboot {
            self.context.log(format_args!("{name} goes down with its containers"));
            self.context.tally.count(Kind::Reboot);
            let at = node.machine.wall(&self.context);
            for task in node.machine.runtime.running() {
                node.machine.runtime.end(&task, 137, at);
            }
        }
        self.context.soon(50, 8000, Event::AgentStarts { node: name.to_owned() });
        Ok(())
    }

    /// Whoever spoke with the leader notices that it is gone.
    fn break_sessions(&mut self) {
        for node in self.nodes.values() {
            if let Some(agent) = &node.agent {
                let broken = AgentEvent::Broken { session: agent.connection().to_owned() };
                self.context.agent_soon(&node.machine.id, agent.incarnation, 100, 1500, broken);
            }
        }
    }
}
