//! Services.

use skep_common::{clock::nanos, limits};
use skep_proto::v1::{
    self as proto, Annotations, EndpointMode, FailureAction, GlobalService, PortProtocol, PublishMode,
    ServiceWithStatus, UpdateOrder, service_spec::Mode,
};

use super::{
    Invalid,
    spec::{RUNTIME, task_spec_from_docker, task_spec_to_docker},
    words::Word as _,
};
use crate::{
    time::Time,
    types::{
        Empty, Endpoint, EndpointSpec, JobStatus, Placement, PortConfig, ReplicatedJob, ReplicatedService,
        ResourceRequirements, RestartPolicy, Service, ServiceMode, ServiceSpec, ServiceStatus, UpdateConfig,
        UpdateStatus, Version,
    },
};

/// A service as a client sees it.
pub fn service_to_docker(service: &proto::Service) -> Service {
    let meta = service.meta.unwrap_or_default();
    Service {
        id: service.id.clone(),
        version: Version { index: meta.version },
        created_at: Time(meta.created_at),
        updated_at: Time(meta.updated_at),
        spec: service_spec_to_docker(&service.spec.clone().unwrap_or_default()),
        previous_spec: service.previous_spec.as_ref().map(|spec| Box::new(service_spec_to_docker(spec))),
        endpoint: Endpoint::default(),
        update_status: service.update_status.as_ref().map(status_to_docker),
        service_status: None,
        job_status: service.job.as_ref().map(|job| JobStatus {
            job_iteration: job_iteration(job.iteration).unwrap_or_default(),
            last_execution: Time(job.last_execution),
        }),
    }
}

fn status_to_docker(status: &proto::UpdateStatus) -> UpdateStatus {
    let moment = |at: i64| (at != 0).then_some(Time(at));
    UpdateStatus {
        state: status.state().word().to_owned(),
        started_at: moment(status.started_at),
        completed_at: moment(status.completed_at),
        message: status.message.clone(),
    }
}

/// A run of a job as Docker counts: from 0, where ours count from 1 and 0 is none.
pub(super) fn job_iteration(iteration: u64) -> Option<Version> {
    iteration.checked_sub(1).map(|index| Version { index })
}

impl From<&ServiceWithStatus> for ServiceStatus {
    fn from(counts: &ServiceWithStatus) -> Self {
        Self {
            running_tasks: counts.running_tasks,
            desired_tasks: counts.desired_tasks,
            completed_tasks: counts.completed_tasks,
        }
    }
}

/// A service's spec as a client sees it.
pub fn service_spec_to_docker(spec: &proto::ServiceSpec) -> ServiceSpec {
    let annotations = spec.annotations.clone().unwrap_or_default().into_inner();
    let mut task_template = task_spec_to_docker(&spec.task.clone().unwrap_or_default());
    task_template.runtime = RUNTIME.to_owned();
    ServiceSpec {
        name: annotations.name,
        labels: annotations.labels,
        task_template,
        mode: spec.mode.as_ref().map(mode_to_docker).unwrap_or_default(),
        update_config: spec.update.as_ref().map(update_to_docker),
        rollback_config: spec.rollback.as_ref().map(update_to_docker),
        endpoint_spec: spec.endpoint.as_deref().map(endpoint_to_docker),
    }
}

/// A service's spec as a client sends it.
///
/// # Errors
/// [`Invalid`]: wrong words, an unknown mode, two modes, and what [`task_spec_from_docker`] refuses.
pub fn service_spec_from_docker(spec: ServiceSpec) -> Result<proto::ServiceSpec, Invalid> {
    Ok(proto::ServiceSpec {
        annotations: Some(Annotations { name: spec.name, labels: spec.labels }.into()),
        task: Some(task_spec_from_docker(spec.task_template)?.into()),
        mode: Some(mode_from_docker(spec.mode)?),
        update: spec.update_config.map(update_from_docker).transpose()?,
        rollback: spec.rollback_config.map(update_from_docker).transpose()?,
        endpoint: spec.endpoint_spec.map(endpoint_from_docker).transpose()?.map(Into::into),
    })
}

