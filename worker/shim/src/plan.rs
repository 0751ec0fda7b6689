//! What the daemon asks of a shim, beside the OCI `config.json`.
//!
//! Owns the file `shim.json` of a bundle: written once by the daemon before the shim starts, then only read.
//! Isolation is never guessed: a plan that lacks a field, or is of a later version, is refused and the container does not
//! start.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::privileges::Privileges;

/// Name of the plan in the bundle.
pub const FILE: &str = "shim.json";

/// The version of the plans this build writes and the last it reads.
pub const VERSION: u32 = 1;

/// The version of a plan that names none.
const fn first() -> u32 {
    1
}

/// Name in the shim's directory under which its container finds the network namespace made for it.
pub const NETWORK: &str = "netns";

/// Name in the directory of a shim under which its container finds its view of version 1 cgroups.
pub const CGROUP_VIEW: &str = "cgroup";

/// The part of a container's making that an OCI bundle has no words for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of its words.
    #[serde(default = "first")]
    pub version: u32,
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
    /// Bytes that must stay free on the log's disk: with less, nothing is written.
    #[serde(default)]
    pub keep_free: u64,
}

impl Plan {
    /// Reads the plan of a bundle.
    ///
    /// # Errors
    /// The file cannot be read, is no plan, or is one of a later version.
    pub fn load(bundle: &Path) -> io::Result<Self> {
        let plan: Self = serde_json::from_slice(&fs::read(bundle.join(FILE))?)?;
        if plan.version > VERSION {
            let reason = format!("it is of version {} and this shim of {VERSION}", plan.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(plan)
    }

    /// Writes the plan into a bundle.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, bundle: &Path) -> io::Result<()> {
        fs::write(bundle.join(FILE), serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> io::Result<Plan> {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join(FILE), text).unwrap();
        Plan::load(bundle.path())
    }

    #[test]
    fn the_first_plans_are_still_read() {
        let plan = load(include_str!("../golden/1/shim.json")).unwrap();
        assert_eq!((plan.version, plan.id.as_str(), plan.network), (1, "5d0c9a", Network::Own));
        assert_eq!(plan.privileges.bounding, 0xa804_25fb);
        assert_eq!(plan.log.unwrap().max_files, 3);
    }

    #[test]
    fn isolation_is_not_guessed() {
        let golden = include_str!("../golden/1/shim.json");
        let later = load(&golden.replacen('{', "{\"version\":2,", 1)).unwrap_err().to_string();
        assert_eq!(later, "it is of version 2 and this shim of 1");
        assert!(load(&golden.replace("\"bounding\"", "\"bound\"")).is_err());
        assert!(load(&golden.replacen('{', "{\"more\":2,", 1)).is_ok());
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let plan = load(include_str!("../golden/1/shim.json")).unwrap();
        let bundle = tempfile::tempdir().unwrap();
        plan.save(bundle.path()).unwrap();
        assert_eq!(Plan::load(bundle.path()).unwrap(), plan);
    }
}
