//! The agent: runs one runner per assigned task of this node, and keeps them in step with the assignments.
//!
//! Owns the assignment set and the runners. Invariants: every task of the set has a runner, and a runner whose task
//! has left the set is removing its container; a container that belongs to no known task is left alone until a
//! manager has sent all assignments of this node.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use skep_common::{
    limits::{LEAVE_GRACE, STOP_GRACE},
    net::backoff::Backoff,
};
use skep_proto::v1::{AssignmentVersion, AssignmentsMessage, Task};
use skep_runtime::{ContainerState, Status, container_id_of_task};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    assignments::{AssignmentChange, AssignmentSet, Gap},
    runner::{Disposition, Runner, Tools, Wanted, remove_container, stop_container},
    task_machine::Found,
};

/// Messages that may wait for the agent; a manager that sends more is slowed down by HTTP/2.
const QUEUE: usize = 16;

/// A handle to the agent. Clones are of the same one.
#[derive(Clone)]
pub(crate) struct AgentHandle(mpsc::Sender<Command>);

/// The agent is shut down.
#[derive(Debug, thiserror::Error)]
#[error("the agent is shut down")]
pub(crate) struct AgentGone;

enum Command {
    BeginStream { reply: oneshot::Sender<Vec<AssignmentVersion>> },
    Assign { message: AssignmentsMessage, reply: oneshot::Sender<Result<(), Gap>> },
    ReleaseAll { disposition: Disposition, done: oneshot::Sender<()> },
}

impl AgentHandle {
    /// Begins a new stream of assignments. Says what this node has.
    pub(crate) async fn begin_stream(&self) -> Result<Vec<AssignmentVersion>, AgentGone> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Command::BeginStream { reply }).await.map_err(|_| AgentGone)?;
        answer.await.map_err(|_| AgentGone)
    }

    /// Hands over a message of the stream.
    pub(crate) async fn assign(&self, message: AssignmentsMessage) -> Result<Result<(), Gap>, AgentGone> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Command::Assign { message, reply }).await.map_err(|_| AgentGone)?;
        answer.await.map_err(|_| AgentGone)
    }

    /// Stops every task and removes what is left of it; ends once all is gone. `disposition` is why, and so how soon.
    pub(crate) async fn release_all(&self, disposition: Disposition) -> Result<(), AgentGone> {
        let (done, answer) = oneshot::channel();
        self.0.send(Command::ReleaseAll { disposition, done }).await.map_err(|_| AgentGone)?;
        answer.await.map_err(|_| AgentGone)
    }
}

/// The agent's state.
pub(crate) struct Agent {
    tools: Tools,
    set: AssignmentSet,
    wanted: HashMap<String, watch::Sender<Wanted>>,
    /// Each ends with the id of the task it was for.
    runners: JoinSet<String>,
    /// Containers of tasks there is no record of, by the container's id.
    unclaimed: BTreeMap<String, Container>,
    /// Callers that wait for the last runner to end.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Agent {
    /// Restores the tasks from the records and the runtime's containers, and runs until `stop`. The containers outlive it.
    pub(crate) fn spawn(
        tools: Tools,
        records: Vec<Task>,
        stop: CancellationToken,
    ) -> (AgentHandle, tokio::task::JoinHandle<()>) {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let agent = Self {
            tools,
            set: AssignmentSet::default(),
            wanted: HashMap::new(),
            runners: JoinSet::new(),
            unclaimed: BTreeMap::new(),
            waiting: Vec::new(),
        };
        let running = stop.run_until_cancelled_owned(agent.run(records, inbox));
        let running = tokio::spawn(async move {
            running.await;
        });
        (AgentHandle(commands), running)
    }

    async fn run(mut self, records: Vec<Task>, mut inbox: mpsc::Receiver<Command>) {
        self.adopt(records).await;
        loop {
            tokio::select! {
                Some(ended) = self.runners.join_next() => match ended {
                    Ok(task_id) => self.ended(&task_id),
                    // A bug in a runner; going on would leave its task without one.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                command = inbox.recv() => match command {
                    // The caller may be gone; the stream has begun all the same.
                    Some(Command::BeginStream { reply }) => _ = reply.send(self.begin_stream()),
                    Some(Command::Assign { message, reply }) => _ = reply.send(self.assign(message)),
                    Some(Command::ReleaseAll { disposition, done }) => self.release_all(disposition, done),
                    None => return,
                },
            }
        }
    }

    /// Matches records and containers.
    async fn adopt(&mut self, records: Vec<Task>) {
        let mut found = self.containers().await;
        info!(records = records.len(), containers = found.len(), "taking up the tasks of this node");
        self.set = AssignmentSet::restored(records.iter().cloned().map(Arc::new));
        for task in records {
            let container = claim(&mut found, &task.id);
            self.begin(task, container);
        }
        self.unclaimed = found;
    }

