//! The manager as one thing that starts, serves and stops.
//!
//! Owns the member of the Raft group, the journal, the server on port 2377 and the tasks that stand on them.

use std::{io, sync::Arc, time::Duration};

use skep_common::{
    authz::Peer,
    net::{
        backoff::Backoff,
        dial::Dialer,
        identity::{Identity, IdentityHandle},
        server::{Caller, RpcServer},
    },
};
use skep_core::validate_spec::InvalidSpec;
use skep_proto::v1::{
    LogOptions, NodeRole, ca_server::CaServer, control_client::ControlClient, control_server::ControlServer,
    dispatcher_server::DispatcherServer, journal_server::JournalServer, membership_server::MembershipServer,
};
use skep_raft::{FIRST_RAFT_ID, OnFatal, Open, RaftConfig, RaftNode, StartError, ToldMembers, Tuning};
use skep_store::{Store, View};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, service::RoutesBuilder};
use tracing::{info, warn};

use crate::{
    LogSelector, LogStream, ManagerConfig, ManagerStatus, Membership, Start,
    announce::{self, Announced},
    authority, bootstrap,
    ca_service::CaService,
    control::ControlService,
    dispatcher::DispatcherService,
    forward::{LeaderRoute, OnLeader},
    journal::{Filler, JournalService, Keeper, Limits, Log, Managers},
    lead::Lead,
    local::{LocalControl, LocalControlClient, LocalService},
    log_broker::LogBroker,
    membership_service::MembershipService,
    role_source::StoredRoles,
    strangers::Strangers,
    swarm_state::SwarmState,
    troubles,
};

/// Directory of the journal, in the manager's own.
const JOURNAL: &str = "journal";

/// Silence of the leader after which a manager asks the others whether it is still a member.
const LEADER_SILENCE: Duration = Duration::from_secs(5);

/// The pause before it asks again: the first, and the longest.
const FIRST_ASK: Duration = Duration::from_millis(200);
const LAST_ASK: Duration = Duration::from_secs(10);

/// A running manager. Clones are the same manager.
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    swarm: SwarmState,
    status: watch::Receiver<ManagerStatus>,
    troubles: watch::Receiver<Vec<String>>,
    control: LocalControl,
    logs: LogBroker,
    node_id: String,
    identity: IdentityHandle,
    dialer: Dialer,
    advertise_addr: String,
    /// Managers (host:port) to ask until the state names them.
    remotes: Vec<String>,
    strangers: Strangers,
    /// Cancelled once the other managers have said that this one was removed.
    disowned: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why a manager could not start, or could not leave.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// Its Raft state is gone: the directory is to be removed and the manager to be started with [`Start::Join`].
    #[error("{0}")]
    Wiped(StartError),
    /// The state cannot be opened.
    #[error("{0}")]
    State(StartError),
    /// The socket cannot be used.
    #[error("the managers' port cannot be served: {0}")]
    Listen(#[from] io::Error),
    /// The new swarm's spec cannot be asked for.
    #[error(transparent)]
    Spec(#[from] InvalidSpec),
    /// The first entry of a new swarm was not written.
    #[error("the swarm could not be made: {0}")]
    Bootstrap(#[from] skep_raft::ProposeError),
    /// The swarm refused this manager as a member, or the leaving of it.
    #[error("{0}")]
    Refused(String),
    /// It cannot issue a certificate for itself.
    #[error("this manager cannot issue its own certificate: {0}")]
    Own(String),
}

impl From<StartError> for ManagerError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Wiped { .. } => Self::Wiped(error),
            _ => Self::State(error),
        }
    }
}

