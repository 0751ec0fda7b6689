//! The swarm: spec both ways, and the object for `/swarm` and `/info`.
//!
//! Docker's spec has knobs skep does not turn (election ticks, old snapshots, autolock). They are shown as Docker's
//! defaults, so that a client which sends back what it read changes nothing; any other value is refused.

use skep_common::{clock::nanos, limits};
use skep_proto::v1::{Annotations, Cluster, ClusterSpec, LogDriver};

use super::{Invalid, tls_info};
use crate::{
    time::Time,
    types::{
        CaConfig, DispatcherConfig, Driver, EncryptionConfig, JoinTokens, OrchestrationConfig, RaftConfig, Swarm,
        SwarmSpec, TaskDefaults, Version,
    },
};

const NAME: &str = "default";
const ELECTION_TICK: i64 = 10;
const HEARTBEAT_TICK: i64 = 1;

/// Nanoseconds between heartbeats where nobody asked for another pace, as clients see it and send it back. Skep's own
/// pace stands behind it.
const DOCKERS_PACE: i64 = 5_000_000_000;

/// Prefix length of an overlay subnet.
pub const SUBNET_SIZE: u32 = 24;

/// UDP port of VXLAN.
pub const DATA_PATH_PORT: u32 = 4789;

/// The swarm as a client sees it; `tokens` only for those who may have them.
pub fn cluster_info(cluster: &Cluster, tokens: bool) -> Swarm {
    let meta = cluster.meta.unwrap_or_default();
    let root = cluster.root_ca.as_ref().map_or(&[][..], |root| &root.certificate_pem);
    Swarm {
        id: cluster.id.clone(),
        version: Version { index: meta.version },
        created_at: Time(meta.created_at),
        updated_at: Time(meta.updated_at),
        spec: cluster_spec_to_docker(&cluster.spec.clone().unwrap_or_default()),
        tls_info: tls_info(root),
        root_rotation_in_progress: false,
        default_addr_pool: None,
        subnet_size: SUBNET_SIZE,
        data_path_port: DATA_PATH_PORT,
        join_tokens: cluster
            .join_tokens
            .as_ref()
            .filter(|_| tokens)
            .map(|tokens| JoinTokens { worker: tokens.worker.clone(), manager: tokens.manager.clone() }),
    }
}

/// A spec as a client sees it.
pub fn cluster_spec_to_docker(spec: &ClusterSpec) -> SwarmSpec {
    let annotations = spec.annotations.clone().unwrap_or_default();
    SwarmSpec {
        name: annotations.name,
        labels: annotations.labels,
        orchestration: OrchestrationConfig {
            task_history_retention_limit: Some(i64::try_from(spec.task_history_limit).unwrap_or(i64::MAX)),
        },
        raft: RaftConfig {
            snapshot_interval: spec.snapshot_interval,
            keep_old_snapshots: Some(0),
            log_entries_for_slow_followers: spec.log_entries_for_slow_followers,
            election_tick: ELECTION_TICK,
            heartbeat_tick: HEARTBEAT_TICK,
        },
        dispatcher: DispatcherConfig { heartbeat_period: exchanged(spec.heartbeat_period, own_pace(), DOCKERS_PACE) },
        ca_config: CaConfig { node_cert_expiry: spec.node_cert_expiry },
        task_defaults: TaskDefaults { log_driver: spec.task_log_driver.as_ref().map(driver_to_docker) },
        encryption_config: EncryptionConfig { auto_lock_managers: false },
    }
}

/// What a new swarm has where its creator says nothing.
pub fn initial_cluster_spec() -> ClusterSpec {
    ClusterSpec {
        annotations: Some(Annotations { name: NAME.to_owned(), ..Annotations::default() }),
        task_history_limit: limits::TASK_HISTORY_LIMIT,
        heartbeat_period: nanos(limits::HEARTBEAT_PERIOD),
        node_cert_expiry: nanos(limits::CERTIFICATE_LIFETIME),
        snapshot_interval: limits::SNAPSHOT_INTERVAL,
        log_entries_for_slow_followers: limits::LOG_ENTRIES_FOR_SLOW_FOLLOWERS,
        task_log_driver: None,
    }
}

