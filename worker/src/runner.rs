//! The runner of one task: executes the effects of its [`TaskMachine`] on the runtime, and feeds back the events.
//!
//! Owns the machine while the task is on this node. Invariants: effects are executed in order, one at a time; one that must
//! not fail (stop, remove) is retried until it succeeds; dropping the runner leaves the container as it is.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use skep_common::{clock::Clock, net::backoff::Backoff};
use skep_proto::v1::{NodeDescription, Task, TaskState};
use skep_runtime::{ContainerSpecification, Runtime, RuntimeError, Signal, container_id_of_task};
use tokio::sync::watch;
use tracing::{Instrument as _, info, info_span, warn};

use crate::{
    reporter::Reporter,
    session_state::SessionState,
    task_db::TaskDb,
    task_machine::{Effect, Event, Found, TaskMachine},
};

/// What the manager wants of a task. Level, not edge: the newest value is all that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The desired state.
    pub(crate) state: TaskState,
    /// What becomes of the task as a whole.
    pub(crate) disposition: Disposition,
}

/// What becomes of a task. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disposition {
    /// It is the swarm's.
    Kept,
    /// It was removed from the swarm.
    Forgotten,
    /// The node leaves the swarm.
    Leaving,
}

/// What runners work with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) task_db: TaskDb,
    pub(crate) reporter: Reporter,
    pub(crate) clock: Arc<dyn Clock>,
    /// Says which log driver the swarm gives tasks that name none.
    pub(crate) swarm: watch::Receiver<SessionState>,
    /// What this node is, for the templates of its tasks.
    pub(crate) description: watch::Receiver<NodeDescription>,
}

/// Ends with its result; `None` when that comes as another event.
type Operation = BoxFuture<'static, Option<Event>>;

/// The runner of one task.
pub(crate) struct Runner {
    tools: Tools,
    machine: TaskMachine,
    container_id: String,
    wanted: watch::Receiver<Wanted>,
    effects: VecDeque<Effect>,
    /// The operation under way, and whether it may be left for the next effect.
    operation: Option<(Operation, Patience)>,
    /// Set from the start of the container until its end.
    exit: Option<Operation>,
}

/// What becomes of an operation when another effect waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// It is finished first.
    Finish,
    /// It goes on, but its answer is ignored.
    LeaveIt,
}

impl Runner {
    /// The runner of a task with the status it had when it was last seen, and what the runtime has of it.
    pub(crate) fn new(task: Task, found: Found, wanted: watch::Receiver<Wanted>, tools: Tools) -> Self {
        let container_id = container_id_of_task(&task.id);
        if let Some(status) = &task.status {
            tools.reporter.note(&task.id, status);
        }
        let mut runner = Self {
            tools,
            machine: TaskMachine::new(task),
            container_id,
            wanted,
            effects: VecDeque::new(),
            operation: None,
            exit: None,
        };
        runner.handle(Event::Adopted(found));
        runner
    }

    /// Runs until container and record are gone; returns the task's id.
    pub(crate) async fn run(self) -> String {
        let task = self.machine.task();
        let span = info_span!("task", task = %task.id, service = %task.service_id);
        self.drive().instrument(span).await
    }