fn mode_to_docker(mode: &Mode) -> ServiceMode {
    let none = ServiceMode::default();
    match mode {
        Mode::Replicated(mode) => {
            ServiceMode { replicated: Some(ReplicatedService { replicas: Some(mode.replicas) }), ..none }
        }
        Mode::Global(_) => ServiceMode { global: Some(Empty {}), ..none },
        Mode::ReplicatedJob(job) => ServiceMode {
            replicated_job: Some(ReplicatedJob {
                max_concurrent: Some(job.max_concurrent),
                total_completions: Some(job.total_completions),
            }),
            ..none
        },
        Mode::GlobalJob(_) => ServiceMode { global_job: Some(Empty {}), ..none },
    }
}

fn mode_from_docker(mode: ServiceMode) -> Result<Mode, Invalid> {
    let ServiceMode { replicated, global, replicated_job, global_job, unknown } = mode;
    if let Some(unknown) = unknown {
        return Err(Invalid(format!("Unrecognized service mode {unknown:?}")));
    }
    let mut modes = [
        replicated.map(|mode| Mode::Replicated(proto::ReplicatedService { replicas: mode.replicas.unwrap_or(1) })),
        global.map(|Empty {}| Mode::Global(GlobalService {})),
        replicated_job.map(|job| {
            let max_concurrent = job.max_concurrent.unwrap_or(1);
            let total_completions = job.total_completions.unwrap_or(max_concurrent);
            Mode::ReplicatedJob(proto::ReplicatedJob { max_concurrent, total_completions })
        }),
        global_job.map(|Empty {}| Mode::GlobalJob(proto::GlobalJob {})),
    ]
    .into_iter()
    .flatten();
    match (modes.next(), modes.next()) {
        (_, Some(_)) => Err(Invalid("must specify only one service mode".to_owned())),
        (Some(mode), None) => Ok(mode),
        (None, None) => Ok(Mode::Replicated(proto::ReplicatedService { replicas: 1 })),
    }
}

fn endpoint_from_docker(endpoint: EndpointSpec) -> Result<proto::EndpointSpec, Invalid> {
    let mode = if endpoint.mode.is_empty() {
        EndpointMode::Vip
    } else {
        EndpointMode::from_word(&endpoint.mode)
            .ok_or_else(|| Invalid(format!("invalid resolution mode: {:?}", endpoint.mode)))?
    };
    let ports = endpoint.ports.into_iter().map(port_from_docker).collect::<Result<_, _>>()?;
    Ok(proto::EndpointSpec { mode: mode.into(), ports })
}

fn endpoint_to_docker(endpoint: &proto::EndpointSpec) -> EndpointSpec {
    let port = |port: &proto::PortConfig| PortConfig {
        name: port.name.clone(),
        protocol: port.protocol().word().to_owned(),
        target_port: port.target,
        published_port: port.published,
        publish_mode: port.mode().word().to_owned(),
    };
    EndpointSpec { mode: endpoint.mode().word().to_owned(), ports: endpoint.ports.iter().map(port).collect() }
}

fn port_from_docker(port: PortConfig) -> Result<proto::PortConfig, Invalid> {
    let protocol = match port.protocol.as_str() {
        "" => PortProtocol::Tcp,
        word => PortProtocol::from_word(word).ok_or_else(|| Invalid(format!("invalid protocol: {word:?}")))?,
    };
    let mode = match port.publish_mode.as_str() {
        "" => PublishMode::Ingress,
        word => PublishMode::from_word(word).ok_or_else(|| Invalid(format!("invalid publish mode: {word:?}")))?,
    };
    Ok(proto::PortConfig {
        name: port.name,
        protocol: protocol.into(),
        target: port.target_port,
        published: port.published_port,
        mode: mode.into(),
    })
}

fn update_to_docker(config: &proto::UpdateConfig) -> UpdateConfig {
    UpdateConfig {
        parallelism: config.parallelism,
        delay: config.delay,
        failure_action: config.failure_action().word().to_owned(),
        monitor: config.monitor,
        max_failure_ratio: config.max_failure_ratio,
        order: config.order().word().to_owned(),
    }
}

