//! `info`: this node, and its swarm as it knows it.

use std::fmt::{Display, Write as _};

use skep_dockerapi::{
    human,
    types::{Info, SwarmInfo},
};

use crate::output::units::binary_size;

/// States in which a node has nothing to say of a swarm.
const OUTSIDE: [&str; 2] = ["inactive", "locked"];

/// All of it, in Docker's order.
pub(crate) fn show(info: &Info) -> String {
    let mut shown = format!("Client:\n Version:    {}\n\nServer:\n", env!("CARGO_PKG_VERSION"));
    let out = &mut shown;
    line(out, 1, "Containers", info.containers);
    line(out, 2, "Running", info.containers_running);
    line(out, 2, "Paused", info.containers_paused);
    line(out, 2, "Stopped", info.containers_stopped);
    line(out, 1, "Images", info.images);
    known(out, "Server Version", &info.server_version);
    known(out, "Storage Driver", &info.driver);
    for [name, value] in &info.driver_status {
        line(out, 2, name, value);
    }
    known(out, "Logging Driver", &info.logging_driver);
    known(out, "Cgroup Driver", &info.cgroup_driver);
    known(out, "Cgroup Version", &info.cgroup_version);
    out.push_str(" Plugins:\n");
    line(out, 2, "Volume", info.plugins.volume.join(" "));
    line(out, 2, "Network", info.plugins.network.join(" "));
    line(out, 2, "Log", info.plugins.log.join(" "));
    line(out, 1, "Swarm", &info.swarm.local_node_state);
    swarm(out, &info.swarm);
    if !info.runtimes.is_empty() {
        let names: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
        line(out, 1, "Runtimes", names.join(" "));
        line(out, 1, "Default Runtime", &info.default_runtime);
    }
    security(out, &info.security_options);
    known(out, "Kernel Version", &info.kernel_version);
    known(out, "Operating System", &info.operating_system);
    known(out, "OSType", &info.os_type);
    known(out, "Architecture", &info.architecture);
    line(out, 1, "CPUs", info.n_cpu);
    line(out, 1, "Total Memory", binary_size(info.mem_total));
    known(out, "Name", &info.name);
    known(out, "ID", &info.id);
    line(out, 1, "Root Dir", &info.docker_root_dir);
    line(out, 1, "Debug Mode", info.debug);
    if !info.labels.is_empty() {
        out.push_str(" Labels:\n");
        for label in &info.labels {
            let _ = writeln!(out, "  {label}");
        }
    }
    line(out, 1, "Live Restore Enabled", info.live_restore_enabled);
    out.push('\n');
    shown
}

fn swarm(out: &mut String, swarm: &SwarmInfo) {
    if OUTSIDE.contains(&swarm.local_node_state.as_str()) {
        return;
    }
    line(out, 2, "NodeID", &swarm.node_id);
    if !swarm.error.is_empty() {
        line(out, 2, "Error", &swarm.error);
    }
    line(out, 2, "Is Manager", swarm.control_available);
    if let Some(cluster) = swarm.cluster.as_deref().filter(|_| swarm.control_available && swarm.error.is_empty()) {
        let spec = &cluster.spec;
        line(out, 2, "ClusterID", &cluster.id);
        line(out, 2, "Managers", swarm.managers);
        line(out, 2, "Nodes", swarm.nodes);
        if cluster.data_path_port > 0 {
            line(out, 2, "Data Path Port", cluster.data_path_port);
        }
        out.push_str("  Orchestration:\n");
        line(out, 3, "Task History Retention Limit", spec.orchestration.task_history_retention_limit.unwrap_or(0));
        out.push_str("  Raft:\n");
        line(out, 3, "Snapshot Interval", spec.raft.snapshot_interval);
        if let Some(kept) = spec.raft.keep_old_snapshots {
            line(out, 3, "Number of Old Snapshots to Retain", kept);
        }
        line(out, 3, "Heartbeat Tick", spec.raft.heartbeat_tick);
        line(out, 3, "Election Tick", spec.raft.election_tick);
        out.push_str("  Dispatcher:\n");
        line(out, 3, "Heartbeat Period", span(spec.dispatcher.heartbeat_period));
        out.push_str("  CA Configuration:\n");
        line(out, 3, "Expiry Duration", span(spec.ca_config.node_cert_expiry));
        line(out, 2, "Autolock Managers", spec.encryption_config.auto_lock_managers);
        line(out, 2, "Root Rotation In Progress", cluster.root_rotation_in_progress);
    }
    line(out, 2, "Node Address", &swarm.node_addr);
    let mut managers: Vec<&str> = swarm.remote_managers.iter().flatten().map(|peer| peer.addr.as_str()).collect();
    if !managers.is_empty() {
        managers.sort_unstable();
        out.push_str("  Manager Addresses:\n");
        for manager in managers {
            let _ = writeln!(out, "   {manager}");
        }
    }
}

