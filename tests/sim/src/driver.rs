//! Carries one task's effects out, as the daemon's runner does: in the order the machine gave them, one operation at a
//! time; a save may be overtaken by the next effect and goes on by itself.

use std::{collections::VecDeque, time::Duration};

use skep_proto::v1::{Task, TaskState};
use skep_worker::task_machine::{Effect, Event, Found, TaskMachine};

use crate::{
    context::{Context, Step},
    event::{AgentEvent, Ending, Event as Happening},
    node::Machine,
    oracle::Oracle,
    reporter::Reporter,
    runtime::Container,
    tally::Kind,
    users::{BROKEN, JOB},
};

/// An operation under way.
#[derive(Debug, Clone)]
struct Operation {
    number: u64,
    effect: Effect,
}

impl Operation {
    fn is_save(&self) -> bool {
        matches!(self.effect, Effect::Save(_))
    }
}

/// What a driver works with.
pub(crate) struct Tools<'a> {
    pub(crate) context: &'a mut Context,
    pub(crate) machine: &'a mut Machine,
    pub(crate) reporter: &'a mut Reporter,
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) incarnation: u64,
}

impl Tools<'_> {
    fn agent_soon(&mut self, low: u64, high: u64, what: AgentEvent) {
        self.context.agent_soon(&self.machine.id, self.incarnation, low, high, what);
    }
}

/// What runs in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// A server, that ends by mishap only.
    Server,
    /// One that ends as soon as it has begun, as long as anything may break.
    Broken,
    /// One that does its work and ends.
    Job,
}

impl Program {
    fn of(task: &Task) -> Self {
        let container = task.spec.as_ref().and_then(|spec| spec.container.as_ref());
        match container.map_or("", |container| &container.image) {
            BROKEN => Self::Broken,
            JOB => Self::Job,
            _ => Self::Server,
        }
    }
}

/// The driver of one task.
pub(crate) struct Driver {
    id: String,
    program: Program,
    machine: TaskMachine,
    effects: VecDeque<Effect>,
    operation: Option<Operation>,
    operations: u64,
}

impl Driver {
    /// The driver of a task with the status it had when it was last seen, and what the runtime has of it.
    pub(crate) fn begin(task: Task, found: Found, tools: &mut Tools<'_>) -> Result<Self, crate::context::Violation> {
        if let Some(status) = &task.status {
            tools.reporter.note(&task.id, status);
        }
        let id = task.id.clone();
        let program = Program::of(&task);
        let machine = TaskMachine::new(task);
        let mut driver = Self { id, program, machine, effects: VecDeque::new(), operation: None, operations: 0 };
        driver.handle(Event::Adopted(found), tools)?;
        Ok(driver)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.machine.is_finished()
    }

    pub(crate) fn want(&mut self, state: TaskState, tools: &mut Tools<'_>) -> Step {
        self.handle(Event::Desired(state), tools)
    }

    pub(crate) fn forget(&mut self, tools: &mut Tools<'_>) -> Step {
        self.handle(Event::Forgotten, tools)
    }

    /// The operation with this number is done.
    pub(crate) fn done(&mut self, number: u64, event: Option<Event>, tools: &mut Tools<'_>) -> Step {
        let Some(operation) = self.operation.take_if(|operation| operation.number == number) else { return Ok(()) };
        let event = self.complete(operation.effect, event, tools)?;
        match event {
            Some(event) => self.handle(event, tools),
            None => self.carry_out(tools),
        }
    }

    /// The watched container ended.
    pub(crate) fn container_ended(&mut self, tools: &mut Tools<'_>) -> Step {
        match tools.machine.runtime.get(&self.id) {
            Some(Container::Exited(exit)) => {
                let exit = exit.clone();
                self.handle(Event::Exited(exit), tools)
            }
            _ => Ok(()),
        }
    }

    /// The agent is killed. What was under way has happened or has not.
    pub(crate) fn crash(mut self, tools: &mut Tools<'_>) -> Step {
        if let Some(operation) = self.operation.take()
            && tools.context.rng.chance(500)
        {
            let event = match operation.effect {
                Effect::Start => Some(Event::Started { pid: 0 }),
                Effect::Prepare => Some(Event::Prepared),
                _ => None,
            };
            self.complete(operation.effect, event, tools)?;
        }
        Ok(())
    }

    fn handle(&mut self, event: Event, tools: &mut Tools<'_>) -> Step {
        let watches = matches!(event, Event::Adopted(Found::Running { .. }) | Event::Started { .. });
        if watches && !tools.machine.runtime.is_running(&self.id) {
            // It ended before anybody watched it.
            tools.agent_soon(1, 10, AgentEvent::ContainerEnded { task: self.id.clone() });
        }
        // A node's clock is its own affair; that it is a little wrong must not matter.
        let now = tools.machine.wall(tools.context);
        for effect in self.machine.handle(event, now) {
            match effect {
                Effect::Report(status) => {
                    tools.context.log(format_args!("{} {} is {:?}", tools.machine.id, self.id, status.state()));
                    tools.reporter.report(&self.id, status);
                }
                effect => self.effects.push_back(effect),
            }
        }
        self.carry_out(tools)
    }

