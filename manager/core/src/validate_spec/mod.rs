//! Validation of specs before anything is proposed, with Docker's error texts where it has one.
//!
//! The control service validates every spec it is given, so all specs in the state are valid. This file has the specs of
//! nodes and of the cluster and what all specs share; the parts of a service's spec have a file each.

mod container;
mod error;
mod service;
mod task;

use skep_common::{limits, validate};
use skep_proto::{
    Message,
    v1::{Annotations, Availability, ClusterSpec, DrainPace, LogDriver, NodeRole, NodeSpec},
};

pub use self::{
    error::InvalidSpec,
    service::{service, service_update},
};

/// A node's spec.
///
/// # Errors
/// When it cannot be asked for.
pub fn node(spec: &NodeSpec) -> Result<(), InvalidSpec> {
    validate::check_spec_size(spec.encoded_len())?;
    labels(spec.annotations.as_ref())?;
    known::<NodeRole>(spec.desired_role, "NodeSpec: role")?;
    known::<Availability>(spec.availability, "NodeSpec: availability")?;
    known::<DrainPace>(spec.drain_pace, "NodeSpec: drain pace")
}

/// The cluster's spec.
///
/// # Errors
/// When it cannot be asked for.
pub fn cluster(spec: &ClusterSpec) -> Result<(), InvalidSpec> {
    validate::check_spec_size(spec.encoded_len())?;
    if spec.annotations.as_ref().is_none_or(|annotations| annotations.name != "default") {
        return Err(InvalidSpec::ClusterName);
    }
    labels(spec.annotations.as_ref())?;
    if spec.node_cert_expiry < skep_common::clock::nanos(limits::MIN_CERTIFICATE_LIFETIME) {
        return Err(InvalidSpec::CertExpiry);
    }
    log_driver(spec.task_log_driver.as_ref())?;
    if spec.heartbeat_period < 0 {
        return Err(InvalidSpec::NegativeHeartbeat);
    }
    if spec.heartbeat_period < skep_common::clock::nanos(limits::MIN_HEARTBEAT_PERIOD) {
        return Err(InvalidSpec::HeartbeatPeriod);
    }
    Ok(())
}

fn log_driver(driver: Option<&LogDriver>) -> Result<(), InvalidSpec> {
    let Some(driver) = driver else { return Ok(()) };
    Ok(validate::check_log_driver(&driver.name, &driver.options)?)
}

fn labels(annotations: Option<&Annotations>) -> Result<(), InvalidSpec> {
    for (key, value) in annotations.iter().flat_map(|annotations| &annotations.labels) {
        validate::check_label(key, value)?;
    }
    Ok(())
}

fn not_negative(value: i64, field: &'static str) -> Result<(), InvalidSpec> {
    if value < 0 { Err(InvalidSpec::Negative(field)) } else { Ok(()) }
}

fn known<E: TryFrom<i32>>(value: i32, field: &'static str) -> Result<(), InvalidSpec> {
    E::try_from(value).map(|_| ()).map_err(|_| InvalidSpec::Unknown(field))
}

#[cfg(test)]
mod tests;
