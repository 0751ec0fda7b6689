//! What kind of service a spec asks for.

use skep_proto::v1::{Service, ServiceSpec, service_spec::Mode};

/// Whether it runs to completion: replicated jobs and global jobs.
pub fn is_job(spec: &ServiceSpec) -> bool {
    matches!(spec.mode, Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)))
}

/// Whether it has a task per node: global services and global jobs.
pub fn is_global(service: &Service) -> bool {
    matches!(service.spec.as_ref().and_then(|spec| spec.mode.as_ref()), Some(Mode::Global(_) | Mode::GlobalJob(_)))
}

/// How many tasks it is to have at a time, as far as the spec says: of a service with a task per node, none.
pub(crate) fn replicas(service: &Service) -> u64 {
    match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
        Some(Mode::Replicated(mode)) => mode.replicas,
        Some(Mode::ReplicatedJob(mode)) => mode.max_concurrent.min(mode.total_completions),
        Some(Mode::Global(_) | Mode::GlobalJob(_)) | None => 0,
    }
}
