//! What a change of a service's spec makes of the service.
//!
//! Owns `Service.{spec, previous_spec, spec_version, previous_spec_version}`; of `Service.update_status` the moment a user asks for
//! something: an update clears it, a rollback begins one. From there on the orchestrator writes it.
//!
//! Invariant: two specs of a service with equal versions ask for equal tasks.

use skep_common::clock::Timestamp;
use skep_proto::v1::{EndpointSpec, Placement, Service, ServiceSpec, Task, TaskSpec, UpdateState, UpdateStatus};
use skep_store::View;

use crate::{enforcer, job};

/// A new service.
pub fn created(id: String, spec: ServiceSpec, now: Timestamp) -> Service {
    let mut service = Service { id, spec: Some(spec), ..Service::default() };
    job::changed(&mut service, now);
    service
}

/// The service with another spec.
pub fn updated(service: &Service, spec: ServiceSpec, now: Timestamp) -> Service {
    let mut service = Service {
        spec_version: spec_version(service, &spec),
        spec: Some(spec),
        previous_spec: service.spec.clone(),
        previous_spec_version: service.spec_version,
        update_status: None,
        ..service.clone()
    };
    job::changed(&mut service, now);
    service
}

/// The service with the spec it had before, so that doing it twice changes nothing; `None` when it had none. A job is not
/// rolled back task by task: it begins anew, and there is nothing that could be under way.
pub fn rolled_back(service: &Service, now: Timestamp) -> Option<Service> {
    let spec = service.previous_spec.clone()?;
    let rollback = UpdateStatus {
        state: UpdateState::RollbackStarted.into(),
        started_at: now.as_nanos(),
        completed_at: 0,
        message: "manually requested rollback".into(),
    };
    let mut service = Service {
        update_status: (!job::is_job(&spec)).then_some(rollback),
        spec: Some(spec),
        spec_version: service.previous_spec_version,
        previous_spec: service.spec.clone(),
        previous_spec_version: service.spec_version,
        ..service.clone()
    };
    job::changed(&mut service, now);
    Some(service)
}

/// Whether tasks made from `old` are not what `new` asks for, so that they would have to be replaced.
/// Replicas, labels of the service, and how to update or roll back do not concern tasks that exist.
pub fn task_changed(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    old.task != new.task || !same_endpoint(old.endpoint.as_ref(), new.endpoint.as_ref())
}

/// Whether a task is not what its service asks for. One made from another version of the spec is still as good as new
/// when that version asked for the same, or when they differ in the constraints alone and the task's node satisfies those
/// in force.
pub fn is_dirty(view: &View, service: &Service, task: &Task) -> bool {
    if task.spec_version == service.spec_version {
        return false;
    }
    let Some(spec) = &service.spec else { return true };
    let endpoint = task.endpoint.as_ref().and_then(|endpoint| endpoint.spec.as_ref());
    if !same_endpoint(spec.endpoint.as_ref(), endpoint) {
        return true;
    }
    let (Some(wanted), Some(made)) = (&spec.task, &task.spec) else { return true };
    wanted != made && !(same_but_for_constraints(wanted, made) && satisfied(view, wanted, &task.node_id))
}

/// The placement a task is held to: that of the spec in force, unless it waits to be updated to that.
pub(crate) fn placement_in_force<'a>(view: &View, service: &'a Service, task: &'a Task) -> Option<&'a Placement> {
    let spec = match is_dirty(view, service, task) {
        true => task.spec.as_ref(),
        false => service.spec.as_ref().and_then(|spec| spec.task.as_ref()),
    };
    spec.and_then(|spec| spec.placement.as_ref())
}

/// Whether two endpoints ask for the same; none asks for what an empty one does.
fn same_endpoint(one: Option<&EndpointSpec>, other: Option<&EndpointSpec>) -> bool {
    let none = EndpointSpec::default();
    one.unwrap_or(&none) == other.unwrap_or(&none)
}

fn same_but_for_constraints(one: &TaskSpec, other: &TaskSpec) -> bool {
    fn unconstrained(spec: &TaskSpec) -> TaskSpec {
        let mut spec = spec.clone();
        spec.placement.get_or_insert_default().constraints.clear();
        spec
    }
    unconstrained(one) == unconstrained(other)
}

fn satisfied(view: &View, spec: &TaskSpec, node_id: &str) -> bool {
    view.node(node_id).is_some_and(|node| enforcer::satisfies_constraints(node, spec.placement.as_ref()))
}