    /// Begins what can begin now.
    fn carry_out(&mut self, tools: &mut Tools<'_>) -> Step {
        while self.operation.as_ref().is_none_or(Operation::is_save)
            && let Some(effect) = self.effects.pop_front()
        {
            if let Some(overtaken) = self.operation.take() {
                self.complete(overtaken.effect, None, tools)?;
            }
            if effect == Effect::Forget {
                tools.machine.disk.remove(&self.id);
                continue;
            }
            self.operations += 1;
            let (delay, event) = self.outlook(&effect, tools);
            let done = AgentEvent::Done { task: self.id.clone(), operation: self.operations, event };
            tools.agent_soon(delay, delay + delay / 2, done);
            self.operation = Some(Operation { number: self.operations, effect });
        }
        Ok(())
    }

    /// How long an effect takes at least, in milliseconds, and what comes of it.
    fn outlook(&self, effect: &Effect, tools: &mut Tools<'_>) -> (u64, Option<Event>) {
        let context = &mut *tools.context;
        match effect {
            Effect::Prepare if context.misfortune(40) => {
                let reject = context.rng.chance(500);
                (20, Some(Event::PrepareFailed { err: "no space left on device".into(), reject }))
            }
            Effect::Prepare => (if context.misfortune(50) { 5000 } else { 20 }, Some(Event::Prepared)),
            Effect::Save(_) => (2, Some(Event::Saved)),
            Effect::Start if context.misfortune(30) => (10, Some(Event::StartFailed { err: "exec failed".into() })),
            Effect::Start => (if context.misfortune(50) { 2000 } else { 10 }, Some(Event::Started { pid: 0 })),
            Effect::Stop { grace, .. } => {
                let whole = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                let mut delay = if context.misfortune(100) { whole } else { whole.min(200) };
                if context.misfortune(context.temper.stubborn) {
                    // Not even when it is killed: its disk hangs, say. All of that is over some time after the faults.
                    context.tally.count(Kind::Stubborn);
                    let latest = (context.chaos + Duration::from_secs(20)).saturating_sub(context.now);
                    delay = context.rng.millis(5_000, 75_000).min(latest).as_millis().try_into().unwrap_or(delay);
                }
                let (node, task) = (tools.machine.id.clone(), self.id.clone());
                let ends = Happening::ContainerEnds { node, task, code: 143, why: Ending::Stopped };
                context.soon(delay, delay, ends);
                (delay + 1, None)
            }
            Effect::Remove => (10, Some(Event::Removed)),
            Effect::Report(_) | Effect::Forget => (0, None),
        }
    }

    /// Does to disk and runtime what a finished operation does, and says what the machine hears of it.
    fn complete(
        &self,
        effect: Effect,
        event: Option<Event>,
        tools: &mut Tools<'_>,
    ) -> Result<Option<Event>, crate::context::Violation> {
        match (effect, event) {
            (Effect::Save(task), event) => {
                tools.machine.disk.insert(self.id.clone(), *task);
                Ok(event)
            }
            (Effect::Prepare, Some(Event::Prepared)) => {
                tools.machine.runtime.prepare(&self.id);
                Ok(Some(Event::Prepared))
            }
            (Effect::Start, Some(Event::Started { .. })) => match tools.machine.runtime.start(&self.id) {
                Some(pid) => {
                    tools.context.log(format_args!("{} starts the container of {}", tools.machine.id, self.id));
                    tools.oracle.container_starts(&self.id, &tools.machine.id, tools.context.now)?;
                    self.live(tools);
                    Ok(Some(Event::Started { pid }))
                }
                None => Ok(Some(Event::StartFailed { err: "there is nothing to start".into() })),
            },
            // As the daemon's runtime does: what could not be started has ended.
            (Effect::Start, Some(event @ Event::StartFailed { .. })) => {
                if tools.machine.runtime.start(&self.id).is_some() {
                    let at = tools.machine.wall(tools.context);
                    tools.machine.runtime.end(&self.id, 127, at);
                }
                Ok(Some(event))
            }
            (Effect::Remove, event) => {
                tools.machine.runtime.remove(&self.id);
                Ok(event)
            }
            (_, event) => Ok(event),
        }
    }

    /// What the program in the container does with its life.
    fn live(&self, tools: &mut Tools<'_>) {
        let context = &mut *tools.context;
        let often = if self.program == Program::Broken { 900 } else { context.temper.exits };
        let (why, code, longest) = match self.program {
            Program::Job => {
                let fails = context.misfortune(often / 2);
                (Ending::Done, i32::from(fails), 4000)
            }
            Program::Broken if context.misfortune(often) => (Ending::Mishap, 1, 300),
            Program::Server if context.misfortune(often) => {
                (Ending::Mishap, *context.rng.pick(&[0, 1, 137]).unwrap_or(&0), 30_000)
            }
            Program::Broken | Program::Server => return,
        };
        let (node, task) = (tools.machine.id.clone(), self.id.clone());
        context.soon(100, longest, Happening::ContainerEnds { node, task, code, why });
    }
}
