//! `skep daemon`.

use std::path::PathBuf;

use clap::Args;

/// Every option may stand in the configuration file instead, under the same name as in dockerd's daemon.json.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DaemonArgs {
    /// State that survives a reboot [default: /var/lib/skep]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_root: Option<PathBuf>,
    /// State of running containers [default: /run/skep]
    #[arg(long, value_name = "DIR")]
    pub(crate) exec_root: Option<PathBuf>,
    /// Socket to serve the API on, repeatable [default: unix:///run/skep/skep.sock]
    #[arg(short = 'H', long = "host", value_name = "unix://PATH")]
    pub(crate) hosts: Vec<String>,
    /// Configuration file, JSON [default: /etc/skep/daemon.json, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Engine label, repeatable
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Resource tasks can reserve: a name for each, or a number of them, repeatable
    #[arg(long = "node-generic-resource", value_name = "KIND=NAME|KIND=N")]
    pub(crate) node_generic_resources: Vec<String>,
    /// trace, debug, info, warn or error [default: info]
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}
