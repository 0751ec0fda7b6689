//! What a service's tasks are to be: the task template and all below it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Platform, Resources, zero};

/// The template of a service's tasks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskSpec {
    /// What to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_spec: Option<ContainerSpec>,
    /// Limits and reservations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// When a task is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// The host's network, or none.
    #[serde(skip_serializing_if = "zero")]
    pub networks: Vec<NetworkAttachmentConfig>,
    /// Where output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<Driver>,
    /// Counts `--force`.
    pub force_update: u64,
    /// `container`, or empty.
    #[serde(skip_serializing_if = "zero")]
    pub runtime: String,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerSpec {
    /// Image name.
    #[serde(skip_serializing_if = "zero")]
    pub image: String,
    /// Labels of the container.
    #[serde(skip_serializing_if = "zero")]
    pub labels: BTreeMap<String, String>,
    /// Instead of the image's entrypoint.
    #[serde(skip_serializing_if = "zero")]
    pub command: Vec<String>,
    /// Arguments.
    #[serde(skip_serializing_if = "zero")]
    pub args: Vec<String>,
    /// Host name.
    #[serde(skip_serializing_if = "zero")]
    pub hostname: String,
    /// `KEY=VALUE`.
    #[serde(skip_serializing_if = "zero")]
    pub env: Vec<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "zero")]
    pub dir: String,
    /// `user[:group]`.
    #[serde(skip_serializing_if = "zero")]
    pub user: String,
    /// More groups.
    #[serde(skip_serializing_if = "zero")]
    pub groups: Vec<String>,
    /// A process 1 that reaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Name of a signal.
    #[serde(skip_serializing_if = "zero")]
    pub stop_signal: String,
    /// A terminal.
    #[serde(rename = "TTY", skip_serializing_if = "zero")]
    pub tty: bool,
    /// Input stays open.
    #[serde(skip_serializing_if = "zero")]
    pub open_stdin: bool,
    /// Root file system read-only.
    #[serde(skip_serializing_if = "zero")]
    pub read_only: bool,
    /// Nanoseconds from the signal to the kill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace_period: Option<i64>,
    /// How its health is asked for: `NONE` alone, for not at all, is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// `IP name…` lines.
    #[serde(skip_serializing_if = "zero")]
    pub hosts: Vec<String>,
    /// Nothing can be set in it yet.
    #[serde(rename = "DNSConfig", skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<DnsConfig>,
    /// `default`, or empty.
    #[serde(skip_serializing_if = "zero")]
    pub isolation: String,
    /// Kernel settings of its namespaces.
    #[serde(skip_serializing_if = "zero")]
    pub sysctls: BTreeMap<String, String>,
    /// `CAP_…`.
    #[serde(skip_serializing_if = "zero")]
    pub capability_add: Vec<String>,
    /// `CAP_…`.
    #[serde(skip_serializing_if = "zero")]
    pub capability_drop: Vec<String>,
    /// Limits of its processes.
    #[serde(skip_serializing_if = "zero")]
    pub ulimits: Vec<Ulimit>,
    /// -1000 … 1000.
    #[serde(skip_serializing_if = "zero")]
    pub oom_score_adj: i64,
}

/// How the health of a container is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthConfig {
    /// Empty: as the image says; `NONE`: not at all; `CMD …`, `CMD-SHELL …`.
    #[serde(skip_serializing_if = "zero")]
    pub test: Vec<String>,
}

/// How names are looked up: nothing can be set yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsConfig {}

/// A limit of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ulimit {
    /// `nofile`, …
    pub name: String,
    /// Hard limit.
    pub hard: i64,
    /// Soft limit.
    pub soft: i64,
}

/// Limits and reservations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourceRequirements {
    /// At most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limit>,
    /// At least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservations: Option<Resources>,
}

/// At most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// 10⁻⁹ CPUs.
    #[serde(rename = "NanoCPUs", skip_serializing_if = "zero")]
    pub nano_cpus: i64,
    /// Bytes.
    #[serde(rename = "MemoryBytes", skip_serializing_if = "zero")]
    pub memory_bytes: i64,
    /// Processes.
    #[serde(rename = "Pids", skip_serializing_if = "zero")]
    pub pids: i64,
}

/// When a task is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// `none`, `on-failure`, `any`; empty = any.
    #[serde(skip_serializing_if = "zero")]
    pub condition: String,
    /// Nanoseconds before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<i64>,
    /// At most so often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u64>,
    /// Nanoseconds in which attempts count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<i64>,
}

/// Where tasks may run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Placement {
    /// All must hold.
    #[serde(skip_serializing_if = "zero")]
    pub constraints: Vec<String>,
    /// Outermost first.
    #[serde(skip_serializing_if = "zero")]
    pub preferences: Vec<PlacementPreference>,
    /// Per node; 0 = any number.
    #[serde(skip_serializing_if = "zero")]
    pub max_replicas: u64,
    /// One of them; none = any.
    #[serde(skip_serializing_if = "zero")]
    pub platforms: Vec<Platform>,
}

/// A preference among places.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PlacementPreference {
    /// The one kind there is.
    pub spread: Option<SpreadOver>,
}

/// Spread evenly over the values of something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SpreadOver {
    /// `node.labels.zone`.
    pub spread_descriptor: String,
}

/// A network of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkAttachmentConfig {
    /// Name or id.
    #[serde(skip_serializing_if = "zero")]
    pub target: String,
}

/// A named driver and its options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Driver {
    /// Its name.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Its options.
    #[serde(skip_serializing_if = "zero")]
    pub options: BTreeMap<String, String>,
}
