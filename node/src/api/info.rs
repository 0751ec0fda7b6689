//! `GET /info`: this node, and the swarm as it sees it.

use std::{path::PathBuf, time::Duration};

use axum::{Json, Router, extract::State, routing::get};
use futures::future::try_join;
use skep_common::{
    clock::{Clock as _, SystemClock},
    disk_space::{DiskLevel, DiskSpace},
    limits::ADVISED_MANAGERS,
};
use skep_dockerapi::{
    convert::cluster_info,
    time::Time,
    types::{Info, Peer, PluginsInfo, RuntimeInfo, SwarmInfo},
};
use skep_proto::v1::{GetClusterRequest, ListNodesRequest};
use skep_runtime::Status;

use super::{
    backend::{LocalNodeState, Manager},
    call::call_within,
    error::ApiError,
    host, inspect,
    state::Api,
};

/// `info` is what people ask when the swarm is in trouble: it does not wait for it long.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/info", get(show))
}

/// `GET /info`.
async fn show(State(api): State<Api>) -> Result<Json<Info>, ApiError> {
    let containers = api.backend.runtime.list().await?;
    let running = containers.iter().filter(|container| matches!(container.status, Status::Running { .. })).count();
    let images = api.backend.runtime.images().await?.len();
    let swarm = swarm(&api).await;
    let facts = &api.backend.host;
    let description = &facts.description;
    let resources = description.resources.clone().unwrap_or_default();
    let plugins = |kind: &str| -> Vec<String> {
        let of_kind = description.plugins.iter().filter(|plugin| plugin.r#type == kind);
        of_kind.map(|plugin| plugin.name.clone()).collect()
    };
    let cgroups = host::Cgroups::read();
    let (operating_system, os_version) = host::operating_system();
    let mut warnings = swarm.warnings.clone();
    warnings.extend(disk_warning(facts.data_root.clone()).await);
    Ok(Json(Info {
        id: facts.engine_id.clone(),
        containers: count(containers.len()),
        containers_running: count(running),
        containers_paused: 0,
        containers_stopped: count(containers.len() - running),
        images: count(images),
        driver: inspect::DRIVER.to_owned(),
        driver_status: Vec::new(),
        plugins: PluginsInfo {
            volume: plugins("Volume"),
            network: plugins("Network"),
            authorization: None,
            log: plugins("Log"),
        },
        memory_limit: cgroups.has("memory"),
        swap_limit: cgroups.has_swap(),
        cpu_cfs_period: cgroups.has("cpu"),
        cpu_cfs_quota: cgroups.has("cpu"),
        cpu_shares: cgroups.has("cpu"),
        cpu_set: cgroups.has("cpuset"),
        pids_limit: cgroups.has("pids"),
        ipv4_forwarding: host::sysctl("net/ipv4/ip_forward"),
        bridge_nf_iptables: host::sysctl("net/bridge/bridge-nf-call-iptables"),
        bridge_nf_ip6tables: host::sysctl("net/bridge/bridge-nf-call-ip6tables"),
        debug: tracing::enabled!(tracing::Level::DEBUG),
        n_fd: host::count_own("fd"),
        oom_kill_disable: false,
        n_goroutines: host::count_own("task"),
        system_time: Time::from(SystemClock::new().now()),
        logging_driver: "json-file".to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: cgroups.version.to_owned(),
        n_events_listener: api.events.listeners(),
        kernel_version: host::kernel_version(),
        operating_system,
        os_version,
        os_type: "linux".to_owned(),
        architecture: description.platform.as_ref().map(|platform| platform.architecture.clone()).unwrap_or_default(),
        index_server_address: String::new(),
        n_cpu: u64::try_from(resources.nano_cpus / 1_000_000_000).unwrap_or(0),
        mem_total: resources.memory_bytes,
        docker_root_dir: facts.data_root.display().to_string(),
        http_proxy: String::new(),
        https_proxy: String::new(),
        no_proxy: String::new(),
        name: description.hostname.clone(),
        labels: description.engine_labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        experimental_build: false,
        server_version: description.engine_version.clone(),
        runtimes: [("skep".to_owned(), RuntimeInfo { path: "skep shim".to_owned() })].into(),
        default_runtime: "skep".to_owned(),
        warnings: Some(warnings).filter(|warnings| !warnings.is_empty()),
        swarm,
        live_restore_enabled: true,
        isolation: String::new(),
        init_binary: String::new(),
        security_options: vec!["name=seccomp,profile=default".to_owned()],
    }))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

async fn swarm(api: &Api) -> SwarmInfo {
    let status = api.backend.cluster.status();
    let manager = api.backend.cluster.manager();
    let mut managers: Vec<Peer> =
        status.remote_managers.into_iter().map(|peer| Peer { node_id: peer.node_id, addr: peer.addr }).collect();
    managers.sort_by(|a, b| a.node_id.cmp(&b.node_id));
    let mut info = SwarmInfo {
        node_id: status.node_id,
        node_addr: status.node_addr,
        local_node_state: match status.state {
            LocalNodeState::Inactive => "inactive",
            LocalNodeState::Pending => "pending",
            LocalNodeState::Active => "active",
            LocalNodeState::Error => "error",
        }
        .to_owned(),
        control_available: manager.is_some(),
        error: status.error,
        remote_managers: Some(managers).filter(|managers| !managers.is_empty()),
        ..SwarmInfo::default()
    };
    if let Some(manager) = manager {
        if let Err(error) = ask(&mut info, manager.as_ref()).await {
            // What this node knows of itself is the reason more often than not.
            if info.error.is_empty() {
                info.error = error.message;
            }
        }
        info.warnings.extend(manager.troubles().into_iter().map(|trouble| format!("WARNING: {trouble}")));
    }
    info
}

/// What only the swarm knows.
async fn ask(info: &mut SwarmInfo, manager: &dyn Manager) -> Result<(), ApiError> {
    let (mut control, mut other) = (manager.control(), manager.control());
    let cluster = call_within(PATIENCE, control.get_cluster(GetClusterRequest {}));
    let nodes = call_within(PATIENCE, other.list_nodes(ListNodesRequest::default()));
    let (cluster, nodes) = try_join(cluster, nodes).await?;
    info.cluster = Some(Box::new(cluster_info(&cluster, false)));
    let managers = nodes.nodes.iter().filter(|node| node.manager.is_some()).count();
    info.nodes = count(nodes.nodes.len());
    info.managers = count(managers);
    info.warnings = warning(managers).into_iter().collect();
    Ok(())
}

/// What is wrong with the disk; nothing when it cannot be asked.
async fn disk_warning(data_root: PathBuf) -> Option<String> {
    let asked = tokio::task::spawn_blocking(move || {
        let space = DiskSpace::of(&data_root).ok()?;
        Some(full(&space)? + &format!(" ({})", data_root.display()))
    });
    asked.await.ok()?
}

fn full(space: &DiskSpace) -> Option<String> {
    let level = space.level();
    let problem = level.problem()?;
    let consequence = match level {
        DiskLevel::Plenty | DiskLevel::NearlyFull => "no image is loaded until there is room",
        DiskLevel::Full | DiskLevel::Danger => "no container is started and no log is written until there is room",
    };
    let megabytes = |bytes: u64| bytes / 1_000_000;
    Some(format!(
        "WARNING: {problem}: {} MB of {} MB are free, {consequence}",
        megabytes(space.free),
        megabytes(space.total)
    ))
}

/// What is wrong with a number of managers.
fn warning(managers: usize) -> Option<String> {
    match managers {
        2 => Some(
            "WARNING: Running Swarm in a two-manager configuration. This configuration provides no fault tolerance, \
             and poses a high risk to lose control over the cluster."
                .to_owned(),
        ),
        many if many > ADVISED_MANAGERS => Some(format!(
            "WARNING: Running Swarm with {many} managers. More than {ADVISED_MANAGERS} make every change slower and \
             the swarm no safer."
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_managers_to_warn_of() {
        let warned: Vec<_> = (0..10).filter(|managers| warning(*managers).is_some()).collect();
        assert_eq!(warned, [2, 8, 9]);
    }

    #[test]
    fn a_full_disk_is_warned_of() {
        let disk = |free| DiskSpace { free, total: 100_000_000, free_files: u64::MAX, total_files: u64::MAX };
        assert_eq!(full(&disk(5_000_000)), None);
        let text = "WARNING: disk nearly full: 4 MB of 100 MB are free, no image is loaded until there is room";
        assert_eq!(full(&disk(4_999_999)).unwrap(), text);
        assert!(full(&disk(0)).unwrap().starts_with("WARNING: disk full: 0 MB of 100 MB are free, no container"));
    }
}
