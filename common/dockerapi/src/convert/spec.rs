//! The task template.

use skep_proto::v1::{self as proto, NetworkMode, RestartCondition};

use super::{
    Invalid,
    cluster::{driver_from_docker, driver_to_docker},
    generic::{generic_from_docker, generic_to_docker},
    words::Word as _,
};
use crate::{
    HOST_NETWORK,
    types::{
        ContainerSpec, HealthConfig, Limit, NetworkAttachmentConfig, Placement, PlacementPreference, Platform,
        ResourceRequirements, Resources, RestartPolicy, SpreadOver, TaskSpec, Ulimit,
    },
};

/// Docker's word for a container of the ordinary kind.
pub(super) const RUNTIME: &str = "container";
const ISOLATION: &str = "default";
const NO_HEALTHCHECK: &str = "NONE";

/// A task's spec as a client sees it. A service's template also names its runtime.
pub fn task_spec_to_docker(spec: &proto::TaskSpec) -> TaskSpec {
    TaskSpec {
        container_spec: spec.container.clone().map(container_to_docker),
        resources: spec.resources.clone().map(resources_to_docker),
        restart_policy: spec.restart.as_ref().map(restart_to_docker),
        placement: spec.placement.clone().map(placement_to_docker),
        networks: match spec.network() {
            NetworkMode::Host => vec![NetworkAttachmentConfig { target: HOST_NETWORK.to_owned() }],
            NetworkMode::Isolated => Vec::new(),
        },
        log_driver: spec.log_driver.as_ref().map(driver_to_docker),
        force_update: spec.force_update,
        runtime: String::new(),
    }
}

/// A task's spec as a client sends it.
///
/// # Errors
/// [`Invalid`]: wrong words, other networks than the host's, other runtimes than containers.
pub fn task_spec_from_docker(spec: TaskSpec) -> Result<proto::TaskSpec, Invalid> {
    if !spec.runtime.is_empty() && spec.runtime != RUNTIME {
        return Err(Invalid("unsupported runtime".to_owned()));
    }
    let Some(container) = spec.container_spec else {
        return Err(Invalid("mismatched Runtime and *Spec fields".to_owned()));
    };
    Ok(proto::TaskSpec {
        container: Some(container_from_docker(container)?),
        resources: spec.resources.map(resources_from_docker).transpose()?,
        restart: spec.restart_policy.map(restart_from_docker).transpose()?,
        placement: spec.placement.map(placement_from_docker).transpose()?,
        network: network_from_docker(&spec.networks)?.into(),
        log_driver: spec.log_driver.map(driver_from_docker),
        force_update: spec.force_update,
    })
}

fn network_from_docker(networks: &[NetworkAttachmentConfig]) -> Result<NetworkMode, Invalid> {
    match networks {
        [] => Ok(NetworkMode::Isolated),
        [network] if network.target == HOST_NETWORK => Ok(NetworkMode::Host),
        [network] => Err(Invalid(format!("network {} not found", network.target))),
        _ => Err(Invalid("the host network cannot be combined with other networks".to_owned())),
    }
}

fn container_to_docker(container: proto::ContainerSpec) -> ContainerSpec {
    ContainerSpec {
        image: container.image,
        labels: container.labels,
        command: container.command,
        args: container.args,
        hostname: container.hostname,
        env: container.env,
        dir: container.dir,
        user: container.user,
        groups: container.groups,
        init: container.init,
        stop_signal: container.stop_signal,
        tty: container.tty,
        open_stdin: container.open_stdin,
        read_only: container.read_only,
        stop_grace_period: container.stop_grace_period,
        healthcheck: container.no_healthcheck.then(|| HealthConfig { test: vec![NO_HEALTHCHECK.to_owned()] }),
        hosts: container.hosts,
        dns_config: None,
        isolation: ISOLATION.to_owned(),
        sysctls: container.sysctls,
        capability_add: container.capability_add,
        capability_drop: container.capability_drop,
        ulimits: container
            .ulimits
            .into_iter()
            .map(|limit| Ulimit { name: limit.name, hard: limit.hard, soft: limit.soft })
            .collect(),
        oom_score_adj: container.oom_score_adj,
    }
}

