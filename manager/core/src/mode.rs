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
