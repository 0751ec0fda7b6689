//! Puts a bundle on disk.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use serde_json::Value;
use skep_common::{
    disk_space::{DiskLevel, DiskSpace},
    validate::{JSON_FILE, JsonFile, NO_LOG},
};
use skep_proto::v1::NetworkMode;
use skep_shim::plan::{self, Log, Network, Overlay, Plan};

use super::{etc, filters::Filters, invalid, process::Process, spec};
use crate::{ContainerSpecification, RuntimeError};

/// What the kernel here can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    /// Number of the last capability it knows.
    pub(crate) last_capability: usize,
    /// Whether cgroups limit swap.
    pub(crate) swap_is_counted: bool,
    /// Whether cgroups are version 2 alone.
    pub(crate) unified_cgroups: bool,
}

impl Host {
    /// Looks.
    pub(crate) fn detect() -> Self {
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok().and_then(|text| text.trim().parse().ok());
        let unified = skep_shim::cgroup::is_unified().unwrap_or(false);
        let v1_swap = Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
        Self { last_capability: last.unwrap_or(37), swap_is_counted: unified || v1_swap, unified_cgroups: unified }
    }
}

/// Where a container's files and cgroup will be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BundlePaths<'a> {
    /// The directory of its bundle.
    pub(crate) bundle: &'a Path,
    /// The directory of its shim, where it finds its network namespace and its view of cgroups.
    pub(crate) shim: &'a Path,
    /// Its cgroup, from the root of each hierarchy.
    pub(crate) cgroup: &'a str,
}

/// A bundle, decided and not yet written.
#[derive(Debug)]
pub(crate) struct BundleFiles {
    config: Value,
    plan: Plan,
    hostname: String,
    hosts: String,
    resolv_conf: String,
}

impl BundleFiles {
    /// Decides all of a container's bundle.
    pub(crate) fn new(
        container: &ContainerSpecification,
        process: &Process,
        hostname: String,
        rootfs: Overlay,
        paths: &BundlePaths<'_>,
        host: &Host,
        filters: &Filters,
    ) -> Result<Self, RuntimeError> {
        let own_network = container.network == NetworkMode::Isolated;
        let plan = Plan {
            version: plan::VERSION,
            id: container.id.clone(),
            cgroup: paths.cgroup.to_owned(),
            rootfs,
            workdir: process.workdir.clone(),
            network: if own_network { Network::Own } else { Network::Host },
            privileges: filters.privileges(&container.container, process.identity.uid, host)?,
            init: container.container.init.unwrap_or(false),
            open_stdin: container.container.open_stdin,
            terminal: container.container.tty,
            log: log(container, paths.bundle)?,
        };
        let host_hosts = if own_network { None } else { fs::read_to_string("/etc/hosts").ok() };
        Ok(Self {
            config: spec::config(container, process, &hostname, paths, host)?,
            plan,
            hosts: etc::hosts(host_hosts.as_deref(), &container.container.hosts, &hostname),
            resolv_conf: fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
            hostname,
        })
    }

    /// Writes it into its directory, which must exist.
    pub(crate) fn write(&self, bundle: &Path) -> io::Result<()> {
        for name in ["rootfs", "upper", "work"] {
            fs::create_dir(bundle.join(name))?;
            everybody(&bundle.join(name), 0o755)?;
        }
        let hostname = format!("{}\n", self.hostname);
        for (name, text) in ETC_FILES.into_iter().zip([&self.resolv_conf, &hostname, &self.hosts]) {
            fs::write(bundle.join(name), text)?;
            everybody(&bundle.join(name), 0o644)?;
        }
        fs::write(bundle.join("config.json"), serde_json::to_vec(&self.config)?)?;
        self.plan.save(bundle)
    }
}

/// What any user of a container must get at, whatever the daemon's umask is.
fn everybody(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// The container's log, as its driver's options want it.
fn log(container: &ContainerSpecification, bundle: &Path) -> Result<Option<Log>, RuntimeError> {
    let driver = &container.log_driver;
    match driver.name.as_str() {
        "" | JSON_FILE => {}
        NO_LOG => return Ok(None),
        other => return Err(invalid(format!("logger: no log driver named '{other}' is registered"))),
    }
    let JsonFile { max_size, max_files } =
        JsonFile::parse(&driver.options).map_err(|error| invalid(error.to_string()))?;
    // The bundle is not there yet, the directory it will be in is.
    let disk = bundle.parent().and_then(|dir| DiskSpace::of(dir).ok());
    let keep_free = disk.map_or(0, |disk| disk.begin_of(DiskLevel::Full));
    Ok(Some(Log { path: bundle.join(LOG), max_size, max_files, keep_free }))
}

/// Files of the bundle that a container sees in its `/etc`, and may write to unless its file system is read-only.
pub(crate) const ETC_FILES: [&str; 3] = ["resolv.conf", "hostname", "hosts"];
/// File name of a container's log in its bundle.
pub(crate) const LOG: &str = "container.log";
