//! The OCI runtime specification of a container: `config.json`.
//!
//! Namespaces, mounts, masked and read-only paths are Docker's. Capabilities and system calls are not here: the shim
//! takes them away itself, by its plan, which spares every container the compilation of its profile.

use serde_json::{Value, json};
use skep_proto::v1::NetworkMode;
use skep_shim::plan;

use super::{
    process::Process,
    resources,
    write::{BundlePaths, ETC_FILES, Host},
};
use crate::{ContainerSpecification, RuntimeError};

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Any port may be bound and anybody may ping: the namespace is the container's own.
const NETWORK_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// `config.json` of a container.
pub(super) fn config(
    container: &ContainerSpecification,
    process: &Process,
    hostname: &str,
    paths: &BundlePaths<'_>,
    host: &Host,
) -> Result<Value, RuntimeError> {
    let spec = &container.container;
    let own_network = container.network == NetworkMode::Isolated;

    let mut namespaces = vec![json!({ "type": "mount" })];
    namespaces.extend(["uts", "ipc", "pid"].map(|kind| json!({ "type": kind })));
    if own_network {
        // Made by the shim, which brings its loopback up.
        namespaces.push(json!({ "type": "network", "path": paths.shim.join(plan::NETWORK) }));
    }
    if host.unified_cgroups {
        namespaces.push(json!({ "type": "cgroup" }));
    }
    let mut sysctl: Value = json!(spec.sysctls);
    if own_network {
        for (key, value) in NETWORK_SYSCTLS {
            sysctl.as_object_mut().into_iter().for_each(|all| {
                all.entry(key).or_insert(value.into());
            });
        }
    }
    let identity = &process.identity;
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": spec.read_only },
        "hostname": hostname,
        "process": {
            "terminal": spec.tty,
            "user": { "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.additional_gids },
            "args": process.args,
            "env": process.env,
            "cwd": process.workdir,
            "rlimits": resources::rlimits(&spec.ulimits)?,
            "oomScoreAdj": spec.oom_score_adj.clamp(-1000, 1000),
        },
        "mounts": mounts(paths, host.unified_cgroups, spec.read_only),
        "linux": {
            "cgroupsPath": paths.cgroup,
            "namespaces": namespaces,
            "resources": resources::limits(&container.resources, host.swap_is_counted)?,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            "sysctl": sysctl,
        },
    }))
}

fn mounts(paths: &BundlePaths<'_>, unified_cgroups: bool, read_only: bool) -> Vec<Value> {
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": source, "options": options });
    let cgroups = if unified_cgroups {
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev", "relatime"])
    } else {
        // Put together by the shim.
        mount("/sys/fs/cgroup", "bind", &paths.shim.join(plan::CGROUP_VIEW).to_string_lossy(), &["rbind", "rprivate"])
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        cgroups,
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ];
    let file_options: &[&str] = if read_only { &["rbind", "rprivate", "ro"] } else { &["rbind", "rprivate"] };
    mounts.extend(ETC_FILES.map(|file| {
        let source = paths.bundle.join(file);
        mount(&format!("/etc/{file}"), "bind", &source.to_string_lossy(), file_options)
    }));
    mounts
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxNamespaceType, Spec};
    use skep_proto::v1::ContainerSpec;

    use std::path::Path;

    use super::*;
    use crate::{Signal, bundle::accounts::Identity};

    fn made(network: NetworkMode) -> Spec {
        let container = ContainerSpecification {
            id: "c".into(),
            name: "n".into(),
            labels: Default::default(),
            container: ContainerSpec::default(),
            resources: Default::default(),
            network,
            log_driver: Default::default(),
        };
        let process = Process {
            args: vec!["sh".into()],
            env: vec!["PATH=/bin".into()],
            workdir: "/".into(),
            identity: Identity::default(),
            stop_signal: Signal::TERM,
        };
        let paths = BundlePaths { bundle: Path::new("/b"), shim: Path::new("/s"), cgroup: "/skep/c" };
        let host = Host { last_capability: 40, swap_is_counted: true, unified_cgroups: false };
        let value = config(&container, &process, "box", &paths, &host).unwrap();
        serde_json::from_value(value).unwrap()
    }

    fn namespaces(spec: &Spec) -> Vec<LinuxNamespaceType> {
        spec.linux().as_ref().unwrap().namespaces().iter().flatten().map(|namespace| namespace.typ()).collect()
    }

    #[test]
    fn only_an_isolated_container_has_its_own_network() {
        assert!(namespaces(&made(NetworkMode::Isolated)).contains(&LinuxNamespaceType::Network));
        let shared = made(NetworkMode::Host);
        assert!(!namespaces(&shared).contains(&LinuxNamespaceType::Network));
        assert!(shared.linux().as_ref().unwrap().sysctl().as_ref().unwrap().is_empty());
    }
}
