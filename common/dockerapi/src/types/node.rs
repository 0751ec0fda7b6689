//! Nodes: `/nodes`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GenericResource, TlsInfo, Version, zero};
use crate::time::Time;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// For updates.
    pub version: Version,
    /// When it joined.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// What is wanted of it.
    pub spec: NodeSpec,
    /// What it said of itself.
    pub description: NodeDescription,
    /// How it is.
    pub status: NodeStatus,
    /// Of managers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager_status: Option<ManagerStatus>,
}

/// What is wanted of a node; the body of an update.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeSpec {
    /// A name beside its host name.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `worker` or `manager`.
    #[serde(skip_serializing_if = "zero")]
    pub role: String,
    /// `active`, `pause`, `drain`.
    #[serde(skip_serializing_if = "zero")]
    pub availability: String,
    /// `gradual`, or empty for Docker's own way. Docker has no such field; its CLI leaves it out of an update.
    #[serde(skip_serializing_if = "zero")]
    pub drain_pace: String,
}

/// What a node said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeDescription {
    /// Host name.
    #[serde(skip_serializing_if = "zero")]
    pub hostname: String,
    /// Machine.
    pub platform: Platform,
    /// What it has.
    pub resources: Resources,
    /// Its daemon.
    pub engine: EngineDescription,
    /// Its trust.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
}

/// Architecture and operating system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `x86_64`, `amd64`, …
    #[serde(rename = "Architecture", skip_serializing_if = "zero")]
    pub architecture: String,
    /// `linux`.
    #[serde(rename = "OS", skip_serializing_if = "zero")]
    pub os: String,
}

/// CPUs, memory and what else there is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// 10⁻⁹ CPUs.
    #[serde(rename = "NanoCPUs", skip_serializing_if = "zero")]
    pub nano_cpus: i64,
    /// Bytes.
    #[serde(rename = "MemoryBytes", skip_serializing_if = "zero")]
    pub memory_bytes: i64,
    /// Of the kinds the operator named.
    #[serde(rename = "GenericResources", skip_serializing_if = "zero")]
    pub generic_resources: Vec<GenericResource>,
}

/// The daemon of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EngineDescription {
    /// Version.
    #[serde(skip_serializing_if = "zero")]
    pub engine_version: String,
    /// `--label`.
    #[serde(skip_serializing_if = "zero")]
    pub labels: BTreeMap<String, String>,
    /// What it brings.
    #[serde(skip_serializing_if = "zero")]
    pub plugins: Vec<Plugin>,
}

/// A driver of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Plugin {
    /// `Log`, `Network`, `Volume`.
    #[serde(skip_serializing_if = "zero")]
    pub r#type: String,
    /// Its name.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeStatus {
    /// `unknown`, `down`, `ready`, `disconnected`.
    #[serde(skip_serializing_if = "zero")]
    pub state: String,
    /// Why.
    #[serde(skip_serializing_if = "zero")]
    pub message: String,
    /// Its IP address.
    #[serde(skip_serializing_if = "zero")]
    pub addr: String,
}

/// A manager's place among the managers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManagerStatus {
    /// Whether it leads.
    #[serde(skip_serializing_if = "zero")]
    pub leader: bool,
    /// `unknown`, `unreachable`, `reachable`.
    pub reachability: String,
    /// host:port.
    #[serde(skip_serializing_if = "zero")]
    pub addr: String,
}
