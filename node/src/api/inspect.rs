//! What `inspect` shows of a container: the whole of Docker's shape, filled with what is known.
//!
//! Clients written in Go follow Docker's objects without asking whether they are there. So every object and every field
//! of the engine's is in the answer: what skep does not have is at the value an engine gives it when nobody sets it.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};
use skep_dockerapi::types::{
    Container, ContainerConfig, GraphDriver, HostConfig, HostConfigSummary, LogConfig, NetworkSettings,
    NetworksOfContainer, Ulimit,
};
use skep_runtime::{ContainerState, Details};

/// How layers are put together.
pub(super) const DRIVER: &str = "overlayfs";

/// Fields of Docker's `HostConfig` that nothing here sets, at the values an engine gives them then.
const UNSET: &str = r#"{
    "Binds": null, "ContainerIDFile": "", "PortBindings": {},
    "RestartPolicy": { "Name": "", "MaximumRetryCount": 0 }, "AutoRemove": false, "VolumeDriver": "",
    "VolumesFrom": null, "CgroupnsMode": "", "Dns": null, "DnsOptions": null, "DnsSearch": null,
    "IpcMode": "private", "Cgroup": "", "Links": null, "PidMode": "", "Privileged": false,
    "PublishAllPorts": false, "SecurityOpt": null, "UTSMode": "", "UsernsMode": "", "ShmSize": 67108864,
    "ConsoleSize": [0, 0], "Isolation": "default", "CpuShares": 0, "CgroupParent": "", "BlkioWeight": 0,
    "BlkioWeightDevice": null, "BlkioDeviceReadBps": null, "BlkioDeviceWriteBps": null,
    "BlkioDeviceReadIOps": null, "BlkioDeviceWriteIOps": null, "CpuPeriod": 0, "CpuQuota": 0,
    "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": null,
    "DeviceCgroupRules": null, "DeviceRequests": null, "KernelMemory": 0, "KernelMemoryTCP": 0,
    "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": null, "OomKillDisable": false,
    "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": null,
    "ReadonlyPaths": null
}"#;

/// A container; how it is is left to the caller.
pub(super) fn container(container: ContainerState) -> Container {
    let details = &container.details;
    let file = |name: &str| container.directory.join(name).display().to_string();
    let mut command = container.command.iter().cloned();
    Container {
        created: container.created.into(),
        path: command.next().unwrap_or_default(),
        args: command.collect(),
        image: container.image_id.clone(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: container.log.as_ref().map(|log| log.display().to_string()).unwrap_or_default(),
        name: format!("/{}", container.name),
        driver: DRIVER.to_owned(),
        platform: "linux".to_owned(),
        host_config: host_config(details),
        graph_driver: graph_driver(&container),
        config: config(&container),
        network_settings: network_settings(details),
        id: container.id,
        ..Container::default()
    }
}

/// The network of a container in a list.
pub(super) fn networks(details: &Details) -> (HostConfigSummary, NetworksOfContainer) {
    let name = network(details);
    let networks = NetworksOfContainer { networks: [(name.to_owned(), endpoint(name))].into() };
    (HostConfigSummary { network_mode: name.to_owned() }, networks)
}

/// The one network of a container.
pub(super) fn network(details: &Details) -> &'static str {
    if details.host_network { "host" } else { "none" }
}

/// An attachment to a network without addresses of its own.
fn endpoint(network: &str) -> Value {
    json!({
        "IPAMConfig": {}, "Links": null, "Aliases": null, "NetworkID": network, "EndpointID": "", "Gateway": "",
        "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "MacAddress": "", "DriverOpts": null,
    })
}

fn network_settings(details: &Details) -> NetworkSettings {
    let name = network(details);
    NetworkSettings {
        networks: [(name.to_owned(), endpoint(name))].into(),
        ports: BTreeMap::new(),
        rest: object(json!({
            "Bridge": "", "SandboxID": "", "HairpinMode": false, "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0, "SandboxKey": "", "SecondaryIPAddresses": null,
            "SecondaryIPv6Addresses": null, "EndpointID": "", "Gateway": "", "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
        })),
    }
}

fn config(container: &ContainerState) -> ContainerConfig {
    let details = Details::clone(&container.details);
    ContainerConfig {
        hostname: details.hostname,
        user: details.user,
        tty: details.tty,
        open_stdin: details.open_stdin,
        env: Some(details.env),
        cmd: list(&details.cmd),
        image: container.image.clone(),
        working_dir: details.workdir,
        entrypoint: list(&details.entrypoint),
        labels: Some(container.labels.clone()),
        stop_signal: details.stop_signal,
        ..ContainerConfig::default()
    }
}

fn host_config(details: &Details) -> HostConfig {
    // `IP name…` in a spec, `name:IP` here.
    let extra = |line: &String| -> Vec<String> {
        let mut words = line.split_whitespace();
        let address = words.next().unwrap_or_default();
        words.map(|name| format!("{name}:{address}")).collect()
    };
    let limit = |(name, soft, hard): &(String, i64, i64)| Ulimit { name: name.clone(), soft: *soft, hard: *hard };
    HostConfig {
        log_config: LogConfig { r#type: details.log_driver.clone(), config: details.log_options.clone() },
        network_mode: network(details).to_owned(),
        cap_add: list(&details.capability_add),
        cap_drop: list(&details.capability_drop),
        extra_hosts: list(&details.hosts.iter().flat_map(extra).collect::<Vec<_>>()),
        group_add: list(&details.groups),
        oom_score_adj: details.oom_score_adj,
        readonly_rootfs: details.read_only,
        sysctls: details.sysctls.clone(),
        init: details.init,
        runtime: "skep".to_owned(),
        memory: details.memory,
        nano_cpus: details.nano_cpus,
        pids_limit: (details.pids != 0).then_some(details.pids),
        ulimits: details.ulimits.iter().map(limit).collect(),
        rest: serde_json::from_str(UNSET).unwrap_or_default(),
    }
}

fn graph_driver(container: &ContainerState) -> GraphDriver {
    let own = |name: &str| container.directory.join(name).display().to_string();
    let data = [
        ("LowerDir", stacked(container.layers.iter().rev().map(AsRef::as_ref))),
        ("MergedDir", own("rootfs")),
        ("UpperDir", own("upper")),
        ("WorkDir", own("work")),
    ];
    GraphDriver { data: data.map(|(name, path)| (name.to_owned(), path)).into(), name: DRIVER.to_owned() }
}

/// Directories as overlayfs lists them.
pub(super) fn stacked<'a>(layers: impl Iterator<Item = &'a Path>) -> String {
    layers.map(|layer| layer.display().to_string()).collect::<Vec<_>>().join(":")
}

/// Go's `null` for an empty list.
fn list(items: &[String]) -> Option<Vec<String>> {
    if items.is_empty() { None } else { Some(items.to_vec()) }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
