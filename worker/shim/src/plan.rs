//! What the daemon asks of a shim, beside the OCI `config.json`.
//!
//! Owns the file `shim.json` of a bundle: written once by the daemon before the shim starts, then only read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::privileges::Privileges;

/// Name of the plan in the bundle.
pub const FILE: &str = "shim.json";

/// Name in the shim's directory under which its container finds the network namespace made for it.
pub const NETWORK: &str = "netns";

/// The part of a container's making that an OCI bundle has no words for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The container's id.
    pub id: String,
    /// Its cgroup, from the root of each hierarchy: `/skep/<id>`. Equal to `linux.cgroupsPath`.
    pub cgroup: String,
    /// What to mount on `rootfs` in the bundle.
    pub rootfs: Overlay,
    /// The working directory, made when the image lacks it.
    pub workdir: String,
    /// The network namespace.
    pub network: Network,
    /// What is left to the command of root's privileges.
    pub privileges: Privileges,
    /// Whether to put an init in front of the command, that reaps and forwards signals.
    pub init: bool,
    /// Whether standard input is a pipe nobody writes to, instead of `/dev/null`.
    pub open_stdin: bool,
    /// Whether the standard streams are a terminal.
    pub terminal: bool,
    /// Where output goes; `None` throws it away.
    pub log: Option<Log>,
}

/// A root file system of stacked layers. Every path but `base` is relative to `base`, which keeps the mount options
/// within the one page the kernel reads and free of characters that would need escaping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The directory paths are relative to.
    pub base: PathBuf,
    /// Read-only layers, uppermost first; at least one.
    pub lower: Vec<String>,
    /// Takes what the container writes.
    pub upper: String,
    /// The file system's scratch, on the same disk as `upper`.
    pub work: String,
}

/// Where a container's network namespace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A new one, its loopback up.
    Own,
    /// The host's.
    Host,
}

/// A `json-file` log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The file now written to; older ones are beside it as `….1`, `….2` and so on.
    pub path: PathBuf,
    /// Bytes after which a new file is begun; `None` = never.
    pub max_size: Option<u64>,
    /// How many files there may be, the one written to included; at least 1.
    pub max_files: u32,
}

impl Plan {
    /// Reads the plan of a bundle.
    ///
    /// # Errors
    /// The file cannot be read, or is no plan.
    pub fn load(bundle: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(bundle.join(FILE))?)?)
    }

    /// Writes the plan into a bundle.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, bundle: &Path) -> io::Result<()> {
        fs::write(bundle.join(FILE), serde_json::to_vec(self)?)
    }
}
