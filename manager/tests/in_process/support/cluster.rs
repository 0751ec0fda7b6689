//! Managers in this process, and identities that were really issued.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use skep_ca::{RootCa, Subject};
use skep_common::{
    clock::{Clock as _, SystemClock},
    feature_level::FEATURE_LEVEL,
    id::{Ids as _, RandomIds},
    limits::CERTIFICATE_LIFETIME,
    net::{
        dial::{Dialer, Expect},
        identity::{Identity, IdentityHandle, new_key_and_csr},
        server::ServerLimits,
    },
    secret::Secret,
};
use skep_manager::{Bootstrap, Joined, LocalControlClient, Manager, ManagerConfig, ManagerError, Membership, Start};
use skep_proto::v1::{
    Annotations, Availability, CertificateStatusRequest, Cluster, ClusterSpec, ContainerSpec, CreateServiceRequest,
    GetClusterRequest, GetObjectRequest, GetRootCaRequest, IssueCertificateRequest, ListTasksRequest, Node,
    NodeDescription, NodeRole, ReplicatedService, Service, ServiceSpec, Task, TaskSpec, TaskState, ca_client::CaClient,
    service_spec::Mode,
};
use skep_raft::ToldMembers;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::eventually;

/// The managers' directory in the one of the test.
const RAFT: &str = "raft";

/// Who a node is and how it calls others.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) identity: IdentityHandle,
    pub(crate) dialer: Dialer,
}

impl Member {
    fn new(identity: Identity) -> Self {
        let id = identity.node_id().to_owned();
        let identity = IdentityHandle::new(identity);
        Self { id, dialer: Dialer::new(identity.clone()), identity }
    }

    /// A new node, by join token, through the manager at `addr`.
    pub(crate) async fn enroll(addr: &str, token: &str) -> Result<Self, Status> {
        let (key, csr) = new_key_and_csr().unwrap();
        let roots = CaClient::new(Dialer::anonymous_unverified(addr))
            .get_root_ca(GetRootCaRequest {})
            .await?
            .into_inner()
            .certificate_pem;
        let mut ca = CaClient::new(Dialer::anonymous(addr, &roots).unwrap());
        let request = IssueCertificateRequest {
            csr_pem: csr.into_bytes(),
            token: token.to_owned(),
            availability: Availability::Active.into(),
            ..IssueCertificateRequest::default()
        };
        let node_id = ca.issue_certificate(request.clone()).await?.into_inner().node_id;
        let again = ca.issue_certificate(request).await?.into_inner().node_id;
        assert_eq!(node_id, again, "the same request has the same answer");
        Self::collect(ca, node_id, key, &roots).await
    }

    /// A new certificate for the role the swarm has for this node now.
    pub(crate) async fn renew(&self, addr: &str) -> Result<(), Status> {
        let (key, csr) = new_key_and_csr().unwrap();
        let mut ca = CaClient::new(self.dialer.channel(addr, Expect::Manager));
        let request = IssueCertificateRequest { csr_pem: csr.into_bytes(), ..Default::default() };
        let node_id = ca.issue_certificate(request).await?.into_inner().node_id;
        assert_eq!(node_id, self.id);
        let roots = self.identity.current().roots_pem().to_vec();
        let renewed = Self::collect(ca, node_id, key, &roots).await?;
        let current = renewed.identity.current();
        let renewed = Identity::from_pem(current.chain_pem(), current.key_pem().clone(), &roots).unwrap();
        self.identity.replace(renewed);
        Ok(())
    }

    async fn collect(
        mut ca: CaClient<tonic::transport::Channel>,
        node_id: String,
        key: Secret<String>,
        roots: &[u8],
    ) -> Result<Self, Status> {
        let status = ca.certificate_status(CertificateStatusRequest { node_id }).await?.into_inner();
        let chain = status.certificate.expect("issued").certificate_pem;
        Ok(Self::new(Identity::from_pem(&chain, key, roots).unwrap()))
    }
}

/// A manager and what it keeps.
pub(crate) struct TestManager {
    pub(crate) member: Member,
    pub(crate) addr: String,
    pub(crate) manager: Manager,
    /// What its release reads and writes.
    feature_level: u32,
    dir: TempDir,
}

impl TestManager {
    /// The first manager of a new swarm.
    pub(crate) async fn bootstrap(spec: ClusterSpec) -> Self {
        Self::bootstrap_at(FEATURE_LEVEL, spec).await
    }

