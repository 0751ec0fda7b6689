//! Creating, updating and rolling back a service: what its spec, revision and update status become.
//!
//! Owns `Service.{spec, previous_spec, revision, previous_revision, last_revision}`; `Service.update_status` at the moment of
//! a user's request: an update clears it, unless one is under way and the request concerns no task; a rollback begins one.
//! From there on [`crate::rollout`] writes it.
//!
//! Invariant: two specs of a service with equal revisions ask for equal tasks.

use std::sync::Arc;

use skep_common::clock::Timestamp;
use skep_proto::v1::{
    EndpointSpec, Placement, Service, ServiceSpec, Task, TaskSpec, UpdateState, UpdateStatus, service_spec::Mode,
};
use skep_store::{TxBuilder, View};

use crate::{constraint, job, mode, names, revision};

/// Why a rollback is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// It has none, or none any more, of that number.
    #[error("revision {number} of service {service} is not kept: it can go back to {}", listed(kept))]
    NotKept {
        /// The service's name.
        service: String,
        /// Which one was asked for.
        number: u64,
        /// Which there are.
        kept: Vec<u64>,
    },
}

/// A new service, to be written by [`write`].
pub fn created(view: &View, id: String, spec: ServiceSpec, now: Timestamp) -> Service {
    let first = u64::from(revision::are_kept(view));
    let mut service = Service { id, spec: Some(spec), revision: first, last_revision: first, ..Service::default() };
    job::changed(&mut service, now);
    service
}

/// The service with another spec, to be written by [`write`].
pub fn updated(view: &View, service: &Service, spec: ServiceSpec, now: Timestamp) -> Service {
    let concerns_tasks = service.spec.as_ref().is_some_and(|old| task_changed(old, &spec));
    if !concerns_tasks && is_under_way(service) {
        // What it goes back to, should it fail, is what it came from, with what is changed now.
        let previous_spec = service.previous_spec.clone().map(|previous| changed_alike(service, &spec, previous));
        return Service { spec: Some(spec), previous_spec, ..service.clone() };
    }
    let mut updated = Service {
        spec: Some(spec),
        previous_spec: service.spec.clone(),
        previous_revision: service.revision,
        update_status: None,
        ..service.clone()
    };
    if concerns_tasks {
        revision::begin(view, &mut updated);
    }
    job::changed(&mut updated, now);
    updated
}

/// Whether an update or a rollback is under way, or is to begin: [`crate::rollout`] says so a moment after the request.
fn is_under_way(service: &Service) -> bool {
    let state = service.update_status.as_ref().map_or(UpdateState::Unknown, |status| status.state());
    let is_to_begin = || {
        let is_job = service.spec.as_ref().is_some_and(mode::is_job);
        service.previous_spec.is_some() && service.previous_revision != service.revision && !is_job
    };
    match state {
        UpdateState::Updating | UpdateState::RollbackStarted => true,
        UpdateState::Unknown => is_to_begin(),
        _ => false,
    }
}

/// Another spec of the service with what its spec and the new one differ in, tasks apart.
fn changed_alike(service: &Service, new: &ServiceSpec, other: ServiceSpec) -> ServiceSpec {
    fn of<T: PartialEq + Clone>(old: &T, new: &T, other: T) -> T {
        if old == new { other } else { new.clone() }
    }
    let none = ServiceSpec::default();
    let old = service.spec.as_ref().unwrap_or(&none);
    ServiceSpec {
        annotations: of(&old.annotations, &new.annotations, other.annotations),
        mode: of(&old.mode, &new.mode, other.mode),
        update: of(&old.update, &new.update, other.update),
        rollback: of(&old.rollback, &new.rollback, other.rollback),
        task: other.task,
        endpoint: other.endpoint,
    }
}

/// Writes a service that is new or changed, and the revisions it begins.
pub fn write<'a, 'b>(tx: &'b mut TxBuilder<'a>, service: Service) -> &'b mut TxBuilder<'a> {
    let (old, service) = (tx.view().service(&service.id), Arc::new(service));
    if old.is_some() {
        tx.update(service.clone())
    } else {
        tx.create(service.clone())
    };
    revision::record(tx, old.map(|old| &**old), &service);
    tx
}

