//! Options of `skep daemon`: flags and config file, already merged by the command line.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

pub use skep_common::net::server::ServerLimits;
use skep_proto::v1::GenericResource;

/// Where the daemon keeps things and whom it serves.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// State that must survive a reboot.
    pub data_root: PathBuf,
    /// State of running containers; may be lost with them.
    pub exec_root: PathBuf,
    /// `unix://PATH`, each served; never empty.
    pub hosts: Vec<String>,
    /// Engine labels.
    pub labels: BTreeMap<String, String>,
    /// What the node has beside processors and memory; see [`super::parse_generic_resources`].
    pub generic_resources: Vec<GenericResource>,
    /// What the ports of the swarm take on.
    pub limits: ServerLimits,
    /// Arguments for shims, in front of their own.
    pub shim_args: Vec<OsString>,
}

/// Why the daemon could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A directory cannot be made or used.
    #[error("cannot use {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another daemon runs on the same data.
    #[error("{0} is in use by another skep daemon")]
    Locked(PathBuf),
    /// A `--host` is not one we serve.
    #[error("invalid host {0:?}: skep listens on unix:///absolute/path")]
    Host(String),
    /// A socket cannot be bound.
    #[error("cannot listen on {host}")]
    Listen {
        /// The `--host`.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// The container runtime cannot start.
    #[error("cannot start the container runtime: {0}")]
    Runtime(String),
    /// The remembered swarm membership cannot be read.
    #[error("cannot read {path}: {reason}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
