//! The agent of one node: session, assignment set, one driver for each task. The plumbing of the daemon's worker, in
//! steps instead of tasks.

use std::{collections::BTreeMap, sync::Arc};

use skep_proto::v1::{AssignmentsMessage, Task};
use skep_worker::{
    assignments::{AssignmentChange, AssignmentSet},
    task_machine::Found,
};

use crate::{
    Mutant,
    context::{Context, Step, must},
    driver::{Driver, Tools},
    event::AgentEvent,
    network::{self, ToAgent, ToLeader},
    node::{Machine, Node},
    oracle::Oracle,
    reporter::Reporter,
};

/// How the agent stands with the swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    /// It will try.
    Waiting,
    Opening {
        attempt: String,
    },
    Open {
        session: String,
    },
    /// The swarm does not know this node any more.
    Removed,
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) incarnation: u64,
    link: Link,
    attempts: u64,
    /// Streams of assignments asked for.
    streams: u64,
    set: AssignmentSet,
    drivers: BTreeMap<String, Driver>,
    /// Containers of tasks there is no record of, by task.
    unclaimed: BTreeMap<String, Found>,
    reporter: Reporter,
    /// A batch of reports is on its way.
    is_telling: bool,
}

/// Starts the daemon of a node: records and containers are put together.
pub(crate) fn start(context: &mut Context, node: &mut Node, oracle: &mut Oracle) -> Step {
    node.incarnations += 1;
    let machine = &mut node.machine;
    context.log(format_args!("{} starts, with {} records", machine.id, machine.disk.len()));
    let records: Vec<Task> = machine.disk.values().cloned().collect();
    let containers = machine.runtime.all().map(|(task, container)| (task.clone(), container.found()));
    let mut found: BTreeMap<String, Found> = containers.collect();
    if context.mutant.has(Mutant::ForgetfulAgent) {
        found.clear();
    }
    let mut agent = Agent {
        incarnation: node.incarnations,
        link: Link::Waiting,
        attempts: 0,
        streams: 0,
        set: AssignmentSet::restored(records.iter().cloned().map(Arc::new)),
        drivers: BTreeMap::new(),
        unclaimed: BTreeMap::new(),
        reporter: Reporter::default(),
        is_telling: false,
    };
    for task in records {
        let container = found.remove(&task.id).unwrap_or(Found::Nothing);
        agent.begin(task, container, context, machine, oracle)?;
    }
    agent.unclaimed = found;
    context.agent_soon(&machine.id, agent.incarnation, 1, 300, AgentEvent::Connect);
    node.agent = Some(agent);
    Ok(())
}

/// Kills the daemon of a node. What was under way has happened or has not.
pub(crate) fn kill(context: &mut Context, node: &mut Node, oracle: &mut Oracle) -> Step {
    let Some(mut agent) = node.agent.take() else { return Ok(()) };
    context.log(format_args!("{} is killed", node.machine.id));
    for driver in std::mem::take(&mut agent.drivers).into_values() {
        driver.crash(&mut agent.tools(context, &mut node.machine, oracle))?;
    }
    Ok(())
}

impl Agent {
    /// The connection the agent is on, or is making.
    pub(crate) fn connection(&self) -> &str {
        match &self.link {
            Link::Opening { attempt: id } | Link::Open { session: id } => id,
            Link::Waiting | Link::Removed => "",
        }
    }

    // ---- what happens to it --------------------------------------------------------------------