/// The service with its previous spec, so that a second rollback undoes the first; `None` when it has none. A job is not
/// rolled back task by task: it begins a new run, and has no update status.
pub fn rolled_back(service: &Service, now: Timestamp) -> Option<Service> {
    let spec = service.previous_spec.clone()?;
    Some(taken_back(service, spec, service.previous_revision, now))
}

/// The service rolled back to another revision, with its present number of replicas.
///
/// # Errors
/// When that revision is not kept.
pub fn rolled_back_to(view: &View, service: &Service, number: u64, now: Timestamp) -> Result<Service, RollbackError> {
    let Some(mut spec) = view.revision(&service.id, number).and_then(|revision| revision.spec.clone()) else {
        let kept = view.revisions_of_service(&service.id).iter().map(|revision| revision.number).collect();
        return Err(RollbackError::NotKept { service: names::service(service).to_owned(), number, kept });
    };
    let mode = service.spec.as_ref().and_then(|spec| spec.mode);
    match (&mut spec.mode, mode) {
        (Some(Mode::Replicated(then)), Some(Mode::Replicated(now))) => *then = now,
        (Some(Mode::ReplicatedJob(then)), Some(Mode::ReplicatedJob(now))) => *then = now,
        _ => {}
    }
    Ok(taken_back(service, spec, number, now))
}

fn taken_back(service: &Service, spec: ServiceSpec, revision: u64, now: Timestamp) -> Service {
    let rollback = UpdateStatus {
        state: UpdateState::RollbackStarted.into(),
        started_at: now.as_nanos(),
        completed_at: 0,
        message: "manually requested rollback".into(),
    };
    let mut service = Service {
        update_status: (!mode::is_job(&spec)).then_some(rollback),
        spec: Some(spec),
        revision,
        previous_spec: service.spec.clone(),
        previous_revision: service.revision,
        ..service.clone()
    };
    job::changed(&mut service, now);
    service
}

