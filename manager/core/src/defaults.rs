//! Defaults for what a spec leaves out.
//!
//! Specs are stored as they were given; a default is looked up where it is needed, and filled in only for display.

use std::time::Duration;

use skep_common::{
    clock::{duration, nanos},
    limits,
};
use skep_proto::v1::{
    Annotations, ClusterSpec, FailureAction, Placement, ResourceRequirements, Resources, RestartPolicy, ServiceSpec,
    UpdateConfig, UpdateOrder,
};
use skep_store::View;

/// The spec of a new cluster that asks for nothing particular. Its name is always `default`, as in Docker.
pub fn cluster_spec() -> ClusterSpec {
    ClusterSpec {
        annotations: Some(Annotations { name: "default".into(), ..Annotations::default() }),
        task_history_limit: limits::TASK_HISTORY_LIMIT,
        heartbeat_period: nanos(limits::HEARTBEAT_PERIOD),
        node_cert_expiry: nanos(limits::CERTIFICATE_LIFETIME),
        snapshot_interval: limits::SNAPSHOT_INTERVAL,
        log_entries_for_slow_followers: limits::LOG_ENTRIES_FOR_SLOW_FOLLOWERS,
        task_log_driver: None,
    }
}

/// Fills what is unset in a service's spec with its default, for display (`insertDefaults=true`).
pub fn fill_service(spec: &mut ServiceSpec) {
    let task = spec.task.get_or_insert_default();
    let resources = task.resources.get_or_insert_with(ResourceRequirements::default);
    resources.limits.get_or_insert_with(Resources::default);
    resources.reservations.get_or_insert_with(Resources::default);
    task.placement.get_or_insert_with(Placement::default);
    let restart = task.restart.get_or_insert_default();
    restart.delay.get_or_insert(nanos(limits::RESTART_DELAY));
    if let Some(container) = &mut task.container {
        container.stop_grace_period.get_or_insert(nanos(limits::STOP_GRACE));
    }
    spec.update.get_or_insert_with(update_config);
    spec.rollback.get_or_insert_with(update_config);
    spec.endpoint.get_or_insert_default();
}

/// How a service is updated, or rolled back, when its spec does not say.
pub(crate) fn update_config() -> UpdateConfig {
    UpdateConfig {
        parallelism: limits::UPDATE_PARALLELISM,
        delay: 0,
        failure_action: FailureAction::Pause.into(),
        monitor: nanos(limits::UPDATE_MONITOR),
        max_failure_ratio: 0.0,
        order: UpdateOrder::StopFirst.into(),
    }
}

/// The wait before a task's replacement starts.
pub fn restart_delay(policy: Option<&RestartPolicy>) -> Duration {
    policy.and_then(|p| p.delay).map_or(limits::RESTART_DELAY, duration)
}

/// How long an updated task is watched for failure.
pub fn update_monitor(config: &UpdateConfig) -> Duration {
    Some(duration(config.monitor)).filter(|monitor| !monitor.is_zero()).unwrap_or(limits::UPDATE_MONITOR)
}

/// The heartbeat period in force.
pub fn heartbeat_period(view: &View) -> Duration {
    match view.cluster().and_then(|c| c.spec.as_ref()).map_or(0, |s| s.heartbeat_period) {
        0 => limits::HEARTBEAT_PERIOD,
        set => duration(set).max(limits::MIN_HEARTBEAT_PERIOD),
    }
}

/// Tasks `service ps` can show per slot, the present one included.
pub fn task_history_limit(view: &View) -> usize {
    let set = view.cluster().and_then(|c| c.spec.as_ref()).map(|s| s.task_history_limit);
    usize::try_from(set.unwrap_or(limits::TASK_HISTORY_LIMIT)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{ContainerSpec, RestartCondition, TaskSpec};

    use super::*;

    #[test]
    fn filling_sets_what_is_unset_and_nothing_else() {
        let mut spec = ServiceSpec {
            task: Some(
                TaskSpec {
                    container: Some(ContainerSpec { image: "web:1".into(), ..ContainerSpec::default() }),
                    restart: Some(RestartPolicy {
                        condition: RestartCondition::None.into(),
                        ..RestartPolicy::default()
                    }),
                    ..TaskSpec::default()
                }
                .into(),
            ),
            update: Some(UpdateConfig { parallelism: 7, ..UpdateConfig::default() }),
            ..ServiceSpec::default()
        };
        fill_service(&mut spec);
        let task = spec.task.as_ref().unwrap();
        let restart = task.restart.unwrap();
        assert_eq!((restart.condition(), restart.delay), (RestartCondition::None, Some(5_000_000_000)));
        assert_eq!(task.container.as_ref().unwrap().stop_grace_period, Some(10_000_000_000));
        assert_eq!(spec.update.unwrap().parallelism, 7);
        assert_eq!((spec.rollback.unwrap().parallelism, spec.rollback.unwrap().monitor), (1, 5_000_000_000));

        let mut unset = ServiceSpec::default();
        fill_service(&mut unset);
        let restart = unset.task.as_ref().unwrap().restart.unwrap();
        assert_eq!((restart.condition(), restart.delay), (RestartCondition::Any, Some(5_000_000_000)));

        let once = spec.clone();
        fill_service(&mut spec);
        assert_eq!(spec, once);
    }
}