/// Docker calls both an update.
fn update_from_docker(config: UpdateConfig) -> Result<proto::UpdateConfig, Invalid> {
    let action = match config.failure_action.as_str() {
        "" => FailureAction::Pause,
        word => FailureAction::from_word(word)
            .ok_or_else(|| Invalid(format!("unrecognized update failure action {word}")))?,
    };
    let order = match config.order.as_str() {
        "" => UpdateOrder::StopFirst,
        word => UpdateOrder::from_word(word).ok_or_else(|| Invalid(format!("unrecognized update order {word}")))?,
    };
    Ok(proto::UpdateConfig {
        parallelism: config.parallelism,
        delay: config.delay,
        failure_action: action.into(),
        monitor: config.monitor,
        max_failure_ratio: config.max_failure_ratio,
        order: order.into(),
    })
}

/// Writes out what holds where the spec says nothing: `?insertDefaults=true`.
pub fn insert_defaults(spec: &mut ServiceSpec) {
    let task = &mut spec.task_template;
    let container = task.container_spec.get_or_insert_default();
    container.stop_grace_period.get_or_insert(nanos(limits::STOP_GRACE));
    container.dns_config.get_or_insert_default();
    task.resources.get_or_insert_with(ResourceRequirements::default);
    task.placement.get_or_insert_with(Placement::default);
    let restart = task.restart_policy.get_or_insert_with(RestartPolicy::default);
    if restart.condition.is_empty() {
        "any".clone_into(&mut restart.condition);
    }
    restart.delay.get_or_insert(nanos(limits::RESTART_DELAY));
    restart.max_attempts.get_or_insert(0);
    for config in [&mut spec.update_config, &mut spec.rollback_config] {
        let config = config.get_or_insert_with(|| UpdateConfig {
            parallelism: limits::UPDATE_PARALLELISM,
            failure_action: "pause".to_owned(),
            order: "stop-first".to_owned(),
            ..UpdateConfig::default()
        });
        if config.monitor == 0 {
            config.monitor = nanos(limits::UPDATE_MONITOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    fn mode(json: &str) -> Result<Mode, String> {
        let spec: ServiceSpec = decode::request(json.as_bytes()).map_err(|error| error.to_string())?;
        mode_from_docker(spec.mode).map_err(|error| error.to_string())
    }

    #[test]
    fn a_service_has_one_mode_that_is_known() {
        let one = Ok(Mode::Replicated(proto::ReplicatedService { replicas: 1 }));
        for nothing_said in ["{}", r#"{"Mode":null}"#, r#"{"Mode":{}}"#, r#"{"Mode":{"Sometimes":null,"Global":null}}"#]
        {
            assert_eq!(mode(nothing_said), one, "{nothing_said}");
        }
        assert_eq!(mode(r#"{"mode":{"GLOBAL":{}}}"#), Ok(Mode::Global(GlobalService {})));
        assert_eq!(
            mode(r#"{"Mode":{"ReplicatedJob":{"MaxConcurrent":2}}}"#),
            Ok(Mode::ReplicatedJob(proto::ReplicatedJob { max_concurrent: 2, total_completions: 2 }))
        );
        let unknown = Err("Unrecognized service mode \"Sometimes\"".to_owned());
        for said in
            [r#"{"Mode":{"Sometimes":{}}}"#, r#"{"Mode":{"Sometimes":0}}"#, r#"{"Mode":{"Global":{},"Sometimes":{}}}"#]
        {
            assert_eq!(mode(said), unknown, "{said}");
        }
        let two = mode(r#"{"Mode":{"Global":{},"Replicated":{"Replicas":2}}}"#);
        assert_eq!(two, Err("must specify only one service mode".to_owned()));
        assert_eq!(
            mode(r#"{"Mode":{"Replicated":{"Often":3}}}"#),
            one,
            "what no version of the API defines is ignored"
        );
        assert_eq!(
            mode(r#"{"Mode":"Global"}"#),
            Err("invalid JSON: Mode: invalid type: string \"Global\", expected a service mode".to_owned())
        );
    }
}