    pub(crate) fn handle(
        &mut self,
        what: AgentEvent,
        context: &mut Context,
        machine: &mut Machine,
        oracle: &mut Oracle,
    ) -> Step {
        match what {
            AgentEvent::Connect => self.connect(context, machine),
            AgentEvent::Broken { session } => self.broken(&session, context, machine),
            AgentEvent::Heartbeat { session } => self.heartbeat(session, context, machine),
            AgentEvent::SendReports { session, again } => self.send_reports(session, again, context, machine),
            AgentEvent::Done { task, operation, event } => {
                return self
                    .drive(&task, context, machine, oracle, |driver, tools| driver.done(operation, event, tools));
            }
            AgentEvent::ContainerEnded { task } => {
                return self.drive(&task, context, machine, oracle, Driver::container_ended);
            }
            AgentEvent::RemoveUnclaimed { task } => {
                if !self.drivers.contains_key(&task) {
                    machine.runtime.remove(&task);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn receive(
        &mut self,
        message: ToAgent,
        context: &mut Context,
        machine: &mut Machine,
        oracle: &mut Oracle,
    ) -> Step {
        match message {
            ToAgent::Opened { attempt, session } if self.link == (Link::Opening { attempt: attempt.clone() }) => {
                self.opened(session, context, machine);
            }
            ToAgent::Stale { session } => self.broken(&session, context, machine),
            ToAgent::Removed => return self.removed(context, machine, oracle),
            ToAgent::Assignments { session, stream, message } if self.is_open(&session) && stream == self.streams => {
                return self.assign(session, message, context, machine, oracle);
            }
            ToAgent::Taken { session, updates } if self.is_open(&session) => {
                self.reporter.told(&updates);
                self.is_telling = false;
                self.tell_soon(context, machine);
            }
            _ => {}
        }
        Ok(())
    }

    // ---- session -------------------------------------------------------------------------------

    fn connect(&mut self, context: &mut Context, machine: &Machine) {
        if self.link != Link::Waiting {
            return;
        }
        self.attempts += 1;
        let attempt = format!("{}/{}/{}", machine.id, self.incarnation, self.attempts);
        self.link = Link::Opening { attempt: attempt.clone() };
        let deadline = AgentEvent::Broken { session: attempt.clone() };
        context.agent_soon(&machine.id, self.incarnation, 2000, 2000, deadline);
        self.send(&attempt.clone(), ToLeader::Open { attempt }, context, machine);
    }

    fn opened(&mut self, session: String, context: &mut Context, machine: &Machine) {
        self.link = Link::Open { session: session.clone() };
        self.is_telling = false;
        self.ask(session.clone(), context, machine);
        context.agent_soon(&machine.id, self.incarnation, 1, 750, AgentEvent::Heartbeat { session });
        self.tell_soon(context, machine);
    }

    /// Asks for what the node lacks, and what changes from then on.
    fn ask(&mut self, session: String, context: &mut Context, machine: &Machine) {
        let mut have = self.set.begin();
        self.reporter.put_observed(&mut have);
        self.streams += 1;
        let connection = session.clone();
        self.send(&connection, ToLeader::Assignments { session, stream: self.streams, have }, context, machine);
    }

    /// Nothing that ends a session touches a task.
    fn broken(&mut self, session: &str, context: &mut Context, machine: &Machine) {
        if self.connection() == session && self.link != Link::Removed {
            self.link = Link::Waiting;
            context.agent_soon(&machine.id, self.incarnation, 200, 1000, AgentEvent::Connect);
        }
    }

    fn heartbeat(&mut self, session: String, context: &mut Context, machine: &Machine) {
        if self.is_open(&session) {
            self.send(&session, ToLeader::Heartbeat { session: session.clone() }, context, machine);
            context.agent_soon(&machine.id, self.incarnation, 750, 750, AgentEvent::Heartbeat { session });
        }
    }

    fn send_reports(&mut self, session: String, again: bool, context: &mut Context, machine: &Machine) {
        let updates = self.reporter.untold();
        if !self.is_open(&session) || (self.is_telling && !again) || updates.is_empty() {
            return;
        }
        self.is_telling = true;
        self.send(&session, ToLeader::Reports { session: session.clone(), updates }, context, machine);
        let again = AgentEvent::SendReports { session, again: true };
        context.agent_soon(&machine.id, self.incarnation, 1500, 2000, again);
    }

    fn tell_soon(&self, context: &mut Context, machine: &Machine) {
        if let Link::Open { session } = &self.link {
            let what = AgentEvent::SendReports { session: session.clone(), again: false };
            context.agent_soon(&machine.id, self.incarnation, 1, 20, what);
        }
    }

    fn send(&self, connection: &str, message: ToLeader, context: &mut Context, machine: &Machine) {
        network::to_leader(context, machine, Some(self.incarnation), connection, message);
    }

    fn is_open(&self, session: &str) -> bool {
        matches!(&self.link, Link::Open { session: open } if open == session)
    }

    // ---- tasks ---------------------------------------------------------------------------------

    fn assign(
        &mut self,
        session: String,
        message: AssignmentsMessage,
        context: &mut Context,
        machine: &mut Machine,
        oracle: &mut Oracle,
    ) -> Step {
        let was_told_everything = self.set.generation().is_some();
        let mut told = Vec::new();
        let changes = match self.set.apply(message) {
            Ok(changes) => changes,
            Err(gap) => {
                context.log(format_args!("{}: {gap}", machine.id));
                if !context.mutant.has(Mutant::IgnoredGap) {
                    self.ask(session, context, machine);
                }
                return Ok(());
            }
        };
        for change in changes {
            match change {
                AssignmentChange::Assigned(task) => {
                    must!(
                        task.node_id == machine.id,
                        "{} was told of {}, a task of {}",
                        machine.id,
                        task.id,
                        task.node_id
                    );
                    let container = self.unclaimed.remove(&task.id).unwrap_or(Found::Nothing);
                    self.begin(Task::clone(&task), container, context, machine, oracle)?;
                    told.push(task);
                }
                AssignmentChange::Told(task) => {
                    let state = task.desired_state();
                    self.drive(&task.id, context, machine, oracle, |driver, tools| driver.want(state, tools))?;
                    told.push(task);
                }
                AssignmentChange::Removed(task) => self.drive(&task, context, machine, oracle, Driver::forget)?,
            }
        }
        if !was_told_everything {
            self.reporter.reconcile(told.iter().map(AsRef::as_ref));
            self.tell_soon(context, machine);
            if self.set.generation().is_some() {
                self.remove_unclaimed(context, machine);
            }
        }
        Ok(())
    }

    fn removed(&mut self, context: &mut Context, machine: &mut Machine, oracle: &mut Oracle) -> Step {
        if self.link == Link::Removed {
            return Ok(());
        }
        context.log(format_args!("{} was removed from the swarm", machine.id));
        self.link = Link::Removed;
        self.set = AssignmentSet::default();
        self.remove_unclaimed(context, machine);
        let tasks: Vec<String> = self.drivers.keys().cloned().collect();
        tasks.iter().try_for_each(|task| self.drive(task, context, machine, oracle, Driver::forget))
    }

    fn begin(
        &mut self,
        task: Task,
        found: Found,
        context: &mut Context,
        machine: &mut Machine,
        oracle: &mut Oracle,
    ) -> Step {
        // One that is still being removed from an earlier time here comes after that.
        if self.drivers.contains_key(&task.id) {
            return Ok(());
        }
        let id = task.id.clone();
        let driver = Driver::begin(task, found, &mut self.tools(context, machine, oracle))?;
        self.drivers.insert(id, driver);
        self.tell_soon(context, machine);
        Ok(())
    }

    /// Lets the driver of a task do something, and sees to it when that was its last.
    fn drive(
        &mut self,
        task: &str,
        context: &mut Context,
        machine: &mut Machine,
        oracle: &mut Oracle,
        act: impl FnOnce(&mut Driver, &mut Tools<'_>) -> Step,
    ) -> Step {
        let Some((id, mut driver)) = self.drivers.remove_entry(task) else { return Ok(()) };
        act(&mut driver, &mut self.tools(context, machine, oracle))?;
        self.tell_soon(context, machine);
        if !driver.is_finished() {
            self.drivers.insert(id, driver);
            return Ok(());
        }
        self.reporter.forget(&id);
        // It came back while it was being removed.
        match self.set.task(&id).map(|task| Task::clone(task)) {
            Some(task) => self.begin(task, Found::Nothing, context, machine, oracle),
            None => Ok(()),
        }
    }

    /// Stops and removes the containers no task has claimed.
    fn remove_unclaimed(&mut self, context: &mut Context, machine: &mut Machine) {
        for task in std::mem::take(&mut self.unclaimed).into_keys() {
            context.log(format_args!("{} removes the container of {task}, which is none of its tasks", machine.id));
            machine.runtime.end(&task, 137, context.wall());
            context.agent_soon(&machine.id, self.incarnation, 10, 100, AgentEvent::RemoveUnclaimed { task });
        }
    }

    fn tools<'a>(
        &'a mut self,
        context: &'a mut Context,
        machine: &'a mut Machine,
        oracle: &'a mut Oracle,
    ) -> Tools<'a> {
        Tools { context, machine, reporter: &mut self.reporter, oracle, incarnation: self.incarnation }
    }
}