/// A spec as a client sends it, laid over `base`: what is zero there stays as it is in `base`, as in Docker.
///
/// # Errors
/// [`Invalid`] for knobs that cannot be turned.
pub fn cluster_spec_from_docker(spec: SwarmSpec, base: &ClusterSpec) -> Result<ClusterSpec, Invalid> {
    if !spec.name.is_empty() && spec.name != NAME {
        return Err(Invalid(format!("swarm spec must be named \"{NAME}\"")));
    }
    for (field, value, only) in [
        ("Raft.ElectionTick", spec.raft.election_tick, ELECTION_TICK),
        ("Raft.HeartbeatTick", spec.raft.heartbeat_tick, HEARTBEAT_TICK),
    ] {
        if value != 0 && value != only {
            return Err(Invalid(format!("{field} cannot be changed: it is {only}")));
        }
    }
    if spec.raft.keep_old_snapshots.is_some_and(|kept| kept != 0) {
        return Err(Invalid::unsupported("Raft.KeepOldSnapshots"));
    }
    if spec.encryption_config.auto_lock_managers {
        return Err(Invalid::unsupported("EncryptionConfig.AutoLockManagers"));
    }
    let task_history_limit = match spec.orchestration.task_history_retention_limit {
        None => base.task_history_limit,
        // Docker's way to say "keep all".
        Some(limit) => u64::try_from(limit).unwrap_or(u64::MAX),
    };
    Ok(ClusterSpec {
        annotations: Some(Annotations { name: NAME.to_owned(), labels: spec.labels }),
        task_history_limit,
        heartbeat_period: given(
            exchanged(spec.dispatcher.heartbeat_period, DOCKERS_PACE, own_pace()),
            base.heartbeat_period,
        ),
        node_cert_expiry: given(spec.ca_config.node_cert_expiry, base.node_cert_expiry),
        snapshot_interval: given(spec.raft.snapshot_interval, base.snapshot_interval),
        log_entries_for_slow_followers: given(
            spec.raft.log_entries_for_slow_followers,
            base.log_entries_for_slow_followers,
        ),
        task_log_driver: spec.task_defaults.log_driver.map(driver_from_docker),
    })
}

fn own_pace() -> i64 {
    nanos(limits::HEARTBEAT_PERIOD)
}

/// `to` for `from`, and everything else as it is.
fn exchanged(value: i64, from: i64, to: i64) -> i64 {
    if value == from { to } else { value }
}

fn given<T: Default + PartialEq>(value: T, otherwise: T) -> T {
    if value == T::default() { otherwise } else { value }
}

pub(super) fn driver_to_docker(driver: &LogDriver) -> Driver {
    Driver { name: driver.name.clone(), options: driver.options.clone() }
}

pub(super) fn driver_from_docker(driver: Driver) -> LogDriver {
    LogDriver { name: driver.name, options: driver.options }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_read_and_sends_back_changes_nothing() {
        let spec = ClusterSpec { task_history_limit: 7, ..initial_cluster_spec() };
        assert_eq!(cluster_spec_from_docker(cluster_spec_to_docker(&spec), &initial_cluster_spec()), Ok(spec));
    }

    #[test]
    fn an_empty_spec_is_the_base() {
        let base = initial_cluster_spec();
        assert_eq!(cluster_spec_from_docker(SwarmSpec::default(), &base), Ok(base));
    }

    #[test]
    fn knobs_that_do_not_turn_say_so() {
        let mut tick = SwarmSpec::default();
        tick.raft.election_tick = 20;
        let mut lock = SwarmSpec::default();
        lock.encryption_config.auto_lock_managers = true;
        let mut old = SwarmSpec::default();
        old.raft.keep_old_snapshots = Some(1);
        let name = SwarmSpec { name: "mine".into(), ..SwarmSpec::default() };
        for (spec, word) in
            [(tick, "Raft.ElectionTick"), (lock, "AutoLock"), (old, "KeepOldSnapshots"), (name, "must be named")]
        {
            let error = cluster_spec_from_docker(spec, &initial_cluster_spec()).unwrap_err();
            assert!(error.0.contains(word), "{error}");
        }
    }

    #[test]
    fn negative_history_keeps_all() {
        let mut spec = SwarmSpec::default();
        spec.orchestration.task_history_retention_limit = Some(-1);
        let kept = cluster_spec_from_docker(spec, &initial_cluster_spec()).unwrap();
        assert_eq!(kept.task_history_limit, u64::MAX);
    }

    #[test]
    fn tokens_only_where_they_belong() {
        let tokens = skep_proto::v1::JoinTokens { worker: "w".into(), manager: "m".into() };
        let cluster = Cluster { join_tokens: Some(tokens), ..Cluster::default() };
        assert_eq!(cluster_info(&cluster, true).join_tokens.unwrap().manager, "m");
        assert_eq!(cluster_info(&cluster, false).join_tokens, None);
    }
}
