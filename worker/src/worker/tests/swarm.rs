//! A swarm that does as the test says: managers on loopback, over the same TLS and the same server as real ones.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use skep_common::{
    net::{
        identity::{Identity, IdentityHandle, role_unit},
        server::{RoleAnswer, RoleSource, RpcServer, unknown_node},
    },
    secret::Secret,
};
use skep_proto::v1::{
    Assignment, AssignmentKind, AssignmentVersion, AssignmentsMessage, AssignmentsRequest, HeartbeatReply,
    HeartbeatRequest, Node, NodeRole, PeerManager, SessionMessage, SessionRequest, Task, TaskState, TaskStatus,
    UpdateTaskStatusReply, UpdateTaskStatusRequest, assignment,
    dispatcher_server::{Dispatcher, DispatcherServer},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait, service::Routes};

/// Generous: nothing waits this long unless something is broken.
pub(super) const LONG: Duration = Duration::from_secs(30);

/// Waits until a condition holds that changes of `changed` may bring about.
pub(super) async fn until(what: &str, mut changed: watch::Receiver<u64>, condition: impl Fn() -> bool) {
    let held = timeout(LONG, changed.wait_for(|_| condition())).await;
    assert!(held.is_ok_and(|held| held.is_ok()), "in vain: {what}");
}

/// The swarm's certificate authority.
pub(super) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn identity(&self, node_id: &str, role: NodeRole) -> IdentityHandle {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in [
            (DnType::CommonName, node_id),
            (DnType::OrganizationName, "swarm"),
            (DnType::OrganizationalUnitName, role_unit(role)),
        ] {
            params.distinguished_name.push(kind, value);
        }
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        let roots = self.0.pem();
        let identity = Identity::from_pem(chain.as_bytes(), Secret::new(key.serialize_pem()), roots.as_bytes());
        IdentityHandle::new(identity.unwrap())
    }
}

/// Whoever calls is a worker.
struct AllWorkers;

impl RoleSource for AllWorkers {
    fn role_of(&self, _: &str) -> RoleAnswer {
        RoleAnswer::Is(NodeRole::Worker)
    }
}

/// How a manager answers the opening of a session.
#[derive(Clone)]
enum Stance {
    Leads,
    Follows(PeerManager),
    DoesNotKnow,
}

struct Script {
    stance: Stance,
    managers: Vec<PeerManager>,
    managers_version: u64,
    /// What the node is assigned; `None` = streams stay silent.
    tasks: Option<Vec<Task>>,
    have: Vec<AssignmentVersion>,
    refuse_reports: bool,

    sessions: Vec<(SessionRequest, CancellationToken)>,
    beats: Vec<String>,
    streams: Vec<mpsc::UnboundedSender<AssignmentsMessage>>,
    statuses: BTreeMap<String, Vec<TaskStatus>>,
    reports: u32,
}

/// One manager.
#[derive(Clone)]
pub(super) struct Manager {
    pub(super) addr: String,
    script: Arc<Mutex<Script>>,
    changed: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Manager {
    /// A manager that leads and has no work.
    pub(super) async fn start(ca: &Ca, node_id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let script = Script {
            stance: Stance::Leads,
            managers: vec![PeerManager { node_id: node_id.into(), addr: addr.clone(), leader: true }],
            managers_version: 1,
            tasks: Some(Vec::new()),
            have: Vec::new(),
            refuse_reports: false,
            sessions: Vec::new(),
            beats: Vec::new(),
            streams: Vec::new(),
            statuses: BTreeMap::new(),
            reports: 0,
        };
        let manager = Self {
            addr,
            script: Arc::new(Mutex::new(script)),
            changed: watch::Sender::new(0),
            stop: CancellationToken::new(),
        };
        let identity = ca.identity(node_id, NodeRole::Manager);
        let routes = Routes::new(DispatcherServer::new(manager.clone()));
        let server = RpcServer::new(listener, identity, Arc::new(AllWorkers), routes);
        tokio::spawn(server.serve(manager.stop.clone()));
        manager
    }

    pub(super) fn follow(&self, leader: PeerManager) {
        self.script().stance = Stance::Follows(leader);
    }

    pub(super) fn lead(&self) {
        self.script().stance = Stance::Leads;
    }

    /// Loses what was reported, as a leader does that dies before it is replicated.
    pub(super) fn forget_statuses(&self) {
        self.script().statuses.clear();
    }

    pub(super) fn forget_nodes(&self) {
        self.script().stance = Stance::DoesNotKnow;
    }

    pub(super) fn tell_managers(&self, managers: Vec<PeerManager>) {
        self.tell_managers_of(managers, 1);
    }

    /// The list as it is since this version of the state.
    pub(super) fn tell_managers_of(&self, managers: Vec<PeerManager>, version: u64) {
        let mut script = self.script();
        (script.managers, script.managers_version) = (managers, version);
    }

    /// What the next streams begin with; they stay silent while it is `None`.
    pub(super) fn assign(&self, tasks: impl Into<Option<Vec<Task>>>) {
        self.script().tasks = tasks.into();
    }

    /// Sends a message over the newest assignments stream.
    pub(super) fn send(&self, message: AssignmentsMessage) {
        self.script().streams.last().unwrap().send(message).unwrap();
    }

    /// What the node said that it has, the last time it asked.
    pub(super) fn have(&self) -> Vec<AssignmentVersion> {
        self.script().have.clone()
    }

    pub(super) fn refuse_reports(&self, refuse: bool) {
        self.script().refuse_reports = refuse;
    }

    /// Ends all sessions, as a leader does that steps down.
    pub(super) fn end_sessions(&self) {
        let mut script = self.script();
        script.sessions.iter().for_each(|(_, ended)| ended.cancel());
        script.streams.clear();
    }

    /// Is gone, connections and all.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn sessions(&self) -> usize {
        self.script().sessions.len()
    }

