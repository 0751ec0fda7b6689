//! What a change of a service's spec means for its tasks.
//!
//! Owns `Service.spec_version`. The rolling updater has its place here: until it is there, a change that would replace
//! tasks is refused at admission ([`crate::validate_spec::service_update`]), so all tasks of a service are of its
//! present spec.

use skep_proto::v1::{Service, ServiceSpec};

/// Whether tasks made from `old` are not what `new` asks for, so that they would have to be replaced.
/// Replicas, labels of the service, and how to update or roll back do not concern tasks that exist.
pub fn task_changed(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    old.task != new.task
}

/// The `spec_version` of a service whose spec becomes `new`. It only has to grow whenever tasks are concerned; the
/// version the service has now was never one before.
pub fn spec_version(service: &Service, new: &ServiceSpec) -> u64 {
    match &service.spec {
        Some(old) if task_changed(old, new) => service.meta.map_or(0, |meta| meta.version),
        _ => service.spec_version,
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Meta, ReplicatedService, TaskSpec, service_spec::Mode};

    use super::*;

    #[test]
    fn only_what_concerns_tasks_gives_a_new_version() {
        let spec = ServiceSpec { task: Some(TaskSpec::default()), ..ServiceSpec::default() };
        let service = Service {
            spec: Some(spec.clone()),
            meta: Some(Meta { version: 9, ..Meta::default() }),
            spec_version: 4,
            ..Service::default()
        };
        let scaled = ServiceSpec { mode: Some(Mode::Replicated(ReplicatedService { replicas: 5 })), ..spec.clone() };
        assert!(!task_changed(&spec, &scaled));
        assert_eq!(spec_version(&service, &scaled), 4);
        let forced = ServiceSpec { task: Some(TaskSpec { force_update: 1, ..TaskSpec::default() }), ..spec.clone() };
        assert!(task_changed(&spec, &forced));
        assert_eq!(spec_version(&service, &forced), 9);
    }
}
