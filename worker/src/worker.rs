//! The agent as the daemon uses it: start, query, stop, leave.
//!
//! Owns the lifetimes of everything in this crate. Invariants: containers outlive a [`Worker`] unless it leaves the swarm;
//! task.db is closed last, so that no known status is lost.

use std::{path::PathBuf, sync::Arc, time::Duration};

use skep_common::{
    clock::Clock,
    net::{
        dial::Dialer,
        identity::IdentityHandle,
        server::{RpcServer, ServerLimits},
    },
};
use skep_proto::v1::{NodeDescription, peer_server::PeerServer};
use skep_runtime::Runtime;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{info, warn};

use crate::{
    Managers,
    agent::{Agent, AgentHandle},
    node_message::{NodeMessage, Subject},
    peer_service::{ManagerRoles, PeerService},
    reporter::Reporter,
    runner::{Disposition, Tools},
    session::Session,
    session_state::SessionState,
    task_db::{TaskDb, TaskDbKeeper},
};

/// What an agent is made of.
pub struct WorkerConfig {
    /// This node's id.
    pub node_id: String,
    /// Where task.db is; made when it is not there.
    pub data_dir: PathBuf,
    /// Who this node is, on 7946.
    pub identity: IdentityHandle,
    /// The way to the managers.
    pub dialer: Dialer,
    /// Gives statuses their times.
    pub clock: Arc<dyn Clock>,
    /// Runs the containers.
    pub runtime: Arc<dyn Runtime>,
    /// The managers, shared with the daemon.
    pub managers: Managers,
    /// The node's description; a change is reported to the swarm at once.
    pub description: watch::Receiver<NodeDescription>,
    /// What is wrong with this node's manager, in a sentence; empty when nothing is, or there is none.
    pub manager_trouble: watch::Receiver<String>,
    /// The socket of 7946.
    pub listen: TcpListener,
    /// What that port takes on.
    pub limits: ServerLimits,
}

/// How long the agent's loops may take to end, calls that are open on 7946 among them.
const ENDING: Duration = Duration::from_millis(1500);

/// How long task.db may take to be closed or removed. A disk that does not answer must not hold up the end of the daemon.
const CLOSING: Duration = Duration::from_millis(1500);

/// A running agent. Dropping it stops it as [`Worker::shutdown`] does, without waiting for it.
pub struct Worker {
    agent: AgentHandle,
    state: watch::Receiver<SessionState>,
    message: NodeMessage,
    task_db: TaskDbKeeper,
    /// The session with the swarm, and calls from it.
    outside: Tasks,
    /// The tasks' runners.
    inside: Tasks,
}

impl Worker {
    /// Starts the agent: takes up the tasks of task.db, looks for the swarm, serves 7946. Neither a spoiled task.db
    /// nor a swarm that cannot be reached is an error: there is none.
    pub async fn start(config: WorkerConfig) -> Self {
        let message = NodeMessage::new();
        let reporter = Reporter::default();
        let (task_db, keeper, mut records) = TaskDb::open(&config.data_dir, message.clone()).await;
        // Of a membership that could not be cleared away: no manager takes reports of another node's tasks.
        for foreign in records.extract_if(.., |task| task.node_id != config.node_id) {
            warn!(task = %foreign.id, node = %foreign.node_id, "task.db holds a task of another node; dropping it");
            drop(task_db.forget(&foreign.id));
        }
        let state = watch::Sender::new(SessionState::default());
        let tools = Tools {
            runtime: Arc::clone(&config.runtime),
            task_db,
            reporter: reporter.clone(),
            clock: config.clock,
            swarm: state.subscribe(),
            description: config.description.clone(),
        };
        let mut inside = Tasks::new();
        let (agent, running) = Agent::spawn(tools, records, inside.stop.clone());
        inside.tasks.push(running);

        let (disk, says) = (config.runtime.disk(), message.clone());
        inside.spawn(|stop| tell(disk, |level| level.problem().map(str::to_owned), Subject::Disk, says, stop));
        let (manager, says) = (config.manager_trouble, message.clone());
        let problem = |trouble: &String| Some(trouble.clone()).filter(|trouble| !trouble.is_empty());
        inside.spawn(move |stop| tell(manager, problem, Subject::Manager, says, stop));

        let mut outside = Tasks::new();
        let peers = PeerServer::new(PeerService::new(config.node_id, config.runtime));
        let roles = Arc::new(ManagerRoles(config.managers.clone()));
        let server =
            RpcServer::new(config.listen, config.identity, roles, Routes::new(peers)).with_limits(config.limits);
        outside.spawn(|stop| server.serve(stop));

        let session = Session {
            dialer: config.dialer,
            managers: config.managers,
            description: config.description,
            message: message.clone(),
            agent: agent.clone(),
            reporter,
            state: state.clone(),
        };
        outside.spawn(|stop| session.run(stop));
        Self { agent, state: state.subscribe(), message, task_db: keeper, outside, inside }
    }

    /// How this node stands with the swarm, as it changes.
    pub fn session(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    /// What is wrong with this node, in a sentence; empty when nothing is.
    pub fn message(&self) -> String {
        self.message.get()
    }

    /// Stops the agent. Containers run on, and the next agent takes them up.
    pub async fn shutdown(self) {
        self.outside.end().await;
        self.inside.end().await;
        if timeout(CLOSING, self.task_db.close()).await.is_err() {
            warn!("task.db could not be closed in time; going on without it");
        }
    }

    /// Stops every task, removes its container and its record, then stops the agent. Whatever the grace periods of the tasks,
    /// it has done what it could by `ends`.
    pub async fn leave(self, ends: Instant) {
        self.outside.end().await;
        let released = timeout_at(ends - CLOSING, self.agent.release_all(Disposition::Leaving)).await;
        let cleared = async {
            self.inside.end().await;
            self.task_db.wipe().await;
        };
        if timeout_at(ends, cleared).await.is_err() {
            warn!("task.db could not be removed in time; the next agent does without it");
        }
        match released {
            // The agent is gone only when it was shut down.
            Ok(_) => info!("all tasks of this node are gone"),
            Err(_) => warn!(
                "not every container of this node could be stopped and removed in time; the rest goes when the daemon starts again, or joins a swarm"
            ),
        }
    }
}

/// Has the node say what is wrong with a subject, as that changes.
async fn tell<T>(
    mut state: watch::Receiver<T>,
    problem: impl Fn(&T) -> Option<String>,
    subject: Subject,
    message: NodeMessage,
    stop: CancellationToken,
) {
    loop {
        let problem = problem(&state.borrow_and_update());
        match problem {
            Some(problem) => message.set(subject, &problem),
            None => message.clear(subject),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

/// Loops that end together.
struct Tasks {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Tasks {
    fn new() -> Self {
        Self { stop: CancellationToken::new(), tasks: Vec::new() }
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, run: impl FnOnce(CancellationToken) -> F) {
        self.tasks.push(tokio::spawn(run(self.stop.clone())));
    }

    async fn end(mut self) {
        self.stop.cancel();
        let limit = Instant::now() + ENDING;
        for mut task in self.tasks.drain(..) {
            // One that panicked has ended too.
            if timeout_at(limit, &mut task).await.is_err() {
                warn!("a part of the agent did not end in time; it is cut off");
                task.abort();
            }
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