impl Manager {
    /// Starts serving port 2377. Returns once the state is open and, for the first manager, the swarm made; whether this
    /// node is a member is for its [`status`](Self::status) to say. Does not wait for other managers, and must not be dropped half done.
    ///
    /// # Errors
    /// When the state cannot be opened, that is given up, or the swarm cannot be made.
    pub async fn start(config: ManagerConfig) -> Result<Self, ManagerError> {
        let ManagerConfig {
            node_id,
            cluster_id,
            data_dir,
            listen,
            limits,
            advertise_addr,
            identity,
            dialer,
            clock,
            feature_level,
            start,
            give_up,
        } = config;
        let certificate = identity.current();
        if (certificate.node_id(), certificate.cluster_id()) != (&node_id, &cluster_id) {
            return Err(ManagerError::Refused("the certificate is another node's, or of another swarm".to_owned()));
        }
        let is_new = matches!(start, Start::Join { .. });
        let mut told = ToldMembers::default();
        let (open, first, remotes) = match start {
            Start::Bootstrap(first) => {
                let first = bootstrap::transaction(*first, &identity, &advertise_addr, feature_level, clock.now())?;
                (Open::Create { raft_id: FIRST_RAFT_ID }, Some(first), Vec::new())
            }
            Start::Join { joined, remotes } => {
                told = joined.members;
                (Open::Create { raft_id: joined.raft_id }, None, remotes)
            }
            Start::Resume { remotes } => (Open::Resume, None, remotes),
        };
        let journal_dir = data_dir.join(JOURNAL);
        let raft_config = RaftConfig {
            dir: data_dir,
            open,
            node_id: node_id.clone(),
            addr: advertise_addr.clone(),
            tuning: Tuning::default(),
            feature_level,
            on_fatal: OnFatal::default(),
            give_up,
        };
        let store = Store::new(View::default());
        let raft = RaftNode::start(raft_config, store.clone(), dialer.clone(), clock.clone()).await?;
        raft.learn_members(told);
        let swarm = SwarmState { store: store.clone(), raft: raft.clone(), clock, by: "manager".into() };

        let keeper = Keeper::new(Log::new(journal_dir, raft.vault(), Limits::default()), swarm.clock.clone());
        let strangers = Strangers::default();
        let route = LeaderRoute::new(&raft, dialer.clone(), strangers.clone());
        let (dispatcher, term) = watch::channel(None);
        let pending = if is_new { Membership::Pending } else { Membership::Member };
        let (status, status_receiver) =
            watch::channel(ManagerStatus { membership: pending, ..ManagerStatus::default() });
        let control =
            OnLeader::new(ControlServer::new(ControlService::new(swarm.clone(), keeper.journal())), route.clone());
        let membership =
            OnLeader::new(MembershipServer::new(MembershipService::new(swarm.signed("membership"))), route.clone());
        let ca = OnLeader::new(
            CaServer::new(CaService::new(swarm.signed("certificate authority"), identity.clone())),
            route,
        )
        .except(&["/skep.v1.Ca/GetRootCa"]);
        let agents = DispatcherService::new(term, raft.leadership());

        let mut routes = RoutesBuilder::default();
        routes
            .add_service(raft.service())
            .add_service(ca)
            .add_service(membership)
            .add_service(control.clone())
            .add_service(DispatcherServer::new(agents))
            .add_service(JournalServer::new(JournalService::new(keeper.clone())));
        let roles = StoredRoles {
            node_id: node_id.clone(),
            store: store.clone(),
            leadership: raft.leadership(),
            members: raft.roster(),
            strangers: strangers.clone(),
        };
        let own_id = node_id.clone();
        // This node's own calls come from nowhere on the network; its address is the one it serves on.
        let caller = Caller::direct(Peer::Node { node_id, role: NodeRole::Manager }, listen.local_addr()?);
        let server = RpcServer::new(listen, identity.clone(), Arc::new(roles), routes.routes()).with_limits(limits);

        let (stop, disowned) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tasks.spawn(server.serve(stop.clone()));
        tasks.spawn(
            Lead { swarm: swarm.clone(), status, dispatcher, pending, disowned: disowned.clone(), stop: stop.clone() }
                .follow(),
        );
        let (told, troubles) = watch::channel(Vec::new());
        let following = troubles::follow(raft.snapshot_trouble(), raft.log_is_short_of_room(), told);
        let ended = stop.clone();
        tasks.spawn(async move { ended.run_until_cancelled(following).await.unwrap_or_default() });
        let source = Managers { node_id: own_id.clone(), store: store.clone(), raft, dialer: dialer.clone() };
        tasks.spawn(Filler { keeper: keeper.clone(), source }.run(stop.clone()));
        tasks.spawn(keeper.keep(store.clone(), stop.clone()));

        let control = LocalControl::new(LocalService::new(control, caller));
        let manager = Self {
            inner: Arc::new(Inner {
                logs: LogBroker::new(store, ControlClient::new(control.clone()), dialer.clone(), stop.clone()),
                status: status_receiver,
                troubles,
                control,
                swarm,
                node_id: own_id,
                identity,
                dialer,
                advertise_addr,
                remotes,
                strangers,
                disowned,
                stop,
                tasks,
            }),
        };
        if let Some(first) = first {
            if let Err(error) = manager.inner.swarm.raft.bootstrap(first).await {
                manager.shutdown().await;
                return Err(error.into());
            }
            info!("a new swarm was made");
        }
        let tasks = &manager.inner.tasks;
        tasks.spawn(manager.clone().keep_in_touch(!is_new));
        tasks.close();
        Ok(manager)
    }

    /// Announces this manager's address, and asks whether it is still a member whenever it hears no leader: the leader calls
    /// members only, so a manager that was removed while it was away is never told.
    async fn keep_in_touch(self, returns: bool) {
        let Inner { swarm, dialer, advertise_addr, disowned, stop, .. } = &*self.inner;
        let raft = &swarm.raft;
        let mut unheard = returns;
        let mut backoff = Backoff::new(FIRST_ASK, LAST_ASK);
        let asking = async {
            loop {
                if !unheard && (raft.leadership().borrow().is_self || raft.leader_silence() < LEADER_SILENCE) {
                    backoff.reset();
                    tokio::time::sleep(LEADER_SILENCE / 5).await;
                    continue;
                }
                // The only manager answers itself, once it leads.
                match announce::announce(dialer, &self.managers(), raft.raft_id(), advertise_addr).await {
                    Announced::Member(members) => {
                        raft.learn_members(members);
                        unheard = false;
                    }
                    Announced::Removed => break,
                    Announced::Unheard => {}
                }
                backoff.wait().await;
            }
        };
        if stop.run_until_cancelled(asking).await.is_some() {
            warn!("the other managers have removed this one from the swarm's consensus");
            disowned.cancel();
        }
    }

