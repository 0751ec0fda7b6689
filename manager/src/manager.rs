//! The manager as one thing that starts, serves and stops.
//!
//! Owns the member of the Raft group, the journal, the server on port 2377 and the tasks that stand on them.

use std::{io, sync::Arc};

use skep_common::{
    authz::Peer,
    net::{
        dial::Dialer,
        server::{Caller, RpcServer},
    },
};
use skep_core::validate_spec::InvalidSpec;
use skep_proto::v1::{
    LeaveRequest, LogOptions, NodeRole, Transaction, ca_server::CaServer, control_client::ControlClient,
    control_server::ControlServer, dispatcher_server::DispatcherServer, journal_server::JournalServer,
    membership_client::MembershipClient, membership_server::MembershipServer,
};
use skep_raft::{FIRST_RAFT_ID, OnFatal, Open, RaftConfig, RaftNode, Standing, StartError, Tuning};
use skep_store::{Store, View};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, service::RoutesBuilder};
use tracing::{info, warn};

use crate::{
    LogSelector, LogStream, ManagerConfig, ManagerStatus, Start,
    announce::{self, Announced},
    bootstrap,
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
    swarm::Swarm,
};

/// Directory of the journal, in the manager's own.
const JOURNAL: &str = "journal";

/// A running manager. Clones are the same manager.
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    swarm: Swarm,
    status: watch::Receiver<ManagerStatus>,
    control: LocalControl,
    membership: MembershipClient<LocalService<MembershipServer<MembershipService>>>,
    logs: LogBroker,
    dialer: Dialer,
    advertise_addr: String,
    /// Cancelled once the others have said that this manager is none of them any more.
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
}

/// What is left of the start once consensus runs.
enum Entrance {
    /// This manager has had its place; the others hear where it is reached.
    Return { remotes: Vec<String> },
    /// The swarm begins with this.
    Found(Transaction),
    /// The others have to take it in.
    Join,
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
    /// Starts serving port 2377. Returns once the state is open and, for a new or a joining manager, once this node is
    /// a member. A join that finds no manager goes on trying; dropping the future gives it up.
    ///
    /// # Errors
    /// When the state cannot be opened, or the swarm refuses this node.
    pub async fn start(config: ManagerConfig) -> Result<Self, ManagerError> {
        let ManagerConfig { node_id, cluster_id, data_dir, listen, advertise_addr, identity, dialer, clock, start } =
            config;
        let certificate = identity.current();
        if (certificate.node_id(), certificate.cluster_id()) != (&node_id, &cluster_id) {
            return Err(ManagerError::Refused("the certificate is another node's, or of another swarm".to_owned()));
        }
        let (open, entrance) = match start {
            Start::Bootstrap(first) => {
                let first = bootstrap::transaction(*first, &identity, &advertise_addr, clock.now())?;
                (Open::Create { raft_id: FIRST_RAFT_ID }, Entrance::Found(first))
            }
            Start::Join { remotes } => {
                (Open::Create { raft_id: announce::join(&dialer, &remotes, &advertise_addr).await? }, Entrance::Join)
            }
            Start::Resume { remotes } => (Open::Resume, Entrance::Return { remotes }),
        };
        let journal_dir = data_dir.join(JOURNAL);
        let raft_config = RaftConfig {
            dir: data_dir,
            open,
            node_id: node_id.clone(),
            addr: advertise_addr.clone(),
            tuning: Tuning::default(),
            on_fatal: OnFatal::default(),
        };
        let store = Store::new(View::default());
        let raft = RaftNode::start(raft_config, store.clone(), dialer.clone(), clock.clone()).await?;
        let swarm = Swarm { store: store.clone(), raft: raft.clone(), clock, by: "manager".into() };

        let keeper = Keeper::new(Log::new(journal_dir, raft.vault(), Limits::default()), swarm.clock.clone());
        let route = LeaderRoute::new(&raft, dialer.clone());
        let (dispatcher, term) = watch::channel(None);
        let (status, status_receiver) = watch::channel(ManagerStatus::default());
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
            .add_service(membership.clone())
            .add_service(control.clone())
            .add_service(DispatcherServer::new(agents))
            .add_service(JournalServer::new(JournalService::new(keeper.clone())));
        let roles = StoredRoles { node_id: node_id.clone(), store: store.clone(), leadership: raft.leadership() };
        let own_id = node_id.clone();
        // This node's own calls come from nowhere on the network; its address is the one it serves on.
        let caller = Caller::direct(Peer::Node { node_id, role: NodeRole::Manager }, listen.local_addr()?);
        let server = RpcServer::new(listen, identity.clone(), Arc::new(roles), routes.routes());

        let (stop, disowned) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tasks.spawn(server.serve(stop.clone()));
        tasks.spawn(
            Lead { swarm: swarm.clone(), status, dispatcher, disowned: disowned.clone(), stop: stop.clone() }.follow(),
        );
        let source = Managers { node_id: own_id, store: store.clone(), raft, dialer: dialer.clone() };
        tasks.spawn(Filler { keeper: keeper.clone(), source }.run(stop.clone()));
        tasks.spawn(keeper.keep(store.clone(), stop.clone()));
        tasks.close();

        let control = LocalControl::new(LocalService::new(control, caller.clone()));
        let manager = Self {
            inner: Arc::new(Inner {
                logs: LogBroker::new(store, ControlClient::new(control.clone()), dialer.clone(), stop.clone()),
                membership: MembershipClient::new(LocalService::new(membership, caller)),
                status: status_receiver,
                control,
                swarm,
                dialer,
                advertise_addr,
                disowned,
                stop,
                tasks,
            }),
        };
        if let Err(error) = manager.enter(entrance).await {
            manager.shutdown().await;
            return Err(error);
        }
        Ok(manager)
    }

    /// Makes the swarm, or waits to be part of it.
    async fn enter(&self, entrance: Entrance) -> Result<(), ManagerError> {
        let raft = &self.inner.swarm.raft;
        match entrance {
            Entrance::Return { remotes } => {
                self.inner.tasks.spawn(self.clone().announce(remotes));
            }
            Entrance::Found(first) => {
                raft.bootstrap(first).await?;
                info!("a new swarm was made");
            }
            Entrance::Join => {
                let mut standing = raft.standing();
                let settled = standing.wait_for(|standing| *standing != Standing::Pending).await;
                if !settled.is_ok_and(|standing| *standing == Standing::Voter) {
                    let reason = "this manager could not catch up with the swarm in time, or was removed from it";
                    return Err(ManagerError::Refused(reason.to_owned()));
                }
                info!("this manager is a member of the swarm's consensus");
            }
        }
        Ok(())
    }

    /// Tells the others where this manager is reached now.
    async fn announce(self, remotes: Vec<String>) {
        let Inner { swarm, dialer, advertise_addr, disowned, stop, .. } = &*self.inner;
        let announced = announce::announce(dialer, &remotes, swarm.raft.raft_id(), advertise_addr);
        if stop.run_until_cancelled(announced).await == Some(Announced::Removed) {
            warn!("the other managers have removed this one from the swarm's consensus");
            disowned.cancel();
        }
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

    /// This manager's place in the swarm, as it changes.
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
        if raft.members().len() <= 1 {
            return Ok(());
        }
        if raft.leadership().borrow().is_self {
            raft.step_down().await;
        }
        self.inner.membership.clone().leave(announce::within_deadline(LeaveRequest {})).await?;
        Ok(())
    }

    /// Stops serving and closes the state. Nothing is lost: the same directory can be opened again.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.wait().await;
        self.inner.swarm.raft.shutdown().await;
    }
}
