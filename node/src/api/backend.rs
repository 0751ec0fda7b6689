//! The backend of the API server: the traits that the daemon implements.
//!
//! Invariant: handlers use nothing but these traits, so a test can run the whole API on an in-memory swarm.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use skep_common::limits;
pub use skep_manager::{LogSelector, LogStream, TaskLog};
use skep_proto::v1::{
    Availability, ClusterSpec, LogOptions, NodeDescription, PeerManager, control_client::ControlClient,
};
use skep_runtime::Runtime;
use tower::{Service, ServiceExt as _, util::BoxCloneSyncService};

/// The state of the node in a swarm, as `docker info` words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalNodeState {
    /// Not part of a swarm.
    #[default]
    Inactive,
    /// Joining, or starting again into a known swarm; not connected yet.
    Pending,
    /// A member.
    Active,
    /// The swarm state could not be brought up; [`LocalStatus::error`] says why.
    Error,
}

/// What this node knows of itself, without asking anybody.
#[derive(Debug, Clone, Default)]
pub struct LocalStatus {
    /// Whether it is part of a swarm.
    pub state: LocalNodeState,
    /// The swarm node id; empty while there is none.
    pub node_id: String,
    /// The advertised IP address, without a port; empty while there is none.
    pub node_addr: String,
    /// Why [`LocalNodeState::Error`] or a join that takes long; empty otherwise.
    pub error: String,
    /// Whether it is to manage, by its certificate: its manager may yet be starting.
    pub is_manager: bool,
    /// The managers this node knows, in no particular order.
    pub remote_managers: Vec<PeerManager>,
}

/// `POST /swarm/init`, parsed and checked for form.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// host:port to listen on (default `0.0.0.0:2377`).
    pub listen_addr: String,
    /// host:port (or host) the others reach this node under; `None` = the backend picks the host's one address
    /// or answers [`SwarmError::Invalid`] when there are several.
    pub advertise_addr: Option<String>,
    /// Spec of the new cluster, defaults filled in.
    pub spec: ClusterSpec,
    /// Availability of the first node.
    pub availability: Availability,
}

/// `POST /swarm/join`, parsed and checked for form.
#[derive(Clone)]
pub struct JoinOptions {
    /// host:port to listen on should the node become a manager.
    pub listen_addr: String,
    /// host:port (or host) the others reach this node under; `None` = the address of the route to the remote.
    pub advertise_addr: Option<String>,
    /// host:port of managers to try, in this order; never empty.
    pub remote_addrs: Vec<String>,
    /// The join token: decides the role. A secret, so these options have no `Debug`.
    pub token: String,
    /// Availability of the new node.
    pub availability: Availability,
}

/// Why a call on the local node failed. `Display` is the text the user sees.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SwarmError {
    /// The node is not in a swarm.
    #[error("This node is not part of a swarm")]
    NotInSwarm,
    /// The node is in a swarm already.
    #[error(
        "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one."
    )]
    AlreadyInSwarm,
    /// The join goes on in the background; what stands in its way as a sentence of its own, or nothing.
    #[error(
        "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the \"docker info\" command to see the current swarm status of your node.{0}"
    )]
    JoinTimeout(String),
    /// A manager was asked to leave without force; the text says what that would do.
    #[error("{0}")]
    LeaveNeedsForce(String),
    /// The user's input cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The swarm refused (wrong token, the rest would have no quorum, …).
    #[error("{0}")]
    Refused(String),
    /// Anything else: storage, network.
    #[error("{0}")]
    Internal(String),
}

/// The carrier of a control call broke: the other end is gone.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TransportError(tower::BoxError);

/// Any in-process or remote carrier of the control service, its type erased.
pub type ControlTransport =
    BoxCloneSyncService<http::Request<tonic::body::Body>, http::Response<tonic::body::Body>, TransportError>;

/// The control service as handlers call it.
pub type Control = ControlClient<ControlTransport>;

/// Erases the type of a control service or channel: `control(ControlServer::new(…))`.
pub fn control<S>(transport: S) -> Control
where
    S: Service<http::Request<tonic::body::Body>, Response = http::Response<tonic::body::Body>>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Error: Into<tower::BoxError>,
    S::Future: Send + 'static,
{
    let carrier = transport.map_err(|error| TransportError(error.into()));
    ControlClient::new(BoxCloneSyncService::new(carrier))
        .max_encoding_message_size(limits::MAX_REQUEST_BYTES)
        .max_decoding_message_size(limits::MAX_REPLY_BYTES)
}

/// A node that manages: the way to the replicated state.
#[async_trait]
pub trait Manager: Send + Sync {
    /// A client of the control service; on a follower its calls go on to the leader.
    fn control(&self) -> Control;

    /// What is wrong with how this manager keeps the replicated state: each a sentence. Cheap: reads memory.
    fn troubles(&self) -> Vec<String>;

    /// Log lines of a service or a task, gathered from the nodes.
    async fn logs(&self, selector: LogSelector, options: LogOptions) -> Result<LogStream, tonic::Status>;
}

/// This node's membership: what `/swarm/*` changes and every other handler asks first.
#[async_trait]
pub trait Swarm: Send + Sync {
    /// The membership now. Cheap: reads memory.
    fn status(&self) -> LocalStatus;

    /// The way to the replicated state while this node is a manager, `None` while it is not.
    fn manager(&self) -> Option<Arc<dyn Manager>>;

    /// Makes a swarm of this one node and gives its node id.
    async fn init(&self, options: InitOptions) -> Result<String, SwarmError>;

    /// Joins a swarm; returns once the node is a member. The backend bounds the wait with
    /// [`SwarmError::JoinTimeout`] and goes on trying.
    async fn join(&self, options: JoinOptions) -> Result<(), SwarmError>;

    /// Leaves. Without `force` a manager refuses with [`SwarmError::LeaveNeedsForce`].
    async fn leave(&self, force: bool) -> Result<(), SwarmError>;
}

/// What every handler gets.
#[derive(Clone)]
pub struct ApiState {
    /// This node's membership.
    pub cluster: Arc<dyn Swarm>,
    /// This node's containers and images.
    pub runtime: Arc<dyn Runtime>,
    /// What does not change while the daemon runs.
    pub host: Arc<HostFacts>,
}

/// Facts of this daemon for `/info` and `/version`.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Identifies the engine, in a swarm or not.
    pub engine_id: String,
    /// Host name, platform, resources, engine version, engine labels: what the node tells its managers too.
    pub description: NodeDescription,
    /// `--data-root`.
    pub data_root: PathBuf,
}
