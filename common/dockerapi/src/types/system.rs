//! The daemon: `/info`, `/version`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Swarm, zero};
use crate::time::Time;

/// `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VersionInfo {
    /// The product.
    pub platform: PlatformName,
    /// Its parts.
    pub components: Vec<Component>,
    /// Of the daemon.
    pub version: String,
    /// Newest API version.
    pub api_version: String,
    /// Oldest API version.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// Source it was built from; empty when not known.
    pub git_commit: String,
    /// Empty: it is not written in Go.
    pub go_version: String,
    /// `linux`.
    pub os: String,
    /// GOARCH.
    pub arch: String,
    /// Of the host.
    pub kernel_version: String,
    /// When it was built.
    #[serde(skip_serializing_if = "zero")]
    pub build_time: String,
}

/// The product.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PlatformName {
    /// Its name.
    pub name: String,
}

/// A part of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// More.
    pub details: BTreeMap<String, String>,
}

/// `GET /info`: what there is to say of this node. Docker's many facts about drivers skep does not have are left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// Of the daemon, in a swarm or not.
    #[serde(rename = "ID")]
    pub id: String,
    /// All of them.
    pub containers: u64,
    /// Now.
    pub containers_running: u64,
    /// Always 0.
    pub containers_paused: u64,
    /// Created or ended.
    pub containers_stopped: u64,
    /// On this node.
    pub images: u64,
    /// How layers are put together.
    pub driver: String,
    /// About it.
    pub driver_status: Vec<[String; 2]>,
    /// What it brings.
    pub plugins: PluginsInfo,
    /// Whether memory can be limited.
    pub memory_limit: bool,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Whether CPU time can be limited.
    pub cpu_cfs_period: bool,
    /// Whether CPU time can be limited.
    pub cpu_cfs_quota: bool,
    /// Whether CPU time can be shared by weight.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// Whether CPUs can be chosen.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// Whether processes can be limited.
    pub pids_limit: bool,
    /// Whether the host passes packets on.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Whether bridged packets meet iptables.
    pub bridge_nf_iptables: bool,
    /// Whether bridged packets meet ip6tables.
    pub bridge_nf_ip6tables: bool,
    /// Whether the log is at debug.
    pub debug: bool,
    /// Open files of the daemon.
    #[serde(rename = "NFd")]
    pub n_fd: u64,
    /// Whether the OOM killer can be turned off.
    pub oom_kill_disable: bool,
    /// Threads of the daemon.
    #[serde(rename = "NGoroutines")]
    pub n_goroutines: u64,
    /// Now.
    pub system_time: Time,
    /// Default log driver.
    pub logging_driver: String,
    /// Who makes cgroups.
    pub cgroup_driver: String,
    /// 1 or 2.
    pub cgroup_version: String,
    /// Clients of `/events`.
    #[serde(rename = "NEventsListener")]
    pub n_events_listener: u64,
    /// Of the host.
    pub kernel_version: String,
    /// Of the host.
    pub operating_system: String,
    /// Of the host.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// `x86_64`.
    pub architecture: String,
    /// Always empty.
    pub index_server_address: String,
    /// CPUs.
    #[serde(rename = "NCPU")]
    pub n_cpu: u64,
    /// Bytes.
    pub mem_total: i64,
    /// `--data-root`.
    pub docker_root_dir: String,
    /// Always empty.
    pub http_proxy: String,
    /// Always empty.
    pub https_proxy: String,
    /// Always empty.
    pub no_proxy: String,
    /// Host name.
    pub name: String,
    /// `--label`.
    pub labels: Vec<String>,
    /// Always false.
    pub experimental_build: bool,
    /// Of the daemon.
    pub server_version: String,
    /// What runs containers.
    pub runtimes: BTreeMap<String, RuntimeInfo>,
    /// The one used.
    pub default_runtime: String,
    /// The swarm, as this node sees it.
    pub swarm: SwarmInfo,
    /// Whether containers outlive the daemon.
    pub live_restore_enabled: bool,
    /// Always empty.
    pub isolation: String,
    /// Always empty.
    pub init_binary: String,
    /// `name=seccomp,profile=default`.
    pub security_options: Vec<String>,
    /// What an administrator should see.
    pub warnings: Option<Vec<String>>,
}

/// Names of drivers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PluginsInfo {
    /// Volumes.
    pub volume: Vec<String>,
    /// Networks.
    pub network: Vec<String>,
    /// Always `null`.
    pub authorization: Option<Vec<String>>,
    /// Logs.
    pub log: Vec<String>,
}

/// What runs containers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeInfo {
    /// The program.
    pub path: String,
}

/// The swarm, as a node sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmInfo {
    /// Of this node; empty when in none.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Of this node.
    pub node_addr: String,
    /// `inactive`, `pending`, `active`, `error`, `locked`.
    pub local_node_state: String,
    /// Whether this node manages.
    pub control_available: bool,
    /// Why it is in error.
    pub error: String,
    /// Managers this node knows.
    pub remote_managers: Option<Vec<Peer>>,
    /// Of the swarm; managers know.
    #[serde(skip_serializing_if = "zero")]
    pub nodes: u64,
    /// Of the swarm; managers know.
    #[serde(skip_serializing_if = "zero")]
    pub managers: u64,
    /// The swarm; managers know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Box<Swarm>>,
    /// What is wrong with its shape.
    #[serde(skip_serializing_if = "zero")]
    pub warnings: Vec<String>,
}

/// A manager.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// Its node id.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// host:port.
    #[serde(rename = "Addr")]
    pub addr: String,
}
