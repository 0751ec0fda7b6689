//! Networks: the host's own is the only one yet, and the CLI looks it up before it uses it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Time,
    /// `swarm` or `local`.
    pub scope: String,
    /// What makes it.
    pub driver: String,
    /// Whether it has IPv6 addresses of its own.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether it has no way out.
    pub internal: bool,
    /// Whether containers outside services may use it.
    pub attachable: bool,
    /// Whether it is the routing mesh.
    pub ingress: bool,
    /// Where its configuration comes from.
    pub config_from: ConfigFrom,
    /// Whether it is a configuration only.
    pub config_only: bool,
    /// Containers in it on this node.
    pub containers: BTreeMap<String, serde_json::Value>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Addresses of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// Who gives them.
    pub driver: String,
    /// Its options.
    pub options: Option<BTreeMap<String, String>>,
    /// Subnets.
    pub config: Vec<serde_json::Value>,
}

/// A reference to a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConfigFrom {
    /// Its name.
    pub network: String,
}
