//! What a manager is started with.
//!
//! Owns nothing: the daemon fills these in and hands them over to [`Manager::start`](crate::Manager::start).

use std::{path::PathBuf, sync::Arc};

use skep_ca::RootCa;
use skep_common::{
    clock::Clock,
    net::{dial::Dialer, identity::IdentityHandle, server::ServerLimits},
};
use skep_proto::v1::{Availability, Certificate, ClusterSpec, NodeDescription};
use skep_raft::ToldMembers;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Everything a [`Manager`](crate::Manager) stands on.
pub struct ManagerConfig {
    /// This node's id, the CN of its certificate.
    pub node_id: String,
    /// The cluster's id, the O of every certificate.
    pub cluster_id: String,
    /// The manager's own directory (Raft log, snapshots); made when it is not there.
    pub data_dir: PathBuf,
    /// The bound socket of port 2377.
    pub listen: TcpListener,
    /// What that port takes on.
    pub limits: ServerLimits,
    /// host:port the other nodes reach `listen` under.
    pub advertise_addr: String,
    /// The node's certificate and key; may be replaced while the manager runs.
    pub identity: IdentityHandle,
    /// The way to other nodes, under the same identity.
    pub dialer: Dialer,
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// The highest feature level this manager reads and writes: [`FEATURE_LEVEL`](skep_common::feature_level::FEATURE_LEVEL), or
    /// less to be as good as an earlier release.
    pub feature_level: u32,
    /// How this manager comes to its state.
    pub start: Start,
    /// Ends [`Manager::start`](crate::Manager::start) while it still opens the state: a large one takes long.
    pub give_up: CancellationToken,
}

/// What a new member was told when it joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its Raft id.
    pub raft_id: u64,
    /// All members: until its own log has them, only these may call it as members.
    pub members: ToldMembers,
}

/// How a manager comes to its state.
pub enum Start {
    /// Makes a new swarm of this one node.
    Bootstrap(Box<Bootstrap>),
    /// Begins as the new member that [`join`](crate::join) has made of it.
    Join {
        /// What it was told.
        joined: Joined,
        /// Managers (host:port) to ask whether it is still a member, should it hear nothing of them.
        remotes: Vec<String>,
    },
    /// Opens the state in `data_dir` again, and tells the swarm where this manager is reached now.
    Resume {
        /// Managers (host:port) to tell it to.
        remotes: Vec<String>,
    },
}

/// What the first entry of a new swarm is made from.
pub struct Bootstrap {
    /// Spec of the cluster; what is unset gets its default.
    pub spec: ClusterSpec,
    /// The root and its key, from here on kept only in the replicated state.
    pub root_ca: RootCa,
    /// The certificate this node already holds, issued by `root_ca`.
    pub certificate: Certificate,
    /// Availability of this node.
    pub availability: Availability,
    /// What this node is, so that it is named from the first moment; empty when not known yet.
    pub description: NodeDescription,
}