/// The `spec_version` of a service whose spec becomes `new`. It only has to grow whenever tasks are concerned; the
/// version the service has now was never one before.
fn spec_version(service: &Service, new: &ServiceSpec) -> u64 {
    match &service.spec {
        Some(old) if task_changed(old, new) => service.meta.map_or(0, |meta| meta.version),
        _ => service.spec_version,
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{
        Annotations, Endpoint, GlobalJob, Meta, Node, NodeSpec, PortConfig, ReplicatedService, TaskSpec,
        service_spec::Mode,
    };
    use skep_store::TxBuilder;

    use super::*;

    const NOW: Timestamp = Timestamp(7);

    fn service() -> Service {
        Service {
            spec: Some(ServiceSpec { task: Some(TaskSpec::default().into()), ..ServiceSpec::default() }),
            meta: Some(Meta { version: 9, ..Meta::default() }),
            spec_version: 4,
            ..Service::default()
        }
    }

    fn forced(service: &Service) -> ServiceSpec {
        let spec = service.spec.clone().unwrap();
        ServiceSpec { task: Some(TaskSpec { force_update: 1, ..TaskSpec::default() }.into()), ..spec }
    }

    #[test]
    fn only_what_concerns_tasks_gives_a_new_version() {
        let service = service();
        let mode = Some(Mode::Replicated(ReplicatedService { replicas: 5 }));
        let scaled = updated(&service, ServiceSpec { mode, ..service.spec.clone().unwrap() }, NOW);
        assert_eq!((scaled.spec_version, scaled.previous_spec_version), (4, 4));
        let endpoint = Some(EndpointSpec::default());
        let said = updated(&service, ServiceSpec { endpoint, ..service.spec.clone().unwrap() }, NOW);
        assert_eq!(said.spec_version, 4, "an empty endpoint is none");
        let ports = vec![PortConfig { published: 80, ..PortConfig::default() }];
        let endpoint = Some(EndpointSpec { ports, ..EndpointSpec::default() });
        let published = updated(&service, ServiceSpec { endpoint, ..service.spec.clone().unwrap() }, NOW);
        assert_eq!(published.spec_version, 9);
        let forced = updated(&service, forced(&service), NOW);
        assert_eq!((forced.spec_version, forced.previous_spec_version, forced.previous_spec), (9, 4, service.spec));
    }

    #[test]
    fn a_task_is_dirty_when_another_one_would_be_made_in_its_place() {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, NOW);
        let labels = [("zone".to_owned(), "east".to_owned())].into();
        let spec =
            NodeSpec { annotations: Some(Annotations { labels, ..Annotations::default() }), ..NodeSpec::default() };
        tx.create(Node { id: "n".into(), spec: Some(spec), ..Node::default() });
        let view = empty.apply(1, &tx.build()).unwrap().0;

        let constrained = |zone: &str| {
            let constraints = vec![format!("node.labels.zone=={zone}")];
            TaskSpec { placement: Some(Placement { constraints, ..Placement::default() }), ..TaskSpec::default() }
        };
        let forced = TaskSpec { force_update: 1, ..constrained("east") };
        for (asked, version, made, node, expected) in [
            (TaskSpec::default(), 4, TaskSpec::default(), "n", false),
            (TaskSpec::default(), 3, TaskSpec::default(), "n", false),
            (constrained("east"), 3, TaskSpec::default(), "n", false),
            (constrained("west"), 3, TaskSpec::default(), "n", true),
            (constrained("east"), 3, TaskSpec::default(), "", true),
            (forced, 3, TaskSpec::default(), "n", true),
        ] {
            let spec = ServiceSpec { task: Some(asked.clone().into()), ..ServiceSpec::default() };
            let service = Service { spec: Some(spec), spec_version: 4, ..Service::default() };
            let task = Task { spec: Some(made.into()), spec_version: version, node_id: node.into(), ..Task::default() };
            assert_eq!(is_dirty(&view, &service, &task), expected, "{asked:?} {version} {node}");
        }

        let ports = |port| EndpointSpec { ports: vec![PortConfig { published: port, ..Default::default() }], mode: 0 };
        for (asked, made, expected) in [(80, 80, false), (80, 443, true)] {
            let spec = ServiceSpec {
                task: Some(TaskSpec::default().into()),
                endpoint: Some(ports(asked)),
                ..Default::default()
            };
            let service = Service { spec: Some(spec), spec_version: 4, ..Service::default() };
            let endpoint = Some(Endpoint { spec: Some(ports(made)) });
            let task = Task { spec: Some(TaskSpec::default().into()), spec_version: 3, endpoint, ..Task::default() };
            assert_eq!(is_dirty(&view, &service, &task), expected, "{asked} {made}");
        }
    }

    #[test]
    fn rolling_back_twice_changes_nothing_but_the_status() {
        let before = updated(&service(), forced(&service()), NOW);
        let back = rolled_back(&before, NOW).unwrap();
        assert_eq!((&back.spec, back.spec_version), (&service().spec, 4));
        assert_eq!(back.update_status.as_ref().unwrap().state(), UpdateState::RollbackStarted);
        let forth = rolled_back(&back, NOW).unwrap();
        assert_eq!(Service { update_status: None, ..forth }, before);
        assert_eq!(rolled_back(&service(), NOW), None);
        let job = Some(ServiceSpec { mode: Some(Mode::GlobalJob(GlobalJob {})), ..ServiceSpec::default() });
        let back = rolled_back(&Service { previous_spec: job, ..before }, NOW).unwrap();
        assert_eq!(back.update_status, None, "nothing would end the rollback of a job");
    }
}