    /// The same, as good as a release of this feature level.
    pub(crate) async fn bootstrap_at(feature_level: u32, spec: ClusterSpec) -> Self {
        super::show_log();
        let now = SystemClock::new().now();
        let (node_id, cluster_id) = (RandomIds.next_id(), RandomIds.next_id());
        let root_ca = RootCa::generate(now, &cluster_id).unwrap();
        let (key, csr) = new_key_and_csr().unwrap();
        let subject = Subject { node_id: &node_id, cluster_id: &cluster_id, role: NodeRole::Manager };
        let certificate = root_ca.issue(csr.as_bytes(), subject, now, CERTIFICATE_LIFETIME).unwrap();
        let identity = Identity::from_pem(&certificate.certificate_pem, key, root_ca.certificate_pem()).unwrap();
        let first = Bootstrap {
            spec,
            root_ca,
            certificate,
            availability: Availability::Active,
            description: NodeDescription { hostname: "first".into(), feature_level, ..Default::default() },
        };
        let start = Start::Bootstrap(Box::new(first));
        Self::start(Member::new(identity), feature_level, start, tempfile::tempdir().unwrap()).await
    }

    /// One more manager for the swarm of `first`.
    pub(crate) async fn join(first: &Self) -> Self {
        Self::join_at(FEATURE_LEVEL, first).await
    }

    /// The same, as good as a release of this feature level.
    pub(crate) async fn join_at(feature_level: u32, first: &Self) -> Self {
        let token = first.cluster().await.join_tokens.unwrap().manager;
        let member = Member::enroll(&first.addr, &token).await.unwrap();
        let joined = Self::enter(member, vec![first.addr.clone()], feature_level).await;
        let mut status = joined.manager.status();
        status.wait_for(|status| status.membership == Membership::Member).await.unwrap();
        joined
    }

    /// A new member, as good as a release of this feature level; whether it votes is for the others.
    pub(crate) async fn enter(member: Member, remotes: Vec<String>, feature_level: u32) -> Self {
        let (listen, addr) = Self::listen().await;
        let join = || async { skep_manager::join(&member.dialer, &remotes, &addr, feature_level).await.ok() };
        let joined = eventually("the managers take a new one in", join).await;
        let dir = tempfile::tempdir().unwrap();
        Self::start_at(member, feature_level, Start::Join { joined, remotes }, dir, listen, addr).await
    }

    /// A manager that believes it was given this Raft id.
    pub(crate) async fn start_as(member: Member, raft_id: u64, remotes: Vec<String>) -> Self {
        let joined = Joined { raft_id, members: ToldMembers::default() };
        Self::start(member, FEATURE_LEVEL, Start::Join { joined, remotes }, tempfile::tempdir().unwrap()).await
    }