    /// The managers that this one knows (host:port), and those it was started with.
    fn managers(&self) -> Vec<String> {
        let known = self.inner.status.borrow().managers.clone().into_iter().map(|manager| manager.addr);
        let mut managers: Vec<String> = known.chain(self.inner.remotes.iter().cloned()).collect();
        managers.sort_unstable();
        managers.dedup();
        managers
    }

    /// Issues this node a short-lived certificate from this manager's own state, when its certificate is no longer valid and
    /// so it cannot ask the other managers. With it a proper one is requested.
    ///
    /// # Errors
    /// When the state does not have this node as a manager, or cannot issue.
    pub fn issue_own(&self) -> Result<Identity, ManagerError> {
        let Inner { swarm, node_id, identity, .. } = &*self.inner;
        authority::issue_own(&swarm.view(), node_id, &identity.current(), swarm.now())
            .map_err(|error| ManagerError::Own(error.to_string()))
    }

    /// Whether the state that this manager holds is enough for [`issue_own`](Self::issue_own).
    #[must_use]
    pub fn can_issue_own(&self) -> bool {
        authority::may_issue_own(&self.inner.swarm.view(), &self.inner.node_id).is_ok()
    }

    /// A client of the control service with the rights of this node; on a follower its calls go on to the leader.
    pub fn control(&self) -> LocalControlClient {
        ControlClient::new(self.control_service())
    }

    /// The service behind [`control`](Self::control), for callers with a client of their own.
    pub fn control_service(&self) -> LocalControl {
        self.inner.control.clone()
    }

    /// Log lines of a service or a task, gathered from the nodes.
    ///
    /// # Errors
    /// `NotFound` when there is no such object.
    pub async fn logs(&self, selector: LogSelector, options: LogOptions) -> Result<LogStream, Status> {
        self.inner.logs.open(selector, options).await
    }

    /// What is wrong with how this manager keeps the swarm's state on its disk, in sentences, as it changes; none while nothing
    /// is.
    pub fn troubles(&self) -> watch::Receiver<Vec<String>> {
        self.inner.troubles.clone()
    }

    /// What a person has to do about a manager that believes none of those who lead now, in a sentence; while that may be so.
    #[must_use]
    pub fn shut_out(&self) -> Option<String> {
        let raft = &self.inner.swarm.raft;
        let leads = raft.leadership().borrow().is_self;
        self.inner.strangers.trouble(raft.leader_silence()).filter(|_| !leads)
    }

    /// Bytes of the entries this manager has appended to its Raft log since it started: what is written, whatever was purged since.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.inner.swarm.raft.log_bytes()
    }

    /// This manager's membership and leadership in the swarm, as it changes.
    pub fn status(&self) -> watch::Receiver<ManagerStatus> {
        self.inner.status.clone()
    }

    /// Leaves consensus; afterwards the manager is to be shut down and its directory wiped. With `force` a refusal, or
    /// a swarm without a leader, is passed over: the others then miss a member.
    ///
    /// # Errors
    /// When the rest could not form a quorum, or nobody leads.
    pub async fn leave(&self, force: bool) -> Result<(), ManagerError> {
        match self.try_leave().await {
            Err(status) if force => {
                warn!(reason = status.message(), "leaving without the consent of the other managers");
                Ok(())
            }
            result => result.map_err(|status| ManagerError::Refused(status.message().to_owned())),
        }
    }

    async fn try_leave(&self) -> Result<(), Status> {
        let raft = &self.inner.swarm.raft;
        // One that has no state yet knows no member at all.
        if matches!(raft.members().as_slice(), [own] if own.raft_id == raft.raft_id()) {
            return Ok(());
        }
        if raft.leadership().borrow().is_self {
            raft.step_down().await;
        }
        // The others are asked and not this manager: one that was removed while it lost the lead, or was away, is called by
        // nobody and never knows who leads.
        let own = &self.inner.advertise_addr;
        let others: Vec<String> = self.managers().into_iter().filter(|addr| addr != own).collect();
        let left = self.inner.disowned.run_until_cancelled(announce::leave(&self.inner.dialer, &others)).await;
        left.unwrap_or(Ok(()))
    }

    /// Stops serving and closes the state. Nothing is lost: the same directory can be opened again.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.wait().await;
        self.inner.swarm.raft.shutdown().await;
    }
}