    pub(super) fn opening(&self, n: usize) -> SessionRequest {
        self.script().sessions[n].0.clone()
    }

    pub(super) fn streams(&self) -> usize {
        self.script().streams.len()
    }

    /// The states a task was reported in, in the order the reports came.
    pub(super) fn states(&self, task_id: &str) -> Vec<TaskState> {
        self.script().statuses.get(task_id).into_iter().flatten().map(TaskStatus::state).collect()
    }

    pub(super) fn status(&self, task_id: &str) -> Option<TaskStatus> {
        self.script().statuses.get(task_id)?.last().cloned()
    }

    pub(super) async fn reported(&self, task_id: &str, state: TaskState) -> TaskStatus {
        let condition = || self.status(task_id).is_some_and(|status| status.state() == state);
        until(&format!("{task_id} reported {state:?}"), self.changed.subscribe(), condition).await;
        self.status(task_id).unwrap()
    }

    pub(super) async fn had_sessions(&self, count: usize) {
        until(&format!("{count} sessions"), self.changed.subscribe(), || self.sessions() >= count).await;
    }

    pub(super) async fn had_streams(&self, count: usize) {
        until(&format!("{count} assignment streams"), self.changed.subscribe(), || self.streams() >= count).await;
    }

    pub(super) async fn had_beats(&self, count: usize) {
        until(&format!("{count} heartbeats"), self.changed.subscribe(), || self.script().beats.len() >= count).await;
    }

    /// Waits until the node says this, or (empty) that nothing is wrong.
    pub(super) async fn said(&self, message: &str) {
        let condition = || self.script().beats.last().is_some_and(|last| last == message);
        until(&format!("the message {message:?}"), self.changed.subscribe(), condition).await;
    }

    pub(super) async fn had_reports(&self, count: u32) {
        until(&format!("{count} reports"), self.changed.subscribe(), || self.script().reports >= count).await;
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn noted(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}

pub(super) fn assigned(task: Task) -> Assignment {
    Assignment { assignment: Some(assignment::Assignment::Task(task)) }
}

pub(super) fn removed_task() -> AssignmentVersion {
    AssignmentVersion { kind: AssignmentKind::Task.into(), ..AssignmentVersion::default() }
}

/// The first message to a node that has these: all of its tasks, whatever it has of them.
fn everything(tasks: Vec<Task>, have: Vec<AssignmentVersion>) -> AssignmentsMessage {
    let is_gone = |have: &AssignmentVersion| !tasks.iter().any(|task| task.id == have.id);
    let remove = have.into_iter().filter(is_gone).collect();
    let update = tasks.into_iter().map(assigned).collect();
    AssignmentsMessage { sequence: 1, generation: 1, update, remove }
}

type Reply<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl Dispatcher for Manager {
    type SessionStream = Reply<SessionMessage>;
    type AssignmentsStream = Reply<AssignmentsMessage>;

    async fn session(&self, request: Request<SessionRequest>) -> Result<Response<Self::SessionStream>, Status> {
        let message = {
            let mut script = self.script();
            match script.stance.clone() {
                Stance::Leads => {}
                Stance::Follows(leader) => {
                    let mut status = Status::failed_precondition("this manager does not lead");
                    status.metadata_mut().insert("skep-leader-addr", leader.addr.parse().unwrap());
                    status.metadata_mut().insert("skep-leader-node", leader.node_id.parse().unwrap());
                    return Err(status);
                }
                Stance::DoesNotKnow => return Err(unknown_node("node")),
            }
            script.sessions.push((request.into_inner(), self.stop.child_token()));
            SessionMessage {
                session_id: format!("session-{}", script.sessions.len()),
                node: Some(Node { id: "node".into(), role: NodeRole::Worker.into(), ..Node::default() }),
                managers: script.managers.clone(),
                managers_version: script.managers_version,
                heartbeat_period: 100_000_000,
                ..SessionMessage::default()
            }
        };
        self.noted();
        let ended = self.script().sessions.last().unwrap().1.clone();
        let open = futures::stream::pending().take_until(ended.cancelled_owned());
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(message)]).chain(open))))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatReply>, Status> {
        self.script().beats.push(request.into_inner().message);
        self.noted();
        Ok(Response::new(HeartbeatReply { period: 50_000_000 }))
    }

    async fn assignments(
        &self,
        request: Request<AssignmentsRequest>,
    ) -> Result<Response<Self::AssignmentsStream>, Status> {
        let (sender, messages) = mpsc::unbounded_channel();
        {
            let mut script = self.script();
            script.have = request.into_inner().have;
            if let Some(tasks) = script.tasks.clone() {
                sender.send(everything(tasks, script.have.clone())).unwrap();
            }
            script.streams.push(sender);
        }
        self.noted();
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(messages).map(Ok))))
    }

    async fn update_task_status(
        &self,
        request: Request<UpdateTaskStatusRequest>,
    ) -> Result<Response<UpdateTaskStatusReply>, Status> {
        let refused = {
            let mut script = self.script();
            script.reports += 1;
            if !script.refuse_reports {
                for update in request.into_inner().updates {
                    script.statuses.entry(update.task_id).or_default().push(update.status.unwrap());
                }
            }
            script.refuse_reports
        };
        self.noted();
        if refused { Err(Status::unavailable("no leader")) } else { Ok(Response::new(UpdateTaskStatusReply {})) }
    }
}
