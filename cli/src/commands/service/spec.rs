//! Single settings written into a service's spec. What was not said stays as it is.
//!
//! Where a group of settings is touched for the first time, the rest of the group gets Docker's defaults, as its CLI
//! does it, so that `inspect` shows what holds.

use anyhow::{Result, bail};
use skep_common::{clock::nanos, limits};
use skep_dockerapi::types::{
    ContainerSpec, Driver, EndpointSpec, Limit, Placement, ResourceRequirements, Resources, RestartPolicy, ServiceMode,
    ServiceSpec, UpdateConfig,
};

use crate::args::{FailureAction, GoDuration, LogDriverArgs, Order, ResourceArgs, RestartArgs, SpecArgs};

/// Writes what was said.
///
/// # Errors
/// When the service has no such numbers.
pub(super) fn apply(said: &SpecArgs, spec: &mut ServiceSpec) -> Result<()> {
    mode(said, &mut spec.mode)?;
    let task = &mut spec.task_template;
    if let Some(most) = said.replicas_max_per_node {
        task.placement.get_or_insert_with(Placement::default).max_replicas = most;
    }
    container(said, task.container_spec.get_or_insert_with(ContainerSpec::default));
    resources(&said.resources, &mut task.resources);
    restart(&said.restart, &mut task.restart_policy);
    log_driver(&said.log_driver, &mut task.log_driver);
    let update = &said.update;
    update_config(
        &UpdateSaid {
            parallelism: update.update_parallelism,
            delay: update.update_delay,
            monitor: update.update_monitor,
            failure_action: update.update_failure_action,
            max_failure_ratio: update.update_max_failure_ratio,
            order: update.update_order,
        },
        &mut spec.update_config,
    );
    let rollback = &said.rollback;
    update_config(
        &UpdateSaid {
            parallelism: rollback.rollback_parallelism,
            delay: rollback.rollback_delay,
            monitor: rollback.rollback_monitor,
            failure_action: rollback.rollback_failure_action.map(Into::into),
            max_failure_ratio: rollback.rollback_max_failure_ratio,
            order: rollback.rollback_order,
        },
        &mut spec.rollback_config,
    );
    if let Some(mode) = said.endpoint.endpoint_mode {
        spec.endpoint_spec.get_or_insert_with(EndpointSpec::default).mode = mode.word().to_owned();
    }
    Ok(())
}

/// The numbers of a mode. A new job of which only the number of tasks is said runs all of them at a time.
fn mode(said: &SpecArgs, mode: &mut ServiceMode) -> Result<()> {
    let one_per_node = mode.global.is_some() || mode.global_job.is_some();
    if said.replicas_max_per_node.is_some() && one_per_node {
        bail!("replicas-max-per-node can only be used with replicated or replicated-job mode");
    }
    if let Some(concurrent) = said.max_concurrent {
        match &mut mode.replicated_job {
            Some(job) => job.max_concurrent = Some(concurrent),
            None => bail!("max-concurrent can only be used with replicated-job mode"),
        }
    }
    match (said.replicas, mode) {
        (None, _) => {}
        (Some(_), ServiceMode { replicated: Some(replicated), .. }) => replicated.replicas = said.replicas,
        (Some(_), ServiceMode { replicated_job: Some(job), .. }) => {
            job.max_concurrent = job.max_concurrent.or(said.replicas);
            job.total_completions = said.replicas;
        }
        (Some(_), _) => bail!("replicas can only be used with replicated or replicated-job mode"),
    }
    Ok(())
}

/// Writes a value over another, when there is one.
fn set<T: Clone>(said: Option<&T>, target: &mut T) {
    if let Some(value) = said {
        target.clone_from(value);
    }
}

