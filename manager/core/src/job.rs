//! Jobs: services whose tasks run to completion. A run is one time through; its tasks carry its iteration.
//!
//! Owns `Service.job`.

use skep_common::clock::Timestamp;
use skep_proto::v1::{Service, ServiceSpec, service_spec::Mode};

/// Whether what a spec asks for is a job.
pub fn is_job(spec: &ServiceSpec) -> bool {
    matches!(spec.mode, Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)))
}

/// Begins the next run of a job; changes nothing about other services.
pub fn begin_run(service: &mut Service, now: Timestamp) {
    if service.spec.as_ref().is_some_and(is_job) {
        let job = service.job.get_or_insert_default();
        job.iteration += 1;
        job.last_execution = now.as_nanos();
    }
}
