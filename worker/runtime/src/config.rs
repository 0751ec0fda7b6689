//! Where the runtime keeps its things and how it starts a shim.

use std::{ffi::OsString, path::PathBuf, time::Duration};

/// What a [`Containers`](crate::Containers) is opened with.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Lasting things: images, containers, logs. Survives a reboot.
    pub data_root: PathBuf,
    /// Passing things: sockets and locks of shims. May vanish with a reboot.
    pub exec_root: PathBuf,
    /// The cgroup under which each container gets its own, from the root of each hierarchy.
    pub cgroup_parent: String,
    /// The program that is a shim when called with `shim_args` and then the shim's own arguments.
    pub shim_program: PathBuf,
    /// Arguments in front of the shim's own.
    pub shim_args: Vec<OsString>,
    /// How long a shim may take to do what it was asked for; one that takes longer to stop its container is killed
    /// together with it.
    pub shim_patience: Duration,
}

impl RuntimeConfig {
    /// The daemon's own: cgroup `/skep`, and this program again, as `skep shim …`.
    #[must_use]
    pub fn new(data_root: impl Into<PathBuf>, exec_root: impl Into<PathBuf>) -> Self {
        Self {
            data_root: data_root.into(),
            exec_root: exec_root.into(),
            cgroup_parent: "/skep".to_owned(),
            shim_program: "/proc/self/exe".into(),
            shim_args: vec!["shim".into()],
            shim_patience: Duration::from_secs(10),
        }
    }
}