    /// The containers of tasks, by their ids. Without knowing them nothing can be decided, so this takes as long as it takes.
    async fn containers(&self) -> BTreeMap<String, Container> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            match self.tools.runtime.list().await {
                Ok(containers) => return containers.into_iter().filter_map(of_task).collect(),
                Err(error) => warn!(%error, "the containers of this node cannot be listed; trying again"),
            }
            backoff.wait().await;
        }
    }

    fn begin_stream(&mut self) -> Vec<AssignmentVersion> {
        let mut have = self.set.begin();
        self.tools.reporter.put_observed(&mut have);
        have
    }

    fn assign(&mut self, message: AssignmentsMessage) -> Result<(), Gap> {
        let was_told_everything = self.set.generation().is_some();
        let mut told = Vec::new();
        for change in self.set.apply(message)? {
            match change {
                AssignmentChange::Assigned(task) => {
                    let container = claim(&mut self.unclaimed, &task.id);
                    self.begin(Task::clone(&task), container);
                    told.push(task);
                }
                AssignmentChange::Told(task) => {
                    self.want(&task.id, Wanted { state: task.desired_state(), disposition: Disposition::Kept });
                    told.push(task);
                }
                AssignmentChange::Removed(task_id) => self.release(&task_id, Disposition::Forgotten),
            }
        }
        if !was_told_everything {
            // Reports that the manager has not got are sent again. What it says later is only older than the reports.
            self.tools.reporter.reconcile(&told);
            if self.set.generation().is_some() {
                self.remove_unclaimed(STOP_GRACE);
            }
        }
        Ok(())
    }

    /// Starts the runner of a task; if an earlier one is still removing the task, after that.
    fn begin(&mut self, task: Task, container: Found) {
        if self.wanted.contains_key(&task.id) {
            return;
        }
        let id = task.id.clone();
        let (wanted, receiver) = watch::channel(Wanted { state: task.desired_state(), disposition: Disposition::Kept });
        self.wanted.insert(id, wanted);
        self.runners.spawn(Runner::new(task, container, receiver, self.tools.clone()).run());
    }

    fn want(&self, task_id: &str, wanted: Wanted) {
        if let Some(sender) = self.wanted.get(task_id) {
            // A removed task stays removed.
            sender.send_if_modified(|before| {
                before.disposition == Disposition::Kept && std::mem::replace(before, wanted) != wanted
            });
        }
    }

    fn release(&self, task_id: &str, disposition: Disposition) {
        if let Some(sender) = self.wanted.get(task_id) {
            sender.send_modify(|wanted| wanted.disposition = wanted.disposition.max(disposition));
        }
    }

    fn ended(&mut self, task_id: &str) {
        self.wanted.remove(task_id);
        // It was assigned again while it was being removed. The manager's status of it keeps it from starting again.
        if let Some(task) = self.set.task(task_id) {
            self.begin(Task::clone(task), Found::Nothing);
        }
        if self.runners.is_empty() {
            self.waiting.drain(..).for_each(|done| _ = done.send(()));
        }
    }

    /// Removes the containers no task has claimed.
    fn remove_unclaimed(&mut self, grace: Duration) {
        for (container, Container { task_id, .. }) in std::mem::take(&mut self.unclaimed) {
            warn!(%container, task = %task_id, "removing a container whose task the swarm does not know");
            let runtime = Arc::clone(&self.tools.runtime);
            self.runners.spawn(async move {
                stop_container(&*runtime, &container, None, grace).await;
                remove_container(&*runtime, &container).await;
                task_id
            });
        }
    }

    fn release_all(&mut self, disposition: Disposition, done: oneshot::Sender<()>) {
        self.set = AssignmentSet::default();
        self.remove_unclaimed(if disposition == Disposition::Leaving { LEAVE_GRACE } else { STOP_GRACE });
        self.wanted.keys().for_each(|task_id| self.release(task_id, disposition));
        if self.runners.is_empty() {
            // The caller may be gone; it is done all the same.
            let _ = done.send(());
        } else {
            self.waiting.push(done);
        }
    }
}

/// A container of a task.
pub(crate) struct Container {
    /// What its label says; empty when its record could not be read.
    task_id: String,
    found: Found,
}

/// What the runtime has of a task: its container is found by the id that follows from the task's.
fn claim(containers: &mut BTreeMap<String, Container>, task_id: &str) -> Found {
    containers.remove(&container_id_of_task(task_id)).map_or(Found::Nothing, |container| container.found)
}

/// What the runtime has of a task; `None` for containers that belong to none.
pub(crate) fn of_task(container: ContainerState) -> Option<(String, Container)> {
    let task_id = match container.task_id() {
        // Any container can have the label; only a task's has this id.
        Some(task_id) if container.id == container_id_of_task(task_id) => task_id.to_owned(),
        // A container whose record could not be read.
        None if container.image.is_empty() => String::new(),
        _ => return None,
    };
    let found = match container.status {
        Status::Created => Found::Created,
        Status::Running { pid, .. } => Found::Running { pid: pid.try_into().unwrap_or(0) },
        Status::Exited(exit) => Found::Exited(exit),
    };
    Some((container.id, Container { task_id, found }))
}