    async fn drive(mut self) -> String {
        loop {
            self.carry_out();
            if self.machine.is_finished() {
                let id = self.machine.task().id.clone();
                self.tools.reporter.forget(&id);
                return id;
            }
            let event = tokio::select! {
                event = outcome(self.operation.as_mut().map(|(operation, _)| operation)) => {
                    self.operation = None;
                    event
                }
                event = outcome(self.exit.as_mut()) => {
                    self.exit = None;
                    event
                }
                wanted = next_wish(&mut self.wanted) => Some(wanted),
            };
            if let Some(event) = event {
                self.handle(event);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match &event {
            Event::Adopted(Found::Running { .. }) | Event::Started { .. } => {
                self.exit = Some(end_of(Arc::clone(&self.tools.runtime), self.container_id.clone()).boxed());
            }
            Event::Exited(exit) => info!(code = exit.code, oom = exit.oom, "the container ended"),
            _ => {}
        }
        for effect in self.machine.handle(event, self.tools.clock.now()) {
            match effect {
                // A report need not wait for the operation under way.
                Effect::Report(status) => self.tools.reporter.report(&self.machine.task().id, status),
                effect => self.effects.push_back(effect),
            }
        }
    }

    /// Begins what can begin now.
    fn carry_out(&mut self) {
        while !matches!(self.operation, Some((_, Patience::Finish)))
            && let Some(effect) = self.effects.pop_front()
        {
            let (operation, patience) = match effect {
                // Reported already, when it was emitted.
                Effect::Report(_) => continue,
                Effect::Save(task) => {
                    let saved = self.tools.task_db.save(&task);
                    self.operation = Some((saved.map(|()| Some(Event::Saved)).boxed(), Patience::LeaveIt));
                    continue;
                }
                Effect::Forget => {
                    // The record is out of the map at once; nobody waits for the disk.
                    drop(self.tools.task_db.forget(&self.machine.task().id));
                    continue;
                }
                Effect::Prepare => (self.prepare(), Patience::Finish),
                Effect::Start => (self.start(), Patience::Finish),
                // What follows is another stop with less grace, or comes when the container has ended.
                Effect::Stop { signal, grace } => (self.stop(&signal, grace), Patience::LeaveIt),
                Effect::Remove => (self.remove(), Patience::Finish),
            };
            self.operation = Some((operation, patience));
        }
    }

    fn specification(&self) -> Result<ContainerSpecification, RuntimeError> {
        let task = self.machine.task();
        let mut specification = ContainerSpecification::for_task(task, &self.tools.description.borrow())?;
        let names_driver = task.spec.as_ref().is_some_and(|spec| spec.log_driver.is_some());
        if !names_driver && let Some(facts) = &self.tools.swarm.borrow().facts {
            specification.log_driver = facts.task_log_driver.clone().unwrap_or_default();
        }
        Ok(specification)
    }

    fn prepare(&self) -> Operation {
        let runtime = Arc::clone(&self.tools.runtime);
        let specification = self.specification();
        async move {
            let prepared = match &specification {
                Ok(specification) => runtime.prepare(specification).await,
                Err(error) => Err(error.clone()),
            };
            Some(match prepared {
                Ok(()) => Event::Prepared,
                Err(error) => {
                    info!(%error, "the task cannot be prepared");
                    Event::PrepareFailed { reject: error.is_permanent(), err: error.to_string() }
                }
            })
        }
        .boxed()
    }

    fn start(&self) -> Operation {
        let (runtime, id) = (Arc::clone(&self.tools.runtime), self.container_id.clone());
        async move {
            Some(match runtime.start(&id).await {
                Ok(pid) => Event::Started { pid: pid.try_into().unwrap_or(0) },
                Err(error) => {
                    info!(%error, "the container could not be started");
                    // Whatever the failure left running must not run.
                    let _ = runtime.stop(&id, Some(Signal::KILL), Duration::ZERO).await;
                    Event::StartFailed { err: error.to_string() }
                }
            })
        }
        .boxed()
    }

    /// Has no result of its own: the container's exit is an event.
    fn stop(&self, signal: &str, grace: Duration) -> Operation {
        let (runtime, id) = (Arc::clone(&self.tools.runtime), self.container_id.clone());
        // An unknown signal was refused when the service was made; a task from before that gets the default.
        let signal: Option<Signal> = signal.parse().ok();
        async move {
            stop_container(&*runtime, &id, signal, grace).await;
            None
        }
        .boxed()
    }

    fn remove(&self) -> Operation {
        let (runtime, id) = (Arc::clone(&self.tools.runtime), self.container_id.clone());
        async move {
            remove_container(&*runtime, &id).await;
            Some(Event::Removed)
        }
        .boxed()
    }
}

/// The result of an operation; pending while there is none.
async fn outcome(operation: Option<&mut Operation>) -> Option<Event> {
    match operation {
        Some(operation) => operation.await,
        None => pending().await,
    }
}

/// The next desired state. Pending once the agent is gone.
async fn next_wish(wanted: &mut watch::Receiver<Wanted>) -> Event {
    if wanted.changed().await.is_err() {
        return pending().await;
    }
    let Wanted { state, disposition } = *wanted.borrow_and_update();
    match disposition {
        Disposition::Kept => Event::Desired(state),
        Disposition::Forgotten => Event::Forgotten,
        Disposition::Leaving => Event::Leaving,
    }
}

/// Waits for a started container to end.
async fn end_of(runtime: Arc<dyn Runtime>, id: String) -> Option<Event> {
    let mut backoff = retry();
    loop {
        match runtime.wait(&id).await {
            Ok(exit) => return Some(Event::Exited(exit)),
            Err(error @ (RuntimeError::NoSuchContainer(_) | RuntimeError::NotStarted(_))) => {
                return Some(Event::Lost { err: error.to_string() });
            }
            Err(error) => warn!(%error, "a container cannot be watched; trying again"),
        }
        backoff.wait().await;
    }
}

/// Stops a container; ends once it does not run any more.
pub(crate) async fn stop_container(runtime: &dyn Runtime, id: &str, signal: Option<Signal>, grace: Duration) {
    let mut backoff = retry();
    loop {
        match runtime.stop(id, signal, grace).await {
            Ok(()) | Err(RuntimeError::NoSuchContainer(_)) => return,
            Err(error) => warn!(%error, container = id, "a container could not be stopped; trying again"),
        }
        backoff.wait().await;
    }
}

/// Removes a container; ends once it is gone.
pub(crate) async fn remove_container(runtime: &dyn Runtime, id: &str) {
    let mut backoff = retry();
    while let Err(error) = runtime.remove(id).await {
        warn!(%error, container = id, "a container could not be removed; trying again");
        backoff.wait().await;
    }
}

fn retry() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(10))
}