fn container_from_docker(container: ContainerSpec) -> Result<proto::ContainerSpec, Invalid> {
    if !container.isolation.is_empty() && !container.isolation.eq_ignore_ascii_case(ISOLATION) {
        return Err(Invalid::unsupported("TaskTemplate.ContainerSpec.Isolation"));
    }
    let no_healthcheck = match container.healthcheck.unwrap_or_default().test.as_slice() {
        [] => false,
        [word] if word == NO_HEALTHCHECK => true,
        _ => return Err(Invalid::unsupported("TaskTemplate.ContainerSpec.Healthcheck")),
    };
    Ok(proto::ContainerSpec {
        image: container.image,
        labels: container.labels,
        command: container.command,
        args: container.args,
        hostname: container.hostname,
        env: container.env,
        dir: container.dir,
        user: container.user,
        groups: container.groups,
        tty: container.tty,
        open_stdin: container.open_stdin,
        read_only: container.read_only,
        stop_signal: container.stop_signal,
        stop_grace_period: container.stop_grace_period,
        init: container.init,
        capability_add: container.capability_add,
        capability_drop: container.capability_drop,
        hosts: container.hosts,
        sysctls: container.sysctls,
        ulimits: container
            .ulimits
            .into_iter()
            .map(|limit| proto::Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
        oom_score_adj: container.oom_score_adj,
        no_healthcheck,
    })
}

fn resources_to_docker(requirements: proto::ResourceRequirements) -> ResourceRequirements {
    let limits = requirements.limits.or((requirements.pids_limit != 0).then(proto::Resources::default));
    ResourceRequirements {
        limits: limits.map(|limits| Limit {
            nano_cpus: limits.nano_cpus,
            memory_bytes: limits.memory_bytes,
            pids: requirements.pids_limit,
        }),
        reservations: requirements.reservations.as_ref().map(available_to_docker),
    }
}

/// What a node has, or what is reserved of it.
pub(super) fn available_to_docker(resources: &proto::Resources) -> Resources {
    Resources {
        nano_cpus: resources.nano_cpus,
        memory_bytes: resources.memory_bytes,
        generic_resources: generic_to_docker(&resources.generic),
    }
}

fn resources_from_docker(requirements: ResourceRequirements) -> Result<proto::ResourceRequirements, Invalid> {
    let held = |held: Resources| {
        Ok(proto::Resources {
            nano_cpus: held.nano_cpus,
            memory_bytes: held.memory_bytes,
            generic: generic_from_docker(held.generic_resources)?,
        })
    };
    Ok(proto::ResourceRequirements {
        limits: requirements.limits.map(|limits| proto::Resources {
            nano_cpus: limits.nano_cpus,
            memory_bytes: limits.memory_bytes,
            generic: Vec::new(),
        }),
        reservations: requirements.reservations.map(held).transpose()?,
        pids_limit: requirements.limits.map_or(0, |limits| limits.pids),
    })
}

fn restart_to_docker(policy: &proto::RestartPolicy) -> RestartPolicy {
    RestartPolicy {
        condition: policy.condition().word().to_owned(),
        delay: policy.delay,
        max_attempts: Some(policy.max_attempts),
        window: policy.window,
    }
}

fn restart_from_docker(policy: RestartPolicy) -> Result<proto::RestartPolicy, Invalid> {
    let condition = if policy.condition.is_empty() {
        RestartCondition::Any
    } else {
        RestartCondition::from_word(&policy.condition)
            .ok_or_else(|| Invalid(format!("invalid RestartCondition: {:?}", policy.condition)))?
    };
    Ok(proto::RestartPolicy {
        condition: condition.into(),
        delay: policy.delay,
        max_attempts: policy.max_attempts.unwrap_or(0),
        window: policy.window,
    })
}

fn placement_to_docker(placement: proto::Placement) -> Placement {
    let spread = |descriptor| PlacementPreference { spread: Some(SpreadOver { spread_descriptor: descriptor }) };
    Placement {
        constraints: placement.constraints,
        preferences: placement.spread_over.into_iter().map(spread).collect(),
        max_replicas: placement.max_replicas,
        platforms: placement
            .platforms
            .into_iter()
            .map(|platform| Platform { architecture: platform.architecture, os: platform.os })
            .collect(),
    }
}

fn placement_from_docker(placement: Placement) -> Result<proto::Placement, Invalid> {
    let descriptor = |preference: PlacementPreference| match preference.spread {
        Some(spread) => Ok(spread.spread_descriptor),
        None => Err(Invalid("a placement preference must name what to spread over".to_owned())),
    };
    Ok(proto::Placement {
        constraints: placement.constraints,
        spread_over: placement.preferences.into_iter().map(descriptor).collect::<Result<_, _>>()?,
        max_replicas: placement.max_replicas,
        platforms: placement
            .platforms
            .into_iter()
            .map(|platform| proto::Platform { architecture: platform.architecture, os: platform.os })
            .collect(),
    })
}
