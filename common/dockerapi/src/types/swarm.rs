//! The swarm itself: `/swarm`, `/swarm/init`, `/swarm/join`, `/swarm/update`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Driver, Version, bytes, zero};
use crate::time::Time;

/// The swarm: `GET /swarm`, and inside `/info` without the tokens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Swarm {
    /// The cluster's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// For updates.
    pub version: Version,
    /// When it was made.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// What is wanted of it.
    pub spec: SwarmSpec,
    /// The root of trust.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
    /// Whether a new root is being rolled out.
    pub root_rotation_in_progress: bool,
    /// Pools of overlay subnets; `null` = the defaults.
    pub default_addr_pool: Option<Vec<String>>,
    /// Prefix length of an overlay subnet.
    pub subnet_size: u32,
    /// VXLAN port.
    pub data_path_port: u32,
    /// Absent inside `/info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_tokens: Option<JoinTokens>,
}

/// The two tokens. Secrets: no `Debug` shows them.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinTokens {
    /// Makes a worker.
    pub worker: String,
    /// Makes a manager.
    pub manager: String,
}

impl std::fmt::Debug for JoinTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinTokens").finish_non_exhaustive()
    }
}

/// The root of trust, and of a node's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TlsInfo {
    /// PEM of the roots.
    #[serde(skip_serializing_if = "zero")]
    pub trust_root: String,
    /// DER of the root's subject.
    #[serde(with = "bytes", skip_serializing_if = "zero")]
    pub cert_issuer_subject: Vec<u8>,
    /// DER of the root's public key.
    #[serde(with = "bytes", skip_serializing_if = "zero")]
    pub cert_issuer_public_key: Vec<u8>,
}

/// What is wanted of a swarm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmSpec {
    /// Always `default`.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Task history.
    pub orchestration: OrchestrationConfig,
    /// Log and snapshots.
    pub raft: RaftConfig,
    /// Heartbeats.
    pub dispatcher: DispatcherConfig,
    /// Certificates.
    #[serde(rename = "CAConfig")]
    pub ca_config: CaConfig,
    /// What a task has that does not say otherwise.
    pub task_defaults: TaskDefaults,
    /// Locking of managers.
    pub encryption_config: EncryptionConfig,
}

/// See [`SwarmSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OrchestrationConfig {
    /// Finished tasks kept per slot; negative keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_history_retention_limit: Option<i64>,
}

/// See [`SwarmSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftConfig {
    /// Log entries between snapshots.
    #[serde(skip_serializing_if = "zero")]
    pub snapshot_interval: u64,
    /// Snapshots kept beside the newest; always 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_old_snapshots: Option<u64>,
    /// Log entries kept for followers that lag.
    #[serde(skip_serializing_if = "zero")]
    pub log_entries_for_slow_followers: u64,
    /// Shown as Docker's, not settable.
    pub election_tick: i64,
    /// Shown as Docker's, not settable.
    pub heartbeat_tick: i64,
}

/// See [`SwarmSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DispatcherConfig {
    /// Nanoseconds between an agent's heartbeats.
    #[serde(skip_serializing_if = "zero")]
    pub heartbeat_period: i64,
}

/// See [`SwarmSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaConfig {
    /// Nanoseconds a node's certificate lives.
    #[serde(skip_serializing_if = "zero")]
    pub node_cert_expiry: i64,
}

/// See [`SwarmSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskDefaults {
    /// Where output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<Driver>,
}

/// See [`SwarmSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EncryptionConfig {
    /// Always false.
    pub auto_lock_managers: bool,
}

/// `POST /swarm/init`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InitRequest {
    /// host:port.
    pub listen_addr: String,
    /// host or host:port; empty = found out.
    pub advertise_addr: String,
    /// The same address as `advertise_addr`, or empty.
    pub data_path_addr: String,
    /// 4789, or 0.
    pub data_path_port: u32,
    /// Start again as the only manager.
    pub force_new_cluster: bool,
    /// What is wanted.
    pub spec: SwarmSpec,
    /// Always false.
    pub auto_lock_managers: bool,
    /// `active`, `pause`, `drain`; empty = active.
    pub availability: String,
    /// 24, or 0.
    pub subnet_size: u32,
}

/// `POST /swarm/join`. Holds a secret: no `Debug`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinRequest {
    /// host:port.
    pub listen_addr: String,
    /// host or host:port; empty = found out.
    pub advertise_addr: String,
    /// The same address as `advertise_addr`, or empty.
    pub data_path_addr: String,
    /// Managers to ask.
    pub remote_addrs: Vec<String>,
    /// The token.
    pub join_token: String,
    /// `active`, `pause`, `drain`; empty = active.
    pub availability: String,
}
