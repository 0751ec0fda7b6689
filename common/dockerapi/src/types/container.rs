//! Containers of one node: `/containers`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerSummary {
    /// Its id.
    pub id: String,
    /// `/name`.
    pub names: Vec<String>,
    /// As it was named.
    pub image: String,
    /// Digest of its configuration.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// What it runs.
    pub command: String,
    /// Unix seconds.
    pub created: i64,
    /// Always empty.
    pub ports: Vec<serde_json::Value>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `created`, `running`, `exited`.
    pub state: String,
    /// `Up 5 minutes`.
    pub status: String,
    /// Always empty.
    pub mounts: Vec<serde_json::Value>,
}

/// A container: `GET /containers/{id}/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Time,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// How it is.
    pub state: ContainerState,
    /// Digest of its image's configuration.
    pub image: String,
    /// `/name`.
    pub name: String,
    /// Always 0: a task's container is never started twice.
    pub restart_count: u64,
    /// What it was made from.
    pub config: ContainerConfig,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerState {
    /// `created`, `running`, `exited`.
    pub status: String,
    /// Whether it runs.
    pub running: bool,
    /// Always false.
    pub paused: bool,
    /// Always false.
    pub restarting: bool,
    /// Whether the kernel killed a process of it for want of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Always false.
    pub dead: bool,
    /// Its first process; 0 when it has none.
    pub pid: u32,
    /// How it ended.
    pub exit_code: i32,
    /// Why it did not start.
    pub error: String,
    /// When it started.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Time,
}

/// What a container was made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// Whether it has a terminal: its log is then one stream.
    pub tty: bool,
    /// What it runs.
    pub cmd: Vec<String>,
    /// As it was named.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}
