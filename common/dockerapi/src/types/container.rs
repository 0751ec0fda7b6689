//! Containers of one node: `/containers`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Ulimit, zero};
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
    pub ports: Vec<Value>,
    /// Bytes it wrote, when asked for.
    #[serde(skip_serializing_if = "zero")]
    pub size_rw: u64,
    /// Bytes of all its files, when asked for.
    #[serde(skip_serializing_if = "zero")]
    pub size_root_fs: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `created`, `running`, `exited`.
    pub state: String,
    /// `Up 5 minutes`.
    pub status: String,
    /// Its network.
    pub host_config: HostConfigSummary,
    /// The same.
    pub network_settings: NetworksOfContainer,
    /// Always empty.
    pub mounts: Vec<Value>,
}

/// The part of [`HostConfig`] in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfigSummary {
    /// `host`, `none`.
    pub network_mode: String,
}

/// The networks of a container, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworksOfContainer {
    /// `host`, `none`.
    pub networks: BTreeMap<String, Value>,
}

/// A container: `GET /containers/{id}/json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
    /// Its `/etc/resolv.conf` on the host.
    pub resolv_conf_path: String,
    /// Its `/etc/hostname` on the host.
    pub hostname_path: String,
    /// Its `/etc/hosts` on the host.
    pub hosts_path: String,
    /// Its log on the host; empty when it has none.
    pub log_path: String,
    /// `/name`.
    pub name: String,
    /// Always 0: a task's container is never started twice.
    pub restart_count: u64,
    /// How its layers are put together.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// Always empty.
    pub mount_label: String,
    /// Always empty.
    pub process_label: String,
    /// Always empty.
    pub app_armor_profile: String,
    /// Always `null`.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// What is the host's affair.
    pub host_config: HostConfig,
    /// Where its layers are.
    pub graph_driver: GraphDriver,
    /// Bytes it wrote, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// Bytes of all its files, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    /// Always empty.
    pub mounts: Vec<Value>,
    /// What it was made from.
    pub config: ContainerConfig,
    /// How it is reached.
    pub network_settings: NetworkSettings,
}

/// Where the layers of a container or an image are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GraphDriver {
    /// Directories, by Docker's names for them.
    pub data: BTreeMap<String, String>,
    /// What puts them together.
    pub name: String,
}

/// How a container is reached.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// Its networks, by name.
    pub networks: BTreeMap<String, Value>,
    /// What it publishes: nothing.
    pub ports: BTreeMap<String, Value>,
    /// What Docker has beside that, at its zero values.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What of a container is the host's affair: limits, privileges, networks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// Where its output goes.
    pub log_config: LogConfig,
    /// `host`, `none`.
    pub network_mode: String,
    /// `CAP_…`.
    pub cap_add: Option<Vec<String>>,
    /// `CAP_…`.
    pub cap_drop: Option<Vec<String>>,
    /// `name:IP`.
    pub extra_hosts: Option<Vec<String>>,
    /// More groups.
    pub group_add: Option<Vec<String>>,
    /// -1000 … 1000.
    pub oom_score_adj: i64,
    /// Whether its root file system is read-only.
    pub readonly_rootfs: bool,
    /// Kernel settings of its namespaces.
    #[serde(skip_serializing_if = "zero")]
    pub sysctls: BTreeMap<String, String>,
    /// Whether it has a process 1 that reaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// What runs it.
    pub runtime: String,
    /// Bytes at most; 0 = no limit.
    pub memory: i64,
    /// 10⁻⁹ CPUs at most; 0 = no limit.
    pub nano_cpus: i64,
    /// Processes at most.
    pub pids_limit: Option<i64>,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// What Docker has beside that, at the values it has when nobody sets them.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// The driver.
    pub r#type: String,
    /// Its options.
    pub config: BTreeMap<String, String>,
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

/// What a container was made from; of an image, what its containers are made from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// What it calls itself.
    pub hostname: String,
    /// Always empty.
    pub domainname: String,
    /// `user[:group]`.
    pub user: String,
    /// Always false.
    pub attach_stdin: bool,
    /// Always false.
    pub attach_stdout: bool,
    /// Always false.
    pub attach_stderr: bool,
    /// Ports an image names.
    #[serde(skip_serializing_if = "zero")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// Whether it has a terminal: its log is then one stream.
    pub tty: bool,
    /// Whether its input stays open.
    pub open_stdin: bool,
    /// Always false.
    pub stdin_once: bool,
    /// `KEY=VALUE`.
    pub env: Option<Vec<String>>,
    /// Arguments.
    pub cmd: Option<Vec<String>>,
    /// How its health is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// As it was named.
    pub image: String,
    /// Paths an image names.
    pub volumes: Option<BTreeMap<String, Value>>,
    /// Where it starts.
    pub working_dir: String,
    /// What is executed.
    pub entrypoint: Option<Vec<String>>,
    /// What a build on top of an image begins with.
    pub on_build: Option<Vec<String>>,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that asks it to end.
    #[serde(skip_serializing_if = "zero")]
    pub stop_signal: String,
    /// What runs a build's commands.
    #[serde(skip_serializing_if = "zero")]
    pub shell: Vec<String>,
}
