//! The spec of a service, and what one may become; its tasks are in [`super::task`].

use skep_common::{limits, validate};
use skep_proto::{
    Message,
    v1::{
        EndpointMode, EndpointSpec, FailureAction, ReplicatedJob, ServiceSpec, UpdateConfig, UpdateOrder,
        service_spec::Mode,
    },
};

use super::{InvalidSpec, known, labels, not_negative, task::task};
use crate::policy;

/// A new service's spec.
///
/// # Errors
/// When it cannot be asked for.
pub fn service(spec: &ServiceSpec) -> Result<(), InvalidSpec> {
    validate::check_spec_size(spec.encoded_len())?;
    let annotations = spec.annotations.as_deref();
    validate::check_service_name(annotations.map_or("", |annotations| &annotations.name))?;
    labels(annotations)?;
    policy::check(spec)?;
    task(spec.task.as_ref().ok_or(InvalidSpec::NoContainer)?)?;
    mode(spec)?;
    update_config(spec.update.as_ref(), "update")?;
    update_config(spec.rollback.as_ref(), "rollback")?;
    if spec.rollback.is_some_and(|config| config.failure_action() == FailureAction::Rollback) {
        return Err(InvalidSpec::RollbackAction);
    }
    spec.endpoint.as_deref().map_or(Ok(()), endpoint)
}

/// The mode, and what else of a spec goes with some modes only.
fn mode(spec: &ServiceSpec) -> Result<(), InvalidSpec> {
    let placement = spec.task.as_ref().and_then(|task| task.placement.as_ref());
    let max_per_node = placement.map_or(0, |placement| placement.max_replicas);
    match spec.mode.as_ref().ok_or(InvalidSpec::NoMode)? {
        Mode::Replicated(mode) if mode.replicas > limits::MAX_REPLICAS => Err(InvalidSpec::Replicas),
        Mode::Global(_) | Mode::GlobalJob(_) if max_per_node > 0 => Err(InvalidSpec::MaxReplicasMode),
        Mode::ReplicatedJob(_) | Mode::GlobalJob(_) if spec.update.is_some() => Err(InvalidSpec::JobUpdate),
        Mode::ReplicatedJob(job) => replicated_job(*job),
        _ => Ok(()),
    }
}

fn replicated_job(mode: ReplicatedJob) -> Result<(), InvalidSpec> {
    // A number below zero, cast by whoever sent it.
    if i64::try_from(mode.max_concurrent).is_err() {
        return Err(InvalidSpec::NegativeConcurrency);
    }
    if i64::try_from(mode.total_completions).is_err() {
        return Err(InvalidSpec::NegativeCompletions);
    }
    if mode.total_completions > limits::MAX_REPLICAS { Err(InvalidSpec::Completions) } else { Ok(()) }
}

/// The spec that replaces `old`.
///
/// # Errors
/// When it cannot be asked for, or the service cannot be changed to it.
pub fn service_update(old: &ServiceSpec, new: &ServiceSpec) -> Result<(), InvalidSpec> {
    fn name(spec: &ServiceSpec) -> &str {
        spec.annotations.as_ref().map_or("", |annotations| &annotations.name)
    }
    service(new)?;
    if name(old) != name(new) {
        return Err(InvalidSpec::Rename);
    }
    if old.mode.as_ref().map(std::mem::discriminant) != new.mode.as_ref().map(std::mem::discriminant) {
        return Err(InvalidSpec::ModeChange);
    }
    Ok(())
}

fn endpoint(spec: &EndpointSpec) -> Result<(), InvalidSpec> {
    known::<EndpointMode>(spec.mode, "EndpointSpec: mode")?;
    if spec.ports.is_empty() { Ok(()) } else { Err(InvalidSpec::Unsupported("published ports are")) }
}

fn update_config(config: Option<&UpdateConfig>, which: &'static str) -> Result<(), InvalidSpec> {
    let Some(config) = config else { return Ok(()) };
    let fields = match which {
        "update" => ("TaskSpec: update-delay", "TaskSpec: update-monitor"),
        _ => ("TaskSpec: rollback-delay", "TaskSpec: rollback-monitor"),
    };
    not_negative(config.delay, fields.0)?;
    not_negative(config.monitor, fields.1)?;
    if !(0.0..=1.0).contains(&config.max_failure_ratio) {
        return Err(InvalidSpec::Ratio(which));
    }
    known::<FailureAction>(config.failure_action, "UpdateConfig: failure action")?;
    known::<UpdateOrder>(config.order, "UpdateConfig: order")
}