/// `1, 2 or 3`.
fn listed(numbers: &[u64]) -> String {
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    match &words[..] {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// Whether tasks made from `old` have to be replaced to be what `new` asks for. Replicas, labels of the service, and the
/// update and rollback policies do not concern existing tasks.
pub fn task_changed(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    old.task != new.task || !same_endpoint(old.endpoint.as_deref(), new.endpoint.as_deref())
}

/// Whether a task is out of date (dirty) and has to be updated. One of another revision is not when that revision asked for
/// the same, or differs in the constraints alone and the task's node satisfies the present ones.
pub fn is_dirty(view: &View, service: &Service, task: &Task) -> bool {
    if task.revision == service.revision {
        return false;
    }
    let Some(spec) = &service.spec else { return true };
    let endpoint = task.endpoint.as_ref().and_then(|endpoint| endpoint.spec.as_deref());
    if !same_endpoint(spec.endpoint.as_deref(), endpoint) {
        return true;
    }
    let (Some(wanted), Some(made)) = (&spec.task, &task.spec) else { return true };
    wanted != made && !(same_but_for_constraints(wanted, made) && satisfied(view, wanted, &task.node_id))
}

/// The placement that applies to a task: that of the service's spec, or of its own while it waits to be updated.
pub(crate) fn placement_in_force<'a>(view: &View, service: &'a Service, task: &'a Task) -> Option<&'a Placement> {
    let spec = match is_dirty(view, service, task) {
        true => task.spec.as_ref(),
        false => service.spec.as_ref().and_then(|spec| spec.task.as_ref()),
    };
    spec.and_then(|spec| spec.placement.as_ref())
}

/// Whether two endpoints ask for the same; no endpoint equals an empty one.
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
    view.node(node_id).is_some_and(|node| constraint::are_satisfied(node, spec.placement.as_ref()))
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{
        Annotations, Endpoint, GlobalJob, Meta, Node, NodeSpec, PortConfig, ReplicatedJob, ReplicatedService,
        ServiceRevision, TaskSpec, service_spec::Mode,
    };
    use skep_store::TxBuilder;

    use super::*;

    const NOW: Timestamp = Timestamp(7);

    #[test]
    fn what_concerns_no_task_leaves_an_update_under_way_and_its_way_back() {
        let spec = |force_update, replicas, label: &str| ServiceSpec {
            annotations: Some(Annotations { name: label.into(), ..Annotations::default() }.into()),
            task: Some(TaskSpec { force_update, ..TaskSpec::default() }.into()),
            mode: Some(Mode::Replicated(ReplicatedService { replicas })),
            ..ServiceSpec::default()
        };
        for (state, goes_on) in [
            (UpdateState::Updating, true),
            (UpdateState::RollbackStarted, true),
            (UpdateState::Unknown, true),
            (UpdateState::Paused, false),
            (UpdateState::Completed, false),
        ] {
            let status = UpdateStatus { state: state.into(), started_at: 5, ..UpdateStatus::default() };
            let service = Service {
                spec: Some(spec(2, 3, "web")),
                revision: 2,
                previous_spec: Some(spec(1, 2, "web")),
                previous_revision: 1,
                update_status: (state != UpdateState::Unknown).then_some(status),
                ..Service::default()
            };
            let view = View::default();
            let scaled = updated(&view, &service, spec(2, 9, "web"), NOW);
            let named = updated(&view, &service, spec(2, 3, "new"), NOW);
            if goes_on {
                assert_eq!((&scaled.update_status, scaled.previous_revision), (&service.update_status, 1), "{state:?}");
                assert_eq!(scaled.previous_spec, Some(spec(1, 9, "web")));
                assert_eq!(named.previous_spec, Some(spec(1, 2, "new")));
            } else {
                assert_eq!((scaled.update_status, scaled.previous_revision), (None, 2), "{state:?}");
                assert_eq!(scaled.previous_spec, service.spec);
            }
            // Another one of tasks takes its place in any case.
            let other = updated(&view, &service, spec(3, 3, "web"), NOW);
            assert_eq!((other.update_status, other.previous_spec), (None, service.spec), "{state:?}");
        }
    }

    fn service() -> Service {
        Service {
            spec: Some(ServiceSpec { task: Some(TaskSpec::default().into()), ..ServiceSpec::default() }),
            meta: Some(Meta { version: 9, ..Meta::default() }),
            revision: 4,
            ..Service::default()
        }
    }

    fn forced(service: &Service) -> ServiceSpec {
        let spec = service.spec.clone().unwrap();
        ServiceSpec { task: Some(TaskSpec { force_update: 1, ..TaskSpec::default() }.into()), ..spec }
    }

    #[test]
    fn only_what_concerns_tasks_gives_a_new_revision() {
        let service = service();
        let mode = Some(Mode::Replicated(ReplicatedService { replicas: 5 }));
        let view = View::default();
        let scaled = updated(&view, &service, ServiceSpec { mode, ..service.spec.clone().unwrap() }, NOW);
        assert_eq!((scaled.revision, scaled.previous_revision), (4, 4));
        let endpoint = Some(EndpointSpec::default().into());
        let said = updated(&view, &service, ServiceSpec { endpoint, ..service.spec.clone().unwrap() }, NOW);
        assert_eq!(said.revision, 4, "an empty endpoint is none");
        let ports = vec![PortConfig { published: 80, ..PortConfig::default() }];
        let endpoint = Some(EndpointSpec { ports, ..EndpointSpec::default() }.into());
        let published = updated(&view, &service, ServiceSpec { endpoint, ..service.spec.clone().unwrap() }, NOW);
        assert_eq!(published.revision, 9);
        let forced = updated(&view, &service, forced(&service), NOW);
        assert_eq!((forced.revision, forced.previous_revision, forced.previous_spec), (9, 4, service.spec));
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
            let service = Service { spec: Some(spec), revision: 4, ..Service::default() };
            let task = Task { spec: Some(made.into()), revision: version, node_id: node.into(), ..Task::default() };
            assert_eq!(is_dirty(&view, &service, &task), expected, "{asked:?} {version} {node}");
        }

        let ports = |port| EndpointSpec { ports: vec![PortConfig { published: port, ..Default::default() }], mode: 0 };
        for (asked, made, expected) in [(80, 80, false), (80, 443, true)] {
            let spec = ServiceSpec {
                task: Some(TaskSpec::default().into()),
                endpoint: Some(ports(asked).into()),
                ..Default::default()
            };
            let service = Service { spec: Some(spec), revision: 4, ..Service::default() };
            let endpoint = Some(Endpoint { spec: Some(ports(made).into()) });
            let task = Task { spec: Some(TaskSpec::default().into()), revision: 3, endpoint, ..Task::default() };
            assert_eq!(is_dirty(&view, &service, &task), expected, "{asked} {made}");
        }
    }

    #[test]
    fn rolling_back_twice_changes_nothing_but_the_status() {
        let before = updated(&View::default(), &service(), forced(&service()), NOW);
        let back = rolled_back(&before, NOW).unwrap();
        assert_eq!((&back.spec, back.revision), (&service().spec, 4));
        assert_eq!(back.update_status.as_ref().unwrap().state(), UpdateState::RollbackStarted);
        let forth = rolled_back(&back, NOW).unwrap();
        assert_eq!(Service { update_status: None, ..forth }, before);
        assert_eq!(rolled_back(&service(), NOW), None);
        let job = Some(ServiceSpec { mode: Some(Mode::GlobalJob(GlobalJob {})), ..ServiceSpec::default() });
        let back = rolled_back(&Service { previous_spec: job, ..before }, NOW).unwrap();
        assert_eq!(back.update_status, None, "nothing would end the rollback of a job");
    }

    #[test]
    fn a_service_goes_back_to_what_is_kept_and_nowhere_else() {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, NOW);
        tx.create(skep_proto::v1::Cluster { id: "c".into(), feature_level: 1, ..Default::default() });
        let mut view = empty.apply(1, &tx.build()).unwrap().0;
        let write = |view: &View, service: Service| {
            let mut tx = TxBuilder::new(view, NOW);
            super::write(&mut tx, service);
            view.apply(view.version() + 1, &tx.build()).unwrap().0
        };
        let spec = |image: &str, replicas| {
            let container = skep_proto::v1::ContainerSpec { image: image.into(), ..Default::default() };
            let task = TaskSpec { container: Some(container), ..TaskSpec::default() };
            ServiceSpec {
                annotations: Some(Annotations { name: "web".into(), ..Annotations::default() }.into()),
                task: Some(task.into()),
                mode: Some(Mode::Replicated(ReplicatedService { replicas })),
                ..ServiceSpec::default()
            }
        };
        view = write(&view, created(&view, "s".into(), spec("a", 1), NOW));
        for (image, replicas) in [("b", 1), ("c", 1), ("c", 5)] {
            let next = updated(&view, view.service("s").unwrap(), spec(image, replicas), NOW);
            view = write(&view, next);
        }
        let service = view.service("s").unwrap();
        let back = rolled_back_to(&view, service, 1, NOW).unwrap();
        assert_eq!((back.spec.as_ref().unwrap(), back.revision), (&spec("a", 5), 1));
        assert_eq!((&back.previous_spec, back.previous_revision, back.last_revision), (&service.spec, 3, 3));
        assert_eq!(back.update_status.as_ref().unwrap().state(), UpdateState::RollbackStarted);
        let of_job = |completions| {
            let job = ReplicatedJob { max_concurrent: 1, total_completions: completions };
            ServiceSpec { mode: Some(Mode::ReplicatedJob(job)), ..spec("a", 5) }
        };
        let scaled = Service { spec: Some(of_job(6)), ..Service::clone(service) };
        let mut tx = TxBuilder::new(&view, NOW);
        let revision = view.revision("s", 1).unwrap();
        tx.create(ServiceRevision {
            id: "s.9".into(),
            number: 9,
            spec: Some(of_job(3)),
            meta: None,
            ..ServiceRevision::clone(revision)
        });
        let with_job = view.apply(view.version() + 1, &tx.build()).unwrap().0;
        assert_eq!(rolled_back_to(&with_job, &scaled, 9, NOW).unwrap().spec, Some(of_job(6)));
        let refused = rolled_back_to(&view, service, 7, NOW).unwrap_err().to_string();
        assert_eq!(refused, "revision 7 of service web is not kept: it can go back to 1, 2 or 3");

        // Another takes the revision away before the rollback is written.
        let mut tx = TxBuilder::new(&view, NOW);
        super::write(&mut tx, back);
        let rollback = tx.build();
        let mut tx = TxBuilder::new(&view, NOW);
        tx.remove(skep_proto::v1::ObjectKind::Revision, "s.1");
        let without = view.apply(view.version() + 1, &tx.build()).unwrap().0;
        assert!(view.apply(9, &rollback).is_ok() && without.apply(9, &rollback).is_err());
    }
}
