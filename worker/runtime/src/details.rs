//! What a container was made from, resolved against its image: what `inspect` shows and nothing else reads.
//!
//! Kept in the container's record; a field that an older record lacks is empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_proto::v1::NetworkMode;

use crate::{ContainerSpecification, image::Defaults};

/// The facts of a container that stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// What it calls itself.
    pub hostname: String,
    /// `user[:group]`; empty = root.
    pub user: String,
    /// `KEY=VALUE`, the image's and its own.
    pub env: Vec<String>,
    /// What is executed; empty when `cmd` says it all.
    pub entrypoint: Vec<String>,
    /// The arguments.
    pub cmd: Vec<String>,
    /// Where it starts; empty = `/`.
    pub workdir: String,
    /// The signal that asks it to end; empty = SIGTERM.
    pub stop_signal: String,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its input stays open.
    pub open_stdin: bool,
    /// Whether its root file system is read-only.
    pub read_only: bool,
    /// Whether it has a process 1 that reaps; `None` = not said.
    pub init: Option<bool>,
    /// Whether it has the host's network.
    pub host_network: bool,
    /// Groups beside its user's.
    pub groups: Vec<String>,
    /// `CAP_…` added to the usual ones.
    pub capability_add: Vec<String>,
    /// `CAP_…` taken from the usual ones.
    pub capability_drop: Vec<String>,
    /// `IP name…` lines of its hosts file.
    pub hosts: Vec<String>,
    /// Kernel settings of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Name, soft and hard limit.
    pub ulimits: Vec<(String, i64, i64)>,
    /// -1000 … 1000.
    pub oom_score_adj: i64,
    /// At most, in billionths of a CPU; 0 = no limit.
    pub nano_cpus: i64,
    /// At most, in bytes; 0 = no limit.
    pub memory: i64,
    /// Processes at most; 0 = no limit.
    pub pids: i64,
    /// Where its output goes.
    pub log_driver: String,
    /// With which options.
    pub log_options: BTreeMap<String, String>,
}

impl Details {
    /// What is known of a container that is about to be made.
    pub(crate) fn new(
        specification: &ContainerSpecification,
        image: &Defaults,
        env: &[String],
        hostname: &str,
    ) -> Self {
        let spec = specification.container.clone();
        let (entrypoint, inherited) =
            if spec.command.is_empty() { (image.entrypoint.clone(), &image.cmd[..]) } else { (spec.command, &[][..]) };
        let cmd = if spec.args.is_empty() { inherited.to_vec() } else { spec.args };
        let either = |own: String, image: &str| if own.is_empty() { image.to_owned() } else { own };
        let resources = &specification.resources;
        let limits = resources.limits.as_ref();
        let driver = specification.log_driver.clone();
        Self {
            hostname: hostname.to_owned(),
            user: either(spec.user, &image.user),
            env: env.to_vec(),
            entrypoint,
            cmd,
            workdir: either(spec.dir, &image.workdir),
            stop_signal: either(spec.stop_signal, &image.stop_signal),
            tty: spec.tty,
            open_stdin: spec.open_stdin,
            read_only: spec.read_only,
            init: spec.init,
            host_network: specification.network == NetworkMode::Host,
            groups: spec.groups,
            capability_add: spec.capability_add,
            capability_drop: spec.capability_drop,
            hosts: spec.hosts,
            sysctls: spec.sysctls,
            ulimits: spec.ulimits.into_iter().map(|limit| (limit.name, limit.soft, limit.hard)).collect(),
            oom_score_adj: spec.oom_score_adj,
            nano_cpus: limits.map_or(0, |limits| limits.nano_cpus),
            memory: limits.map_or(0, |limits| limits.memory_bytes),
            pids: resources.pids_limit,
            log_driver: either(driver.name, "json-file"),
            log_options: driver.options,
        }
    }
}