fn container(said: &SpecArgs, container: &mut ContainerSpec) {
    set(said.entrypoint.as_ref().map(|words| &words.0), &mut container.command);
    set(said.hostname.as_ref(), &mut container.hostname);
    set(said.workdir.as_ref(), &mut container.dir);
    set(said.user.as_ref(), &mut container.user);
    set(said.tty.as_ref(), &mut container.tty);
    set(said.read_only.as_ref(), &mut container.read_only);
    set(said.stop_signal.as_ref(), &mut container.stop_signal);
    set(said.oom_score_adj.as_ref(), &mut container.oom_score_adj);
    container.init = said.init.or(container.init);
    container.stop_grace_period = said.stop_grace_period.map(|period| period.0).or(container.stop_grace_period);
}

fn resources(said: &ResourceArgs, requirements: &mut Option<ResourceRequirements>) {
    if *said == ResourceArgs::default() {
        return;
    }
    let requirements = requirements.get_or_insert_with(ResourceRequirements::default);
    let limits = requirements.limits.get_or_insert_with(Limit::default);
    set(said.limit_cpu.map(|cpus| cpus.0).as_ref(), &mut limits.nano_cpus);
    set(said.limit_memory.map(|bytes| bytes.0).as_ref(), &mut limits.memory_bytes);
    set(said.limit_pids.as_ref(), &mut limits.pids);
    let reservations = requirements.reservations.get_or_insert_with(Resources::default);
    set(said.reserve_cpu.map(|cpus| cpus.0).as_ref(), &mut reservations.nano_cpus);
    set(said.reserve_memory.map(|bytes| bytes.0).as_ref(), &mut reservations.memory_bytes);
}

fn restart(said: &RestartArgs, policy: &mut Option<RestartPolicy>) {
    if *said == RestartArgs::default() {
        return;
    }
    let policy = policy.get_or_insert_with(|| RestartPolicy {
        condition: "any".to_owned(),
        delay: Some(nanos(limits::RESTART_DELAY)),
        max_attempts: Some(0),
        window: None,
    });
    set(said.restart_condition.map(|condition| condition.word().to_owned()).as_ref(), &mut policy.condition);
    policy.delay = said.restart_delay.map(|delay| delay.0).or(policy.delay);
    policy.max_attempts = said.restart_max_attempts.or(policy.max_attempts);
    policy.window = said.restart_window.map(|window| window.0).or(policy.window);
}

fn log_driver(said: &LogDriverArgs, driver: &mut Option<Driver>) {
    if let Some(name) = &said.log_driver {
        let options = said.log_opts.iter().map(|option| (option.key.clone(), option.value.clone())).collect();
        *driver = (!name.is_empty()).then(|| Driver { name: name.clone(), options });
    }
}

/// The flags of the update, or rollback, policy.
#[derive(Default, PartialEq)]
struct UpdateSaid {
    parallelism: Option<u64>,
    delay: Option<GoDuration>,
    monitor: Option<GoDuration>,
    failure_action: Option<FailureAction>,
    max_failure_ratio: Option<f32>,
    order: Option<Order>,
}

fn update_config(said: &UpdateSaid, config: &mut Option<UpdateConfig>) {
    if *said == UpdateSaid::default() {
        return;
    }
    let config = config.get_or_insert_with(|| UpdateConfig {
        parallelism: limits::UPDATE_PARALLELISM,
        delay: 0,
        failure_action: "pause".to_owned(),
        monitor: nanos(limits::UPDATE_MONITOR),
        max_failure_ratio: 0.0,
        order: "stop-first".to_owned(),
    });
    set(said.parallelism.as_ref(), &mut config.parallelism);
    set(said.delay.map(|delay| delay.0).as_ref(), &mut config.delay);
    set(said.monitor.map(|monitor| monitor.0).as_ref(), &mut config.monitor);
    set(said.failure_action.map(|action| action.word().to_owned()).as_ref(), &mut config.failure_action);
    set(said.max_failure_ratio.as_ref(), &mut config.max_failure_ratio);
    set(said.order.map(|order| order.word().to_owned()).as_ref(), &mut config.order);
}
