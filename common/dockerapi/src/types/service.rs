//! Services: `/services`.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{Empty, TaskSpec, Version, zero};
use crate::time::Time;

/// A service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// For updates.
    pub version: Version,
    /// When it was made.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// What is wanted.
    pub spec: ServiceSpec,
    /// What was wanted before the last update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_spec: Option<Box<ServiceSpec>>,
    /// How it is reached.
    pub endpoint: Endpoint,
    /// How the last update goes or went; absent when nothing had to be done for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_status: Option<UpdateStatus>,
    /// Counts, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_status: Option<ServiceStatus>,
    /// Of jobs only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_status: Option<JobStatus>,
}

/// How an update goes or went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateStatus {
    /// `updating`, `paused`, `completed`, `rollback_started`, `rollback_paused`, `rollback_completed`.
    #[serde(skip_serializing_if = "zero")]
    pub state: String,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// The state in a sentence, and what led to it.
    #[serde(skip_serializing_if = "zero")]
    pub message: String,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobStatus {
    /// The newest run; the first is 0.
    pub job_iteration: Version,
    /// When it began.
    pub last_execution: Time,
}

/// What is wanted of a service; the body of create and update.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceSpec {
    /// Its name.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Its tasks.
    pub task_template: TaskSpec,
    /// How many.
    pub mode: ServiceMode,
    /// How updates go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_config: Option<UpdateConfig>,
    /// How rollbacks go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_config: Option<UpdateConfig>,
    /// How it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_spec: Option<EndpointSpec>,
}

/// How many tasks: exactly one of these. Here a key says something by being there, whatever it holds, so that one nobody
/// knows is not passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceMode {
    /// A number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicated: Option<ReplicatedService>,
    /// One per node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global: Option<Empty>,
    /// A number, run to completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicated_job: Option<ReplicatedJob>,
    /// One per node, run to completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_job: Option<Empty>,
    /// A mode there is not.
    #[serde(skip)]
    pub unknown: Option<String>,
}

impl<'de> Deserialize<'de> for ServiceMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ModeVisitor)
    }
}

struct ModeVisitor;

impl<'de> Visitor<'de> for ModeVisitor {
    type Value = ServiceMode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a service mode")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ServiceMode, A::Error> {
        let mut mode = ServiceMode::default();
        while let Some(key) = entries.next_key::<String>()? {
            match key.to_ascii_lowercase().as_str() {
                "replicated" => mode.replicated = entries.next_value()?,
                "global" => mode.global = entries.next_value()?,
                "replicatedjob" => mode.replicated_job = entries.next_value()?,
                "globaljob" => mode.global_job = entries.next_value()?,
                _ => mode.unknown = entries.next_value::<Option<IgnoredAny>>()?.map(|_| key).or(mode.unknown),
            }
        }
        Ok(mode)
    }
}

/// A number of tasks that run to completion.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReplicatedJob {
    /// Tasks at a time; absent = 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u64>,
    /// Tasks in all; absent = as many as run at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_completions: Option<u64>,
}

/// A number of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReplicatedService {
    /// Absent = 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u64>,
}

/// How updates go.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateConfig {
    /// Tasks at a time; 0 = all.
    pub parallelism: u64,
    /// Nanoseconds between batches.
    #[serde(skip_serializing_if = "zero")]
    pub delay: i64,
    /// `pause`, `continue`, `rollback`.
    #[serde(skip_serializing_if = "zero")]
    pub failure_action: String,
    /// Nanoseconds a new task is watched.
    #[serde(skip_serializing_if = "zero")]
    pub monitor: i64,
    /// 0 … 1.
    #[serde(serialize_with = "ratio")]
    pub max_failure_ratio: f32,
    /// `stop-first`, `start-first`.
    pub order: String,
}

/// Go writes `0` and `1` where serde writes `0.0` and `1.0`.
fn ratio<S: Serializer>(ratio: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    match *ratio {
        0.0 => serializer.serialize_u8(0),
        1.0 => serializer.serialize_u8(1),
        ratio => serializer.serialize_f32(ratio),
    }
}

/// How a service is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointSpec {
    /// `vip`, `dnsrr`.
    #[serde(skip_serializing_if = "zero")]
    pub mode: String,
    /// What is published.
    #[serde(skip_serializing_if = "zero")]
    pub ports: Vec<PortConfig>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortConfig {
    /// A name of it.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// `tcp`, `udp`, `sctp`; empty = tcp.
    #[serde(skip_serializing_if = "zero")]
    pub protocol: String,
    /// Inside the container.
    #[serde(skip_serializing_if = "zero")]
    pub target_port: u32,
    /// Outside; 0 = any free one.
    #[serde(skip_serializing_if = "zero")]
    pub published_port: u32,
    /// `ingress`: on every node; `host`: on the task's own. Empty = ingress.
    #[serde(skip_serializing_if = "zero")]
    pub publish_mode: String,
}

/// How a service is reached now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// Empty while nothing is published.
    pub spec: EndpointSpec,
}

/// Counts of a service's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceStatus {
    /// Running.
    pub running_tasks: u64,
    /// Wanted.
    pub desired_tasks: u64,
    /// Done.
    pub completed_tasks: u64,
}