    async fn listen() -> (TcpListener, String) {
        let listen = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], listen.local_addr().unwrap().port())).to_string();
        (listen, addr)
    }

    async fn start(member: Member, feature_level: u32, start: Start, dir: TempDir) -> Self {
        let (listen, addr) = Self::listen().await;
        Self::start_at(member, feature_level, start, dir, listen, addr).await
    }

    async fn start_at(
        member: Member,
        feature_level: u32,
        start: Start,
        dir: TempDir,
        listen: TcpListener,
        addr: String,
    ) -> Self {
        let config = config(&member, feature_level, start, &dir, listen, addr.clone());
        let manager = Manager::start(config).await.unwrap();
        Self { member, addr, manager, feature_level, dir }
    }

    /// Where it keeps the state.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join(RAFT)
    }

    /// Stops the manager and starts it again from what it kept, under the same address.
    pub(crate) async fn restart(self) -> Self {
        self.manager.shutdown().await;
        self.resume().await
    }

    /// The same, and what it had written of what happened is lost.
    pub(crate) async fn restart_without_journal(self) -> Self {
        self.manager.shutdown().await;
        std::fs::remove_dir_all(self.dir.path().join("raft/journal")).unwrap();
        self.resume().await
    }

    /// The same, in a release of this feature level.
    pub(crate) async fn restart_at(self, feature_level: u32) -> Self {
        Self { feature_level, ..self }.restart().await
    }

    /// Why it does not start again in a release of this feature level.
    pub(crate) async fn refuses_at(self, feature_level: u32) -> ManagerError {
        self.manager.shutdown().await;
        let (listen, addr) = Self::listen().await;
        let start = Start::Resume { remotes: Vec::new() };
        Manager::start(config(&self.member, feature_level, start, &self.dir, listen, addr)).await.err().unwrap()
    }

    async fn resume(self) -> Self {
        let listen = TcpListener::bind(self.addr.replace("127.0.0.1", "0.0.0.0")).await.unwrap();
        let start = Start::Resume { remotes: vec![self.addr.clone()] };
        Self::start_at(self.member, self.feature_level, start, self.dir, listen, self.addr).await
    }

    /// Starts a manager that was shut down again, under another address, knowing these managers.
    pub(crate) async fn return_elsewhere(self, remotes: Vec<String>) -> Self {
        Self::start(self.member, self.feature_level, Start::Resume { remotes }, self.dir).await
    }

    pub(crate) fn control(&self) -> LocalControlClient {
        self.manager.control()
    }

    pub(crate) fn leads(&self) -> bool {
        self.manager.status().borrow().is_leader
    }

    pub(crate) async fn cluster(&self) -> Cluster {
        self.control().get_cluster(GetClusterRequest {}).await.unwrap().into_inner()
    }

    pub(crate) async fn node(&self, key: &str) -> Node {
        self.control().get_node(GetObjectRequest { key: key.to_owned() }).await.unwrap().into_inner()
    }

    pub(crate) async fn service(&self, key: &str) -> Service {
        self.control().get_service(GetObjectRequest { key: key.to_owned() }).await.unwrap().into_inner()
    }

    pub(crate) async fn create(&self, name: &str, replicas: u64) -> Service {
        let request = CreateServiceRequest { spec: Some(spec(name, replicas)) };
        self.control().create_service(request).await.unwrap().into_inner()
    }

    /// The tasks of a service that are wanted and run.
    pub(crate) async fn running(&self, service: &str) -> Vec<Task> {
        let runs = |task: &Task| {
            task.desired_state() == TaskState::Running
                && task.status.as_ref().is_some_and(|status| status.state() == TaskState::Running)
        };
        self.tasks(service).await.into_iter().filter(runs).collect()
    }

    /// Those, once there are exactly so many.
    pub(crate) async fn wait_running(&self, service: &str, count: usize) -> Vec<Task> {
        eventually(&format!("{count} tasks of {service} run"), || async {
            Some(self.running(service).await).filter(|tasks| tasks.len() == count)
        })
        .await
    }

    pub(crate) async fn tasks(&self, service: &str) -> Vec<Task> {
        let wanted = ListTasksRequest { services: vec![service.to_owned()], ..Default::default() };
        self.control().list_tasks(wanted).await.unwrap().into_inner().tasks
    }
}

fn config(
    member: &Member,
    feature_level: u32,
    start: Start,
    dir: &TempDir,
    listen: TcpListener,
    addr: String,
) -> ManagerConfig {
    ManagerConfig {
        limits: ServerLimits::default(),
        node_id: member.id.clone(),
        cluster_id: member.identity.current().cluster_id().to_owned(),
        data_dir: dir.path().join(RAFT),
        listen,
        advertise_addr: addr,
        identity: member.identity.clone(),
        dialer: member.dialer.clone(),
        clock: Arc::new(SystemClock::new()),
        feature_level,
        start,
        give_up: CancellationToken::new(),
    }
}

/// A service of so many replicas that needs nothing in particular.
pub(crate) fn spec(name: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec {
        annotations: Some(Annotations { name: name.into(), ..Default::default() }.into()),
        task: Some(
            TaskSpec {
                container: Some(ContainerSpec {
                    image: "docker.io/library/busybox:latest".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }
            .into(),
        ),
        mode: Some(Mode::Replicated(ReplicatedService { replicas })),
        ..Default::default()
    }
}

/// A swarm of three managers.
pub(crate) async fn three_managers(spec: ClusterSpec) -> Vec<TestManager> {
    let first = TestManager::bootstrap(spec).await;
    let second = TestManager::join(&first).await;
    let third = TestManager::join(&first).await;
    let all = vec![first, second, third];
    eventually("three managers know each other", || async {
        let knows_all = |manager: &TestManager| manager.manager.status().borrow().managers.len() == 3;
        all.iter().all(knows_all).then_some(())
    })
    .await;
    all
}

/// The index of the one that leads.
pub(crate) async fn leader(managers: &[TestManager]) -> usize {
    eventually("somebody leads", || async { managers.iter().position(TestManager::leads) }).await
}