/// `name=seccomp,profile=default` as two lines.
fn security(out: &mut String, options: &[String]) {
    if options.is_empty() {
        return;
    }
    out.push_str(" Security Options:\n");
    for option in options {
        for (key, value) in option.split(',').filter_map(|pair| pair.split_once('=')) {
            match key {
                "name" => {
                    let _ = writeln!(out, "  {value}");
                }
                "profile" => line(out, 3, "Profile", value),
                _ => {}
            }
        }
    }
}

fn span(nanos: i64) -> String {
    human::duration(std::time::Duration::from_nanos(nanos.max(0).unsigned_abs()))
}

fn line(out: &mut String, indent: usize, name: &str, value: impl Display) {
    let _ = writeln!(out, "{}{name}: {value}", " ".repeat(indent));
}

/// A line, unless there is nothing to say.
fn known(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        line(out, 1, name, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info(swarm: serde_json::Value) -> String {
        let info = json!({
            "ID": "INCF", "Containers": 3, "ContainersRunning": 2, "ContainersStopped": 1, "Images": 1, "Driver": "overlayfs",
            "DriverStatus": [["Backing Filesystem", "extfs"]], "LoggingDriver": "json-file", "CgroupVersion": "2",
            "Plugins": {"Network": ["host"], "Log": ["json-file"]}, "Swarm": swarm, "Runtimes": {"skep": {"path": "skep"}},
            "DefaultRuntime": "skep", "SecurityOptions": ["name=seccomp,profile=default"], "NCPU": 2, "MemTotal": 25_276_510_208_i64,
            "Name": "n1", "DockerRootDir": "/var/lib/skep", "Labels": ["zone=a"], "LiveRestoreEnabled": true, "ServerVersion": "0.1.0",
        });
        show(&serde_json::from_value(info).unwrap())
    }

    #[test]
    fn a_manager_shows_the_swarm() {
        let shown = info(json!({
            "NodeID": "n1id", "NodeAddr": "10.0.0.1", "LocalNodeState": "active", "ControlAvailable": true, "Nodes": 3, "Managers": 2,
            "RemoteManagers": [{"NodeID": "b", "Addr": "10.0.0.2:2377"}, {"NodeID": "a", "Addr": "10.0.0.1:2377"}],
            "Cluster": {
                "ID": "c1", "DataPathPort": 4789,
                "Spec": {
                    "Orchestration": {"TaskHistoryRetentionLimit": 5}, "Raft": {"SnapshotInterval": 10000, "ElectionTick": 10, "HeartbeatTick": 1},
                    "Dispatcher": {"HeartbeatPeriod": 5_000_000_000_i64}, "CAConfig": {"NodeCertExpiry": 7_776_000_000_000_000_i64},
                },
            },
        }));
        let expected = format!(
            "Client:
 Version:    {}

Server:
 Containers: 3
  Running: 2
  Paused: 0
  Stopped: 1
 Images: 1
 Server Version: 0.1.0
 Storage Driver: overlayfs
  Backing Filesystem: extfs
 Logging Driver: json-file
 Cgroup Version: 2
 Plugins:
  Volume: 
  Network: host
  Log: json-file
 Swarm: active
  NodeID: n1id
  Is Manager: true
  ClusterID: c1
  Managers: 2
  Nodes: 3
  Data Path Port: 4789
  Orchestration:
   Task History Retention Limit: 5
  Raft:
   Snapshot Interval: 10000
   Heartbeat Tick: 1
   Election Tick: 10
  Dispatcher:
   Heartbeat Period: 5 seconds
  CA Configuration:
   Expiry Duration: 3 months
  Autolock Managers: false
  Root Rotation In Progress: false
  Node Address: 10.0.0.1
  Manager Addresses:
   10.0.0.1:2377
   10.0.0.2:2377
 Runtimes: skep
 Default Runtime: skep
 Security Options:
  seccomp
   Profile: default
 CPUs: 2
 Total Memory: 23.54GiB
 Name: n1
 ID: INCF
 Root Dir: /var/lib/skep
 Debug Mode: false
 Labels:
  zone=a
 Live Restore Enabled: true

",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn outside_a_swarm_there_is_nothing_to_say_of_it() {
        assert!(info(json!({"LocalNodeState": "inactive"})).contains("\n Swarm: inactive\n Runtimes:"));
        let failed =
            info(json!({"LocalNodeState": "error", "Error": "no quorum", "NodeID": "x", "NodeAddr": "10.0.0.1"}));
        let expected =
            " Swarm: error\n  NodeID: x\n  Error: no quorum\n  Is Manager: false\n  Node Address: 10.0.0.1\n";
        assert!(failed.contains(expected), "{failed}");
    }
}
