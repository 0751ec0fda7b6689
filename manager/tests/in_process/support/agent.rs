//! An agent that speaks the dispatcher's protocol and pretends: whatever it is given runs at once, and stops at once.

use std::time::Duration;

use futures::StreamExt as _;
use skep_common::{
    clock::{self, Clock as _, SystemClock},
    feature_level::FEATURE_LEVEL,
    net::dial::Expect,
};
use skep_proto::v1::{
    AssignmentsRequest, ContainerStatus, HeartbeatRequest, NodeDescription, Platform, Resources, SessionMessage,
    SessionRequest, Task, TaskState, TaskStatus, TaskStatusUpdate, UpdateTaskStatusRequest, assignment,
    dispatcher_client::DispatcherClient,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

use super::cluster::Member;

/// A running agent. Dropping it is like pulling the plug.
pub(crate) struct Agent {
    pub(crate) member: Member,
    pub(crate) told: watch::Receiver<Option<SessionMessage>>,
    /// Why sessions ended, newest last.
    pub(crate) refusals: watch::Receiver<Vec<Status>>,
    stop: CancellationToken,
    _task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One agent's life.
struct Life {
    member: Member,
    hostname: String,
    peer_addr: String,
    feature_level: u32,
    addrs: Vec<String>,
    told: watch::Sender<Option<SessionMessage>>,
    refusals: watch::Sender<Vec<Status>>,
}

impl Agent {
    /// Starts an agent that knows these managers.
    pub(crate) fn start(member: Member, hostname: &str, addrs: &[String]) -> Self {
        Self::start_with(member, hostname, addrs, "", FEATURE_LEVEL)
    }

    /// The same, as good as a release of this feature level.
    pub(crate) fn start_at(feature_level: u32, member: Member, hostname: &str, addrs: &[String]) -> Self {
        Self::start_with(member, hostname, addrs, "", feature_level)
    }

    /// The same, with the address of its node-to-node service.
    pub(crate) fn start_with_peer(member: Member, hostname: &str, addrs: &[String], peer_addr: &str) -> Self {
        Self::start_with(member, hostname, addrs, peer_addr, FEATURE_LEVEL)
    }

    fn start_with(member: Member, hostname: &str, addrs: &[String], peer_addr: &str, feature_level: u32) -> Self {
        let (told, told_receiver) = watch::channel(None);
        let (refusals, refusals_receiver) = watch::channel(Vec::new());
        let life = Life {
            member: member.clone(),
            hostname: hostname.to_owned(),
            peer_addr: peer_addr.to_owned(),
            feature_level,
            addrs: addrs.to_vec(),
            told,
            refusals,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled(life.run()).await;
        });
        Self { member, told: told_receiver, refusals: refusals_receiver, stop, _task: task }
    }
}

impl Life {
    /// Goes from manager to manager, where it is sent, until it is stopped.
    async fn run(self) {
        let mut next = 0;
        let mut addr = self.addrs[0].clone();
        loop {
            let status = match self.session(&addr).await {
                Ok(()) => continue,
                Err(status) => status,
            };
            let leader = status.metadata().get("skep-leader-addr").and_then(|addr| addr.to_str().ok());
            addr = match leader {
                Some(leader) if status.code() == Code::FailedPrecondition => leader.to_owned(),
                _ => {
                    next = (next + 1) % self.addrs.len();
                    self.addrs[next].clone()
                }
            };
            self.refusals.send_modify(|refusals| refusals.push(status));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn session(&self, addr: &str) -> Result<(), Status> {
        let mut client = DispatcherClient::new(self.member.dialer.channel(addr, Expect::Manager));
        let description = NodeDescription {
            hostname: self.hostname.clone(),
            platform: Some(Platform { architecture: "x86_64".into(), os: "linux".into() }),
            resources: Some(Resources { nano_cpus: 8_000_000_000, memory_bytes: 8 << 30, ..Resources::default() }),
            peer_addr: self.peer_addr.clone(),
            feature_level: self.feature_level,
            ..Default::default()
        };
        let request = SessionRequest { description: Some(description), message: String::new() };
        let mut session = client.session(request).await?.into_inner();
        let first = session.message().await?.ok_or_else(|| Status::aborted("no first message"))?;
        let session_id = first.session_id.clone();
        let period = clock::duration(first.heartbeat_period);
        self.told.send_replace(Some(first));
        tokio::select! {
            status = heartbeats(client.clone(), session_id.clone(), period) => Err(status),
            result = work(client, session_id) => result,
            result = async {
                while let Some(message) = session.message().await? {
                    self.told.send_replace(Some(message));
                }
                Err(Status::aborted("the session ended"))
            } => result,
        }
    }
}

async fn heartbeats(mut client: DispatcherClient<Channel>, session_id: String, period: Duration) -> Status {
    loop {
        let beat = HeartbeatRequest { session_id: session_id.clone(), message: String::new() };
        if let Err(status) = client.heartbeat(beat).await {
            return status;
        }
        tokio::time::sleep(period).await;
    }
}

/// Runs what is assigned and reports on it.
async fn work(mut client: DispatcherClient<Channel>, session_id: String) -> Result<(), Status> {
    let request = AssignmentsRequest { session_id: session_id.clone(), have: Vec::new() };
    let mut assignments = client.assignments(request).await?.into_inner();
    let mut sequence = 0;
    while let Some(message) = assignments.next().await {
        let message = message?;
        sequence += 1;
        assert_eq!(message.sequence, sequence, "there is no gap");
        let tasks = message.update.into_iter().filter_map(|assignment| match assignment.assignment {
            Some(assignment::Assignment::Task(task)) => Some(task),
            _ => None,
        });
        let updates: Vec<_> = tasks.flat_map(|task| reports(&task)).collect();
        if !updates.is_empty() {
            client.update_task_status(UpdateTaskStatusRequest { session_id: session_id.clone(), updates }).await?;
        }
    }
    Err(Status::aborted("the assignments ended"))
}

/// What a perfect machine reports of a task.
fn reports(task: &Task) -> Vec<TaskStatusUpdate> {
    let states: &[TaskState] = match task.desired_state() {
        TaskState::Running => &[TaskState::Accepted, TaskState::Preparing, TaskState::Starting, TaskState::Running],
        TaskState::Complete => {
            &[TaskState::Accepted, TaskState::Preparing, TaskState::Starting, TaskState::Running, TaskState::Complete]
        }
        TaskState::Ready => &[TaskState::Accepted, TaskState::Preparing, TaskState::Ready],
        desired if desired >= TaskState::Shutdown => &[TaskState::Shutdown],
        _ => &[],
    };
    let report = |state: &TaskState| TaskStatusUpdate {
        task_id: task.id.clone(),
        status: Some(TaskStatus {
            state: i32::from(*state),
            timestamp: SystemClock::new().now().as_nanos(),
            container: Some(ContainerStatus { container_id: format!("c-{}", task.id), ..Default::default() }),
            ..Default::default()
        }),
    };
    states.iter().map(report).collect()
}
